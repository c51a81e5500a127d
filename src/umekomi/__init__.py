"""Umekomi: the workbench for embeddings.

Learn, compare, inspect, shrink, search and serve embeddings of one's own data, every published method a recipe of the
same face. Each verb of the command line is a function here; what it needs is imported when it is called.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    "compare": "umekomi.comparison",
    "convert": "umekomi.conversion",
    "encode": "umekomi.encoding",
    "evaluate": "umekomi.evaluation",
    "index": "umekomi.indexing",
    "info": "umekomi.catalogue",
    "inspect": "umekomi.inspecting",
    "load": "umekomi.models",
    "mine": "umekomi.mining",
    "recipe": "umekomi.catalogue",
    "recipes_table": "umekomi.catalogue",
    "reproduce": "umekomi.reproduction",
    "search": "umekomi.searching",
    "serve": "umekomi.server",
    "shrink": "umekomi.shrinking",
    "train": "umekomi.training",
    "Index": "umekomi.indexes",
    "Recipe": "umekomi.contracts",
    "Transform": "umekomi.contracts",
    "UmekomiError": "umekomi.errors",
    "Vectors": "umekomi.contracts",
}

if TYPE_CHECKING:
    from umekomi.catalogue import info as info
    from umekomi.catalogue import recipe as recipe
    from umekomi.catalogue import recipes_table as recipes_table
    from umekomi.comparison import compare as compare
    from umekomi.contracts import Recipe as Recipe
    from umekomi.contracts import Transform as Transform
    from umekomi.contracts import Vectors as Vectors
    from umekomi.conversion import convert as convert
    from umekomi.encoding import encode as encode
    from umekomi.errors import UmekomiError as UmekomiError
    from umekomi.evaluation import evaluate as evaluate
    from umekomi.indexes import Index as Index
    from umekomi.indexing import index as index
    from umekomi.inspecting import inspect as inspect
    from umekomi.mining import mine as mine
    from umekomi.models import load as load
    from umekomi.reproduction import reproduce as reproduce
    from umekomi.searching import search as search
    from umekomi.server import serve as serve
    from umekomi.shrinking import shrink as shrink
    from umekomi.training import train as train

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        value = getattr(import_module(_WHERE[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'umekomi' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})
