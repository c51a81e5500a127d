"""``umekomi info``"""

from __future__ import annotations

from typing import Annotated

import typer


def info(
    name: Annotated[str, typer.Argument(help="A recipe, a published model, a dataset, or a saved folder.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """What is known of a recipe, a model, a dataset or a saved folder."""
    from umekomi.cli import show
    from umekomi.verbs.info import info as look

    about = look(name)
    if json:
        show.as_json(about)
        return
    show.facts(about)
