"""What is compared: recipes and models, each also cut to fewer dimensions."""

from __future__ import annotations

from dataclasses import dataclass

from umekomi.errors import WrongUse, unknown_name
from umekomi.models.opening import file_of, folder_of, is_model_name, known_names
from umekomi.recipes import Recipe, get, names


@dataclass(frozen=True)
class Candidate:
    """``NAME`` or ``NAME@DIMENSIONS``: a recipe, a model's name, folder or hub id."""

    spec: str
    name: str
    dimensions: int | None
    recipe: Recipe | None

    @staticmethod
    def parse(spec: str, paper_settings: bool) -> Candidate:
        cut = "@" in spec and folder_of(spec) is None and file_of(spec) is None
        name, at, width = spec.rpartition("@") if cut else (spec, "", "")
        if at and not (width.isdigit() and int(width)):
            raise WrongUse(f"{spec!r}: expected NAME@DIMENSIONS such as near2@64, found {width!r} after the @")
        recipe = None
        if name in names():
            kind = get(name)
            recipe = kind() if paper_settings else kind.small()
        elif not is_model_name(name):
            raise unknown_name("model, recipe or folder", name, [*names(), *known_names()])
        return Candidate(spec, name, int(width) if at else None, recipe)
