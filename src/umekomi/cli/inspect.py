"""``umekomi inspect``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from umekomi.cli.options import Encoding


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
    encoding: Encoding = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """What a model's space looks like: uniformity, rank, entropy; layer by layer, beside quality on your data."""
    from umekomi.cli import show
    from umekomi.verbs.inspect import inspect as run

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
