"""Random numbers inside compiled loops: splitmix64 (Steele, Lea & Flood 2014), whose state is one number."""

from __future__ import annotations

import numpy as np
from numba import njit

_STEP = np.uint64(0x9E3779B97F4A7C15)
_A, _B = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_30, _27, _31 = np.uint64(30), np.uint64(27), np.uint64(31)


@njit(nogil=True, cache=True, inline="always")
def draw(state):
    """(the next state, 64 random bits)."""
    state = state + _STEP
    bits = (state ^ (state >> _30)) * _A
    bits = (bits ^ (bits >> _27)) * _B
    return state, bits ^ (bits >> _31)


def mix(*parts: int) -> np.ndarray:
    """A generator's state, uint64 ``[1]``, from a seed and what else tells streams apart (epoch, thread)."""
    return np.random.SeedSequence([part & 0xFFFFFFFF for part in parts]).generate_state(1, np.uint64)
