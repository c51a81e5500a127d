"""``umekomi evaluate``"""

from __future__ import annotations

from typing import Annotated

import typer

from umekomi.cli.options import Encoding, Engine


def evaluate(
    model: Annotated[str, typer.Argument(help="A model's name, folder or hub id, or a recipe that needs no labels.")],
    task: Annotated[
        str,
        typer.Option(
            "--task", help="A dataset, DATASET:KIND, mteb:NAME, senteval[:TASK], or a kind of task with --data."
        ),
    ],
    data: Annotated[str | None, typer.Option("--data", help="Your own data, for a kind of task.")] = None,
    split: Annotated[str | None, typer.Option(help="The split to judge on (test).")] = None,
    dimensions: Annotated[int | None, typer.Option(help="Judge only the first so many dimensions.")] = None,
    engine: Engine = "auto",
    batch_size: Annotated[int, typer.Option(help="Texts a batch.")] = 32,
    encoding: Encoding = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Judge a model on a task, with 95 % intervals over items."""
    from umekomi.cli import show
    from umekomi.verbs.evaluate import evaluate as run

    result = run(
        model,
        task,
        data,
        split=split,
        dimensions=dimensions,
        engine=engine,
        batch_size=batch_size,
        encoding=encoding,
        progress=True,
    )
    rows = result.rows()
    if json:
        names = ("metric", "value", "low", "high")
        show.as_json(
            {
                "model": model,
                "task": result.task,
                "rows": [dict(zip(names, row, strict=True)) for row in rows],
                "notes": result.notes,
            }
        )
        return
    bounded = [
        (metric, f"{value:.4f}", f"{low:.4f}" if low != high else "—", f"{high:.4f}" if low != high else "—")
        for metric, value, low, high in rows
    ]
    show.table(["metric", "value", "low", "high"], bounded, title=f"{model} on {result.task}")
    for note in result.notes:
        print(note)
