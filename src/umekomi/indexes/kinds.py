"""How an index finds its candidates. A kind learns what it needs once (:meth:`Kind.learn`), derives arrays for every segment
beside the vectors themselves (:meth:`Kind.derive`), and searches a segment (:meth:`Kind.search`); scores are always the exact
similarity of the stored vectors.

``exact`` looks at every vector. ``binary`` scans one bit a dimension against a query cut to a few bits (after RaBitQ, Gao &
Long 2024, arXiv 2405.12497: random rotation, one factor a row that makes the estimate unbiased) and looks again at the best.
``funnel`` scans a prefix in 8 bits and narrows over longer prefixes (adaptive retrieval, Kusupati et al. 2022, section 4.3).
``hnsw`` walks usearch's graph (Malkov & Yashunin 2018). ``sparse`` adds up inverted lists. ``late`` scores token vectors by
MaxSim (Khattab & Zaharia 2020).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar

from umekomi.errors import MissingExtra, WrongUse, same_type, unknown_name
from umekomi.indexes.scans import ROWS, Part, blank, coarse_then_exact, found_share, listed, merged, ranks_of_neighbours, scan, scanned, shortlist_for
from umekomi.parts import similarity as similarities
from umekomi.parts.kernels.threads import cores, over, shards

STEPS = (1.5958, 0.9957, 0.586, 0.3352, 0.1881, 0.1041, 0.0569, 0.0308)
"""Width of a level, in standard deviations, with which 1 to 8 bits lose least of a Gaussian (J. Max 1960); a vector turned at random looks like one."""

CHOOSING = 10_000
"""Rows on which a funnel's first width is chosen."""
AGAIN = 11.0
"""What looking again at a dimension of one row costs, in bytes scanned: a million rows of 256 dimensions, two cores, 140 ns a row against .05 ns a byte."""


@dataclass
class Kind(ABC):
    """A way to find candidates. Fields are its settings; :attr:`codec` is what it learned, saved with the index."""

    name: ClassVar[str]
    outputs: ClassVar[frozenset[str]] = frozenset({"dense"})
    metrics: ClassVar[frozenset[str] | None] = frozenset({"cosine", "dot"})
    codec: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def check(self, output: str, metric: str, dimension: int) -> None:
        """One error for vectors that this kind cannot search."""
        if output not in self.outputs or (self.metrics is not None and metric not in self.metrics):
            raise WrongUse(
                f"index kind {self.name}: expected {' or '.join(sorted(self.outputs))} vectors"
                + (f" compared by {' or '.join(sorted(self.metrics))}" if self.metrics is not None else "")
                + f", found {output} ones compared by {metric}"
            )

    def settings(self) -> dict[str, Any]:
        """The fields, for the manifest."""
        return {key: value for key, value in asdict(self).items() if key != "codec"}

    def learn(self, vectors: Any) -> None:
        """Learn the codec from a sample, float32 ``[n, d]``; most kinds have none."""
        self.codec = {}

    def derive(self, vectors: Any) -> dict[str, Any]:
        """Arrays to keep beside a segment's vectors."""
        return {}

    def tuned(self, parts: list[Part], recall: float, k: int = 10, sample: int = 256, seed: int = 0) -> dict[str, Any]:
        """Settings that reach ``recall`` at ``k`` on rows of the index asked as queries (each without itself)."""
        return {}

    @abstractmethod
    def search(self, part: Part, queries: Any, k: int, similarity: Any) -> tuple[Any, Any]:
        """(rows of the segment int64, scores float32), both ``[queries, k]``, best first; -1 and minus infinity where there
        are fewer."""


@dataclass
class Exact(Kind):
    """Every vector, by the model's own similarity."""

    name: ClassVar[str] = "exact"
    metrics: ClassVar[frozenset[str] | None] = None

    def search(self, part: Part, queries: Any, k: int, similarity: Any) -> tuple[Any, Any]:
        import numpy as np

        if similarity is None:
            return scan(part, queries, k)
        from umekomi.parts.kernels.scan import take_best

        scores, rows = blank(len(queries), k)
        for start in range(0, part.rows, ROWS):
            block = np.ascontiguousarray(similarity(queries, part.vectors[start : start + ROWS]), np.float32)
            take_best(block, start, part.allowed, scores, rows)
        return rows, scores


@dataclass
class Binary(Kind):
    """One bit a dimension, a query of ``query_bits`` bits, the ``shortlist`` best looked at again. ``shortlist`` 0 is
    tuned, from a thousand rows on; before, every vector is looked at."""

    name: ClassVar[str] = "binary"
    query_bits: int = 4
    shortlist: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.query_bits <= 8:
            raise WrongUse(f"index kind binary, query_bits: expected 1 to 8, found {self.query_bits}")

    def learn(self, vectors: Any) -> None:
        import numpy as np

        width = vectors.shape[1]
        padded = -(-width // 64) * 64
        rotation, _ = np.linalg.qr(np.random.default_rng(self.seed).standard_normal((padded, padded)))
        mean = np.asarray(vectors, np.float64).mean(0)
        self.codec = {"mean": mean.astype(np.float32), "rotation": np.ascontiguousarray(rotation[:width], np.float32)}

    def derive(self, vectors: Any) -> dict[str, Any]:
        import numpy as np

        rotation = self.codec["rotation"]
        words = rotation.shape[1] // 64
        codes, factors = np.zeros((words, len(vectors)), np.uint64), np.zeros(len(vectors), np.float32)
        longest = 0.0
        for start in range(0, len(vectors), ROWS):
            block = (np.asarray(vectors[start : start + ROWS], np.float32) - self.codec["mean"]) @ rotation
            codes[:, start : start + ROWS] = np.packbits(block > 0, axis=1, bitorder="little").view("<u8").T
            longest = max(longest, float((block**2).sum(1).max()) ** 0.5)
            # |x|² / Σ|x_i|: with it the signs' product with a query estimates the vector's without bias (Gao & Long 2024, theorem 3.2)
            factors[start : start + ROWS] = (block**2).sum(1) / np.maximum(np.abs(block).sum(1), 1e-20)
        return {"codes": codes, "factors": factors, "longest": np.array([longest], np.float32)}

    def _asked(self, query: Any) -> tuple[Any, ...]:
        import numpy as np

        turned = (query @ self.codec["rotation"]).astype(np.float32)
        length = float(np.linalg.norm(turned))
        step = max(STEPS[self.query_bits - 1] * length / len(turned) ** 0.5, 1e-20)
        half = 1 << (self.query_bits - 1)
        levels = np.clip(np.floor(turned / step) + half, 0, 2 * half - 1).astype(np.uint8)
        planes = np.stack([np.packbits((levels >> p) & 1, bitorder="little").view("<u8") for p in range(self.query_bits)])
        return planes, step, (2 * half - 1) * len(turned) / 2, length

    def keys(self, part: Part, query: Any, threads: int, wanted: int) -> tuple[Any, int]:
        """(key of every row, the key that ``wanted`` rows reach)."""
        import numpy as np

        from umekomi.parts.kernels.scan import BINS, bit_keys

        planes, step, middle, length = self._asked(query)
        # the longest stored vector times the query's length bounds every estimate but for its error
        scale = step * BINS / 2 / max(1.2 * length * float(part.arrays["longest"][0]), 1e-20)
        numbers = (planes, np.float32(scale), np.float32(middle), np.float32(BINS / 2))
        return scanned(bit_keys, (part.arrays["codes"], part.arrays["factors"], *numbers), part, threads, wanted)

    def tuned(self, parts: list[Part], recall: float, k: int = 10, sample: int = 256, seed: int = 0) -> dict[str, Any]:
        return {"shortlist": shortlist_for(ranks_of_neighbours(parts, lambda part, query: self.keys(part, query, cores(), 1), k, sample, seed), recall, k)}

    def search(self, part: Part, queries: Any, k: int, similarity: Any) -> tuple[Any, Any]:
        if not self.shortlist:  # few rows so far: nothing to tune on
            return scan(part, queries, k)
        return coarse_then_exact(part, queries, k, max(self.shortlist, k), self.keys)


@dataclass
class Funnel(Kind):
    """A prefix of ``width`` dimensions in 8 bits, then ``widths`` longer prefixes, then all; each stage keeps half as many as
    the one before. ``rotate`` turns vectors to their main directions first (PCA), so that prefixes say most whatever the
    model; without it they are the model's own, as a Matryoshka model wants. ``width`` 0 is the one that makes scan and second look
    together cheapest on rows of the index (a quarter while there are few), ``shortlist`` 0 tuned."""

    name: ClassVar[str] = "funnel"
    width: int = 0
    widths: tuple[int, ...] = ()
    rotate: bool = True
    shortlist: int = 0

    def check(self, output: str, metric: str, dimension: int) -> None:
        super().check(output, metric, dimension)
        stages = (self.width or 1, *self.widths, dimension)
        if list(stages) != sorted(set(stages)):
            raise WrongUse(f"index kind funnel: expected rising prefixes below {dimension} dimensions, found {', '.join(map(str, stages[:-1]))}")
        if self.rotate and self.widths:
            raise WrongUse("index kind funnel: stages between the first and the last are prefixes of the model's own vectors: set rotate to False")

    def learn(self, vectors: Any) -> None:
        import numpy as np

        vectors = np.asarray(vectors, np.float64)
        directions = np.eye(vectors.shape[1])
        if self.rotate:
            _, found = np.linalg.eigh(np.cov(vectors, rowvar=False) if len(vectors) > 1 else directions)
            directions = found[:, ::-1]
        self.width = self.width or self._cheapest(vectors, directions)
        self.codec = self._learned(vectors, directions)

    def _learned(self, vectors: Any, directions: Any) -> dict[str, Any]:
        import numpy as np

        first = np.ascontiguousarray(directions[:, : self.width])
        reach = np.abs(self._short(vectors, first)).max(0) if len(vectors) else np.ones(self.width)
        return {"directions": first.astype(np.float32), "step": np.maximum(reach / 127, 1e-12).astype(np.float32)}

    def _cheapest(self, vectors: Any, directions: Any) -> int:
        """The width at which a row costs least: its bytes scanned, and its share of being looked at again, which costs
        :data:`AGAIN` bytes scanned a dimension."""
        import numpy as np

        most = (self.widths or (vectors.shape[1],))[0]
        choices = sorted({64 * round(most * part / 64) for part in (1 / 16, 1 / 8, 1 / 4, 3 / 8, 1 / 2, 5 / 8, 3 / 4)} & set(range(64, most)))
        if len(vectors) < 1000 or not choices:
            return max(1, most // 4)
        rows = np.asarray(vectors[np.random.default_rng(0).permutation(len(vectors))[:CHOOSING]], np.float32)
        costs = [width + AGAIN * rows.shape[1] * Funnel(width=width, rotate=self.rotate)._again(rows, directions) for width in choices]
        return choices[int(np.argmin(costs))]

    def _again(self, rows: Any, directions: Any) -> float:
        """The share of these rows to look at again for .95 of the true neighbours."""
        import numpy as np

        self.codec = self._learned(rows, directions)
        part = Part(rows, self.derive(rows), np.zeros(0, np.uint8), len(rows))
        ranks = ranks_of_neighbours([part], lambda part, query: self.keys(part, query, 1, 1), 10, 128, 0)
        return float(np.quantile(ranks, 0.95)) / len(rows)

    def _short(self, vectors: Any, directions: Any) -> Any:
        short = vectors @ directions
        return short if self.rotate else similarities.normalise(short)

    def derive(self, vectors: Any) -> dict[str, Any]:
        import numpy as np

        codes = np.zeros((len(vectors), self.width), np.int8)
        longest = 0.0
        for start in range(0, len(vectors), ROWS):
            short = self._short(np.asarray(vectors[start : start + ROWS], np.float32), self.codec["directions"])
            whole = np.clip(np.round(short / self.codec["step"]), -127, 127)
            codes[start : start + ROWS] = whole
            longest = max(longest, float((whole**2).sum(1).max()) ** 0.5)
        return {"codes": codes, "longest": np.array([longest], np.float32)}

    def keys(self, part: Part, query: Any, threads: int, wanted: int) -> tuple[Any, int]:
        """(key of every row, the key that ``wanted`` rows reach)."""
        import numpy as np

        from umekomi.parts.kernels.scan import BINS, byte_keys

        asked = self._short(query[None], self.codec["directions"])[0] * self.codec["step"]
        longest = float(part.arrays["longest"][0])
        # whole numbers of at most 15 bits, whose product with the longest row fits in 31
        fine = max(float(np.abs(asked).max()) / 32767, float(np.linalg.norm(asked.astype(np.float64))) * longest / 2**30, 1e-30)
        whole = np.round(asked / fine).astype(np.int16)
        reach = max(float(np.linalg.norm(whole.astype(np.float64))) * longest, 1.0)
        return scanned(byte_keys, (part.arrays["codes"], whole, np.float32(BINS / 2 / reach), np.float32(BINS / 2)), part, threads, wanted)

    def tuned(self, parts: list[Part], recall: float, k: int = 10, sample: int = 256, seed: int = 0) -> dict[str, Any]:
        self.shortlist = shortlist_for(ranks_of_neighbours(parts, lambda part, query: self.keys(part, query, cores(), 1), k, sample, seed), recall, k)
        part = max(parts, key=lambda each: each.rows)
        # later stages lose some of what the first one found: ask for more until the whole holds
        while self.widths and self.shortlist < part.rows and found_share(self, part, k, sample, seed) < recall:
            self.shortlist = min(part.rows, self.shortlist * 3 // 2 + 1)
        return {"shortlist": self.shortlist}

    def search(self, part: Part, queries: Any, k: int, similarity: Any) -> tuple[Any, Any]:
        import numpy as np

        if not self.shortlist:
            return scan(part, queries, k)
        if not self.widths or part.few(k):
            return coarse_then_exact(part, queries, k, max(self.shortlist, k), self.keys)
        from umekomi.parts.kernels.scan import chosen, reaching

        scores, rows = blank(len(queries), k)
        for q, query in enumerate(queries):
            keys, least = self.keys(part, query, cores(), max(self.shortlist, k))
            numbers = np.empty(int((keys >= least).sum()), np.int64)
            reaching(keys, least, 0, part.rows, numbers)
            for stage, width in enumerate(self.widths):
                size = min(max(self.shortlist >> (stage + 1), k), len(numbers))
                near, kept = blank(1, size)
                chosen(part.vectors, query, numbers, width, near[0], kept[0])
                numbers = np.sort(kept[0])
            chosen(part.vectors, query, numbers, part.vectors.shape[1], scores[q], rows[q])
        return rows, scores


@dataclass
class Hnsw(Kind):
    """usearch's graph: ``connections`` a node (M), ``build_effort`` and ``effort`` candidates when building and searching (ef).
    ``effort`` 0 is tuned. A filter that leaves little is answered by looking at what it leaves."""

    name: ClassVar[str] = "hnsw"
    connections: int = 16
    build_effort: int = 128
    effort: int = 0

    def __post_init__(self) -> None:
        for setting, least in (("connections", 2), ("build_effort", 1)):
            if getattr(self, setting) < least:
                raise WrongUse(f"index kind hnsw, {setting}: expected {least} or more, found {getattr(self, setting)}")

    def _graph(self, width: int) -> Any:
        try:
            from usearch.index import Index as Graph
        except ImportError:
            raise MissingExtra("usearch", "search", "an HNSW index") from None
        return Graph(ndim=width, metric="ip", dtype="f32", connectivity=self.connections, expansion_add=self.build_effort, expansion_search=self.effort or 64)

    def derive(self, vectors: Any) -> dict[str, Any]:
        import numpy as np

        graph = self._graph(vectors.shape[1])
        for start in range(0, len(vectors), ROWS * 8):
            block = np.asarray(vectors[start : start + ROWS * 8], np.float32)
            graph.add(np.arange(start, start + len(block), dtype=np.uint64), block, threads=cores())
        return {"graph": np.frombuffer(bytes(graph.save()), np.uint8)}

    def opened(self, part: Part) -> Any:
        """The graph over the memory map, opened once a segment."""
        if "opened" not in part.arrays:
            graph = self._graph(part.vectors.shape[1])
            graph.view(memoryview(part.arrays["graph"]))
            part.arrays["opened"] = graph
        return part.arrays["opened"]

    def tuned(self, parts: list[Part], recall: float, k: int = 10, sample: int = 256, seed: int = 0) -> dict[str, Any]:
        part = max(parts, key=lambda each: each.rows)
        for effort in (16, 32, 64, 128, 256, 512, 1024):
            self.effort = effort
            if found_share(self, part, k, sample, seed) >= recall:
                break
        return {"effort": self.effort}

    def search(self, part: Part, queries: Any, k: int, similarity: Any) -> tuple[Any, Any]:
        import numpy as np

        if part.few(k):
            return listed(part, queries, np.flatnonzero(part.allowed), k)
        graph = self.opened(part)
        graph.expansion_search = self.effort or 64
        # rows that do not count take places on the walk: ask for more by their share, and scan where that is not enough
        share = part.living / max(part.rows, 1)
        more = min(part.rows, k if share == 1 else int(np.ceil(2 * k / max(share, 1e-9))))
        scores, rows = blank(len(queries), k)
        if more > 4096:
            return scan(part, queries, k)
        found = graph.search(np.ascontiguousarray(queries), more, threads=cores())
        keys = np.atleast_2d(found.keys).astype(np.int64)
        distances = np.atleast_2d(found.distances)
        counts = np.atleast_1d(getattr(found, "counts", np.full(len(queries), keys.shape[1])))
        short = []
        for q in range(len(queries)):
            near = keys[q, : counts[q]]
            kept = np.flatnonzero(part.allowed[near]) if len(part.allowed) else np.arange(len(near))
            kept = kept[:k]
            rows[q, : len(kept)], scores[q, : len(kept)] = near[kept], 1 - distances[q, kept]
            if len(kept) < min(k, part.living):
                short.append(q)
        if short:
            rows[short], scores[short] = scan(part, queries[short], k)
        return rows, scores


@dataclass
class Sparse(Kind):
    """Inverted lists: only documents that share a latent with the query are met, and their products are exact."""

    name: ClassVar[str] = "sparse"
    outputs: ClassVar[frozenset[str]] = frozenset({"sparse"})

    def derive(self, vectors: Any) -> dict[str, Any]:
        import numpy as np

        lists = vectors.tocsc()
        return {"offsets": lists.indptr.astype(np.int64), "documents": lists.indices.astype(np.int32), "values": lists.data.astype(np.float32)}

    def search(self, part: Part, queries: Any, k: int, similarity: Any) -> tuple[Any, Any]:
        import numpy as np

        from umekomi.parts.kernels.scan import sparse_search

        lists = [part.arrays[name] for name in ("offsets", "documents", "values")]
        pointers, asked = queries.indptr.astype(np.int64), (queries.indices.astype(np.int32), queries.data.astype(np.float32))
        count, threads = queries.shape[0], cores()

        def some(first: int, last: int, low: int, high: int) -> tuple[Any, Any]:
            scores, rows = blank(last - first, k)
            sparse_search(*lists, pointers[first : last + 1], *asked, part.allowed, low, high, scores, rows)
            return rows, scores

        if count < 2 * threads:  # a few queries: each over all threads
            return merged(over(some, [(0, count, low, high) for low, high in shards(part.rows, threads)]), k)
        found = over(some, [(first, last, 0, part.rows) for first, last in shards(count, threads)])
        return np.concatenate([rows for rows, _ in found]), np.concatenate([scores for _, scores in found])


@dataclass
class Late(Kind):
    """Token vectors, every document scored by MaxSim."""

    name: ClassVar[str] = "late"
    outputs: ClassVar[frozenset[str]] = frozenset({"multi"})
    metrics: ClassVar[frozenset[str] | None] = frozenset({"maxsim"})

    def search(self, part: Part, queries: Any, k: int, similarity: Any) -> tuple[Any, Any]:
        import numpy as np

        from umekomi.parts.kernels.scan import take_best

        scores, rows = blank(queries.items, k)
        for start, stop in _by_tokens(part.vectors.offsets):
            block = np.ascontiguousarray(similarities.maxsim(queries, similarities.rows(part.vectors, start, stop)))
            take_best(block, start, part.allowed, scores, rows)
        return rows, scores


def _by_tokens(offsets: Any, tokens: int = 1 << 16) -> Iterator[tuple[int, int]]:
    """Ranges of documents with about so many token vectors together."""
    import numpy as np

    start, last = 0, len(offsets) - 1
    while start < last:
        stop = int(np.searchsorted(offsets, offsets[start] + tokens, side="right")) - 1
        stop = min(max(stop, start + 1), last)
        yield start, stop
        start = stop


KINDS: dict[str, type[Kind]] = {kind.name: kind for kind in (Exact, Binary, Funnel, Hnsw, Sparse, Late)}


TUNED = ("shortlist", "effort")
"""Settings that an index finds for the recall asked for; 0 leaves them to it."""


def plain(output: str) -> Kind:
    """The kind that looks at everything, for this kind of output."""
    return {"sparse": Sparse, "multi": Late}.get(output, Exact)()


def made(name: str, settings: dict[str, Any]) -> Kind:
    """A kind by name with these settings; the error for a setting that it does not have, of another type, or below zero."""
    kind = named(name)
    known = {each.name: each.default for each in fields(kind) if each.init}
    settings = {setting: tuple(value) if isinstance(value, list) else value for setting, value in settings.items()}
    for setting, value in settings.items():
        if setting not in known:
            raise unknown_name(f"setting of index kind {name}", setting, known) if known else WrongUse(f"index kind {name} has no settings, found {setting!r}")
        same_type(f"index kind {name}, {setting}", known[setting], value)
        for number in value if isinstance(value, tuple) else (value,):
            if not isinstance(number, int) or number < 0:
                raise WrongUse(f"index kind {name}, {setting}: expected whole numbers from 0 up, found {value!r}")
    return kind(**settings)


def named(name: str) -> type[Kind]:
    """The kind of this name, or the error with the nearest ones."""
    if name not in KINDS:
        raise unknown_name("index kind", name, {*KINDS, "auto"})
    return KINDS[name]


__all__ = ["KINDS", "Binary", "Exact", "Funnel", "Hnsw", "Kind", "Late", "Sparse", "named"]
