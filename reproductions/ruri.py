"""Ruri (Tsukagoshi & Sasano 2024) on small networks pre-trained here on Japanese: prefixes, the weak stage, the
reranker as a teacher and as a filter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from reproductions.shared import japanese
from reproductions.shared import small_networks as small
from umekomi.recipes import get
from umekomi.verbs.reproduce import Claim, Measurement

ROWS = 2000
"""Of every set, at most."""
QUICK = {"ROWS": 8}
WHOLE = "1+3 prefixes, weak stage, distillation"
ARMS: dict[str, dict[str, Any]] = {
    WHOLE: {},
    "2 prefixes": {"prefix_scheme": "two"},
    "no prefix": {"prefix_scheme": "none"},
    "no weak stage": {"epochs": (1, 1.5)},
    "no distillation": {"distillation": 0.0},
    "filtered weak pairs join": {"keep_share": 0.5},
}
"""What differs from the whole. Without the weak stage a half more epochs see as many rows: three sets, not two."""


def recipe(**options: Any) -> Any:
    """The recipe at the sizes of small networks; nothing is filtered unless asked."""
    return replace(
        get("ruri").small(),
        **{
            "prefix_scheme": "1+3",
            "pooling": "mean",
            "keep_share": None,
            "learning_rates": (small.RATE, small.RATE),
            "reranker_learning_rates": (small.RATE, small.RATE),
            "max_length": small.LENGTH,
            "reranker_max_length": small.LENGTH,
            "max_rows": ROWS,
        }
        | options,
    )


def parts(progress: bool) -> Iterator[Measurement]:
    claim = "ruri-parts"

    def make_arm(arm: str, seed: int) -> Any:
        start = small.backbone("encoder", texts=japanese.japanese)
        if arm == "not trained on pairs":
            return start.embedder("mean")
        data = japanese.training_sets(weak=arm != "no weak stage")
        return recipe(**ARMS[arm]).fit(data, start=start, seed=seed)

    yield from japanese.peers(claim)
    arms = small.Arms(claim, japanese.TASKS, make_arm, about=(ROWS, ARMS))
    yield from arms.figures("not trained on pairs", (0,))
    for arm in ARMS:
        yield from arms.figures(arm)
    for arm in ARMS:
        if arm != WHOLE:
            yield from arms.differences(WHOLE, arm, "?" if "join" in arm else "+")


CLAIMS = [
    Claim(
        "ruri-parts",
        "ruri",
        "Three prefixes and a plain kind are better than two prefixes and than none; a weak stage before the "
        "supervised one helps, and so does a reranker that teaches.",
        "Tsukagoshi & Sasano 2024; card of version 3",
        "+",
        parts,
    ),
]
