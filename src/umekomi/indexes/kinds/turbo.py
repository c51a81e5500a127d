"""turbovec's scan of 2 or 4 bits a dimension (after TurboQuant, Zandieh et al. 2025, arXiv 2504.19874), then the best
again."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from umekomi.errors import DataError, MissingExtra, WrongUse
from umekomi.indexes.kinds.base import USUAL, Kind
from umekomi.indexes.kinds.coarse import margin_at, margins, shortlist_for
from umekomi.indexes.packing import Shape
from umekomi.indexes.scans import ROWS, Part, empty_hits, sample_queries, scan, score_listed
from umekomi.parts.kernels.threads import cores, run_all, shards

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from umekomi.contracts import Floats
    from umekomi.indexes.scans import Measure, Ranking

STEP, WIDEST = 8, 16_384
"""turbovec's widths: multiples of the one, up to the other."""
SAMPLE = 2048
"""Rows that its two numbers a dimension are fitted to; it asks for some thousand."""
DEPTHS_OF_RANKS = (256, 4096)
"""How far down turbovec's order a true neighbour is looked for when the shortlist is tuned."""
MORE = 4
"""A list that was too short for its margin is this many times as long the next time."""
_opening = threading.Lock()


@dataclass
class Turbo(Kind):
    """``bits`` a dimension (2 or 4) in turbovec's own layout, the ``shortlist`` best looked at again with the stored
    vectors; more for more than ten hits or under a filter, until the last of the list is further from the last hit than
    the margin that tuning measured. ``shortlist`` 0 is tuned, from a thousand rows on; before, every vector is looked
    at.

    turbovec holds its codes in memory: ``bits`` / 32 of what flat vectors take and some 7 bytes a row, read from the
    segment's file when it is first searched. They are mapped by no one, so that processes do not share them."""

    name: ClassVar[str] = "turbo"
    bits: int = 4
    shortlist: int = 0

    def __post_init__(self) -> None:
        if self.bits not in (2, 4):
            raise WrongUse(f"index kind turbo, bits: expected 2 or 4, found {self.bits}")

    def check(self, output: str, metric: str, dimension: int) -> None:
        super().check(output, metric, dimension)
        if WIDEST < dimension < 1 << 20:  # that many stands for a width that is not known yet
            raise WrongUse(f"index kind turbo: expected up to {WIDEST:,} dimensions, found {dimension:,}")
        _turbovec()

    def learn(self, vectors: Floats) -> None:
        rows = np.random.default_rng(0).permutation(len(vectors))[:SAMPLE]
        empty = _turbovec()(dim=_padded(vectors.shape[1]), bit_width=self.bits)
        with suppress(ValueError):  # rows that are all alike say nothing of how numbers spread
            empty.calibrate(_wide(vectors[np.sort(rows)]))
        self.codec = {"turbo": np.frombuffer(empty.to_bytes(), np.uint8)}

    def derive(self, vectors: Any) -> dict[str, Any]:
        codes = self._read(self.codec["turbo"], vectors.shape[1], 0)
        for start in range(0, len(vectors), ROWS * 8):
            codes.add(_wide(vectors[start : start + ROWS * 8]))
        return {"turbo": np.frombuffer(codes.to_bytes(), np.uint8)}

    def learned(self, width: int) -> dict[str, Shape]:
        return {"turbo": ("|u1", (None,))}

    def derived(self, rows: int, width: int) -> dict[str, Shape]:
        return {"turbo": ("|u1", (None,))}

    def _read(self, data: Any, width: int, rows: int) -> Any:
        """turbovec's own index of its bytes. It refuses what is not whole (its reader is compiled from Rust, and walks
        out of no array); what it reads must be of this width and these rows and bits, too."""
        opener = _turbovec()
        try:
            codes = opener.from_bytes(data.tobytes())
        except ValueError as error:
            raise DataError(f"index kind turbo: turbovec {_version()} does not read its codes: {error}") from None
        found = codes.dim, codes.bit_width, len(codes)
        if found != (_padded(width), self.bits, rows):
            raise DataError(
                f"index kind turbo: expected codes of {_padded(width)} dimensions, {self.bits} bits and {rows:,} rows, "
                f"found {found[0]}, {found[1]} and {found[2]:,}"
            )
        return codes

    def opened(self, part: Part) -> Any:
        """turbovec's index of a segment, read once."""
        with _opening:
            if "opened" not in part.arrays:
                width = part.vectors.shape[1]

                def sound(data: Any) -> None:
                    try:
                        part.arrays["opened"] = self._read(data, width, part.rows)
                    except DataError as error:
                        raise ValueError(str(error)) from None

                if part.proof is None:  # what was just made
                    part.arrays["opened"] = self._read(part.arrays["turbo"], width, part.rows)
                else:
                    part.prove("turbo", sound)
            return part.arrays["opened"]

    def _listed(self, part: Part, queries: Floats, wanted: int, mask: Any = None) -> tuple[Any, Any]:
        """(rows, estimates), both ``[queries, wanted]``, best first, of the rows that count."""
        if mask is None and len(part.allowed):
            mask = part.allowed.view(bool)
        # one after another where there are few: each walks over all threads
        scores, rows = self.opened(part).search(_wide(queries), wanted, mask=mask)
        return np.asarray(rows, np.int64), np.asarray(scores, np.float32)

    def tuned(self, parts: list[Part], recall: float, k: int = 10, sample: int = 256, seed: int = 0) -> dict[str, Any]:
        part = max(parts, key=lambda each: each.rows)

        def estimates_of(query: Floats) -> Any:
            def estimates(rows: NDArray[np.int64]) -> Any:
                mask = np.zeros(part.rows, bool)
                mask[rows] = True
                distinct, places = np.unique(rows, return_inverse=True)
                found, scores = self._listed(part, query[None], len(distinct), mask)
                return scores[0][np.argsort(found[0])][places]

            return estimates

        self.reach = margins(part, recall, seed, estimates_of)
        return {"shortlist": shortlist_for(self._ranks(part, recall, k, sample, seed), recall, k)}

    def _ranks(self, part: Part, recall: float, k: int, sample: int, seed: int) -> list[NDArray[np.int64]]:
        """For every row drawn as a query: how far down turbovec's order each of its ``k`` true neighbours stands (1 is
        first); all rows for one that is further down than was looked."""
        asked = sample_queries(part, sample, seed)
        queries = np.asarray(part.vectors[asked], np.float32)
        true, _ = scan(part, queries, k + 1)
        ranks: list[NDArray[np.int64]] = []
        for depth in DEPTHS_OF_RANKS:
            listed, _ = self._listed(part, queries, min(depth, part.living))
            ranks = []
            for own, near, order in zip(asked, true, listed, strict=True):
                order = order[order != own]
                places = {row: place for place, row in enumerate(order.tolist(), 1)}
                near = [row for row in near.tolist() if row >= 0 and row != own][:k]
                ranks.append(np.array([places.get(row, part.living) for row in near], np.int64))
            if shortlist_for(ranks, recall, k) < part.living or depth >= part.living:
                break
        return ranks

    def search(self, part: Part, queries: Any, k: int, similarity: Measure | None) -> Ranking:
        if part.few(k):
            return score_listed(part, queries, np.flatnonzero(part.allowed), k)
        usual = k <= USUAL and not len(part.allowed)
        wanted = max(self.shortlist, k if usual else 2 * k)
        if not self.shortlist or wanted >= part.living:
            return scan(part, queries, k)
        listed, estimates = self._listed(part, queries, wanted)
        rows, scores = _looked(part, queries, listed, k)
        left = np.zeros(0, np.int64) if usual else self._short(queries, scores, estimates)
        while len(left):
            wanted *= MORE
            if wanted >= part.living / MORE:  # a list that long costs more than a look at every vector
                rows[left], scores[left] = scan(part, queries[left], k)
                break
            listed, estimates = self._listed(part, queries[left], wanted)
            rows[left], scores[left] = _looked(part, queries[left], listed, k)
            left = left[self._short(queries[left], scores[left], estimates)]
        return rows, scores

    def _short(self, queries: Floats, scores: Floats, estimates: Floats) -> NDArray[np.int64]:
        """The queries whose list ended before the margin below their last hit."""
        lengths = np.maximum(np.linalg.norm(queries, axis=1), 1e-30)
        last = scores[:, -1] / lengths
        lacks = np.array([margin_at(self.reach, each) if self.reach else 0.0 for each in np.maximum(last, -1e30)])
        return np.flatnonzero(~(estimates[:, -1] / lengths < last - lacks))


def _looked(part: Part, queries: Floats, listed: NDArray[np.int64], k: int) -> Ranking:
    """The ``k`` best of every query's list, by the stored vectors. The lists are short: NumPy does it, and no compiled
    loop has to be loaded for the first query of a process (numba's start costs it .4 s)."""
    scores, rows = empty_hits(len(queries), k)
    listed = np.sort(listed, axis=1)  # along the vectors' file

    def some(low: int, high: int) -> None:
        for q in range(low, high):
            products = part.vectors[listed[q]] @ queries[q]
            order = np.argsort(-products, kind="stable")[:k]
            rows[q], scores[q] = listed[q, order], products[order]

    run_all(some, shards(len(queries), cores()) if len(queries) >= 64 else [(0, len(queries))])
    return rows, scores


def _padded(width: int) -> int:
    return -(-width // STEP) * STEP


def _wide(vectors: Any) -> Floats:
    """Vectors as turbovec takes them: float32, zeros behind them up to a multiple of :data:`STEP`."""
    lacking = _padded(vectors.shape[1]) - vectors.shape[1]
    return np.ascontiguousarray(np.pad(vectors, ((0, 0), (0, lacking))) if lacking else vectors, np.float32)


def _turbovec() -> Any:
    try:
        from turbovec import TurboQuantIndex
    except ImportError:
        raise MissingExtra("turbovec", "search", "a turbo index") from None
    return TurboQuantIndex


def _version() -> str:
    from importlib.metadata import version

    return version("turbovec")
