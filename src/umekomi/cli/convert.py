"""``umekomi convert``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def convert(
    source: Annotated[str, typer.Argument(help="A model's name or folder, or a word2vec file (.txt, .vec, .bin).", metavar="IN")],
    out: Annotated[Path, typer.Option("--out", help="The file or folder to write.")],
    to: Annotated[str | None, typer.Option("--to", help="word2vec, safetensors, sentence-transformers or onnx.")] = None,
) -> None:
    """Write a model in another format."""
    from umekomi.conversion import convert as run

    print(f"{source} -> {run(source, out, to)}")
