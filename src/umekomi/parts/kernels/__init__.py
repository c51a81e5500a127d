"""Compiled loops (numba): arrays in, arrays changed in place. They release the GIL, draw from a counter-based generator
of their own, and one thread with a seed gives the same bits every time. Several threads share a table without locks
(Hogwild, Niu et al. 2011): faster, and no longer reproducible bit for bit."""

from __future__ import annotations
