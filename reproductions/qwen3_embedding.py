"""Qwen3-Embedding (Zhang et al. 2025) on small networks of its shape: merged checkpoints against their ingredients, and
prefixes of the vectors, learned nested or not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from reproductions.shared import small_networks as small
from umekomi.models.transformed import TransformedEmbedder
from umekomi.recipes import get
from umekomi.statistics import STATISTICS
from umekomi.transforms import Truncate
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


WIDTHS = (8, 16, 32, 64, 128)
"""Of prefixes; the last is the whole."""
TASKS = ("pydocs", "trec", "stsb", "sick-r")


def widths(progress: bool) -> Iterator[Measurement]:
    """The recipe with and without nested prefixes, cut to every width."""
    claim = "nested-widths"

    @cache
    def learned(kind: str, seed: int) -> Any:
        recipe = replace(
            get("qwen3-embedding").small(),  # type: ignore[type-var]
            pooling="lasttoken",
            prefixes=WIDTHS if kind == "nested" else WIDTHS[-1:],
            runs=1,
            merge="none",
            learning_rates=(small.RATE, small.RATE),
            max_length=48,
            max_rows=700,
        )
        return recipe.fit(small.training_sets(), start=small.backbone("decoder"), seed=seed)

    def make_arm(arm: str, seed: int) -> Any:
        kind, width = arm.split(", ")
        model = learned(kind, seed)
        return model if int(width) >= model.dimension else TransformedEmbedder(model, [Truncate(int(width))])

    found = small.Arms(claim, TASKS, make_arm, about=(WIDTHS,))
    for kind in ("nested", "not nested"):
        for width in WIDTHS:
            yield from found.figures(f"{kind}, {width}")
    for width in WIDTHS:
        yield from found.differences(f"nested, {width}", f"not nested, {width}", "+" if width < WIDTHS[-1] else "0")


CLAIMS = [
    Claim(
        "merging",
        "qwen3-embedding",
        "Merged checkpoints are better than their ingredients.",
        "Zhang et al. 2025, table 5",
        "+",
        merges,
    ),
    Claim(
        "nested-widths",
        "qwen3-embedding",
        "Vectors learned nested keep more in a prefix, and lose nothing whole.",
        "Zhang et al. 2025, section 2 (custom dimensions); Kusupati et al. 2022",
        "+",
        widths,
    ),
]
