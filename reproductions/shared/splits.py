"""What is learned from and what is judged, of the named sets of labelled texts."""

from __future__ import annotations

from functools import cache

import numpy as np
import pyarrow as pa

from umekomi.data import load


@cache
def learned_and_judged(name: str) -> tuple[pa.Table, pa.Table]:
    """(training split, test split); of a set without, every tenth row is judged."""
    data = load(name)
    if "all" not in data.splits:
        return data["train"], data["test"]
    rows = np.arange(data["all"].num_rows)
    return data["all"].take(rows[rows % 10 != 9]), data["all"].take(rows[rows % 10 == 9])
