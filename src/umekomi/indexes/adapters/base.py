"""What all databases share: checks, what an index says of itself, and hits from what they answer."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc

from umekomi.contracts import Vectors
from umekomi.errors import DataError, WrongUse
from umekomi.indexes.filters import parse
from umekomi.indexes.fitting import fit
from umekomi.indexes.index import VECTORS, Hit, noted
from umekomi.indexes.kinds import Exact, Kind
from umekomi.indexes.payload import as_ids, as_table
from umekomi.indexes.reading import count

METRICS = ("cosine", "dot", "euclidean")


class NoSuchIndex(WrongUse):
    """There is no table or collection of this name."""


@dataclass(frozen=True)
class Batch:
    """Rows on their way from one index to another: ids, vectors float32 ``[n, d]``, payload, and what to begin behind
    (JSON) when the next are asked for."""

    ids: list[str]
    vectors: Any
    payload: pa.Table
    last: Any


class Adapter(ABC):
    """An index in a database.

    Args:
        where: its address, as errors show it.
        about: what it says of itself, as an :class:`~umekomi.indexes.Index` does.
        embedder: embeds texts that are added or asked for; None: the model that ``about`` names, if it does.
    """

    taken: frozenset[str] = frozenset({"__id__"})
    """Names of columns that it uses itself."""

    def __init__(self, where: str, about: dict[str, Any], embedder: Any = None) -> None:
        name, metric, dimension = type(self).__name__, about["metric"], about["dimension"]
        if metric not in METRICS:
            raise WrongUse(f"{name}: expected a metric of {', '.join(METRICS)}, found {metric!r}")
        if isinstance(dimension, bool) or not isinstance(dimension, int) or dimension < 1:
            raise WrongUse(f"{name}: expected one dimension or more, found {dimension}")
        self.where, self.about = where, about
        self._embedder: Any = None
        if embedder is not None:
            self.use(embedder)

    @property
    def dimension(self) -> int:
        """The vectors' width."""
        return int(self.about["dimension"])

    @property
    def metric(self) -> str:
        """How they compare."""
        return str(self.about["metric"])

    @property
    def text(self) -> str:
        """The payload's column that was embedded."""
        return str(self.about["text"])

    @property
    def kind(self) -> Kind:
        """How it searches, as far as we ask it to."""
        return Exact()

    @property
    def legs(self) -> tuple[str, ...]:
        """What answers: the vectors."""
        return (VECTORS,)

    @property
    def fields(self) -> list[str]:
        """The payload's columns, as far as the database knows them."""
        return self._fields() or []

    @property
    def embedder(self) -> Any:
        """The model whose vectors these are, loaded when first asked for; the error if it is another one now."""
        if self._embedder is None:
            from umekomi.models.engines.choice import open_for_encoding

            name = self.about["model"]["name"]
            if not name:
                raise WrongUse(f"{type(self).__name__}: texts need an embedder; give vectors, or embedder=")
            self.use(open_for_encoding(name))
        return self._embedder

    def use(self, embedder: Any) -> None:
        """Take ``embedder`` for the texts of queries and additions; it must be the one whose vectors lie here."""
        model = self.about["model"]
        if model["fingerprint"] and embedder.fingerprint() != model["fingerprint"]:
            raise WrongUse(
                f"{self.where} holds vectors of another model ({model['name']}) than {embedder.name}: their vectors "
                "do not compare"
            )
        self._embedder = embedder

    @abstractmethod
    def __len__(self) -> int: ...

    def add(
        self,
        ids: Sequence[Any],
        items: Any,
        payload: Mapping[str, Any] | pa.Table | None = None,
        *,
        replace: bool = False,
        **about: Any,
    ) -> None:
        """Add rows; an id that is there already is an error, unless ``replace``. ``about`` are facts of the caller's,
        written with them."""
        vectors = self._vectors(items, "added", "document")
        names = as_ids(ids, "add")
        table = as_table(payload, "add")
        taken = sorted(self.taken & set(table.column_names))
        if taken:
            raise WrongUse(
                f"add: {', '.join(taken)} are names that {type(self).__name__} uses itself: rename that column of the "
                "payload"
            )
        if len(names) != len(vectors) or (table.num_columns and table.num_rows != len(names)):
            raise WrongUse(
                f"add: expected as many ids and payload rows as vectors, found {len(names)}, {table.num_rows} and "
                f"{len(vectors)}"
            )
        if len(set(names)) < len(names):
            raise DataError("add: expected every id once")
        notes = noted(about)
        if not names:
            return
        there = [] if replace else self._there(names)
        if there:
            raise DataError(
                f"add: {len(there):,} ids are there already "
                f"({', '.join(there[:5])}{', …' if len(there) > 5 else ''}): say replace to replace them"
            )
        self._add(names, vectors, table, replace, notes)

    def delete(self, ids: Sequence[Any]) -> None:
        """Delete rows by id; one that is not there is an error, and nothing is deleted."""
        names = list(dict.fromkeys(as_ids(ids, "delete")))
        missing = sorted(set(names) - set(self._there(names)))
        if missing:
            raise DataError(
                f"delete: {len(missing):,} of {len(names):,} ids are not there ({', '.join(missing[:5])}); nothing "
                "was deleted"
            )
        self._delete(names)

    def search(
        self,
        queries: Any,
        k: int = 10,
        *,
        filter: str | None = None,
        leg: str | None = None,
        texts: Sequence[str] | None = None,
    ) -> list[list[Hit]]:
        """The ``k`` nearest of every query, best first; ``filter`` as an index takes it. ``leg`` and ``texts`` are
        there for the face: vectors alone answer."""
        k = count(k)
        if leg is not None and leg not in (VECTORS, self.about["model"]["name"]):
            raise WrongUse(f"leg: expected {VECTORS}, found {leg!r}: a database holds no lexical leg")
        condition = parse(filter, self._fields()) if filter else None
        return [self._search(query, k, condition) for query in self._vectors(queries, "query", "query")]

    def asked(self, queries: Any) -> Any:
        """The vectors of queries given as texts, in the index's width; vectors come back as they are."""
        return self._vectors(queries, "query", "query")

    def note(self, **about: Any) -> None:
        """Keep facts of the caller's (JSON) in the database."""
        self._note(noted(about))

    def compact(self, kind: str | None = None, *, recall: float | None = None, **settings: Any) -> None:
        """What the database does to be searched well after many additions."""
        if kind not in (None, "auto", "exact") or settings:
            raise WrongUse(f"{type(self).__name__}: it chooses its own kind of index, found {kind}")

    def bytes_on_disk(self) -> int | None:
        """What it takes, where the database says so."""
        return None

    def check(self, k: int = 10, sample: int = 200, *, seed: int = 1, queries: Any = None) -> float:
        """Recall at ``k`` of what the database finds; one here: every vector is looked at."""
        return 1.0

    def verify(self) -> int:
        """The database looks after its own files."""
        raise WrongUse(f"{self.where}: the database looks after its own files: its own tools verify them")

    def close(self) -> None:  # noqa: B027 - what needs no closing leaves it out
        """Done with the database. ``with`` does it at its end."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _hit(self, name: str, score: float, payload: dict[str, Any]) -> Hit:
        return Hit(name, score, str(payload.pop(self.text, "") or "") if self.text else "", (0, 0), payload)

    def _vectors(self, items: Any, what: str, role: str) -> Any:
        if isinstance(items, str) or (isinstance(items, (list, tuple)) and items and isinstance(items[0], str)):
            embedder = self.embedder
            cut = self.dimension if self.dimension < embedder.dimension else None
            items = embedder.encode([items] if isinstance(items, str) else list(items), role=role, dimensions=cut)
        if isinstance(items, Vectors) or hasattr(items, "tocsr"):
            raise WrongUse(f"{type(self).__name__}: expected dense vectors, found {type(items).__name__}")
        return fit(items, {"metric": self.metric, "output": "dense", "dimension": self.dimension}, what)

    def batches(self, after: Any = None, rows: int = 1024) -> Iterator[Batch]:
        """All rows, some at a time, in an order that stays; those behind ``after``, a batch's ``last``."""
        raise WrongUse(f"{self.where}: its rows cannot be read one after another")

    @abstractmethod
    def _fields(self) -> list[str] | None: ...

    @abstractmethod
    def _there(self, names: list[str]) -> list[str]: ...

    @abstractmethod
    def _add(
        self, names: list[str], vectors: Any, payload: pa.Table, replace: bool, notes: Mapping[str, Any]
    ) -> None: ...

    @abstractmethod
    def _delete(self, names: list[str]) -> None: ...

    @abstractmethod
    def _search(self, query: Any, k: int, condition: Any) -> list[Hit]: ...

    @abstractmethod
    def _note(self, notes: Mapping[str, Any]) -> None: ...


def about_of(
    dimension: int, metric: str, text: str, model: Any = None, source: str = "", notes: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What a new index in a database says of itself."""
    return {
        "model": {
            "name": source or getattr(model, "name", ""),
            "fingerprint": model.fingerprint() if model is not None else "",
        },
        "metric": metric,
        "output": "dense",
        "dimension": dimension,
        "text": text,
    } | noted(notes or {})


def read_about(said: str, where: str) -> dict[str, Any]:
    """What a database says of an index, read with suspicion: anyone may have written it."""
    try:
        about = json.loads(said)
        model = about["model"]
        fits = (
            isinstance(about, dict)
            and isinstance(model, dict)
            and all(isinstance(model.get(key), str) for key in ("name", "fingerprint"))
            and all(isinstance(about.get(key), str) for key in ("metric", "text"))
            and about.get("output") == "dense"
            and not model["name"].startswith("./")
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        fits = False
    if not fits:
        raise DataError(f"{where}: what it says of itself is not what umekomi index wrote: {said[:80]!r}")
    return about  # type: ignore[no-any-return]


def settled(where: str, what: str, there: bool, said: str | None, asked: dict[str, Any] | None) -> dict[str, Any]:
    """What an index says of itself: as stored, or as asked for where there is none yet.

    Args:
        where: as errors show it.
        what: what the database calls it: a table, a collection.
        there: is there one of this name?
        said: what is stored of it; None: nothing, so that it is another's.
        asked: of a new one, which one that is there must agree with; None: it must be there.
    """
    if said is None:
        if there:
            raise WrongUse(f"{where}: there is such a {what}, and umekomi index did not make it: choose another name")
        if asked is None:
            raise NoSuchIndex(f"{where}: there is no such {what}: make it with umekomi index")
        return asked
    stored = read_about(said, where)
    found, wanted = ((each.get("dimension"), each.get("metric")) for each in (stored, asked or stored))
    if found != wanted:
        raise WrongUse(
            f"{where} holds {found[0]} dimensions compared by {found[1]}: expected {wanted[0]} by {wanted[1]}"
        )
    return stored


def line(error: BaseException) -> str:
    """What a database's own error says, in one line."""
    return (" ".join(str(error).split()) or type(error).__name__)[:200]


def present(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column with null for NaN: to databases NaN is a number above all others, to a filter it is missing."""
    if not pa.types.is_floating(column.type):
        return column
    return pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
