"""What an embedding space looks like."""

from __future__ import annotations

from umekomi.inspection.symmetry import Symmetry, symmetry

__all__ = ["Symmetry", "symmetry"]
