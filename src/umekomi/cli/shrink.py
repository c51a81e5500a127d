"""``umekomi shrink``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from umekomi.cli.options import Encoding


def shrink(
    model: Annotated[str, typer.Argument(help="A model's name, folder or hub id.")],
    data: Annotated[str, typer.Option("--data", help="A named dataset, file or folder to judge on.")],
    out: Annotated[Path | None, typer.Option("--out", help="The folder to save the best to.")] = None,
    export: Annotated[
        Path | None, typer.Option("--export", help="Write it as a folder of sentence-transformers' own layers, too.")
    ] = None,
    dims: Annotated[str | None, typer.Option(help="Widths to try, by commas: 256,128.")] = None,
    bits: Annotated[str | None, typer.Option(help="Bits a dimension to try, by commas: 32,8,4,2,1.")] = None,
    sparse: Annotated[
        str | None, typer.Option(help="Active latents of sparse codes to try, by commas; 0 for none.")
    ] = None,
    layers: Annotated[
        str | None, typer.Option(help="First so many layers to try, by commas: 4,5; kept where the quality stays.")
    ] = None,
    target_bytes: Annotated[float | None, typer.Option(help="The most bytes an item may take.")] = None,
    task: Annotated[str | None, typer.Option(help="The kind of task, where the columns leave a choice.")] = None,
    split: Annotated[str | None, typer.Option(help="The split to judge on.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw quality against bytes: a .png, .svg or .pdf file.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of all random draws.")] = 0,
    batch_size: Annotated[int, typer.Option(help="Texts a batch.")] = 32,
    encoding: Encoding = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Try fewer dimensions, fewer bits and sparse codes; show quality against bytes; save the best."""
    from dataclasses import asdict

    from umekomi.cli import show
    from umekomi.verbs.shrink import shrink as run

    active = None if sparse is None else [k for k in _numbers("--sparse", sparse) if k]
    done = run(
        model,
        data,
        out,
        export=export,
        dims=_numbers("--dims", dims) if dims else None,
        bits=_numbers("--bits", bits) if bits else None,
        sparse=active,
        layers=_numbers("--layers", layers) if layers else None,
        target_bytes=target_bytes,
        task=task,
        split=split,
        plot=plot,
        seed=seed,
        batch_size=batch_size,
        encoding=encoding,
        progress=True,
    )
    if json:
        show.as_json(
            {
                "rows": [asdict(row) | {"kept": row.kept} for row in done.rows],
                "chosen": done.chosen.name,
                "notes": done.notes,
                "out": str(out) if out else None,
            }
        )
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("bytes", "how", done.chosen.metric, "against the whole", ""):
        table.add_column(title, justify="left" if title in ("how", "") else "right", no_wrap=True)
    for row in done.rows:
        mark = "chosen" if row.name == done.chosen.name else "front" if row.best else "floor" if row.baseline else ""
        difference = f"{row.difference.value:+.3f} \\[{row.difference.low:+.3f}, {row.difference.high:+.3f}]"
        style = "bold" if mark == "chosen" else None if row.best else "dim"
        table.add_row(f"{row.bytes_per_item:,.0f}", row.name, f"{row.value:.3f}", difference, mark, style=style)
    Console().print(table)
    print("front: no other has as much in as few bytes; floor: there to compare with, never chosen")
    for note in done.notes:
        print(f"note: {note}")
    if out is not None:
        print(f"{done.chosen.name} ({done.chosen.bytes_per_item:,.0f} bytes an item) -> {out}")


def _numbers(option: str, text: str) -> list[int]:
    from umekomi.errors import WrongUse

    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise WrongUse(f"{option}: expected whole numbers by commas, found {text!r}") from None
