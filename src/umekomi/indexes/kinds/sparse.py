"""Inverted lists, added up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from umekomi.indexes.kinds.base import Kind
from umekomi.indexes.packing import Shape, check_offsets
from umekomi.indexes.scans import Part, empty_hits, merge_hits
from umekomi.parts.kernels.threads import cores, run_all, shards

if TYPE_CHECKING:
    from umekomi.indexes.scans import Measure, Ranking


@dataclass
class Sparse(Kind):
    """Inverted lists: only documents that share a latent with the query are met, and their products are exact."""

    name: ClassVar[str] = "sparse"
    outputs: ClassVar[frozenset[str]] = frozenset({"sparse"})

    def derive(self, vectors: Any) -> dict[str, Any]:
        lists = vectors.tocsc()
        return {
            "offsets": lists.indptr.astype(np.int64),
            "documents": lists.indices.astype(np.int32),
            "values": lists.data.astype(np.float32),
        }

    def derived(self, rows: int, width: int) -> dict[str, Shape]:
        return {"offsets": ("<i8", (width + 1,)), "documents": ("<i4", (None,)), "values": ("<f4", (None,))}

    def sound(self, arrays: Mapping[str, Any]) -> None:
        check_offsets("offsets", arrays["offsets"], len(arrays["documents"]))
        if len(arrays["documents"]) != len(arrays["values"]):
            raise ValueError("values: expected as many as documents")

    def search(self, part: Part, queries: Any, k: int, similarity: Measure | None) -> Ranking:
        from umekomi.parts.kernels.scan import sparse_search

        lists = [part.arrays[name] for name in ("offsets", "documents", "values")]
        part.prove("documents", lambda documents: _check_lists(lists[0], documents, part.rows))
        pointers, asked = (
            queries.indptr.astype(np.int64),
            (queries.indices.astype(np.int32), queries.data.astype(np.float32)),
        )
        count, threads = queries.shape[0], cores()

        def some(first: int, last: int, low: int, high: int) -> tuple[Any, Any]:
            scores, rows = empty_hits(last - first, k)
            sparse_search(*lists, pointers[first : last + 1], *asked, part.allowed, low, high, scores, rows)
            return rows, scores

        if count < 2 * threads:  # a few queries: each over all threads
            return merge_hits(run_all(some, [(0, count, low, high) for low, high in shards(part.rows, threads)]), k)
        hits = run_all(some, [(first, last, 0, part.rows) for first, last in shards(count, threads)])
        return np.concatenate([rows for rows, _ in hits]), np.concatenate([scores for _, scores in hits])


def _check_lists(offsets: np.ndarray, documents: np.ndarray, rows: int) -> None:
    from umekomi.parts.kernels.graphs import lists_fault

    fault = lists_fault(offsets, documents, rows)
    if fault >= 0:
        raise ValueError(f"list {fault:,} has documents that do not rise below {rows:,}")
