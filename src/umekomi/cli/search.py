"""``umekomi search``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from umekomi.cli.options import Encoding


def search(
    model: Annotated[
        str,
        typer.Argument(
            help="An index; or a model's name or folder, or a recipe that needs no labels.", metavar="INDEX|MODEL"
        ),
    ],
    query: Annotated[str, typer.Argument(help="What to look for.")],
    source: Annotated[
        Path | None,
        typer.Option("--in", help="Texts, or a Parquet file that encode wrote; a table of names searches itself."),
    ] = None,
    k: Annotated[int, typer.Option("-k", help="How many hits.")] = 10,
    filter: Annotated[
        str | None,
        typer.Option("--filter", help="A condition on an index's payload: 'year > 2020 and lang == \"ja\"'."),
    ] = None,
    leg: Annotated[
        str | None, typer.Option("--leg", help="Of a hybrid index: bm25 or vectors alone. Without it both answer.")
    ] = None,
    rerank: Annotated[
        str | None,
        typer.Option("--rerank", help="A model that orders the first hits anew; none: not the one the index names."),
    ] = None,
    depth: Annotated[int | None, typer.Option("--depth", help="How many hits are ordered anew (50).")] = None,
    column: Annotated[str, typer.Option(help="The column of texts.")] = "text",
    encoding: Encoding = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """The texts most similar to a query, the best sentence of each marked: in an index, or exactly in a file."""
    from dataclasses import asdict

    from umekomi.cli import show
    from umekomi.indexes.payload import as_json
    from umekomi.verbs.search import search as run

    hits = run(
        model,
        query,
        source,
        k=k,
        filter=filter,
        leg=leg,
        rerank=rerank,
        depth=depth,
        column=column,
        encoding=encoding,
        progress=True,
    )
    if json:
        show.as_json([asdict(hit) | {"payload": as_json(hit.payload)} for hit in hits])
        return
    from rich.console import Console
    from rich.text import Text

    console = Console()
    for number, hit in enumerate(hits, 1):
        console.print(Text(f"{number:2d}. {hit.score:.4f}  {hit.id}", style="bold"))
        begin, end = max(0, hit.best[0] - 160), min(len(hit.text), hit.best[1] + 160)
        shown = Text(
            ("…" if begin else "") + hit.text[begin:end].replace("\n", " ") + ("…" if end < len(hit.text) else "")
        )
        offset = (1 if begin else 0) - begin
        shown.stylize("bold underline", hit.best[0] + offset, hit.best[1] + offset)
        console.print(shown, soft_wrap=False)
        if hit.payload:
            line = "  ".join(f"{name}: {value}" for name, value in hit.payload.items())
            console.print(Text(line if len(line) <= 200 else line[:199] + "…", style="dim"))
    if not hits:
        print("nothing found")
