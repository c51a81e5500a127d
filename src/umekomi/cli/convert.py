"""``umekomi convert``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def convert(
    source: Annotated[
        str,
        typer.Argument(
            help="A model's name or folder, a GGUF file, a word2vec file (.txt, .vec, .bin, packed or not), or an "
            "encoder that InferSent published (.pkl).",
            metavar="IN",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="The file or folder to write.")],
    to: Annotated[
        str | None, typer.Option("--to", help="word2vec, safetensors, sentence-transformers, onnx or gguf.")
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            help="With --to onnx: float32, or int8 (eight bits where the texts of --data keep their vectors)."
        ),
    ] = "float32",
    data: Annotated[Path | None, typer.Option(help="With int8: a file of texts to measure the loss on.")] = None,
    least_cosine: Annotated[
        float, typer.Option(help="With int8: the least cosine that every text keeps to its own vector.")
    ] = 0.99,
    vectors: Annotated[
        str | None, typer.Option(help="Of a .pkl: the word vectors that it was learned on, a file or folder.")
    ] = None,
    type: Annotated[
        str, typer.Option(help="With --to gguf: F32, F16, Q8_0, Q4_0, Q4_1 or Q4_K; F16 where it is not said.")
    ] = "",
    pooling: Annotated[str, typer.Option(help="Of a GGUF file, or written into it: mean, cls or last.")] = "",
) -> None:
    """Write a model in another format."""
    from umekomi.verbs.convert import convert as run

    written = run(
        source,
        out,
        to,
        precision=precision,
        data=data,
        least_cosine=least_cosine,
        vectors=vectors,
        type=type,
        pooling=pooling,
        progress=True,
    )
    print(f"{source} -> {written}")
    if precision == "int8":
        from umekomi.files import MODEL_FILE, read_json

        cost = read_json(written / MODEL_FILE)["card"]["int8"]
        print(
            f"{cost['rounded']} of {cost['of']} products in eight bits; over {cost['texts']} texts the least cosine "
            f"is {cost['cosine_least']}, "
            f"the mean {cost['cosine_mean']}; {cost['speed']} times float's texts a second here"
        )
