"""A prefix in 8 bits, then longer ones (adaptive retrieval, Kusupati et al. 2022, section 4.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from umekomi.errors import WrongUse
from umekomi.indexes.kinds.base import USUAL
from umekomi.indexes.kinds.coarse import Coarse, Keys, scan_keys
from umekomi.indexes.packing import Shape
from umekomi.indexes.scans import ROWS, Part, assured_recall, empty_hits
from umekomi.parts import similarity as similarities
from umekomi.parts.kernels.threads import cores

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from umekomi.contracts import Floats
    from umekomi.indexes.scans import Measure, Ranking

CHOOSING = 10_000
"""Rows on which a funnel's first width is chosen."""
AGAIN = 11.0
"""What looking again at a dimension of one row costs, in bytes scanned: a million rows of 256 dimensions, two cores,
140 ns a row against .05 ns a byte."""


@dataclass
class Funnel(Coarse):
    """A prefix of ``width`` dimensions in 8 bits, then ``widths`` longer prefixes, then all; each stage keeps half as
    many as the one before. ``rotate`` turns vectors to their main directions first (PCA), so that prefixes say most
    whatever the model; without it they are the model's own, as a Matryoshka model wants. ``width`` 0 is the one that
    makes scan and second look together cheapest on rows of the index (a quarter while there are few), ``shortlist`` 0
    tuned."""

    name: ClassVar[str] = "funnel"
    width: int = 0
    widths: tuple[int, ...] = ()
    rotate: bool = True
    shortlist: int = 0

    def check(self, output: str, metric: str, dimension: int) -> None:
        super().check(output, metric, dimension)
        stages = (self.width or 1, *self.widths, dimension)
        if list(stages) != sorted(set(stages)):
            raise WrongUse(
                f"index kind funnel: expected rising prefixes below {dimension} dimensions, found "
                f"{', '.join(map(str, stages[:-1]))}"
            )
        if self.rotate and self.widths:
            raise WrongUse(
                "index kind funnel: stages between the first and the last are prefixes of the model's own vectors: "
                "set rotate to False"
            )

    def learn(self, vectors: Floats) -> None:
        vectors = np.asarray(vectors, np.float64)
        directions = np.eye(vectors.shape[1])
        if self.rotate:
            _, axes = np.linalg.eigh(np.cov(vectors, rowvar=False) if len(vectors) > 1 else directions)
            directions = axes[:, ::-1]
        self.width = self.width or self._cheapest(vectors, directions)
        self.codec = self._learned(vectors, directions)

    def _learned(self, vectors: Floats, directions: NDArray[np.floating]) -> dict[str, Any]:
        first = np.ascontiguousarray(directions[:, : self.width])
        reach = np.abs(self._short(vectors, first)).max(0) if len(vectors) else np.ones(self.width)
        return {"directions": first.astype(np.float32), "step": np.maximum(reach / 127, 1e-30).astype(np.float32)}

    def _cheapest(self, vectors: Floats, directions: NDArray[np.floating]) -> int:
        """The width at which a row costs least: its bytes scanned, and its share of being looked at again, which costs
        :data:`AGAIN` bytes scanned a dimension."""
        most = (self.widths or (vectors.shape[1],))[0]
        choices = sorted(
            {64 * round(most * part / 64) for part in (1 / 16, 1 / 8, 1 / 4, 3 / 8, 1 / 2, 5 / 8, 3 / 4)}
            & set(range(64, most))
        )
        if len(vectors) < 1000 or not choices:
            return max(1, most // 4)
        rows = np.asarray(vectors[np.random.default_rng(0).permutation(len(vectors))[:CHOOSING]], np.float32)
        costs = [
            width + AGAIN * rows.shape[1] * Funnel(width=width, rotate=self.rotate)._again(rows, directions)
            for width in choices
        ]
        return choices[int(np.argmin(costs))]

    def _again(self, rows: Floats, directions: NDArray[np.floating]) -> float:
        """The share of these rows to look at again for .95 of the true neighbours."""
        self.codec = self._learned(rows, directions)
        ranks = self.ranks(Part.fresh(rows, self.derive(rows)), 10, 128, 0, threads=1)
        return float(np.quantile(np.concatenate(ranks), 0.95)) / len(rows)

    def _short(self, vectors: Floats, directions: NDArray[np.floating]) -> Floats:
        short = vectors @ directions
        return short if self.rotate else similarities.normalise(short)

    def derive(self, vectors: Any) -> dict[str, Any]:
        codes = np.zeros((len(vectors), self.width), np.int8)
        longest = 0.0
        for start in range(0, len(vectors), ROWS):
            short = self._short(np.asarray(vectors[start : start + ROWS], np.float32), self.codec["directions"])
            whole = np.clip(np.round(short / self.codec["step"]), -127, 127)
            codes[start : start + ROWS] = whole
            longest = max(longest, float((whole**2).sum(1).max()) ** 0.5)
        return {"codes": codes, "longest": np.array([longest], np.float32)}

    def learned(self, width: int) -> dict[str, Shape]:
        return {"directions": ("<f4", (width, self.width)), "step": ("<f4", (self.width,))}

    def derived(self, rows: int, width: int) -> dict[str, Shape]:
        return {"codes": ("|i1", (rows, self.width)), "longest": ("<f4", (1,))}

    def keys(self, part: Part, query: Floats, threads: int, wanted: int) -> Keys:
        from umekomi.parts.kernels.scan import BINS, byte_keys

        asked = self._short(query[None], self.codec["directions"])[0].astype(np.float64) * self.codec["step"]
        longest = float(part.arrays["longest"][0])
        # whole numbers of at most 15 bits, whose product with the longest row fits in 31
        fine = max(float(np.abs(asked).max()) / 32767, float(np.linalg.norm(asked)) * longest / 2**30, 1e-60)
        whole = np.round(asked / fine).astype(np.int16)
        scale = BINS / 2 / max(float(np.linalg.norm(whole.astype(np.float64))) * longest, 1.0)
        numbers = (part.arrays["codes"], whole, np.float32(scale), np.float32(BINS / 2))
        keys, least = scan_keys(byte_keys, numbers, part, threads, wanted)
        return Keys(keys, least, scale / fine, 0.0)

    def tuned(self, parts: list[Part], recall: float, k: int = 10, sample: int = 256, seed: int = 0) -> dict[str, Any]:
        self.shortlist = super().tuned(parts, recall, k, sample, seed)["shortlist"]
        part = max(parts, key=lambda each: each.rows)
        # later stages lose some of what the first one found: ask for more until the whole holds
        while self.widths and self.shortlist < part.rows and assured_recall(self, part, k, sample, seed) < recall:
            self.shortlist = min(part.rows, self.shortlist * 3 // 2 + 1)
        return {"shortlist": self.shortlist}

    def search(self, part: Part, queries: Any, k: int, similarity: Measure | None) -> Ranking:
        # the stages are as long as ten hits need; more, or a filter, is answered by the second look alone
        if not (self.shortlist and self.widths) or k > USUAL or len(part.allowed):
            return super().search(part, queries, k, similarity)
        from umekomi.parts.kernels.scan import chosen, reaching

        scores, rows = empty_hits(len(queries), k)
        for q, query in enumerate(queries):
            keys, least, *_ = self.keys(part, query, cores(), max(self.shortlist, k))
            numbers = np.empty(int((keys >= least).sum()), np.int64)
            reaching(keys, least, 0, part.rows, numbers)
            for stage, width in enumerate(self.widths):
                size = min(max(self.shortlist >> (stage + 1), k), len(numbers))
                near, kept = empty_hits(1, size)
                chosen(part.vectors, query, numbers, width, near[0], kept[0])
                numbers = np.sort(kept[0])
            chosen(part.vectors, query, numbers, part.vectors.shape[1], scores[q], rows[q])
        return rows, scores
