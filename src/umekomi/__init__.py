"""Umekomi: the workbench for embeddings.

Learn, compare, inspect, shrink, search and serve embeddings of one's own data, every published method a recipe of the
same face. Each verb of the command line is a function here; what it needs is imported when it is called.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    "compare": "umekomi.verbs.compare",
    "convert": "umekomi.verbs.convert",
    "encode": "umekomi.verbs.encode",
    "evaluate": "umekomi.verbs.evaluate",
    "index": "umekomi.verbs.index",
    "info": "umekomi.verbs.info",
    "inspect": "umekomi.verbs.inspect",
    "load": "umekomi.models.engines.choice",
    "mine": "umekomi.verbs.mine",
    "recipe": "umekomi.verbs.info",
    "recipes_table": "umekomi.verbs.info",
    "reproduce": "umekomi.verbs.reproduce",
    "search": "umekomi.verbs.search",
    "serve": "umekomi.server",
    "shrink": "umekomi.verbs.shrink",
    "train": "umekomi.verbs.train",
    "Index": "umekomi.indexes",
    "Recipe": "umekomi.recipes",
    "Transform": "umekomi.contracts",
    "UmekomiError": "umekomi.errors",
    "Vectors": "umekomi.contracts",
}

if TYPE_CHECKING:
    from umekomi.contracts import Transform as Transform
    from umekomi.contracts import Vectors as Vectors
    from umekomi.errors import UmekomiError as UmekomiError
    from umekomi.indexes import Index as Index
    from umekomi.models.engines.choice import load as load
    from umekomi.recipes import Recipe as Recipe
    from umekomi.server import serve as serve
    from umekomi.verbs.compare import compare as compare
    from umekomi.verbs.convert import convert as convert
    from umekomi.verbs.encode import encode as encode
    from umekomi.verbs.evaluate import evaluate as evaluate
    from umekomi.verbs.index import index as index
    from umekomi.verbs.info import info as info
    from umekomi.verbs.info import recipe as recipe
    from umekomi.verbs.info import recipes_table as recipes_table
    from umekomi.verbs.inspect import inspect as inspect
    from umekomi.verbs.mine import mine as mine
    from umekomi.verbs.reproduce import reproduce as reproduce
    from umekomi.verbs.search import search as search
    from umekomi.verbs.shrink import shrink as shrink
    from umekomi.verbs.train import train as train

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        value = getattr(import_module(_WHERE[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'umekomi' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The verbs; what else is exported stands in ``__all__``."""
    return [name for name in __all__ if name.islower()]
