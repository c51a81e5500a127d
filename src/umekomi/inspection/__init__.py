"""What an embedding space looks like."""

from __future__ import annotations

from umekomi.inspection.curves import training_curve
from umekomi.inspection.disc import disc
from umekomi.inspection.symmetry import Symmetry, symmetry

__all__ = ["Symmetry", "disc", "symmetry", "training_curve"]
