"""Qwen3-Embedding (Zhang et al. 2025) on small networks: merged checkpoints against their ingredients."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np

from reproductions.shared import small_networks as small
from umekomi.statistics import STATISTICS
from umekomi.verbs.reproduce import Claim, Measurement

QUICK: dict[str, Any] = {}
"""What is small here is small in ``shared/small_networks.py``."""


def merges(progress: bool) -> Iterator[Measurement]:
    """Three fine-tunings of one start, on three mixtures; judged on what they learned and on what none of them saw."""
    claim = "merging"
    tasks = ("pydocs", "trec", "stsb", "sick-r", "cranfield", "agnews")
    mixtures = (("pydocs", "trec"), ("pydocs", "stsb"), ("trec", "stsb"))

    @cache
    def ingredient(number: int, seed: int) -> Any:
        data = {name: table for name, table in small.training_sets().items() if name in mixtures[number]}
        return small.nv_embed(order="single-in-batch").fit(
            data, start=small.backbone("decoder"), seed=10 * seed + number
        )

    def make_arm(arm: str, seed: int) -> Any:
        if arm.startswith("mixture"):
            return ingredient(int(arm[-1]), seed)
        from umekomi.models.text import TextEmbedder
        from umekomi.parts import merging

        states = [ingredient(number, seed).model.state_dict() for number in range(3)]

        merged = merging.soup(states) if arm == "soup" else merging.slerp_all(states)
        return TextEmbedder(merging.load_into(ingredient(0, seed).model, merged), arm)

    found = small.Arms(claim, tasks, make_arm)
    singles = [f"mixture {number}" for number in range(3)]
    for arm in (*singles, "soup", "slerp"):
        yield from found.figures(arm)

    def value(arm: str, seed: int) -> float:
        return float(np.mean([STATISTICS[statistic](values) for values, statistic in found.of(arm, seed)]))

    for arm in ("soup", "slerp"):
        for what, over in (("mean of its ingredients", np.mean), ("best of its ingredients", np.max)):
            each = [value(arm, seed) - float(over([value(single, seed) for single in singles])) for seed in small.SEEDS]
            yield Measurement(
                claim,
                f"{arm} − {what}",
                "mean of the tasks",
                len(tasks),
                "difference, range of seeds",
                float(np.mean(each)),
                min(each),
                max(each),
                len(small.SEEDS),
                "+",
                "Qwen3-Embedding: +2.5 over no merge",
            )
    yield from found.differences("slerp", "soup", "?")


CLAIMS = [
    Claim(
        "merging",
        "qwen3-embedding",
        "Merged checkpoints are better than their ingredients.",
        "Zhang et al. 2025, table 5",
        "+",
        merges,
    ),
]
