"""``umekomi recipes``"""

from __future__ import annotations

from typing import Annotated

import typer


def recipes(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the recipes: what each learns from and needs, and its paper."""
    from umekomi.cli import show
    from umekomi.verbs.info import recipes_table

    rows = recipes_table()
    if json:
        show.as_json(rows)
        return
    cells = [(row["name"], ", ".join(row["learns"]) or "nothing", row["extra"], row["claim"]) for row in rows]
    show.table(["recipe", "learns from", "install", "claim"], cells, left=(0, 1, 2), wrap=(1, 3))
