"""Options that several verbs have."""

from __future__ import annotations

from typing import Annotated

import typer

Encoding = Annotated[
    str | None,
    typer.Option("--encoding", help="The encoding of files that are not UTF-8: cp932, euc-jp, utf-16, latin-1 ..."),
]
Engine = Annotated[str, typer.Option(help="What runs a transformer: auto, onnx, openvino, openvino-bf16 or torch.")]
