"""EDRep: L. Dall'Amico, E. M. Belliardo, "Efficient distributed representations with linear-time attention scores
normalization" (TMLR 2025, arXiv 2303.17475).

Unit vectors x_i (and y_j, where the two sides differ) whose softmax over all y is as near as can be, in cross-entropy,
to the rows of a given stochastic matrix P, beside a term that keeps them away from the null model's mean. The
normaliser is that of a mixture of ``kappa`` Gaussians (:mod:`umekomi.parts.partition`), so that an epoch costs O(nnz(P)
d + n κ d²). P is given as factors that are never multiplied out: their product, or the mean of their partial products
(a walk's steps).

For a graph P is (1/L) Σ_{a ≤ L} (D⁻¹A)^a with L = ``walk``; for texts the rows of the words' co-occurrence counts
within ``window``. As in the authors' package, the gradient is brought to length one in every row, the rate falls
linearly to zero, the mixture counts as constant in the gradient, and ``kappa`` > 1 clusters the vectors that κ = 1
gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

from umekomi.data.graphs import graph
from umekomi.data.shapes import shape_name
from umekomi.data.vocabulary import count_tokens, split_words
from umekomi.errors import DataError, WrongUse
from umekomi.fields import AtLeast, Within
from umekomi.files import content_hash
from umekomi.models import load
from umekomi.models.bags import BagEmbedder
from umekomi.models.entity import EntityEmbedder, begin_with
from umekomi.parts.kernels.threads import cores
from umekomi.parts.learning.arrays import curve, learn
from umekomi.parts.partition import groups_of, mixture
from umekomi.recipes import OPTIONAL, Paper, Recipe, Start
from umekomi.run import Run

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from umekomi.contracts import Floats, Sparse, Weights
    from umekomi.models.base import Named

SMALL = 8_000_000
"""Operations of an epoch below which a second thread costs more than it brings."""


@dataclass(frozen=True)
class EDRep(Recipe):
    """A softmax over everything without negative samples: its normaliser is estimated in linear time.

    Learns nodes from ``source, target[, weight]`` or words from texts. ``symmetric`` keeps one table; otherwise sources
    and targets have one each (``role="document"`` reads the targets'). ``null`` is the exponent of the null model's
    weights.
    """

    name: ClassVar[str] = "edrep"
    paper: ClassVar[Paper] = Paper(
        "Efficient distributed representations with linear-time attention scores normalization",
        "Dall'Amico & Belliardo",
        2025,
        "TMLR",
        "2303.17475",
    )
    learns: ClassVar[tuple[str, ...]] = ("graph", "hierarchy", "texts")
    begins: ClassVar[str | None] = OPTIONAL

    dimensions: Annotated[int, AtLeast(1)] = 128
    epochs: Annotated[int, AtLeast(1)] = 30
    learning_rate: Annotated[float, Within(0, 1, "(]")] = 0.8
    kappa: Annotated[int, AtLeast(1)] = 1
    walk: Annotated[int, AtLeast(1)] = 5
    symmetric: bool = True
    directed: bool = False
    null: float = 0.0
    window: Annotated[int, AtLeast(1)] = 5
    min_count: Annotated[int, AtLeast(1)] = 20
    subsample: Annotated[float, AtLeast(0)] = 1e-5
    tokenizer: str = "auto"
    threads: Annotated[int, AtLeast(0)] = 0

    @classmethod
    def small(cls) -> EDRep:
        return cls(dimensions=32, epochs=50, learning_rate=1.0, walk=3, min_count=5)

    @classmethod
    def tiny(cls) -> EDRep:
        return cls(dimensions=4, epochs=3, walk=2, min_count=1, subsample=0.0, threads=1)

    def learn(self, data: pa.Table, start: Start, run: Run) -> EntityEmbedder:
        if shape_name(data) != "texts":
            edges, loops = graph(data, self.name)
            edges = edges if self.directed else edges.both_ways()
            step = _stochastic(edges.heads, edges.tails, edges.weights, len(edges.names))
            names, factors, partial = edges.names, [step] * self.walk, True
            null = np.bincount(edges.tails, edges.weights, len(names)) ** self.null
            about = {"edges": len(edges.heads), "self-loops left out": loops}
        else:
            names, counts, step = self._words(data, run)
            factors, partial, null, about = [step], False, counts**self.null, {"pairs": int(step.nnz)}
        model = self._learn_matrix(factors, names, partial, null, start, run)
        model.card["training"] |= about
        return model

    def fit_matrix(
        self,
        factors: Sequence[Any],
        names: Sequence[str],
        *,
        partial: bool = False,
        null: Weights | None = None,
        start: Named | None = None,
        seed: int = 0,
        checkpoint: str | Path | None = None,
        progress: bool = False,
    ) -> EntityEmbedder:
        """Learn from a stochastic matrix given as factors.

        Args:
            factors: scipy sparse ``[n, n]``: their product, first factor leftmost.
            names: of the rows.
            partial: takes the mean of F₁, F₁F₂, F₁F₂F₃ … for the matrix.
            null: float ``[n]``: weighs the null model; None: all alike.
            start: a table whose vectors are begun with.
            seed: of the first vectors and the groups.
            checkpoint: a folder in which an interrupted fit leaves what the next one picks up.
            progress: shows a bar.
        """
        run = Run(self.name, seed, None if checkpoint is None else Path(checkpoint), progress)
        model = self._learn_matrix(factors, names, partial, null, None if start is None else load(start), run)
        return self.stamped(model, None, run)  # type: ignore[no-any-return]

    def _learn_matrix(
        self, factors: Sequence[Any], names: Sequence[str], partial: bool, null: Weights | None, start: Start, run: Run
    ) -> EntityEmbedder:
        matrices = [_float_csr(factor, len(names)) for factor in factors]
        if not matrices:
            raise WrongUse("edrep: expected at least one factor of P")
        null = np.ones(len(names)) if null is None else np.asarray(null, np.float64)
        weights = (null / null.sum()).astype(np.float32)
        entries = [part.tobytes() for m in matrices for part in (m.data, m.indices, m.indptr)]
        key = content_hash(self.settings(), run.seed, list(names), partial, weights.tobytes(), *entries)
        losses: list[float] = []
        groups = np.zeros(len(names), np.int64)
        tables: list[Any] = []
        for stage in (1, self.kappa) if self.kappa > 1 else (1,):
            if stage > 1:
                groups = groups_of(tables[-1], self.kappa, run.seed)
            tables = self._tables(len(names), start, names, run.seed)
            at, own = run.at(f"kappa_{stage}"), content_hash(key, groups.tobytes())
            losses = self._optimise(tables, matrices, partial, weights, groups, names, own, at)
        about = {
            "entities": len(names),
            "loss": curve(losses),
            "groups": int(groups.max()) + 1,
        }
        card = {"training": about, "threads": cores(self.threads)}
        if self.symmetric:
            return EntityEmbedder(names, tables[0], metric="cosine", name=self.name, card=card)
        return BagEmbedder(
            names,
            tables[0],
            metric="dot",
            power=1.0,
            tokenizer="spaces",
            right=tables[1],
            unknown="error",
            name=self.name,
            card=card,
        )

    def _optimise(
        self,
        tables: list[Any],
        factors: list[Any],
        partial: bool,
        null: Floats,
        groups: NDArray[np.int64],
        names: Sequence[str],
        key: str,
        run: Run,
    ) -> list[float]:
        from umekomi.parts.kernels.sparse import product, sphere_step
        from umekomi.parts.kernels.threads import run_all, shards

        width = self.dimensions
        small = len(names) * width * (width * self.kappa + 10) + sum(factor.nnz for factor in factors) * width < SMALL
        threads = 1 if small else cores(self.threads)
        nothing = np.zeros(0, np.float32), np.zeros((0, width), np.float32), np.zeros((0, width, width), np.float32)
        x, y = tables[0], tables[-1]
        whole = np.zeros(len(x), np.int64)
        turned = [] if self.symmetric else [factor.T.tocsr() for factor in factors]

        def pulled(dense: Floats, matrices: list[Any]) -> Floats:
            """P times dense."""
            if not partial:
                for matrix in reversed(matrices):
                    dense = product(matrix, dense, threads)
                return dense
            # Horner: F1 (y + F2 (y + F3 y)) over their number
            current = product(matrices[-1], dense, threads)
            for matrix in reversed(matrices[:-1]):
                current = product(matrix, dense + current, threads)
            return current / np.float32(len(matrices))

        def back(dense: Floats) -> Floats:
            """The transpose of P times dense."""
            if not partial:
                for matrix in turned:
                    dense = product(matrix, dense, threads)
                return dense
            total, current = np.zeros_like(dense), dense
            for matrix in turned:
                current = product(matrix, current, threads)
                total += current
            return total / np.float32(len(turned))

        def work(epoch: int, low: int, high: int, thread: int) -> float:
            rate = np.float32(self.learning_rate * (1 - epoch / self.epochs))
            towards = pulled(y, factors)
            about, constant = mixture(y, groups, null, threads)
            source = None if self.symmetric else (back(x), mixture(x, whole, null, threads)[1])
            parts = [(low, high) for low, high in shards(len(x), threads)]
            loss = sum(run_all(lambda a, b: sphere_step(x, towards, *about, constant, rate, a, b), parts))
            if source is not None:
                run_all(lambda a, b: sphere_step(y, source[0], *nothing, source[1], rate, a, b), parts)
            return loss

        arrays = {"vectors": x} if self.symmetric else {"sources": x, "targets": y}
        return learn(
            arrays,
            self.epochs,
            len(names),
            work,
            run=run,
            unit="rows",
            threads=1,
            rows=dict.fromkeys(arrays, names),
            key=key,
            piece=max(len(names), 1),
        )

    def _tables(self, count: int, start: Start, names: Sequence[str], seed: int) -> list[Any]:
        from umekomi.parts.similarity import normalise

        generator = np.random.default_rng(seed & 0xFFFFFFFF)
        tables = [
            generator.uniform(-1, 1, (count, self.dimensions)).astype(np.float32)
            for _ in range(1 if self.symmetric else 2)
        ]
        begin_with(tables[0], names, start, self.name)
        return [np.ascontiguousarray(normalise(table)) for table in tables]

    def _words(self, data: pa.Table, run: Run) -> tuple[list[str], NDArray[np.float64], Sparse]:
        from scipy.sparse import csr_array

        corpus = count_tokens(split_words(data["text"].to_pylist(), self.tokenizer), self.min_count, self.name)
        ids, sentence = corpus.ids, np.repeat(np.arange(len(corpus.offsets) - 1), np.diff(corpus.offsets))
        if self.subsample:
            share = corpus.counts / corpus.counts.sum()
            keep = np.sqrt(self.subsample / share) + self.subsample / share
            drawn = np.random.default_rng(run.seed & 0xFFFFFFFF).random(len(ids)) < keep[ids]
            ids, sentence = ids[drawn], sentence[drawn]
        size = len(corpus.names)
        counted = csr_array((size, size), dtype=np.float32)
        for reach in range(1, self.window + 1):
            same = sentence[reach:] == sentence[:-reach]
            a, b = ids[:-reach][same], ids[reach:][same]
            counted = counted + csr_array((np.ones(len(a), np.float32), (a, b)), shape=(size, size))
        counted = (counted + counted.T).tocoo()
        if not counted.nnz:
            raise DataError(f"edrep: expected words that stand within {self.window} of each other, found none")
        return (
            corpus.names,
            corpus.counts.astype(np.float64),
            _stochastic(counted.coords[0], counted.coords[1], counted.data, size),
        )


def _stochastic(
    rows: NDArray[np.integer], columns: NDArray[np.integer], weights: NDArray[np.floating], size: int
) -> Sparse:
    """CSR with rows that sum to one; a node without links of its own stays where it is."""
    from scipy.sparse import csr_array

    matrix = csr_array((np.asarray(weights, np.float64), (rows, columns)), shape=(size, size))
    matrix.sum_duplicates()
    sums = np.asarray(matrix.sum(1)).ravel()
    alone = np.flatnonzero(sums == 0)
    if len(alone):
        matrix = (matrix + csr_array((np.ones(len(alone)), (alone, alone)), shape=(size, size))).tocsr()
        sums[alone] = 1
    matrix.data = (matrix.data / np.repeat(sums, np.diff(matrix.indptr))).astype(np.float32)
    return matrix.astype(np.float32)


def _float_csr(factor: Sparse, size: int) -> Sparse:
    from scipy.sparse import csr_array

    matrix = (
        factor if isinstance(factor, csr_array) and factor.dtype == np.float32 else csr_array(factor, dtype=np.float32)
    )
    if matrix.shape != (size, size):
        raise DataError(f"edrep: expected factors of shape ({size}, {size}), one row a name; found {matrix.shape}")
    if not np.isfinite(matrix.data).all() or (matrix.data < 0).any():
        raise DataError("edrep: expected finite entries of P, none below zero")
    return matrix
