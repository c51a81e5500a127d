"""What there is by name: recipes, models, datasets, tasks, transforms. The verbs ``recipes`` and ``info``."""

from __future__ import annotations

import dataclasses
from typing import Any

from umekomi.data.shapes import RETRIEVAL, SHAPES
from umekomi.errors import unknown_name
from umekomi.fields import declared, describe
from umekomi.models.base import Predictor, Scorer
from umekomi.recipes import Recipe, get, names


def recipe(name: str, **settings: Any) -> Recipe:
    """A recipe by name with its fields set.

    >>> recipe("bm25", k1=1.2).k1
    1.2
    """
    from umekomi.verbs.train import recipe_of

    return recipe_of(name, settings)


def recipes_table() -> list[dict[str, Any]]:
    """One row a recipe: name, what it learns from and makes, extra, paper, claim."""
    rows = []
    for name in names():
        kind = get(name)
        rows.append(
            {
                "name": name,
                "learns": list(kind.learns),
                "begins": kind.begins or "nothing",
                "makes": kind.makes,
                "extra": kind.extra or "light",
                "paper": kind.paper.cite(),
                "claim": kind.claim(),
            }
        )
    return rows


def info(name: str) -> dict[str, Any]:
    """What is known of a recipe, a published model, a dataset, or a saved folder of this name."""
    from umekomi.data.sets import catalogue, offline_root
    from umekomi.models.opening import is_model_name, known_names, open_source, resolve

    if name in names():
        kind = get(name)
        return {
            "recipe": name,
            "claim": kind.claim(),
            "paper": kind.paper.cite(),
            "learns from": "; ".join(str(SHAPES.get(name, RETRIEVAL)) for name in kind.learns) or "nothing",
            "begins from": kind.begins or "nothing",
            "makes": kind.makes,
            "install": f"umekomi[{kind.extra}]" if kind.extra else "umekomi (light)",
            "expected": {field: describe(hint) for field, hint in declared(kind).items()},
            "settings of the paper": kind().settings(),
            "settings for two cores": kind.small().settings(),
        } | {f"preset {preset}": getattr(kind, preset)().settings() for preset in kind.presets}
    source = resolve(name) if is_model_name(name) else None
    if source is not None and source.entry is not None:
        return {"model": name} | {
            key: value
            for key, value in dataclasses.asdict(source.entry).items()
            if key != "name" and value not in ("", {}, ())
        }
    if name in catalogue():
        data = catalogue()[name]
        root = offline_root()
        here = not data.files or bool(root and all((root / file).exists() for file in data.files))
        return {
            "dataset": name,
            "shape": data.shape,
            "language": data.language,
            "licence": data.licence,
            "citation": data.citation,
            "home": data.home,
            "on this machine": "yes" if here else "no",
            "notes": "; ".join(data.notes),
        }
    if source is not None and not source.hub:
        model = open_source(source)
        facts = {"model" if source.folder is None else "folder": name, "kind": model.kind, "name": model.name}
        for key in ("dimension", "metric", "outputs", "modalities"):
            if hasattr(model, key):
                value = getattr(model, key)
                facts[key] = ", ".join(sorted(value)) if isinstance(value, frozenset) else value
        if isinstance(model, Scorer):
            facts["scores"] = f"pairs of items{' under a condition' if model.conditions else ''}"
        if isinstance(model, Predictor):
            facts["predicts"] = f"the class, of {', '.join(model.classes)}" if model.classes else "a number"
            facts["from"] = ", ".join(getattr(model, "columns", ()))
        return facts | {key: value for key, value in (getattr(model, "card", None) or {}).items() if value}
    raise unknown_name("recipe, model, dataset or folder", name, [*names(), *catalogue(), *known_names()])
