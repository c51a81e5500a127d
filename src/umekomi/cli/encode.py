"""``umekomi encode``"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from umekomi.cli.options import Encoding, Engine


def encode(
    model: Annotated[str, typer.Argument(help="A model's name, folder or hub id.")],
    source: Annotated[Path, typer.Argument(help="A file of texts, or a folder of documents.", metavar="IN")],
    out: Annotated[Path, typer.Option("--out", help="A file ending in .parquet or .npy.")],
    column: Annotated[str, typer.Option(help="The column of texts.")] = "text",
    role: Annotated[str, typer.Option(help="The texts' role: document, query, or a task of the model.")] = "document",
    dimensions: Annotated[int | None, typer.Option(help="Keep the first so many dimensions.")] = None,
    truncation: Annotated[
        str,
        typer.Option(help="Texts longer than the model reads: warn, error, silent, or chunk (windows, their mean)."),
    ] = "warn",
    resume: Annotated[bool, typer.Option("--resume", help="Go on behind the shards of an interrupted run.")] = False,
    batch_size: Annotated[int, typer.Option(help="Texts a batch.")] = 32,
    engine: Engine = "auto",
    devices: Annotated[
        str | None, typer.Option(help="Share the texts out among devices: all, or cuda:0,cuda:1.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Where finished vectors are kept; the cache folder's when left out.")
    ] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Neither take nor keep finished vectors.")] = False,
    encoding: Encoding = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Turn a file of texts into vectors, in bounded memory whatever its size."""
    from dataclasses import asdict

    from umekomi.cli import show
    from umekomi.verbs.encode import encode as run

    done = run(
        model,
        source,
        out,
        column=column,
        role=role,
        dimensions=dimensions,
        truncation=truncation,
        resume=resume,
        batch_size=batch_size,
        engine=engine,
        devices=devices.split(",") if devices else None,
        cache=False if no_cache else cache or True,
        encoding=encoding,
        progress=True,
    )
    if json:
        show.as_json(asdict(done))
        return
    print(done.summary())
    if out.suffix == ".parquet":
        print(f'next: umekomi search {shlex.quote(str(model))} --in {shlex.quote(str(out))} "your query"')
