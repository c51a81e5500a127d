"""The verb ``train``: a recipe, data, and where the model goes."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umekomi.data import Dataset, load
from umekomi.data.contrast import is_named_sets, is_weak
from umekomi.errors import WrongUse, unknown_name
from umekomi.fields import declared, worded
from umekomi.limits import checked
from umekomi.recipes import Recipe, get

if TYPE_CHECKING:
    from umekomi.data.columns import Given, Split
    from umekomi.models.base import Named, Saved


def recipe_of(recipe: str | Recipe, settings: dict[str, Any] | None = None, *, preset: str = "") -> Recipe:
    """A recipe by name, with the paper's values or a preset's, and its fields set; values of the wrong type or unknown
    fields are errors."""
    if isinstance(recipe, Recipe):
        return dataclasses.replace(recipe, **settings) if settings else recipe  # type: ignore[type-var]
    kind = get(recipe)
    known = ("small", *kind.presets)
    if preset and preset not in known:
        raise unknown_name(f"preset of {recipe}", preset, known)
    base = getattr(kind, preset)() if preset else kind()
    fields, hints = kind.fields(), declared(kind)
    for name in settings or {}:
        if name not in fields:
            raise unknown_name(f"field of {recipe}", name, fields)
    chosen = {name: worded(value, hints[name]) for name, value in (settings or {}).items()}
    return dataclasses.replace(base, **chosen)  # type: ignore[type-var]


def training_split(dataset: Dataset, split: str | None = None) -> Split:
    """The split to learn from: the one named, else train, else the only one."""
    if split is not None:
        return dataset[split]
    if "train" in dataset.splits:
        return dataset["train"]
    if len(dataset) == 1:
        return dataset[next(iter(dataset))]
    raise WrongUse(
        f"{dataset.name}: expected a split named train, found {', '.join(dataset)}",
        parameter="split",
        advice="name one with",
    )


@checked
def train(
    recipe: str | Recipe,
    data: Given | Mapping[str, Given],
    out: str | Path | None = None,
    *,
    split: str | None = None,
    start: Named | None = None,
    settings: dict[str, Any] | None = None,
    small: bool = False,
    preset: str = "",
    seed: int = 0,
    resume: bool = True,
    encoding: str | None = None,
    progress: bool = False,
) -> Saved:
    """Learn an embedder (or scorer, or backbone) by a recipe.

    With ``out``, an interrupted training leaves its checkpoints beside it, and the same call goes on from there.

    Args:
        recipe: its name, or one that is made.
        data: one set, or for recipes that take several a mapping of names to sets (each a name, a path or a table;
            those whose name begins with ``weak`` are learned from first, where a recipe has such a stage).
        out: the folder to save to.
        split: the split to learn from; None: train, or the only one.
        start: the model to go on from.
        settings: fields of the recipe.
        small: takes the recipe's sizes for two CPU cores.
        preset: other values of the recipe's own for what ``settings`` leaves (``umekomi info RECIPE`` lists them).
        seed: of all random draws.
        resume: False starts anew.
        encoding: of a file that is not UTF-8.
        progress: shows a bar.
    """
    import shutil

    if small and preset:
        raise WrongUse(f"expected small or a preset, found both (preset {preset!r})")
    configured = recipe_of(recipe, settings, preset="small" if small else preset)
    several = {name: load(each, encoding=encoding) for name, each in data.items()} if is_named_sets(data) else {}
    dataset = None if several else load(data, encoding=encoding)
    rows = (
        {name: training_split(each, split) for name, each in several.items()}
        if dataset is None
        else training_split(dataset, split)
    )
    checkpoint = None
    if out is not None:
        if Path(out).is_file():
            raise WrongUse(f"{out} is a file: expected a folder to save to")
        checkpoint = Path(out).parent / f".{Path(out).name}.checkpoints"
        if not resume:
            shutil.rmtree(checkpoint, ignore_errors=True)
    model = configured.fit(rows, start=start, seed=seed, checkpoint=checkpoint, progress=progress)
    model.card["trained_on"] = (
        dataset.name if dataset is not None else ", ".join(f"{name}: {each.name}" for name, each in several.items())
    )
    if out is not None:
        model.save(out)
        shutil.rmtree(checkpoint, ignore_errors=True)  # type: ignore[arg-type]
    return model


def next_command(out: str | Path, data: str | Path | Mapping[str, str | Path], encoding: str | None = None) -> str:
    """What to type behind a training: the model judged on its data. Of several sets it is one that the last stage
    learns from (weak pairs say less than labelled ones), and of those the first with a held-out split."""
    place: str | Path
    if isinstance(data, Mapping):
        strong = [each for name, each in data.items() if not is_weak(name)]
        places = strong or list(data.values())
        held = (each for each in places if {"test", "dev"} & set(load(each, encoding=encoding).splits))
        place = places[0] if len(places) == 1 else next(held, places[0])
    else:
        place = data
    more = f" --encoding {shlex.quote(encoding)}" if encoding is not None and Path(place).exists() else ""
    return f"umekomi evaluate {shlex.quote(str(out))} --task {shlex.quote(str(place))}{more}"
