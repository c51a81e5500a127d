"""EDRep beside the authors' package, gensim's DeepWalk and truncated SVD of log P: seconds, and NMI of k-means with the
labels."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.run import figure, rate, timed
from umekomi.data import load
from umekomi.data.graphs import graph
from umekomi.data.sets import offline_root
from umekomi.parts.similarity import normalise
from umekomi.progress import say
from umekomi.recipes import get
from umekomi.verbs.reproduce import Measurement

CLAIM, SEEDS = "speed-edrep", (0, 1, 2)


def labels(name: str) -> dict[str, str]:
    """Node → its class (of several, the first)."""
    root = offline_root()
    assert root is not None, "set UMEKOMI_DATA"
    found: dict[str, str] = {}
    text = gzip.decompress((root / "graphs" / f"{name}_labels.tsv.gz").read_bytes()).decode()
    for line in text.splitlines()[1:]:
        node, label = line.split("\t")[:2]
        if label != "-1":
            found.setdefault(node, label)
    return found


def nmi(vectors: Any, truth: list[str], seed: int) -> float:
    from sklearn.cluster import KMeans
    from sklearn.metrics import normalized_mutual_info_score

    return float(
        normalized_mutual_info_score(truth, KMeans(len(set(truth)), n_init=20, random_state=seed).fit_predict(vectors))
    )


def walk(edges: Any) -> tuple[list[str], Any, Any]:
    """(the nodes, their adjacency, the matrix of a random walk's step) of a graph."""
    from scipy.sparse import csr_array, diags_array

    found, _ = graph(edges, CLAIM)
    names, both = found.names, found.both_ways()
    adjacency = csr_array((both.weights, (both.heads, both.tails)), shape=(len(names), len(names)))
    return names, adjacency, csr_array(diags_array(1 / adjacency.sum(1)) @ adjacency)


def arms(edges: Any) -> Iterator[tuple[str, Callable[[int], Any]]]:
    """(name, function of a seed that gives a vector for every node of ``graph(edges)``)."""
    from scipy.sparse import csr_array, csr_matrix, diags_array

    names, adjacency, step = walk(edges)
    for kappa in (1, 4):
        recipe = get("edrep")(dimensions=32, epochs=50, learning_rate=1.0, kappa=kappa)
        yield (
            f"umekomi, κ = {kappa}",
            lambda seed, recipe=recipe: recipe.fit_matrix([step] * 3, names, partial=True, seed=seed).vectors,
        )
    try:
        from EDRep import CreateEmbedding

        def package(seed: int) -> Any:
            np.random.seed(seed)
            return CreateEmbedding(
                [csr_matrix(step)] * 3, dim=32, n_epochs=50, sum_partials=True, k=1, eta=1.0, verbose=False
            ).X

        yield "EDRep 0.1.2 (the authors' package), κ = 1", package
    except ImportError:
        say("EDRep is not installed: its arm is left out")
    try:
        from gensim.models import Word2Vec

        starts, columns = adjacency.indptr, adjacency.indices

        def deepwalk(seed: int) -> Any:
            generator = np.random.default_rng(seed)
            walk = np.tile(np.arange(len(names)), 10)
            walks = [walk]
            for _ in range(39):
                walk = columns[
                    starts[walk] + (generator.random(len(walk)) * (starts[walk + 1] - starts[walk])).astype(np.int64)
                ]
                walks.append(walk)
            sentences = [[str(node) for node in row] for row in np.stack(walks, 1)]
            model = Word2Vec(
                sentences, vector_size=32, window=5, sg=1, negative=5, min_count=0, workers=2, seed=seed, epochs=1
            )
            return model.wv[[str(i) for i in range(len(names))]]

        yield "gensim DeepWalk, 10 × 40 walks", deepwalk
    except ImportError:
        say("gensim is not installed: its arm is left out")

    def svd(seed: int) -> Any:
        from sklearn.utils.extmath import randomized_svd

        mean = (step + step @ step + step @ step @ step) / 3
        volume = adjacency.sum()
        matrix = csr_array(mean @ diags_array(volume / adjacency.sum(0)))
        matrix.data = np.log(np.maximum(matrix.data, 1.0))
        left, values, _ = randomized_svd(csr_matrix(matrix), 32, random_state=seed)
        return left * np.sqrt(values)

    yield "truncated SVD of log P", svd


def measure() -> Iterator[Measurement]:
    for name in ("cora", "citeseer", "pubmed", "blogcatalog"):
        edges, truth = load(name)["train"], labels(name)
        nodes = graph(edges, CLAIM)[0].names
        kept = [row for row, node in enumerate(nodes) if node in truth]
        right = [truth[nodes[row]] for row in kept]
        for arm, run in arms(edges):
            begun = time.perf_counter()
            first = run(0)
            took = time.perf_counter() - begun
            slow = took if took > 30 else 0.0
            seeds = SEEDS[:1] if slow else SEEDS
            scores = [
                nmi(normalise(vectors)[kept], right, seed)
                for seed, vectors in ((0, first), *((seed, run(seed)) for seed in seeds[1:]))
            ]
            yield figure(CLAIM, arm, name, edges.num_rows, "nmi", scores)
            yield rate(
                CLAIM, arm, name, edges.num_rows, "fits/s", 1, (slow,) * 3 if slow else timed(lambda run=run: run(0))
            )
