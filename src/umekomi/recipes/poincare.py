"""Poincaré embeddings: M. Nickel, D. Kiela, "Poincaré embeddings for learning hierarchical representations" (NeurIPS
2017, arXiv 1705.08039), and the hyperboloid of their "Learning continuous hierarchies in the Lorentz model of
hyperbolic geometry" (ICML 2018, arXiv 1806.03417).

Riemannian SGD on the softmax of minus distances over one related node and ``negatives`` unrelated ones (2017, eq. 6):
in the ball the gradient is scaled by (1 - |x|²)² / 4 and the step taken straight, points that leave it are put back
(eq. 5); on the hyperboloid steps follow geodesics (2018, algorithm 1). ``manifold="euclidean"`` is the arm of both
papers' tables: the same loss on the squared distance.

Where paper and released code differ: the paper's schedule is burn-in at a tenth of the rate, 10 epochs, 10 uniform
negatives (the plain constructor); the released one for WordNet's nouns is a constant rate of 1 (ball) or .5
(hyperboloid), 20 epochs of burn-in at a hundredth, 50 negatives drawn by frequency to the power .75
(:meth:`Poincare.released`). Both update in mini-batches; here every relation is a step of its own, so the rates are not
the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np

from umekomi.data.graphs import Relations, closure, graph, hierarchy, relations
from umekomi.data.shapes import shape_name
from umekomi.errors import WrongUse
from umekomi.fields import Above, AtLeast, Within
from umekomi.files import content_hash
from umekomi.models.entity import EntityEmbedder, begin_with
from umekomi.parts.kernels.threads import cores, run_all, shards
from umekomi.parts.learning.arrays import curve, learn, order
from umekomi.recipes import OPTIONAL, Paper, Recipe, Start
from umekomi.run import Run

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from umekomi.contracts import Floats

HARD_EVERY = 10
RISE = 0.8
"""The share of the epochs in which a rising rate rises."""
MANIFOLDS = {"ball": "poincare", "lorentz": "lorentz", "euclidean": "euclidean"}


def _between(first: float, last: float, share: float) -> float:
    """The way from ``first`` to ``last`` by equal ratios."""
    return float(first * (last / first) ** share)


@dataclass(frozen=True)
class Poincare(Recipe):
    """In hyperbolic space a hierarchy fits into a few dimensions: general things near the middle, special ones at the
    rim.

    Learns from ``child, parent`` (what follows from them is added, and a cycle is an error) or from a graph,
    ``source, target``, each edge both ways. Double precision while learning; the table that is kept is float32.

    ``threads`` 0 takes every core (Hogwild: not the same bits twice); 1 is reproducible.
    ``dampening`` p draws negatives by (how often a node is a parent)^p, 0 uniformly.
    """

    name: ClassVar[str] = "poincare"
    paper: ClassVar[Paper] = Paper(
        "Poincaré embeddings for learning hierarchical representations", "Nickel & Kiela", 2017, "NeurIPS", "1705.08039"
    )
    learns: ClassVar[tuple[str, ...]] = ("hierarchy", "graph")
    begins: ClassVar[str | None] = OPTIONAL
    presets: ClassVar[tuple[str, ...]] = ("released", "nouns")

    dimensions: Annotated[int, AtLeast(2)] = 10
    manifold: Literal["ball", "lorentz", "euclidean"] = "ball"
    negatives: Annotated[int, AtLeast(1)] = 10
    learning_rate: Annotated[float, Above(0)] = 0.1
    epochs: Annotated[int, AtLeast(1)] = 300
    burn_in: Annotated[int, AtLeast(0)] = 10
    burn_in_share: Annotated[float, Above(0)] = 0.1
    """Of the learning rate, while burning in."""
    schedule: Literal["constant", "linear", "rising"] = "constant"
    """After burn-in: ``constant`` (paper and released code), ``linear`` to zero, or ``rising``: from
    ``first_learning_rate`` to ``learning_rate`` geometrically, with no burn-in, and down to ``last_learning_rate`` over
    the last fifth."""
    first_learning_rate: Annotated[float, Above(0)] = 0.005
    last_learning_rate: Annotated[float, Above(0)] = 0.02
    first_negatives: Annotated[int, AtLeast(0)] = 0
    """With ``rising``: so many negatives at first, and as the rate rises ever more, to ``negatives`` (0: as many
    throughout). The first epochs put whole branches in their places, which few negatives show as well, in less time."""
    dampening: Annotated[float, AtLeast(0)] = 0.0
    adaptive: bool = False
    """Divide a point's steps by the root of its summed squared gradients (Bécigneul & Ganea 2019)."""
    edge: Annotated[float, Above(0)] = 1e-5
    """The ball's points are kept at norms up to 1 - edge."""
    scale: Annotated[float, Above(0)] = 1e-3
    """Points begin uniformly in a cube of this half-width."""
    init: Literal["random", "spectral"] = "random"
    """``random``, or ``spectral``: added to it the relations' leading eigenvectors, which put whole branches in their
    places."""
    init_spread: Annotated[float, Above(0)] = 0.1
    """With ``spectral``: the root of the mean square of every coordinate (of the hyperboloid's space part)."""
    transitive: bool = True
    hard_epochs: Annotated[int, AtLeast(0)] = 0
    """In so many last epochs, a share ``hard`` of the negatives is drawn from each node's ``hard_pool`` closest
    unrelated nodes, looked up every ten epochs; the learning rate falls geometrically from ``hard_learning_rate`` to a
    tenth of it."""
    hard: Annotated[float, Within(0, 1)] = 0.1
    hard_pool: Annotated[int, AtLeast(1)] = 50
    hard_learning_rate: Annotated[float, Above(0)] = 0.05
    threads: Annotated[int, AtLeast(0)] = 0

    @classmethod
    def small(cls) -> Poincare:
        return cls(dimensions=5, negatives=20, epochs=300, learning_rate=0.3, schedule="rising")

    @classmethod
    def released(cls, manifold: Literal["ball", "lorentz", "euclidean"] = "ball") -> Poincare:
        """The settings that the authors' repository gives for WordNet's nouns."""
        rate = {"ball": 1.0, "lorentz": 0.5, "euclidean": 1.0}[manifold]
        return cls(
            dimensions=10,
            manifold=manifold,
            negatives=50,
            learning_rate=rate,
            epochs=1500,
            burn_in=20,
            burn_in_share=0.01,
            dampening=0.75,
        )

    @classmethod
    def nouns(cls) -> Poincare:
        """What WordNet's 743,241 noun pairs need here: the hyperboloid (the ball's rim at 1 - 1e-5 leaves leaves no
        room beyond their parents), a spectral start (from chance, nodes with two lines of ancestors stay where only one
        of them is near), and a rate that rises from almost nothing (a fast start freezes in a wrong order) to where
        every step is long (at .3 it stops half-way)."""
        return cls(
            dimensions=5,
            manifold="lorentz",
            init="spectral",
            negatives=50,
            first_negatives=20,
            learning_rate=2.0,
            epochs=400,
            schedule="rising",
            first_learning_rate=0.003,
            last_learning_rate=0.01,
        )

    @classmethod
    def tiny(cls) -> Poincare:
        return cls(dimensions=2, negatives=2, epochs=3, threads=1)

    def metric(self) -> str:
        """How the vectors of this manifold compare."""
        return MANIFOLDS[self.manifold]

    def learn(self, data: pa.Table, start: Start, run: Run) -> EntityEmbedder:
        from umekomi.parts.kernels.draw import mix
        from umekomi.parts.kernels.hyperbolic import GEOMETRIES, LORENTZ, sgd
        from umekomi.parts.spectral import spectral

        links, notes = self._relations(data)
        count, width = len(links.names), self.dimensions
        geometry = GEOMETRIES[self.metric()]
        table = np.random.default_rng(run.seed & 0xFFFFFFFF).uniform(-self.scale, self.scale, (count, width))
        if self.init == "spectral":
            table += self.init_spread * spectral(links, width)
            if self.manifold == "ball":
                table /= 1 + np.sqrt(1 + (table**2).sum(1, keepdims=True))
        skip = int(geometry == LORENTZ)
        if start is not None and (
            not isinstance(start, EntityEmbedder) or start.metric != self.metric() or start.dimension - skip != width
        ):
            raise WrongUse(
                f"{self.name}: start must be a table of {width} dimensions on the same manifold ({self.manifold})"
            )
        begin_with(table, links.names, start, self.name, skip)
        if geometry == LORENTZ:
            table = np.column_stack([np.sqrt(1 + (table**2).sum(1)), table])
        offsets, neighbours = links.neighbours()
        pool = self._pool(links)
        history = np.zeros(count if self.adaptive else 0)
        nearest = np.zeros((count, 0), np.int32)
        share = 0.0
        shuffled = np.zeros(0, np.int64)

        def begin(epoch: int) -> None:
            nonlocal shuffled, nearest, share
            shuffled = order(len(links.heads), run.seed, epoch)
            since = epoch - (self.epochs - self.hard_epochs)
            if self.hard and since >= 0 and (since % HARD_EVERY == 0 or not share):
                share = self.hard
                nearest = self._nearest(table, geometry, offsets, neighbours)

        def work(epoch: int, low: int, high: int, thread: int) -> float:
            state = mix(run.seed, epoch, low, thread)
            chosen, rate, negatives = shuffled[low:high], self._rate(epoch), self._negatives(epoch)
            return sgd(
                table,
                history,
                links.heads,
                links.tails,
                chosen,
                offsets,
                neighbours,
                pool,
                nearest,
                share,
                negatives,
                rate,
                self.edge,
                geometry,
                state,
            )

        losses = learn(
            {"points": table} | ({"history": history} if self.adaptive else {}),
            self.epochs,
            len(links.heads),
            work,
            run=run,
            unit="relations",
            threads=self.threads,
            begin=begin,
            rows={"points": links.names},
            hint=f"a smaller learning_rate (now {self.learning_rate}) or a longer burn-in usually mends this",
            key=content_hash(self.settings(), run.seed, links.heads.tobytes(), links.tails.tobytes(), links.names),
        )
        about = {
            "entities": count,
            "relations": len(links.heads),
            "loss": curve(losses, most=20),
            "notes": notes,
        }
        card = {"training": about, "threads": cores(self.threads)}
        return EntityEmbedder(links.names, self._kept(table), metric=self.metric(), name=self.name, card=card)

    def check(self) -> None:
        if self.hard_epochs >= self.epochs:
            raise WrongUse(f"{self.name}: expected hard_epochs below epochs, found {self.hard_epochs} of {self.epochs}")

    def _relations(self, data: pa.Table) -> tuple[Relations, list[str]]:
        if shape_name(data) == "hierarchy":
            pairs = hierarchy(data, self.name)
            closed = closure(pairs) if self.transitive else pairs
            return relations(closed), [f"{len(pairs):,} pairs given, {len(closed):,} with what follows from them"]
        found, loops = graph(data, self.name)
        return found.both_ways(), [f"{loops} self-loops left out"] if loops else []

    def _pool(self, found: Relations) -> NDArray[np.int32]:
        """Nodes, each as often as it is to be drawn."""
        nodes = np.arange(len(found.names), dtype=np.int32)
        if not self.dampening:
            return nodes
        often = np.maximum(np.bincount(found.tails, minlength=len(nodes)), 1) ** self.dampening
        return np.repeat(nodes, np.maximum(1, np.round(often)).astype(np.int64))

    def _rate(self, epoch: int) -> float:
        epochs = self.epochs - self.hard_epochs
        if epoch >= epochs:
            return self.hard_learning_rate * 0.1 ** ((epoch - epochs) / self.hard_epochs)
        if self.schedule == "rising":
            done = epoch / epochs
            if done < RISE:
                return _between(self.first_learning_rate, self.learning_rate, done / RISE)
            return _between(self.learning_rate, self.last_learning_rate, (done - RISE) / (1 - RISE))
        if epoch < self.burn_in:
            return self.learning_rate * self.burn_in_share
        return (
            self.learning_rate * (1 - (epoch - self.burn_in) / (epochs - self.burn_in))
            if self.schedule == "linear"
            else self.learning_rate
        )

    def _negatives(self, epoch: int) -> int:
        if self.schedule != "rising" or not self.first_negatives:
            return self.negatives
        done = min(1.0, epoch / (self.epochs - self.hard_epochs) / RISE)
        return round(_between(self.first_negatives, self.negatives, done))

    def _nearest(
        self, table: NDArray[np.float64], geometry: int, offsets: NDArray[np.int64], neighbours: NDArray[np.int32]
    ) -> NDArray[np.int32]:
        """Every node's closest unrelated nodes, int32 ``[n, hard_pool]``: all pairs are compared."""
        from umekomi.parts.kernels.hyperbolic import closest, columns_of

        columns, weights = columns_of(table, geometry)
        heads = np.flatnonzero(np.diff(offsets)).astype(np.int32)
        out = np.repeat(np.arange(len(table), dtype=np.int32)[:, None], min(self.hard_pool, len(table) - 1), 1)
        run_all(
            lambda low, high: closest(columns, weights, geometry, heads[low:high], offsets, neighbours, out),
            shards(len(heads), cores(self.threads)),
        )
        return out

    def _kept(self, table: NDArray[np.float64]) -> Floats:
        """float32 that still lies on the manifold: rounding may not carry a point out of the ball or off the
        hyperboloid."""
        if self.manifold == "ball":
            norms = np.linalg.norm(table, axis=1, keepdims=True)
            return (table * np.minimum(1.0, (1 - self.edge) / np.maximum(norms, 1e-300))).astype(np.float32)
        return table.astype(np.float32)
