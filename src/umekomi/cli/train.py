"""``umekomi train``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from umekomi.cli.options import Encoding, settings_of


def sets_of(data: list[str]) -> str | Path | dict[str, str | Path]:
    """One set as it stands; several, or one that is named, as a mapping. A path that is there is a path, whatever is in
    its name."""
    from umekomi.errors import WrongUse

    named = [text for text in data if "=" in text and not Path(text).exists()]
    if not named and len(data) == 1:
        return data[0]
    if len(named) != len(data) or len({text.partition("=")[0] for text in data}) != len(data):
        raise WrongUse(
            f"--data: expected one set, or several with names of their own as NAME=SET, found {', '.join(data)}"
        )
    return {name: place for name, _, place in (text.partition("=") for text in data)}


def train(
    recipe: Annotated[str, typer.Argument(help="A recipe (umekomi recipes).")],
    data: Annotated[
        list[str],
        typer.Option(
            "--data",
            help="A named dataset, file or folder; for recipes that take several sets NAME=SET, again and again.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="The folder to save to.")],
    start: Annotated[str | None, typer.Option(help="The model to go on from.")] = None,
    split: Annotated[str | None, typer.Option(help="The split to learn from (train).")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A field of the recipe: --set epochs=2 (umekomi info RECIPE).")
    ] = None,
    small: Annotated[bool, typer.Option("--small", help="The recipe's sizes for two CPU cores.")] = False,
    preset: Annotated[str, typer.Option(help="Other values of the recipe's own (umekomi info RECIPE).")] = "",
    seed: Annotated[int, typer.Option(help="Seed of all random draws.")] = 0,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do not go on from an interrupted training.")] = False,
    encoding: Encoding = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Learn a model by a recipe and save it. An interrupted training goes on where it stopped."""
    from umekomi.cli import show
    from umekomi.verbs.train import next_command
    from umekomi.verbs.train import train as run

    given = sets_of(data)
    model = run(
        recipe,
        given,
        out,
        split=split,
        start=start,
        settings=settings_of(settings),
        small=small,
        preset=preset,
        seed=seed,
        resume=not fresh,
        encoding=encoding,
        progress=True,
    )
    if json:
        show.as_json(
            {"out": str(out), "kind": model.kind, "dimension": getattr(model, "dimension", None), "card": model.card}
        )
        return
    width = getattr(model, "dimension", None)
    print(f"{model.name} ({model.kind if width is None else f'{width} dimensions'}) -> {out}")
    print(f"next: {next_command(out, given, encoding)}")
