"""Where the nodes of a graph stand by its leading eigenvectors: the order of whole branches, before anything is
learned."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from umekomi.data.graphs import Relations

FARTHEST = 5.0
"""Times the root mean square: an eigenvector of a few far nodes would leave all others in one place."""


def spectral(found: Relations, dimensions: int) -> NDArray[np.float64]:
    """float64 ``[n, dimensions]``: the eigenvectors of the normalised Laplacian that belong to its smallest eigenvalues
    but zero, divided by the root of the degree (Laplacian eigenmaps: Belkin & Niyogi 2003, by scikit-learn), of the
    relations taken both ways, each with a mean square of one and cut at :data:`FARTHEST`. Every connected part has its
    own; in parts of no more than ``dimensions + 1`` nodes all is zero."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components
    from sklearn.manifold import spectral_embedding

    count = len(found.names)
    edges = found.heads != found.tails
    one_way = csr_array((np.ones(int(edges.sum())), (found.heads[edges], found.tails[edges])), shape=(count, count))
    adjacency = one_way + one_way.T
    out = np.zeros((count, dimensions))
    _, parts = connected_components(adjacency, directed=False)
    by_part = np.argsort(parts, kind="stable")
    for nodes in np.split(by_part, np.flatnonzero(np.diff(parts[by_part])) + 1):
        if len(nodes) <= dimensions + 1:
            continue
        part = spectral_embedding(
            adjacency[nodes][:, nodes], n_components=dimensions, eigen_solver="arpack", random_state=0
        )
        for _ in range(2):  # what is cut makes the rest smaller
            part = np.clip(part / np.sqrt((part**2).mean(0)), -FARTHEST, FARTHEST)
        out[nodes] = part
    return out
