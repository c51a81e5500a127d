"""Sarashina-Embedding-v1-1B (SB Intuitions 2024) on a small decoder pre-trained here on Japanese: two stages against
either alone."""

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
ARMS: dict[str, tuple[dict[str, bool], tuple[float, float]]] = {
    "two stages": ({}, (1, 1)),
    "supervised alone": ({"weak": False}, (1, 1.5)),
    "weak alone": ({"supervised": False}, (3, 1)),
}
"""The sets of each, and its epochs: each sees as many rows."""


def stages(progress: bool) -> Iterator[Measurement]:
    claim = "sarashina-stages"

    def make_arm(arm: str, seed: int) -> Any:
        start = small.backbone("decoder", texts=japanese.japanese)
        if arm == "not trained on pairs":
            return start.embedder("lasttoken")
        sets, epochs = ARMS[arm]
        recipe = replace(
            get("sarashina").small(),
            pooling="lasttoken",
            epochs=epochs,
            learning_rates=(small.RATE, small.RATE),
            max_length=small.LENGTH,
            max_rows=ROWS,
        )
        return recipe.fit(japanese.training_sets(**sets), start=start, seed=seed)

    yield from japanese.peers(claim)
    arms = small.Arms(claim, japanese.TASKS, make_arm, about=(ROWS, ARMS))
    yield from arms.figures("not trained on pairs", (0,))
    for arm in ARMS:
        yield from arms.figures(arm)
    for arm in ("supervised alone", "weak alone"):
        yield from arms.differences("two stages", arm, "+")


CLAIMS = [
    Claim(
        "sarashina-stages",
        "sarashina",
        "Weak pairs before supervised ones are better than either alone.",
        "model card of Sarashina-Embedding-v1-1B",
        "+",
        stages,
    ),
]
