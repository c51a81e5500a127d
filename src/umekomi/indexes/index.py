"""An index: vectors with ids and payload, on disk, searched in place."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from umekomi.contracts import Vectors
from umekomi.errors import DataError, UmekomiError, WrongUse
from umekomi.indexes import kinds, lexical, upkeep
from umekomi.indexes.fitting import fit
from umekomi.indexes.joining import ID, ROW
from umekomi.indexes.kinds import Kind
from umekomi.indexes.manifest import ABOUT, Manifest, check_about
from umekomi.indexes.payload import as_ids, as_table
from umekomi.indexes.reading import Hit, Snapshot, count
from umekomi.indexes.scans import overlap
from umekomi.indexes.store import LOCK, SMALL, Store
from umekomi.parts import similarity as similarities
from umekomi.progress import say

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Hit", "Index"]

VECTORS = "vectors"
"""What the leg of vectors is called."""
MANY = 100_000
"""Rows of an index that is prepared when it is opened."""


class Index:
    """Vectors that can be searched: ids, payload, filters; add, delete, compact.

    >>> import numpy as np, tempfile
    >>> index = Index.create(tempfile.mkdtemp() + "/index", metric="cosine")
    >>> index.add(["a", "b", "c"], np.eye(3, dtype="f4"), {"year": [2019, 2021, 2023]})
    >>> [(hit.id, hit.score) for hit in index.search(np.array([[0.6, 0.8, 0]], "f4"), k=2)[0]]
    [('b', 0.8...), ('a', 0.6...)]
    >>> index.delete(["b"]); len(index), index.search(np.ones((1, 3), "f4"), k=1, filter="year > 2020")[0][0].id
    (2, 'c')

    Opening maps files; nothing but bit masks and scratch lies in memory. What another process commits is seen at the
    next call; one call sees one commit. Several questions of one commit go to its :meth:`snapshot`. ``verify`` reads
    every file against its checksum; by default that is done up to 64 MB. ``prepare`` does what the first query would
    wait for (:meth:`prepare`); by default that is done from 100,000 rows on.
    """

    def __init__(self, folder: str | Path, *, verify: bool | None = None, prepare: bool | None = None) -> None:
        self.store = Store(folder)
        self._embedder: Any = None
        self._seen: tuple[Any, Snapshot] | None = None
        if verify is not False:
            self._verified(None if verify else SMALL)
        if len(self.snapshot()) >= MANY if prepare is None else prepare:
            self.prepare()

    @classmethod
    def create(
        cls,
        folder: str | Path,
        *,
        model: Any = None,
        metric: str | None = None,
        output: str | None = None,
        kind: str = "auto",
        recall: float = 0.95,
        source: str = "",
        text: str = "",
        dimension: int = 0,
        notes: Mapping[str, Any] | None = None,
        words: Mapping[str, Any] | None = None,
        of: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> Index:
        """A new, empty index. A kind that cannot search such vectors is an error before anything is written.

        Args:
            folder: the index's own, which is not there yet or empty.
            model: the embedder whose vectors it holds: its fingerprint is kept. Without one, say the ``metric``.
            metric: how vectors compare, where not by the model's measure.
            output: what they are, where they are not the model's own kind.
            kind: ``auto`` or one of :data:`kinds.KINDS`.
            recall: what an approximate kind is tuned to, at 10 hits, and keeps for more and with filters.
            source: where to find the model again.
            text: the payload column shown.
            dimension: of the vectors to come, where it is known.
            notes: facts of the caller's, as :meth:`note` takes them.
            words: the index has a lexical leg, too, with these settings (:func:`umekomi.indexes.lexical.settings`):
                every row's words are kept, and texts are answered by both legs.
            of: another index's model, name and fingerprint, whose vectors it will hold.
            **settings: of the kind.
        """
        check_asked(kind, recall, settings)
        store = Store(folder)
        if store.folder.is_file() or (
            store.folder.is_dir() and any(not store.left_over(path) for path in store.folder.iterdir())
        ):
            raise WrongUse(f"{store.folder} exists already: choose a new folder, or add to the index in it")
        about: dict[str, Any] = {
            "model": dict(of)
            if of is not None
            else {
                "name": source or getattr(model, "name", ""),
                "fingerprint": model.fingerprint() if model is not None else "",
            },
            "metric": metric or getattr(model, "metric", "cosine"),
            "output": output or (model.default_output if model is not None else "dense"),
            "dimension": dimension,
            "text": text,
            "asked": {"kind": kind, "recall": recall, "settings": settings},
            "kind": {},
        } | ({"lexical": dict(words)} if words is not None else {})
        similarities.similarity_function(about["metric"])
        manifest = Manifest(about | noted(notes or {}))
        upkeep.named(manifest)
        try:
            check_about(about)
        except ValueError as error:
            raise WrongUse(f"index: {error}") from None
        new = not store.folder.exists()
        try:
            with store.lock():
                if store.exists():
                    raise WrongUse(f"{store.folder} exists already: choose a new folder, or add to the index in it")
                store.commit(manifest)
        except BaseException:
            if new and not store.exists():
                with suppress(OSError):
                    (store.folder / LOCK).unlink(missing_ok=True)
                    store.folder.rmdir()
            raise
        index = cls(folder)
        index._embedder = model
        return index

    def close(self) -> None:
        """Let go of the mapped files; the next call maps them anew. ``with`` does it at its end."""
        self._seen = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- reading ----------------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """The index as its last commit left it, for questions that belong together."""
        for attempt in range(50):
            stamp = self.store.stamp() if self.store.exists() else None
            seen = self._seen
            if seen is not None and seen[0] == stamp and stamp is not None:
                return seen[1]
            manifest = self.store.read()
            try:
                now = Snapshot(self.store, manifest, None if seen is None else seen[1])
            except FileNotFoundError as error:
                # a writer replaced a segment in between: once more
                if attempt == 49 or self.store.stamp() == stamp:
                    raise _missing(error) from None
                continue
            self._seen = stamp, now
            return now
        raise AssertionError("the last attempt returns or raises")

    def _verified(self, most: int | None) -> int:
        """Compare checksums; once more if a writer removed a file meanwhile. The bytes read."""
        for attempt in range(50):
            stamp = self.store.stamp() if self.store.exists() else None
            manifest = self.store.read()
            try:
                return self.store.verify(manifest, most=most)
            except FileNotFoundError as error:
                if attempt == 49 or self.store.stamp() == stamp:
                    raise _missing(error) from None
        raise AssertionError("the last attempt returns or raises")

    @property
    def where(self) -> str:
        """Where it lies, as errors show it."""
        return str(self.store.folder)

    @property
    def about(self) -> dict[str, Any]:
        """What the last commit says of itself: model, metric, kind, settings, dimension."""
        return self.snapshot().about

    @property
    def kind(self) -> Kind:
        """How it searches now."""
        return self.snapshot().kind

    def __len__(self) -> int:
        return len(self.snapshot())

    @property
    def fields(self) -> list[str]:
        """The payload's columns."""
        return self.snapshot().fields

    @property
    def embedder(self) -> Any:
        """The model whose vectors these are, loaded when first asked for; the error if it is another one now."""
        if self._embedder is None:
            from umekomi.models.engines.choice import open_for_encoding

            model = self.about["model"]
            if not model["name"]:
                raise WrongUse(f"{self.store.folder} was made from vectors: search it with vectors, or name its model")
            self.use(
                open_for_encoding(
                    self.store.path(model["name"][2:]) if model["name"].startswith("./") else model["name"]
                )
            )
        return self._embedder

    def use(self, embedder: Any) -> None:
        """Take ``embedder`` for the texts of queries and additions; it must be the one whose vectors lie here."""
        model = self.about["model"]
        if model["fingerprint"] and embedder.fingerprint() != model["fingerprint"]:
            raise WrongUse(
                f"{self.store.folder} holds vectors of another model ({model['name']}) than {embedder.name}: their "
                "vectors do not compare"
            )
        self._embedder = embedder

    def search(
        self,
        queries: Any,
        k: int = 10,
        *,
        filter: str | None = None,
        leg: str | None = None,
        texts: Sequence[str] | None = None,
    ) -> list[list[Hit]]:
        """The ``k`` nearest of every query, best first: texts (embedded by the index's model), or vectors ``[queries,
        d]``. Where the index has a lexical leg, texts are answered by both legs: their reciprocal ranks, or what the
        index says of their fusion, are the scores.

        Fewer hits come back where fewer rows are there or meet the filter, or share nothing with a sparse query.

        Args:
            queries: texts, or vectors.
            k: hits.
            filter: a condition on the payload: ``year > 2020 and lang in ("ja", "en")``.
            leg: one of :attr:`legs` alone; None: all of them.
            texts: what vectors were made from, for the lexical leg; vectors without them ask the vectors alone.
        """
        k = count(k)
        if isinstance(queries, (list, tuple)) and not isinstance(queries, Vectors) and not len(queries):
            return []
        if texts is None and isinstance(queries, str):
            texts = [queries]
        elif texts is None and isinstance(queries, (list, tuple)) and all(isinstance(each, str) for each in queries):
            texts = list(queries)
        leg = self._leg(leg, texts is not None)
        if leg == lexical.NAME:
            now = self.snapshot()
            numbers, scores = now.nearest_words(_texts(texts or (), "search"), k, filter=filter)
        else:
            vectors = self.asked(queries)
            now = self.snapshot()
            if leg is None and now.lexical is not None:
                numbers, scores = now.fused(vectors, _paired(texts or (), vectors), k, filter=filter)
            else:
                numbers, scores = now.nearest(vectors, k, filter=filter)
        return [now.hits(row, values) for row, values in zip(numbers, scores, strict=True)]

    @property
    def legs(self) -> tuple[str, ...]:
        """What answers by itself: ``vectors``, and ``bm25`` where the index has a lexical leg."""
        return (lexical.NAME, VECTORS) if self.about.get("lexical") else (VECTORS,)

    def _leg(self, leg: str | None, texts: bool) -> str | None:
        """The leg that answers, by what it is called or by its model's name; None: both."""
        named = {VECTORS, self.about["model"]["name"]}
        if leg is not None and leg not in (*self.legs, *named):
            raise WrongUse(f"leg: expected {' or '.join(self.legs)}, found {leg!r}")
        if leg == lexical.NAME and lexical.NAME in self.legs:
            if not texts:
                raise WrongUse(f"leg: {lexical.NAME} is asked with texts, found vectors")
            return leg
        return None if leg is None and texts else VECTORS

    def nearest(self, vectors: Any, k: int = 10, *, filter: str | None = None) -> tuple[Any, Any]:
        """(row numbers int64, scores float32), both ``[queries, k]`` (or as many columns as there are rows, where those
        are fewer), best first; -1 and minus infinity where fewer meet the filter. Row numbers hold until the next
        commit."""
        return self.snapshot().nearest(vectors, k, filter=filter)

    def asked(self, queries: Any) -> Any:
        """The vectors of queries given as texts, in the index's width; vectors come back as they are."""
        if isinstance(queries, (np.ndarray, Vectors)) or hasattr(queries, "tocsr"):
            return queries
        items = [queries] if isinstance(queries, str) else list(queries)
        if not any(isinstance(item, str) for item in items):
            return items
        dimension = self.about["dimension"]
        embedder = self.embedder
        return embedder.encode_query(
            _texts(items, "search"),
            dimensions=dimension if 0 < dimension < embedder.dimension and self.about["output"] != "sparse" else None,
        )

    def prepare(self) -> None:
        """Do once what a process's first query would wait for: load the compiled loops (half a second of a core,
        numba's own modules and scipy's for the most part, even though the loops themselves were compiled before), read
        what a kind holds in memory."""
        self.snapshot().prepare()

    def rows(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        """Id and payload of rows by number, as :meth:`nearest` gives them."""
        return self._last().rows(numbers)

    def column(self, name: str, numbers: Any) -> Any:
        """One of :attr:`fields` of rows by number: an Arrow array, null where a row has none."""
        return self._last().column(name, numbers)

    def living(self) -> Any:
        """The numbers of all rows that are not deleted, in rising order, int64; they hold until the next commit."""
        return self.snapshot().living()

    def vectors(self, numbers: Any) -> Any:
        """The stored vectors of rows by number, which are in rising order."""
        return self._last().vectors(numbers)

    def _last(self) -> Snapshot:
        """What the call before this one saw: row numbers are of that."""
        return self.snapshot() if self._seen is None else self._seen[1]

    def check(self, k: int = 10, sample: int = 200, *, seed: int = 1, queries: Any = None) -> float:
        """Recall at ``k``: the share of the exact neighbours that the index finds (or others as near), over ``sample``
        of its own rows asked as queries (each without itself), or over ``queries``. An error where none of them has a
        neighbour (texts that share no word): that is no recall."""
        k, sample = count(k), count(sample)
        now = self.snapshot()
        if not len(now):
            raise WrongUse(f"{self.store.folder} is an empty index: there is nothing to check")
        if queries is None:
            if len(now) < 2:
                raise WrongUse(f"{self.store.folder} holds one row, which has no neighbours: there is nothing to check")
            living = now.living()
            own = np.sort(np.random.default_rng(seed).choice(living, min(sample, len(living)), replace=False))
            vectors, asked = now.vectors(own), k + 1
        else:
            vectors, asked = fit(self.asked(queries), now.about, "query"), k
            own = np.full(similarities.size(vectors), -1)
        true = now.nearest(vectors, asked, kind=kinds.plain(now.about["output"]))
        recall = overlap(true, now.nearest(vectors, asked), own, k)
        if recall is None:
            raise WrongUse(
                f"{self.store.folder}: none of {similarities.size(vectors):,} queries has a neighbour: there is "
                "nothing to check"
            )
        return recall

    def verify(self) -> int:
        """Read every file against its checksum; the bytes read. The error names the damaged file."""
        return self._verified(None)

    def bytes_on_disk(self) -> int:
        """What the committed files take."""
        return sum(size for size, _ in self.store.files(self.snapshot().manifest).values())

    # --- writing ----------------------------------------------------------------------------------------------------

    def add(
        self,
        ids: Sequence[Any],
        items: Any,
        payload: Mapping[str, Any] | pa.Table | None = None,
        *,
        replace: bool = False,
        **about: Any,
    ) -> None:
        """Add rows in one commit: all of them, or none. ``items`` are vectors, or texts for the index's model. An id
        that is there already is an error, unless ``replace``. ``about`` are facts of the caller's, as :meth:`note`
        takes them."""
        texts = isinstance(items, (list, tuple)) and bool(items) and isinstance(items[0], str)
        vectors = fit(
            self.embedder.encode_document(_texts(items, "add")) if texts else items, self.snapshot().about, "added"
        )
        names = as_ids(ids, "add")
        if len(names) != similarities.size(vectors):
            raise WrongUse(
                f"add: expected one id for every vector, found {len(names):,} ids and {similarities.size(vectors):,} "
                "vectors"
            )
        notes = noted(about)
        table = as_table(payload, "add")
        if table.num_columns and table.num_rows != len(names):
            raise WrongUse(f"add: expected a payload of {len(names):,} rows, found {table.num_rows:,}")
        if {ID, ROW} & set(table.column_names):
            raise WrongUse(f"add: {ID} and {ROW} are the index's own names: rename that column of the payload")
        if not names:
            return
        if len(set(names)) < len(names):
            seen: set[str] = set()
            twice = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
            raise DataError(f"add: expected every id once, found {twice!r} twice")
        settings = self.about.get("lexical")
        words = None
        if settings:
            words = lexical.arrays_of(lexical.texts_of(items, table, self.about["text"], self.store.folder), settings)
        with self.store.lock():
            now = self.snapshot()
            vectors = fit(vectors, now.about, "added")  # another writer may have come first, with another width
            manifest = upkeep.add_rows(self.store, now, names, vectors, table, replace=replace, words=words)
            manifest.about |= notes
            self._commit(manifest)
            self._tend()

    def delete(self, ids: Sequence[Any]) -> None:
        """Delete rows by id, in one commit; an id that is not there is an error, and nothing is deleted."""
        names = list(dict.fromkeys(as_ids(ids, "delete")))
        with self.store.lock():
            self._commit(upkeep.delete_rows(self.store, self.snapshot(), names))

    def compact(self, kind: str | None = None, *, recall: float | None = None, **settings: Any) -> None:
        """Everything into one segment, deleted rows gone, the kind chosen anew (or ``kind``, with its ``settings``) and
        tuned. Searches go on meanwhile: the new state comes with one commit."""
        if recall is not None:
            _check_recall(recall)
        with self.store.lock():
            now = self.snapshot()
            manifest = upkeep.copied(now)
            if kind is not None:
                manifest.about["asked"] |= {"kind": kind, "settings": settings}
                upkeep.named(manifest)
            if recall is not None:
                manifest.about["asked"] |= {"recall": recall}
            numbers = list(range(len(now.segments)))
            self._commit(upkeep.rebuild(self.store, now, manifest, numbers, upkeep.choice(manifest)))

    def note(self, **about: Any) -> None:
        """Keep facts of the caller's (JSON) in the index."""
        notes = noted(about)
        with self.store.lock():
            manifest = upkeep.copied(self.snapshot())
            manifest.about |= notes
            self._commit(manifest)

    def _commit(self, manifest: Manifest) -> None:
        self.store.commit(manifest)
        self.store.sweep(self.snapshot().manifest)

    def _tend(self) -> None:
        """What is due after an addition. The rows are committed: where it fails, it is said, and due again next
        time."""
        try:
            while (manifest := upkeep.tend(self.store, self.snapshot())) is not None:
                self._commit(manifest)
        except (UmekomiError, OSError, MemoryError) as error:
            self.store.sweep()
            say(f"note: the rows are in {self.store.folder}, but looking after it failed: {error}")


def _paired(texts: Sequence[str], vectors: Any) -> list[str]:
    if len(texts) != similarities.size(vectors):
        raise WrongUse(
            f"search: expected a text for every vector, found {len(texts):,} and {similarities.size(vectors):,}"
        )
    return _texts(texts, "search")


def _missing(error: FileNotFoundError) -> DataError:
    return DataError(f"{error.filename or error} is missing: restore it from a copy, or build the index anew")


def check_asked(kind: str, recall: float, settings: Mapping[str, Any]) -> None:
    """The error for a kind, its settings or a recall that no index has."""
    _check_recall(recall)
    if kind != "auto":
        kinds.make_kind(kind, dict(settings))
    elif settings:
        raise WrongUse(f"index: settings ({', '.join(settings)}) need a kind by name")


def _check_recall(recall: Any) -> None:
    if isinstance(recall, bool) or not isinstance(recall, (int, float)) or not 0 < recall <= 1:
        raise WrongUse(f"recall: expected a share above 0 and at most 1, found {recall}")


def _texts(items: Sequence[Any], what: str) -> list[str]:
    for row, item in enumerate(items, 1):
        if not isinstance(item, str):
            raise WrongUse(f"{what}: expected texts, found {type(item).__name__} in row {row}")
    return list(items)


def noted(notes: Mapping[str, Any]) -> dict[str, Any]:
    """Facts of the caller's, as JSON can hold them, under names that are not the index's own."""
    taken = ABOUT & set(notes)
    if taken:
        raise WrongUse(f"index: {', '.join(sorted(taken))} are the index's own facts: give yours another name")
    try:
        return json.loads(json.dumps(dict(notes), allow_nan=False).encode())  # type: ignore[no-any-return]
    except (TypeError, ValueError, RecursionError) as error:
        raise WrongUse(f"index: expected facts that JSON can hold: {error}") from None
