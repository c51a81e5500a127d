"""``umekomi inspect``"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from umekomi.cli.options import Encoding

if TYPE_CHECKING:
    from umekomi.verbs.inspect import Rewritten


def inspect(
    model: Annotated[str, typer.Argument(help="A model's name, folder or hub id.")],
    data: Annotated[
        str,
        typer.Option(
            "--data", help="A named dataset, file or folder: its texts are looked at, its task judges the layers."
        ),
    ] = "pydocs",
    out: Annotated[
        Path | None, typer.Option("--out", help="Write one self-contained page: a file ending in .html.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="The kind of task, where the columns leave a choice.")] = None,
    split: Annotated[str | None, typer.Option(help="The split to look at.")] = None,
    layers: Annotated[
        bool | None, typer.Option("--layers/--no-layers", help="Look at every layer (where there are layers).")
    ] = None,
    repository: Annotated[
        bool, typer.Option("--repository", help="Metrics as the paper's released code computes them.")
    ] = False,
    views: Annotated[int, typer.Option(help="Augmentations of each text (the paper: 16).")] = 4,
    most: Annotated[int, typer.Option(help="Texts to look at, and queries to judge on, at most.")] = 500,
    seed: Annotated[int, typer.Option(help="Seed of all random draws.")] = 0,
    batch_size: Annotated[int, typer.Option(help="Texts a batch.")] = 32,
    reconstruct: Annotated[
        bool,
        typer.Option(
            "--reconstruct", help="Instead: what the model writes back from the vector of each text of --data."
        ),
    ] = False,
    beam: Annotated[
        int | None, typer.Option(help="With --reconstruct: beginnings kept while it writes (1: the best next word).")
    ] = None,
    encoding: Encoding = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """What a model's space looks like: uniformity, rank, entropy; layer by layer, beside quality on your data."""
    from umekomi.cli import show
    from umekomi.errors import WrongUse
    from umekomi.limits import check
    from umekomi.verbs.inspect import inspect as run
    from umekomi.verbs.inspect import reconstruct as write

    if reconstruct:
        if out is not None or task is not None or layers is not None or repository:
            raise WrongUse("--reconstruct: expected none of --out, --task, --layers and --repository beside it")
        print_written(
            write(
                model,
                data,
                split=split,
                beam=1 if beam is None else beam,
                most=most,
                seed=seed,
                encoding=encoding,
                progress=True,
            ),
            json,
        )
        return
    if beam is not None:
        check("beam", beam)
        raise WrongUse("expected --reconstruct beside it", parameter="beam")
    done = run(
        model,
        data,
        out=out,
        task=task,
        split=split,
        layers=layers,
        repository=repository,
        views=views,
        most=most,
        seed=seed,
        batch_size=batch_size,
        encoding=encoding,
        progress=True,
    )
    if json:
        show.as_json(done.to_json())
        return
    show.table(
        ["of the finished vectors", ""],
        [(name, f"{value:,.0f}" if name == "dimensions" else f"{value:.3f}") for name, value in done.space.items()],
        left=(0,),
    )
    if done.layers:
        shown = ("prompt entropy", "dataset entropy", "curvature", "effective rank", "InfoNCE", "LiDAR", "DiME")
        best = max(row.value for row in done.layers)
        rows = []
        for row in done.layers:
            quality = (
                (f"{row.value:.3f} [{row.low:.3f}, {row.high:.3f}]", f"{row.difference.value:+.3f}")
                if done.metric
                else ()
            )
            rows.append(
                (
                    f"{row.layer}{' *' if row.value == best else ''}",
                    *quality,
                    *(f"{row.metrics[name]:.2f}" for name in shown),
                )
            )
        print()
        show.table(
            ["layer", *((f"{done.metric} [95 %]", "to the last") if done.metric else ()), *shown], rows, left=(0,)
        )
    if done.choices:
        print()
        chosen = [
            (choice.rule, "—" if choice.layer is None else choice.layer, f"{choice.value:.3f}")
            for choice in done.choices
        ]
        show.table(["rule", "layer", done.metric], chosen, left=(0,))
    if done.correlations:
        print()
        show.table(
            ["metric", "rho with quality", "p"],
            [(found.metric, f"{found.value:+.2f}", f"{found.p:.3f}") for found in done.correlations],
            left=(0,),
        )
    for note in done.notes:
        print(f"note: {note}")


def print_written(found: Sequence[Rewritten], json: bool) -> None:
    """Each text and, under it, what was written again."""
    from umekomi.cli import show

    if json:
        show.as_json([asdict(each) for each in found])
        return
    for number, each in enumerate(found):
        written = each.written or "(nothing: it has no word that the model knows)"
        for head, text in (("text", each.text), ("written", written)):
            lines = text.splitlines() or [""]
            print(*(f"{head + ':' if place == 0 else '':<9}{line}" for place, line in enumerate(lines)), sep="\n")
        if number + 1 < len(found):
            print()
