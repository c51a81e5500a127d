"""The same face over databases that others keep: PostgreSQL with pgvector, Qdrant, a server, a cluster or a folder, and
LanceDB, embedded in the process. Vectors, ids, payload and filters as in :class:`umekomi.indexes.Index`; each database
finds its candidates in its own way.

All compare by cosine, inner product or Euclidean distance; scores are the similarity of
:mod:`umekomi.parts.similarity`, higher is nearer. Ids are text. ``search`` takes vectors, or texts where the model is
known. What an index says of itself (model, fingerprint, measure, how far a run came) lies in the database beside its
rows.
"""

from __future__ import annotations

from umekomi.indexes.adapters.addresses import check_kind, create_database, is_database, open_database
from umekomi.indexes.adapters.base import METRICS, Adapter, NoSuchIndex
from umekomi.indexes.adapters.lance import LanceIndex
from umekomi.indexes.adapters.postgres import PostgresIndex
from umekomi.indexes.adapters.qdrant import QdrantIndex

__all__ = [
    "METRICS",
    "Adapter",
    "LanceIndex",
    "NoSuchIndex",
    "PostgresIndex",
    "QdrantIndex",
    "check_kind",
    "create_database",
    "is_database",
    "open_database",
]
