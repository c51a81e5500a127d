"""One file a paper. A recipe's name is its file's, with dashes for underscores."""

from __future__ import annotations

import dataclasses
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeAlias, TypeVar

from umekomi.contracts import Paper
from umekomi.data.columns import fingerprint
from umekomi.data.contrast import is_named_sets
from umekomi.data.shapes import unused_columns, view_as
from umekomi.data.tables import as_table
from umekomi.errors import WrongUse, unknown_name
from umekomi.fields import check_fields
from umekomi.files import content_hash
from umekomi.progress import say
from umekomi.run import Run

if TYPE_CHECKING:
    import pyarrow as pa

    from umekomi.models.base import EmbedderBase, Named, Saved

__all__ = ["OPTIONAL", "REQUIRED", "WORD_VECTORS", "Paper", "Recipe", "Start", "get", "names", "quick_model"]

REQUIRED = "a model that is named"
OPTIONAL = "nothing, or a model that is named"
WORD_VECTORS = "nothing, or a table of word vectors that is named"
Start: TypeAlias = "Saved | None"
"""The model that a recipe goes on from, opened: an embedder, a scorer or a backbone; None where it begins from
nothing."""
M = TypeVar("M", bound="Saved")


class Recipe(ABC):
    """A published way to learn a model: a frozen dataclass whose fields are the paper's hyper-parameters, their legal
    values declared with them (:mod:`umekomi.fields`) and checked when one is made.

    A subclass says what it is by the class variables below, and writes :meth:`learn`. :meth:`fit` is the same for all.
    """

    name: ClassVar[str]
    paper: ClassVar[Paper]
    learns: ClassVar[tuple[str, ...]]
    """Shapes of data (:data:`umekomi.data.SHAPES`) that it learns from, the one it likes best first; empty: it needs no
    data."""
    begins: ClassVar[str | None] = None
    """The model it goes on from where none is named; :data:`REQUIRED`: one must be named; :data:`OPTIONAL`: from
    nothing where none is; :data:`WORD_VECTORS`: likewise, and it must be a table; None: from nothing always."""
    makes: ClassVar[Literal["embedder", "scorer", "predictor", "backbone"]] = "embedder"
    supervised: ClassVar[bool] = False
    """Does it need what people judged or paired? One that does not may be fitted on the very texts to be searched."""
    quick: ClassVar[bool] = False
    """Is it learned in seconds from the very texts at hand? Verbs that take a model then take its name as well."""
    repeats: ClassVar[bool] = False
    """Does it learn from a text as often as the text stands in a table of texts, as what learns a language does? Else
    once from each."""
    optional_data: ClassVar[bool] = False
    """Does it learn without data too?"""
    takes_sets: ClassVar[bool] = False
    """Does it learn from several sets by name (a mapping) as well as from one?"""
    extra: ClassVar[str] = ""
    """The extra of the package that it needs; empty where the light install does."""
    presets: ClassVar[tuple[str, ...]] = ()
    """Class methods beside :meth:`small` that give it with other values: a released program's, another claim's."""

    def __post_init__(self) -> None:
        check_fields(self, self.name)
        self.check()

    def check(self) -> None:  # noqa: B027  # most recipes have nothing to say here
        """What no single field can say: one error for values that do not go together."""

    def fit(
        self,
        data: Any = None,
        *,
        start: Named | None = None,
        seed: int = 0,
        checkpoint: str | Path | None = None,
        progress: bool = False,
    ) -> Saved:
        """Learn from ``data``: a table of one of the shapes that it learns from, a split of a dataset, a mapping of
        columns; for recipes that take several sets also a mapping of names to such.

        ``start`` is the model to go on from, or its name; ``checkpoint`` a folder in which an interrupted fit leaves
        what the next one of the same settings, data, start and seed picks up. The model's card says how it was made.
        """
        rows = self._rows(data)
        opened = self._opened(start)
        place = None if checkpoint is None else self._place(Path(checkpoint), rows, opened, seed)
        run = Run(self.name, seed, place, progress)
        return self.stamped(self.learn(rows, opened, run), opened, run)

    def _place(self, checkpoint: Path, rows: Any, start: Start, seed: int) -> Path:
        """The folder below ``checkpoint`` that is named by all that is learned from."""
        several = rows if isinstance(rows, Mapping) else {"": rows}
        content = [[name, None if table is None else fingerprint(table)] for name, table in several.items()]
        begun = None if start is None else start.fingerprint()
        place = checkpoint / content_hash(self.settings(), content, begun, seed)[:16]
        if not place.is_dir() and checkpoint.is_dir() and any(checkpoint.iterdir()):
            say(f"note: {checkpoint} belongs to other data, settings or another start: {self.name} starts anew")
        return place

    def stamped(self, model: M, start: Start, run: Run) -> M:
        """The model with the card that all recipes write: settings, paper, seed, start and its licence; what
        :meth:`learn` put there stays."""
        card = {"recipe": self.settings(), "paper": self.paper.cite(), "seed": run.seed, "training": {}}
        if start is not None:
            card |= {"start": start.name, "licence": (start.card or {}).get("licence", "unknown")}
        model.card = {"licence": "Apache-2.0"} | card | model.card
        return model

    @abstractmethod
    def learn(self, data: pa.Table | Mapping[str, pa.Table], start: Start, run: Run) -> Saved:
        """What a recipe writes. ``data`` is a table of one of its shapes with no value missing (by name, where it takes
        several sets), ``start`` the opened model or None. Returns the model; what it puts into ``card`` (``training``:
        how it went) stays there."""

    def _rows(self, data: Any) -> Any:
        if not self.learns:
            return None
        if data is None:
            if self.optional_data:
                return None
            raise WrongUse(f"{self.name} learns from {' or '.join(self.learns)}; found no data")
        if is_named_sets(data):
            if not self.takes_sets:
                raise WrongUse(f"{self.name} learns from one set, found {len(data)}: {', '.join(data)}")
            return {str(name): self._seen(each, f"{self.name}, {name}") for name, each in data.items()}
        return {self.name: self._seen(data, self.name)} if self.takes_sets else self._seen(data, self.name)

    def _seen(self, data: Any, who: str) -> Any:
        given = as_table(data)
        table = view_as(given, self.learns, who, self.repeats)
        ignored = unused_columns(given)
        if ignored:
            say(f"note: {who} does not use the column{'s' * (len(ignored) > 1)} {', '.join(ignored)}")
        return table

    def _opened(self, start: Named | None) -> Start:
        from umekomi.models import load

        if start is not None and self.begins is None:
            raise WrongUse(f"{self.name} begins from nothing; found start {getattr(start, 'name', start)!r}")
        if start is None and self.begins == REQUIRED:
            raise WrongUse(f"{self.name} needs start: {self.needs}")
        name = start if start is not None or self.begins in (None, OPTIONAL, WORD_VECTORS) else self.begins
        return None if name is None else load(name)

    needs: ClassVar[str] = "the model to go on from"
    """What ``start`` must be where :data:`REQUIRED`."""

    @classmethod
    def small(cls) -> Self:
        """The recipe sized for two CPU cores; the plain constructor has the paper's values."""
        return cls()

    @classmethod
    def tiny(cls) -> Self:
        """The recipe sized for a test: seconds on a handful of rows."""
        return cls.small()

    @classmethod
    def fields(cls) -> dict[str, Any]:
        """Every hyper-parameter with its default."""
        return {field.name: field.default for field in dataclasses.fields(cls)}  # type: ignore[arg-type]

    @classmethod
    def claim(cls) -> str:
        """The first paragraph of the recipe's docstring."""
        return " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split())

    def settings(self) -> dict[str, Any]:
        """The recipe's own values, for hashes and model cards."""
        return {"recipe": self.name} | dataclasses.asdict(self)  # type: ignore[call-overload]


def quick_model(name: object, texts: Callable[[], Iterable[str]]) -> EmbedderBase | None:
    """The model of a :attr:`Recipe.quick` recipe of this name, learned from what ``texts()`` gives; None where ``name``
    is no recipe's; the error that says what to do first for one that is trained."""
    from umekomi.models.opening import as_embedder

    if not isinstance(name, str) or name not in names():
        return None
    kind = get(name)
    if kind.quick:
        return as_embedder(kind().fit({"text": list(texts())} if kind.learns else None))
    if Path(name).expanduser().is_dir():
        return None
    raise WrongUse(
        f"{name} is a recipe that learns from {' or '.join(kind.learns)}, not a model: train it first (umekomi train)"
    )


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
