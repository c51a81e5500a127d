"""``umekomi reproduce``"""

from __future__ import annotations

from typing import Annotated

import typer


def reproduce(
    name: Annotated[
        str | None, typer.Argument(help="A claim, or a recipe for all of its claims; none lists them.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="In seconds, on some rows: whether it still runs. Writes nothing.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure finished arms again too.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure a paper's claim again; the rows go to results/. Runs in a checkout."""
    from umekomi.cli import show
    from umekomi.verbs.reproduce import claims
    from umekomi.verbs.reproduce import reproduce as run

    if name is None:
        known = [
            {"claim": claim.name, "recipe": claim.recipe, "sentence": claim.sentence, "source": claim.source}
            for claim in claims().values()
        ]
        if json:
            show.as_json(known)
        else:
            show.table(
                ["claim", "recipe", "sentence"],
                [(row["claim"], row["recipe"], row["sentence"]) for row in known],
                left=(0, 1),
                wrap=(2,),
            )
        return
    rows = run(name, quick=quick, fresh=fresh, progress=True)
    if json:
        show.as_json(rows)
        return
    cells = [
        (row["claim"], row["arm"], row["data"], row["metric"], row["value"], row["low"], row["high"], row["paper"])
        for row in rows
    ]
    show.table(["claim", "arm", "data", "metric", "value", "low", "high", "paper"], cells, left=(0, 1, 2, 3))
