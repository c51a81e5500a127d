"""Vectors that can be searched: an index on disk, its kinds, its filters."""

from __future__ import annotations

from umekomi.indexes.index import Hit, Index

__all__ = ["Hit", "Index"]
