"""One file a paper. A recipe's name is its file's, with dashes for underscores."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from umekomi.contracts import Recipe
from umekomi.errors import unknown_name

__all__ = ["get", "names"]


def names() -> list[str]:
    """All recipes."""
    return sorted(module.name.replace("_", "-") for module in iter_modules(__path__))


@cache
def get(name: str) -> type[Recipe]:
    """The recipe class of this name, or the error with the nearest ones."""
    if name not in names():
        raise unknown_name("recipe", name, names())
    module = import_module(f"{__name__}.{name.replace('-', '_')}")
    (found,) = (
        kind
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Recipe) and kind.__module__ == module.__name__
    )
    return found
