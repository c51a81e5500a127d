"""Options that several verbs have."""

from __future__ import annotations

from typing import Annotated

import typer

Engine = Annotated[str, typer.Option(help="What runs a transformer: auto, onnx, openvino, openvino-bf16 or torch.")]
