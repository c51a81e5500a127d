"""An index as one commit left it: everything that a search needs, opened once and never changed. A call works on one
:class:`Snapshot` from its first look to its last, so that a writer beside it changes nothing of what it sees."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from umekomi.contracts import Vectors
from umekomi.errors import WrongUse, unknown_name
from umekomi.indexes import joining, kinds, lexical
from umekomi.indexes.filters import mask, parse
from umekomi.indexes.fitting import fit
from umekomi.indexes.kinds import Kind
from umekomi.indexes.manifest import PAYLOAD, Manifest, Segment, array_key
from umekomi.indexes.packing import ARRAYS, Shape, advise, check_arrays, check_shapes, expected_shapes, to_plain, unpack
from umekomi.indexes.payload import opened, row_of
from umekomi.indexes.scans import Part, empty_hits, merge_hits
from umekomi.indexes.store import Store, checksum, damaged
from umekomi.parts import similarity as similarities
from umekomi.parts.ranking import Fusion, fuse

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from umekomi.contracts import Output
    from umekomi.indexes.scans import Measure, Ranking


FUSED = 100
"""Hits of each leg whose ranks are fused: as many as a comparison fuses."""


@dataclass(frozen=True)
class Hit:
    """One found item: its id, score (higher is nearer), text, where in it the query's best sentence stands, and
    payload."""

    id: str
    score: float
    text: str = ""
    best: tuple[int, int] = (0, 0)
    payload: dict[str, Any] = field(default_factory=dict)


class OpenSegment:
    """A committed segment with its files mapped, and which of its rows live. Its arrays have the types and shapes that
    ``kind`` reads, and no number in them leads out of another: damage is an error here, not a crash there."""

    def __init__(self, store: Store, manifest: Manifest, segment: Segment, kind: Kind) -> None:
        output, width = manifest.about["output"], manifest.about["dimension"]
        self.segment, self.folder = segment, store.folder / segment.name
        self.shapes = _shapes(manifest, segment, kind)
        self._files = {array_key(name): name for name in segment.files if array_key(name) in self.shapes}
        self._maps = {
            key: store.array(f"{segment.name}/{name}", segment.files[name][0]) for key, name in self._files.items()
        }
        coarse = {"codes", "graph", "turbo"} & set(self._maps)
        for name, array in self._maps.items():
            # a coarse scan reads its codes whole and then a few rows of the vectors, anywhere
            advise(array, "MADV_WILLNEED" if name in coarse else "MADV_RANDOM" if coarse and name == "vectors" else "")
        arrays = {name: to_plain(array) for name, array in self._maps.items()}
        self.payload = _payload(store.table(f"{segment.name}/{PAYLOAD}", segment.files[PAYLOAD][0]), self.folder)
        try:
            check_shapes(arrays, self.shapes)
            check_arrays(arrays, output, segment.rows, width)
            if manifest.about.get("lexical"):
                lexical.check_arrays(arrays)
            kind.sound(arrays)
            self.vectors = unpack(arrays, output)
        except ValueError as error:
            raise damaged(self.folder, error) from None
        _check_payload(self.payload, segment.rows, self.folder / PAYLOAD)
        self._sound_columns: set[str] = set()
        self.arrays = {name: array for name, array in arrays.items() if name not in ARRAYS[output]}
        self._proved: set[str] = set()
        self.living = np.ones(segment.rows, np.uint8)
        if segment.deleted:
            dead = to_plain(store.array(segment.deleted, manifest.files[segment.deleted][0]))
            try:
                check_shapes({"deleted": dead}, {"deleted": ("<i8", (segment.dead,))})
                if dead[0] < 0 or dead[-1] >= segment.rows or (np.diff(dead) <= 0).any():
                    raise ValueError(f"expected rising rows below {segment.rows}")
            except ValueError as error:
                raise damaged(store.folder / segment.deleted, error) from None
            self.living[dead] = 0

    def part(self, chosen: NDArray[np.bool_] | None = None) -> Part:
        """What a kind searches: living rows, of which ``chosen`` (bool) may leave some."""
        if chosen is None and not self.segment.dead:
            return Part(self.vectors, self.arrays, np.zeros(0, np.uint8), self.segment.rows, self.prove)
        allowed = self.living if chosen is None else (self.living & chosen).astype(np.uint8)
        return Part(self.vectors, self.arrays, allowed, int(allowed.sum()), self.prove)

    def prove(self, key: str, test: Callable[[Any], None], whole: bool) -> None:
        """Look through an array by ``test``, once; with ``whole`` its file's checksum too, whatever its size."""
        if key in self._proved:
            return
        file = self.folder / self._files[key]
        sums = self.segment.files
        if whole and checksum(self._maps[key]._mmap) != sums[self._files[key]][1]:  # type: ignore[attr-defined]
            raise damaged(file, "its checksum does not match")
        try:
            test(self.arrays[key])
        except ValueError as error:
            raise damaged(file, error) from None
        self._proved.add(key)

    def column(self, name: str) -> pa.ChunkedArray:
        """A column of the payload, its values looked through once: Arrow follows their offsets unasked."""
        column = self.payload[name]
        if name not in self._sound_columns:
            try:
                column.validate(full=True)
            except Exception as error:
                raise damaged(self.folder / PAYLOAD, error) from None
            self._sound_columns.add(name)
        return column

    def row(self, number: int) -> dict[str, Any]:
        """One row's id and payload, as Python values."""
        found = self.payload.slice(number, 1)
        try:
            found.validate(full=True)
            return row_of(found, 0)
        except Exception as error:  # Arrow has a kind of error for each sort of damage
            raise damaged(self.folder / PAYLOAD, f"row {number + 1}: {error}") from None

    def whole_payload(self) -> pa.Table:
        """The payload, every column looked through."""
        for name in self.payload.column_names:
            self.column(name)
        return self.payload

    def find(self, ids: Sequence[str], hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The living row of every id, by its hash, -1 where there is none; int64 ``[n]``."""
        known, names = self.arrays["ids"], self.column(joining.ID)
        rows = np.full(len(hashes), -1, np.int64)
        at = np.searchsorted(known, hashes)
        inside = at < len(known)
        same = np.flatnonzero(inside)[known[at[inside]] == hashes[inside]]
        for i in same:
            place = int(at[i])
            while place < len(known) and known[place] == hashes[i]:
                row = int(self.arrays["places"][place])
                if self.living[row] and names[row].as_py() == ids[i]:
                    rows[i] = row
                    break
                place += 1
        return rows

    def hashes(self) -> NDArray[np.uint64]:
        """The hash of every row's id, uint64 ``[rows]``."""
        out = np.empty(self.segment.rows, np.uint64)
        out[self.arrays["places"]] = self.arrays["ids"]
        return out


class _Columns:
    """A segment's payload as a condition reads it: each column looked through when it is first asked for."""

    def __init__(self, opened: OpenSegment) -> None:
        self.opened, self.column_names = opened, opened.payload.column_names

    def __len__(self) -> int:
        return self.opened.segment.rows

    def __getitem__(self, name: str) -> Any:
        return self.opened.column(name)


def _payload(table: pa.Table, folder: Path) -> pa.Table:
    """A stored payload in the types that are kept now; what has to be turned into them is looked through first."""
    from pyarrow import types

    try:
        for place, each in enumerate(table.schema):
            if not (types.is_primitive(each.type) or types.is_string(each.type) or types.is_large_string(each.type)):
                table.column(place).validate(full=True)
        return opened(table)
    except Exception as error:
        raise damaged(folder / PAYLOAD, error) from None


def _check_payload(table: pa.Table, rows: int, file: Path) -> None:
    names = table.column_names
    if table.num_rows != rows or names[:1] != [joining.ID] or joining.ROW in names or len(set(names)) < len(names):
        raise damaged(file, f"expected {rows} rows with their ids, found {table.num_rows} of {', '.join(names)}")
    kind = table.schema.field(0).type
    if not pa.types.is_string(kind) or table.column(0).null_count:
        raise damaged(file, f"expected an id in every row, found {kind}")


class Snapshot:
    """The index of one commit: its manifest, segments and kind."""

    def __init__(self, store: Store, manifest: Manifest, known: Snapshot | None = None) -> None:
        """Open what ``manifest`` names; segments that ``known`` has open already are taken from it."""
        self.folder, self.manifest, self.about = store.folder, manifest, manifest.about
        self.kind = _kind(store, manifest)
        before = {} if known is None else {each.segment.name: each for each in known.segments}
        self.segments: list[OpenSegment] = []
        for segment in manifest.segments:
            old = before.get(segment.name)
            same = old is not None and old.segment == segment and old.shapes == _shapes(manifest, segment, self.kind)
            self.segments.append(old if same and old is not None else OpenSegment(store, manifest, segment, self.kind))
        self.firsts = list(accumulate((each.segment.rows for each in self.segments), initial=0))[:-1]
        self._filtered: tuple[str | None, list[Any]] = (None, [])
        settings = self.about.get("lexical")
        self.lexical = lexical.Leg(self.segments, self.firsts, settings) if settings else None

    def __len__(self) -> int:
        return self.manifest.rows

    @property
    def fields(self) -> list[str]:
        """The payload's columns."""
        names: dict[str, None] = {}
        for each in self.segments:
            names |= dict.fromkeys(each.payload.column_names[1:])
        return list(names)

    def nearest(self, vectors: Output, k: int, *, filter: str | None = None, kind: Kind | None = None) -> Ranking:
        """:meth:`Index.nearest <umekomi.indexes.Index.nearest>` of this commit, by its own kind or another."""
        vectors = fit(vectors, self.about, "query")
        k = min(count(k), len(self))
        chosen = self._chosen(filter) if filter is not None else None
        kind = kind or self.kind
        lists = []
        # nothing to ask or to find: no kernel is asked for nothing
        for number, (each, first) in enumerate(zip(self.segments, self.firsts, strict=True)):
            part = each.part(None if chosen is None else chosen[number])
            if part.living and k and similarities.size(vectors):
                rows, scores = kind.search(part, vectors, k, self._similarity())
                lists.append((np.where(rows >= 0, rows + first, -1), scores))
        if not lists:
            scores, rows = empty_hits(similarities.size(vectors), k)
            return rows, scores
        return merge_hits(lists, k)

    def prepare(self) -> None:
        """:meth:`Index.prepare <umekomi.indexes.Index.prepare>`, by a query of one row: of a kind that looks at every
        row, that row alone is looked at."""
        first = self.living()[:1]
        if not len(first):
            return
        row = self.vectors(first)
        if self.kind.every_row:
            self.kind.search(Part.fresh(row, {}), row, 1, self._similarity())
        else:
            self.nearest(row, 10)
        if self.lexical is not None:
            self.nearest_words(["-"], 1)

    def nearest_words(self, texts: Sequence[str], k: int, *, filter: str | None = None) -> Ranking:
        """:meth:`nearest` by the lexical leg: rows that share a word with a text, by BM25."""
        if self.lexical is None:
            raise WrongUse(f"{self.folder} has no lexical leg: make one with umekomi index bm25+MODEL")
        k = min(count(k), len(self))
        return self.lexical.nearest(texts, k, None if filter is None else self._chosen(filter))

    def fused(self, vectors: Output, texts: Sequence[str], k: int, *, filter: str | None = None) -> Ranking:
        """:meth:`nearest` by both legs: (row numbers, scores) of each leg's first :data:`FUSED`, or first ``k`` where
        those are more, fused as the index says (:class:`~umekomi.parts.ranking.Fusion`), or else by their reciprocal
        ranks; equals in the order of their rows."""
        depth = max(FUSED, k)
        legs = [self.nearest_words(texts, depth, filter=filter), self.nearest(vectors, depth, filter=filter)]
        said = self.about["lexical"].get("fusion")
        fusion = None if said is None else Fusion.read(said)
        k = min(count(k), len(self))
        rows, scores = np.full((len(texts), k), -1, np.int64), np.full((len(texts), k), -np.inf)
        for query in range(len(texts)):
            fused_numbers, total = fuse([(numbers[query], values[query]) for numbers, values in legs], fusion)
            most = min(k, len(fused_numbers))
            rows[query, :most], scores[query, :most] = fused_numbers[:most], total[:most]
        return rows, scores

    def _similarity(self) -> Measure | None:
        """The model's own measure where it is no plain inner product of what is stored."""
        metric = self.about["metric"]
        return None if metric in ("cosine", "dot") else similarities.similarity_function(metric)

    def _chosen(self, condition: str) -> list[Any]:
        """Which rows of every segment meet the condition, bool; the last condition's answer is kept."""
        known, masks = self._filtered
        if known == condition:
            return masks
        wanted = parse(condition, self.fields)
        masks = [mask(wanted, _Columns(each)) for each in self.segments]
        self._filtered = (condition, masks)
        return masks

    def _place(self, number: int) -> tuple[OpenSegment, int]:
        if not 0 <= number < sum(each.segment.rows for each in self.segments):
            raise WrongUse(f"{self.folder}: no row has the number {number}: numbers hold until the next commit")
        place = bisect_right(self.firsts, number) - 1
        return self.segments[place], number - self.firsts[place]

    def rows(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        """Id and payload of rows by number, as :meth:`nearest` gives them."""
        return [segment.row(row) for segment, row in map(self._place, numbers)]

    def column(self, name: str, numbers: NDArray[np.int64]) -> pa.ChunkedArray:
        """One of :attr:`fields` of rows by number: an Arrow array, null where a row has none."""
        if name not in self.fields:
            raise unknown_name("column of the payload", name, self.fields)
        tables = [
            pa.table({name: each.column(name)})
            if name in each.payload.column_names
            else pa.table({name: pa.nulls(each.segment.rows)})
            for each in self.segments
        ]
        try:
            return joining.concatenate_tables(tables, f"{self.folder}: its payload does not fit together")[name].take(
                pa.array(numbers, pa.int64())
            )
        except pa.ArrowIndexError:
            raise WrongUse(f"{self.folder}: a row's number is not there: numbers hold until the next commit") from None

    def hits(self, numbers: np.ndarray, scores: np.ndarray) -> list[Hit]:
        """What one query found, from a row of :meth:`nearest`."""
        text = self.about["text"]
        pairs = [(int(number), float(score)) for number, score in zip(numbers, scores, strict=True) if number >= 0]
        hits = []
        for (_, score), row in zip(pairs, self.rows([number for number, _ in pairs]), strict=True):
            name = row.pop(joining.ID)
            hits.append(Hit(name, score, str(row.pop(text, "") or "") if text else "", (0, 0), row))
        return hits

    def living(self) -> NDArray[np.int64]:
        """The numbers of all rows that are not deleted, in rising order, int64."""
        parts = [np.flatnonzero(each.living) + first for each, first in zip(self.segments, self.firsts, strict=True)]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def vectors(self, numbers: NDArray[np.int64]) -> Output:
        """The stored vectors of rows by number, which are in rising order."""
        parts: list[Any] = []
        for each, first in zip(self.segments, self.firsts, strict=True):
            inside = numbers[(numbers >= first) & (numbers < first + each.segment.rows)] - first
            if len(inside):
                parts.append(similarities.take(each.vectors, inside))
        if self.about["output"] == "multi":
            return Vectors.of([part.item(i) for part in parts for i in range(part.items)])
        if self.about["output"] == "sparse":
            from scipy import sparse

            return sparse.vstack(parts).tocsr()
        return np.concatenate(parts)


def _shapes(manifest: Manifest, segment: Segment, kind: Kind) -> dict[str, Shape]:
    """The shapes of a segment's arrays: its own, the kind's and the lexical leg's."""
    about = manifest.about
    own = expected_shapes(about["output"], segment.rows, about["dimension"])
    words = lexical.shapes(segment.rows) if about.get("lexical") else {}
    return own | kind.derived(segment.rows, about["dimension"]) | words


def _kind(store: Store, manifest: Manifest) -> Kind:
    about, width = manifest.about["kind"], manifest.about["dimension"]
    if not about:
        return kinds.plain(manifest.about["output"])
    kind = kinds.make_kind(about["name"], about["settings"])
    if manifest.segments:
        kind.check(manifest.about["output"], manifest.about["metric"], width)
    kind.codec = {key: to_plain(store.array(file, manifest.files[file][0])) for key, file in about["codec"].items()}
    kind.reach = [(float(depth), float(found)) for depth, found in about.get("reach", [])]
    try:
        check_shapes(kind.codec, kind.learned(width))
    except ValueError as error:
        raise damaged(store.manifest, f"kind {kind.name}: {error}") from None
    return kind


def count(k: Any) -> int:
    """A number of hits, or the error that it is none."""
    import operator

    try:
        found = operator.index(k)
    except TypeError:
        raise WrongUse(f"k: expected a whole number from 1 up, found {k!r}") from None
    if isinstance(k, bool) or found < 1:
        raise WrongUse(f"k: expected a whole number from 1 up, found {k!r}")
    return found
