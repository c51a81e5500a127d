"""An index: vectors with ids and payload, on disk, searched in place."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umekomi.contracts import Vectors
from umekomi.errors import DataError, WrongUse, unknown_name
from umekomi.indexes import kinds
from umekomi.indexes.filters import mask, tree
from umekomi.indexes.kinds import Kind
from umekomi.indexes.packing import ARRAYS, advise, joined, packed, plain, unpacked
from umekomi.indexes.payload import as_table, opened, row_of
from umekomi.indexes.scans import Part, blank, merged, overlap
from umekomi.indexes.store import SMALL, Manifest, Segment, Store, write_array
from umekomi.parts import similarity as similarities

if TYPE_CHECKING:
    import pyarrow as pa

AUTO_ROWS = 50_000
"""Below this many rows the automatic kind looks at every vector."""
SEGMENTS = 16
SAMPLE = 50_000


@dataclass(frozen=True)
class Hit:
    """One found item: its id, score (higher is nearer), text, where in it the query's best sentence stands, and
    payload."""

    id: str
    score: float
    text: str = ""
    best: tuple[int, int] = (0, 0)
    payload: dict[str, Any] = field(default_factory=dict)


class _Opened:
    """A committed segment with its files mapped, and which of its rows live."""

    def __init__(self, store: Store, segment: Segment, output: str, sizes: Mapping[str, tuple[int, int]]) -> None:
        import numpy as np

        self.segment = segment
        arrays = {
            name[:-4].split("-")[0]: store.array(f"{segment.name}/{name}", size)
            for name, (size, _) in segment.files.items()
            if name.endswith(".npy")
        }
        self.payload = opened(store.table(f"{segment.name}/payload.arrow", segment.files["payload.arrow"][0]))
        coarse = {"codes", "graph"} & set(arrays)
        for name, array in arrays.items():
            # a coarse scan reads its codes whole and then a few rows of the vectors, anywhere
            advise(array, "MADV_WILLNEED" if name in coarse else "MADV_RANDOM" if coarse and name == "vectors" else "")
        self.vectors = unpacked(arrays, output)
        self.arrays = {name: plain(array) for name, array in arrays.items() if name not in ARRAYS[output]}
        self.living = np.ones(segment.rows, np.uint8)
        if segment.deleted:
            path = store.folder / segment.deleted
            dead = plain(store.array(segment.deleted, sizes[segment.deleted][0]))
            if len(dead) != segment.dead or (len(dead) and dead.max() >= segment.rows):
                raise DataError(
                    f"{path} is damaged: expected {segment.dead} rows of {segment.rows}: restore it from a copy, or "
                    "build the index anew"
                )
            self.living[dead] = 0

    def part(self, chosen: Any = None) -> Part:
        """What a kind searches: living rows, of which ``chosen`` (bool) may leave some."""
        import numpy as np

        if chosen is None and not self.segment.dead:
            return Part(self.vectors, self.arrays, np.zeros(0, np.uint8), self.segment.rows)
        allowed = self.living if chosen is None else (self.living & chosen).astype(np.uint8)
        return Part(self.vectors, self.arrays, allowed, int(allowed.sum()))

    def find(self, ids: Sequence[str], hashes: Any) -> Any:
        """The living row of every id, by its hash, -1 where there is none; int64 ``[n]``."""
        import numpy as np

        known = self.arrays["ids"]
        rows = np.full(len(hashes), -1, np.int64)
        at = np.searchsorted(known, hashes)
        inside = at < len(known)
        same = np.flatnonzero(inside)[known[at[inside]] == hashes[inside]]
        for i in same:
            place = int(at[i])
            while place < len(known) and known[place] == hashes[i]:
                row = int(self.arrays["places"][place])
                if self.living[row] and self.payload["__id__"][row].as_py() == ids[i]:
                    rows[i] = row
                    break
                place += 1
        return rows


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
    next call. ``verify`` reads every file against its checksum; by default that is done up to 64 MB.
    """

    def __init__(self, folder: str | Path, *, verify: bool | None = None) -> None:
        self.store = Store(folder)
        self._embedder: Any = None
        self._stamp: Any = None
        self._filtered: tuple[Any, Any] = (None, None)
        self._kind: Kind = kinds.Exact()
        self._opened: list[_Opened] = []
        if verify is not False:
            self._verified(None if verify else SMALL)
        self._load()

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
        **settings: Any,
    ) -> Index:
        """A new, empty index. ``model`` is the embedder whose vectors it holds (its fingerprint is kept, and ``source``
        is where to find it again); without one, say the ``metric``. ``kind`` is ``auto`` or one of :data:`kinds.KINDS`,
        with its ``settings``; ``recall`` at 10 is what an approximate kind is tuned to. ``text`` names the payload
        column shown. A kind that cannot search such vectors (of ``dimension`` dimensions, where it is given) is an
        error before anything is written."""
        if not 0 < recall <= 1:
            raise WrongUse(f"recall: expected a share above 0 and at most 1, found {recall}")
        if kind == "auto" and settings:
            raise WrongUse(f"index: settings ({', '.join(settings)}) need a kind by name")
        store = Store(folder)
        if store.folder.is_file() or (
            store.folder.is_dir() and any(path.name != "lock" for path in store.folder.iterdir())
        ):
            raise WrongUse(f"{store.folder} exists already: choose a new folder, or add to the index in it")
        about: dict[str, Any] = {
            "model": {
                "name": source or getattr(model, "name", ""),
                "fingerprint": model.fingerprint() if model is not None else "",
            },
            "metric": metric or getattr(model, "metric", "cosine"),
            "output": output or (model.default_output if model is not None else "dense"),
            "dimension": dimension,
            "text": text,
            "asked": {"kind": kind, "recall": recall, "settings": settings},
            "kind": {},
        }
        similarities.named(about["metric"])
        manifest = Manifest(about)
        _named(manifest)
        with store.lock():
            store.commit(manifest)
        index = cls(folder)
        index._embedder = model
        return index

    # --- reading ----------------------------------------------------------------------------------------------------

    def _load(self) -> None:
        """Open the last commit; once more if a writer replaced a segment in between."""
        for attempt in range(50):
            stamp = self.store.stamp() if self.store.exists() else None
            if stamp == self._stamp and stamp is not None:
                return
            manifest = self.store.read()
            known = {each.segment.name: each for each in self._opened}
            try:
                opened = []
                for segment in manifest.segments:
                    old = known.get(segment.name)
                    same = old is not None and (old.segment.deleted, list(old.segment.files)) == (
                        segment.deleted,
                        list(segment.files),
                    )
                    opened.append(
                        old
                        if same and old is not None
                        else _Opened(self.store, segment, manifest.about["output"], manifest.files)
                    )
                self._kind = self._kind_of(manifest)
            except FileNotFoundError as error:
                if attempt == 49 or self.store.stamp() == stamp:
                    raise DataError(
                        f"{error.filename} is missing: restore it from a copy, or build the index anew"
                    ) from None
                continue
            self._manifest, self._opened, self._stamp = manifest, opened, stamp
            self._filtered = (None, None)
            return

    def _verified(self, most: int | None) -> None:
        """Compare checksums; once more if a writer removed a file meanwhile."""
        for _ in range(50):
            stamp = self.store.stamp() if self.store.exists() else None
            manifest = self.store.read()
            try:
                self.store.verify(manifest, most=most)
                return
            except FileNotFoundError as error:
                if self.store.stamp() == stamp:
                    raise DataError(
                        f"{error.filename} is missing: restore it from a copy, or build the index anew"
                    ) from None

    def _kind_of(self, manifest: Manifest) -> Kind:
        about = manifest.about["kind"]
        if not about:
            return kinds.plain(manifest.about["output"])
        kind = kinds.made(about["name"], about["settings"])
        kind.codec = {
            key: plain(self.store.array(file, manifest.files[file][0])) for key, file in about["codec"].items()
        }
        return kind

    @property
    def about(self) -> dict[str, Any]:
        """What the last commit says of itself: model, metric, kind, settings, dimension."""
        self._load()
        return self._manifest.about

    @property
    def kind(self) -> Kind:
        """How it searches now."""
        self._load()
        return self._kind

    def __len__(self) -> int:
        self._load()
        return self._manifest.rows

    @property
    def fields(self) -> list[str]:
        """The payload's columns."""
        self._load()
        names: dict[str, None] = {}
        for each in self._opened:
            names |= dict.fromkeys(each.payload.column_names[1:])
        return list(names)

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
                    self.store.folder / model["name"] if model["name"].startswith("./") else model["name"]
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

    def search(self, queries: Any, k: int = 10, *, filter: str | None = None) -> list[list[Hit]]:
        """The ``k`` nearest of every query, best first: texts (embedded by the index's model), or vectors ``[queries,
        d]``.

        ``filter`` is a condition on the payload: ``year > 2020 and lang in ("ja", "en")``. Fewer hits come back where
        fewer rows meet it, or share nothing with a sparse query.
        """
        vectors = self.asked(queries)
        numbers, scores = self.nearest(vectors, k, filter=filter)
        return [self._hits(row, values) for row, values in zip(numbers, scores, strict=True)]

    def nearest(self, vectors: Any, k: int = 10, *, filter: str | None = None) -> tuple[Any, Any]:
        """(row numbers int64, scores float32), both ``[queries, k]``, best first; -1 and minus infinity where there are
        fewer. Row numbers hold until the next commit."""
        import numpy as np

        self._load()
        vectors = self._checked(vectors, "query")
        if not 1 <= k <= max(len(self), 0):
            raise WrongUse(f"k: expected 1 to {len(self):,} (the rows of {self.store.folder}), found {k}")
        chosen = self._chosen(filter) if filter else None
        lists = []
        for number, (each, first) in enumerate(zip(self._opened, self._firsts(), strict=True)):
            part = each.part(None if chosen is None else chosen[number])
            if part.living:
                rows, scores = self._kind.search(part, vectors, k, self._similarity())
                lists.append((np.where(rows >= 0, rows + first, -1), scores))
        if not lists:
            scores, rows = blank(similarities.size(vectors), k)
            return rows, scores
        return merged(lists, k)

    def _similarity(self) -> Any:
        """The model's own measure where it is no plain inner product of what is stored."""
        metric = self._manifest.about["metric"]
        return None if metric in ("cosine", "dot") else similarities.named(metric)

    def asked(self, queries: Any) -> Any:
        """The vectors of queries given as texts, in the index's width; vectors come back as they are."""
        import numpy as np

        if isinstance(queries, (np.ndarray, Vectors)) or hasattr(queries, "indptr"):
            return queries
        texts = [queries] if isinstance(queries, str) else list(queries)
        dimension = self.about["dimension"]
        embedder = self.embedder
        return embedder.encode_query(
            texts,
            dimensions=dimension if 0 < dimension < embedder.dimension and self.about["output"] != "sparse" else None,
        )

    def _checked(self, vectors: Any, what: str) -> Any:
        """Vectors of the right kind and width, finite; of length one where the model compares by cosine."""
        import numpy as np

        about = self._manifest.about
        output = "multi" if isinstance(vectors, Vectors) else "sparse" if hasattr(vectors, "indptr") else "dense"
        if output == "dense":
            vectors = np.asarray(vectors, np.float32)
            if vectors.ndim != 2:
                raise WrongUse(f"{what} vectors: expected an array of two dimensions, found {vectors.ndim}")
        if output != about["output"]:
            raise WrongUse(f"{what} vectors: this index holds {about['output']} vectors, found {output} ones")
        width = similarities.width(vectors)
        if about["dimension"] and width != about["dimension"]:
            raise WrongUse(f"{what} vectors: expected {about['dimension']} dimensions, found {width}")
        data = vectors.flat if output == "multi" else vectors.data if output == "sparse" else vectors
        finite = np.isfinite(data)
        if not finite.all():
            first = int(np.flatnonzero(~finite.reshape(len(data), -1).all(1))[0])
            row = (
                int(
                    np.searchsorted((vectors.offsets if output == "multi" else vectors.indptr), first, side="right") - 1
                )
                if output != "dense"
                else first
            )
            raise DataError(f"{what} vectors: expected finite numbers, found NaN or infinity in row {row + 1}")
        if output == "sparse":
            vectors = vectors.tocsr()
        if about["metric"] == "cosine":
            vectors = similarities.normalise(vectors)
        return np.ascontiguousarray(vectors) if output == "dense" else vectors

    def _chosen(self, condition: str) -> list[Any]:
        """Which rows of every segment meet the condition, bool; the last condition's answer is kept until the next
        commit."""
        if self._filtered[0] == condition:
            return self._filtered[1]  # type: ignore[no-any-return]
        wanted = tree(condition, self.fields)
        out = [mask(wanted, each.payload) for each in self._opened]
        self._filtered = (condition, out)
        return out

    def rows(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        """Id and payload of rows by number, as :meth:`nearest` gives them."""
        firsts = self._firsts()
        out = []
        for number in numbers:
            place = bisect_right(firsts, number) - 1
            out.append(row_of(self._opened[place].payload, number - firsts[place]))
        return out

    def column(self, name: str, numbers: Any) -> Any:
        """One of :attr:`fields` of rows by number: an Arrow array, null where a row has none."""
        import pyarrow as pa

        if name not in self.fields:
            raise unknown_name("column of the payload", name, self.fields)
        return pa.concat_tables([each.payload for each in self._opened], promote_options="permissive")[name].take(
            pa.array(numbers)
        )

    def _hits(self, numbers: Any, scores: Any) -> list[Hit]:
        text = self._manifest.about["text"]
        found = [(int(number), float(score)) for number, score in zip(numbers, scores, strict=True) if number >= 0]
        hits = []
        for (_, score), row in zip(found, self.rows([number for number, _ in found]), strict=True):
            name = row.pop("__id__")
            hits.append(Hit(name, score, str(row.pop(text, "") or "") if text else "", (0, 0), row))
        return hits

    def check(self, k: int = 10, sample: int = 200, *, seed: int = 1, queries: Any = None) -> float:
        """Recall at ``k``: the share of the exact neighbours that the index finds, over ``sample`` of its own rows
        asked as queries (each without itself), or over ``queries``."""
        import numpy as np

        if not len(self):
            raise WrongUse(f"{self.store.folder} is an empty index: there is nothing to check")
        own = np.full(0, -1)
        if queries is None:
            living = self.living()
            own = np.sort(np.random.default_rng(seed).choice(living, min(sample, len(living)), replace=False))
            vectors, asked = self.vectors(own), min(k + 1, len(self))
        else:
            vectors, asked = self._checked(self.asked(queries), "query"), min(k, len(self))
            own = np.full(similarities.size(vectors), -1)
        found, _ = self.nearest(vectors, asked)
        kind, self._kind = self._kind, kinds.plain(self._manifest.about["output"])
        try:
            true, _ = self.nearest(vectors, asked)
        finally:
            self._kind = kind
        return overlap(true, found, own, k)

    def _firsts(self) -> list[int]:
        """The number of each segment's first row."""
        return list(accumulate((each.segment.rows for each in self._opened), initial=0))[:-1]

    def living(self) -> Any:
        """The numbers of all rows that are not deleted, in rising order, int64; they hold until the next commit."""
        import numpy as np

        self._load()
        parts = [np.flatnonzero(each.living) + first for each, first in zip(self._opened, self._firsts(), strict=True)]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def vectors(self, numbers: Any) -> Any:
        """The stored vectors of rows by number, which are in rising order."""
        import numpy as np

        parts = []
        for each, first in zip(self._opened, self._firsts(), strict=True):
            inside = numbers[(numbers >= first) & (numbers < first + each.segment.rows)] - first
            if len(inside):
                parts.append(similarities.take(each.vectors, inside))
        output = self._manifest.about["output"]
        if output == "multi":
            return Vectors.of([part.item(i) for part in parts for i in range(part.items)])
        if output == "sparse":
            from scipy import sparse

            return sparse.vstack(parts).tocsr()
        return np.concatenate(parts)

    def verify(self) -> int:
        """Read every file against its checksum; the bytes read. The error names the damaged file."""
        self._load()
        return self.store.verify(self._manifest)

    def bytes_on_disk(self) -> int:
        """What the committed files take."""
        self._load()
        return sum(size for size, _ in self.store.files(self._manifest).values())

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
        that is there already is an error, unless ``replace``."""
        import numpy as np
        import pyarrow as pa

        self._load()
        texts = isinstance(items, (list, tuple)) and bool(items) and isinstance(items[0], str)
        vectors = self._checked(self.embedder.encode_document(list(items)) if texts else items, "added")
        ids = [str(name) for name in ids]
        if len(ids) != similarities.size(vectors):
            raise WrongUse(
                f"add: expected one id for every vector, found {len(ids):,} ids and {similarities.size(vectors):,} "
                "vectors"
            )
        if not ids:
            return
        table = as_table(payload, "add")
        if table.num_columns and table.num_rows != len(ids):
            raise WrongUse(f"add: expected a payload of {len(ids):,} rows, found {table.num_rows:,}")
        if {"__id__", "__row__"} & set(table.column_names):
            raise WrongUse("add: __id__ and __row__ are the index's own names: rename that column of the payload")
        hashes = np.array([_hash(name) for name in ids], np.uint64)
        order = np.argsort(hashes, kind="stable")
        if len(set(ids)) < len(ids):
            seen: set[str] = set()
            twice = next(name for name in ids if name in seen or seen.add(name))  # type: ignore[func-returns-value]
            raise DataError(f"add: expected every id once, found {twice!r} twice")
        for each in self._opened[-1:]:
            try:
                pa.unify_schemas([each.payload.schema, table.schema], promote_options="permissive")
            except pa.ArrowTypeError as error:
                raise DataError(
                    f"add: the payload does not fit that of {self.store.folder}: {str(error).splitlines()[0]}"
                ) from None
        table = pa.table({"__id__": pa.array(ids)} | {name: table[name] for name in table.column_names})
        with self.store.lock():
            self._load()
            manifest = self._copy()
            there = [each.find(ids, hashes) for each in self._opened]
            doubles = [(number, int(i)) for number, rows in enumerate(there) for i in np.flatnonzero(rows >= 0)]
            if doubles and not replace:
                names = [ids[i] for _, i in doubles]
                raise DataError(
                    f"add: {len(names):,} ids are in {self.store.folder} already "
                    f"({', '.join(names[:5])}{', …' if len(names) > 5 else ''}): say replace to replace them"
                )
            if replace:
                for number in sorted({number for number, _ in doubles}):
                    self._bury(manifest, number, there[number][there[number] >= 0])
            manifest.about["dimension"] = manifest.about["dimension"] or similarities.width(vectors)
            manifest.about |= about
            if not manifest.about["kind"]:
                self._begin(manifest, vectors)
            arrays = packed(vectors) | {"ids": hashes[order], "places": order.astype(np.uint32)}
            manifest.serial += 1
            segment = self.store.segment(f"segment-{manifest.serial:06d}", arrays, table)
            self.store.add_files(segment, self._kind.derive(vectors), manifest.serial)
            manifest.segments.append(segment)
            self._commit(manifest)
            self._tidy()

    def delete(self, ids: Sequence[Any]) -> None:
        """Delete rows by id, in one commit; an id that is not there is an error, and nothing is deleted."""
        import numpy as np

        ids = list(dict.fromkeys(str(name) for name in ids))
        hashes = np.array([_hash(name) for name in ids], np.uint64)
        with self.store.lock():
            self._load()
            manifest = self._copy()
            there = [each.find(ids, hashes) for each in self._opened]
            found = np.any([rows >= 0 for rows in there], axis=0) if there else np.zeros(len(ids), bool)
            if not found.all():
                missing = [ids[i] for i in np.flatnonzero(~found)]
                raise DataError(
                    f"delete: {len(missing):,} of {len(ids):,} ids are not in {self.store.folder} "
                    f"({', '.join(missing[:5])}{', …' if len(missing) > 5 else ''}); nothing was deleted"
                )
            for number, rows in enumerate(there):
                if (rows >= 0).any():
                    self._bury(manifest, number, rows[rows >= 0])
            self._commit(manifest)

    def compact(self, kind: str | None = None, *, recall: float | None = None, **settings: Any) -> None:
        """Everything into one segment, deleted rows gone, the kind chosen anew (or ``kind``, with its ``settings``) and
        tuned. Searches go on meanwhile: the new state comes with one commit."""
        if recall is not None and not 0 < recall <= 1:
            raise WrongUse(f"recall: expected a share above 0 and at most 1, found {recall}")
        with self.store.lock():
            self._load()
            manifest = self._copy()
            if kind is not None:
                manifest.about["asked"] |= {"kind": kind, "settings": settings}
                _named(manifest)
            if recall is not None:
                manifest.about["asked"] |= {"recall": recall}
            self._rebuild(manifest, list(range(len(self._opened))), self._choice(manifest))

    def note(self, **about: Any) -> None:
        """Keep facts of the caller's (JSON) in the index."""
        with self.store.lock():
            manifest = self._copy()
            manifest.about |= about
            self._commit(manifest)

    def _copy(self) -> Manifest:
        return self.store.read()

    def _commit(self, manifest: Manifest) -> None:
        self.store.commit(manifest)
        self._load()

    def _bury(self, manifest: Manifest, number: int, rows: Any) -> None:
        """Mark rows of a segment as deleted, in a file of its own."""
        import numpy as np

        dead = np.union1d(np.flatnonzero(self._opened[number].living == 0), rows).astype(np.int64)
        manifest.serial += 1
        name = f"deleted-{manifest.serial:06d}.npy"
        segment = manifest.segments[number]
        old = segment.deleted
        manifest.files = {file: about for file, about in manifest.files.items() if file != old}
        manifest.files[name] = write_array(self.store.folder / name, dead)
        segment.deleted, segment.dead = name, len(dead)

    def _choice(self, manifest: Manifest) -> Kind:
        """The kind by name, or by size: every vector up to :data:`AUTO_ROWS` rows, then bits with a second look."""
        about = manifest.about
        kind = _named(manifest)
        if kind is not None:
            return kind
        coarse = about["output"] == "dense" and about["metric"] in ("cosine", "dot") and manifest.rows >= AUTO_ROWS
        return kinds.Binary() if coarse else kinds.plain(about["output"])

    def _begin(self, manifest: Manifest, vectors: Any) -> None:
        """The first rows: a kind by name learns its codec from them."""
        self._kind = _named(manifest) or kinds.plain(manifest.about["output"])
        self._kind.check(manifest.about["output"], manifest.about["metric"], manifest.about["dimension"])
        if manifest.about["output"] == "dense":
            self._kind.learn(vectors[:SAMPLE])
        self._keep(manifest, self._kind, min(similarities.size(vectors), SAMPLE))

    def _keep(self, manifest: Manifest, kind: Kind, rows: int) -> None:
        """Write a kind's codec and settings into the manifest; ``rows`` is how many it learned from."""
        old = set(manifest.about["kind"].get("codec", {}).values())
        manifest.files = {name: about for name, about in manifest.files.items() if name not in old}
        codec = {}
        for key, array in kind.codec.items():
            manifest.serial += 1
            codec[key] = f"codec-{manifest.serial:06d}.npy"
            manifest.files[codec[key]] = write_array(self.store.folder / codec[key], array)
        manifest.about["kind"] = {
            "name": kind.name,
            "settings": kind.settings(),
            "codec": codec,
            "learned from": rows,
            "tuned at": 0,
        }

    def _tidy(self) -> None:
        """After an addition: learn anew what was learned from few rows, choose the kind anew when rows have doubled,
        tune it when they have, and keep the number of segments down."""
        manifest = self._manifest
        about, rows, count = manifest.about["kind"], manifest.rows, len(self._opened)
        choice = self._choice(manifest)
        # an automatic kind that found bits wanting is not tried again before the rows have doubled
        changed = choice.name != about["name"] and (about["tuned at"] < AUTO_ROWS or rows >= 2 * about["tuned at"])
        if changed or (about["codec"] and rows >= 4 * about["learned from"] and about["learned from"] < SAMPLE):
            self._rebuild(self._copy(), list(range(count)), choice)
        elif rows >= max(2 * about["tuned at"], 1000) and self._tunes():
            fresh = self._copy()
            self._tune(fresh, self._kind, [each.part() for each in self._opened])
            self._commit(fresh)
        if len(self._opened) > SEGMENTS:
            smallest = sorted(range(len(self._opened)), key=lambda i: self._opened[i].segment.rows)[: SEGMENTS // 2]
            self._rebuild(self._copy(), sorted(smallest), None)

    def _tunes(self) -> bool:
        return any(
            not value for name, value in self._manifest.about["asked"]["settings"].items() if name in kinds.TUNED
        ) or not set(self._manifest.about["asked"]["settings"]) & set(kinds.TUNED)

    def _tune(self, manifest: Manifest, kind: Kind, parts: list[Part]) -> None:
        """Set the kind's shortlist or effort to the recall asked for, where it was left to the index."""
        if self._tunes():
            for name, value in kind.tuned(parts, manifest.about["asked"]["recall"]).items():
                setattr(kind, name, value)
        manifest.about["kind"] |= {"settings": kind.settings(), "tuned at": manifest.rows}

    def _rebuild(self, manifest: Manifest, numbers: list[int], kind: Kind | None) -> None:
        """Segments ``numbers`` into one, deleted rows left out, in one commit. With ``kind`` they must be all segments:
        it learns from them, and is tuned."""
        import numpy as np
        import pyarrow as pa

        about, output = manifest.about, manifest.about["output"]
        parts = [self._opened[number] for number in numbers]
        kept = [np.flatnonzero(each.living) for each in parts]
        gone = {each.segment.deleted for each in parts}
        manifest.files = {name: sums for name, sums in manifest.files.items() if name not in gone}
        left = [segment for number, segment in enumerate(manifest.segments) if number not in set(numbers)]
        if sum(map(len, kept)):
            table = pa.concat_tables(
                [
                    each.payload.take(rows) if len(rows) < each.segment.rows else each.payload
                    for each, rows in zip(parts, kept, strict=True)
                ],
                promote_options="permissive",
            )
            hashes = np.concatenate([_by_row(each)[rows] for each, rows in zip(parts, kept, strict=True)])
            order = np.argsort(hashes, kind="stable")
            manifest.serial += 1
            arrays = joined([each.vectors for each in parts], kept, output) | {
                "ids": hashes[order],
                "places": order.astype(np.uint32),
            }
            segment = self.store.segment(f"segment-{manifest.serial:06d}", arrays, table)
            vectors = unpacked(
                {
                    name: self.store.array(f"{segment.name}/{name}.npy", segment.files[f"{name}.npy"][0])
                    for name in ARRAYS[output]
                },
                output,
            )
            if kind is not None:
                kind.check(output, about["metric"], about["dimension"])
                if output == "dense":
                    kind.learn(_drawn(vectors))
                self._keep(manifest, kind, min(segment.rows, SAMPLE))
            derived = (kind or self._kind).derive(vectors)
            self.store.add_files(segment, derived, manifest.serial)
            manifest.segments = [segment]
            if kind is not None:
                self._tune(
                    manifest,
                    kind,
                    [
                        Part(
                            vectors,
                            {name: plain(array) for name, array in derived.items()},
                            np.zeros(0, np.uint8),
                            segment.rows,
                        )
                    ],
                )
                if about["asked"]["kind"] == "auto" and getattr(kind, "shortlist", 0) > segment.rows // 20:
                    # bits say too little about these vectors: looking at each costs no more
                    self._keep(manifest, kinds.Exact(), segment.rows)
                    segment.files = {
                        name: sums for name, sums in segment.files.items() if name.split("-")[0] not in derived
                    }
                    manifest.about["kind"]["tuned at"] = manifest.rows
            left.insert(0, segment)
        elif kind is not None:
            gone = set(about["kind"].get("codec", {}).values())
            manifest.files = {name: sums for name, sums in manifest.files.items() if name not in gone}
            about["kind"] = {}
        manifest.segments = left
        self._commit(manifest)
        for each in parts:
            self.store.remove(each.segment)


def _named(manifest: Manifest) -> Kind | None:
    """The kind asked for by name, fit for these vectors; None for the automatic one."""
    about = manifest.about
    if about["asked"]["kind"] == "auto":
        return None
    kind = kinds.made(about["asked"]["kind"], about["asked"]["settings"])
    kind.check(about["output"], about["metric"], about["dimension"] or 1 << 20)
    return kind


def _drawn(vectors: Any) -> Any:
    """Rows to learn from: all, or :data:`SAMPLE` drawn."""
    import numpy as np

    count = len(vectors)
    return (
        vectors if count <= SAMPLE else vectors[np.sort(np.random.default_rng(0).choice(count, SAMPLE, replace=False))]
    )


def _by_row(each: _Opened) -> Any:
    import numpy as np

    out = np.empty(each.segment.rows, np.uint64)
    out[each.arrays["places"]] = each.arrays["ids"]
    return out


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
