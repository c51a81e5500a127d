"""What adapting to one's own pairs is worth with the contrastive objective of this house, and what it costs elsewhere:
minilm on pydocs, SciFact's training judgements and JaQuAD, 1,000 pairs, one epoch. All arms read the same tokens of a
text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np

from umekomi.data import fingerprint, load
from umekomi.models import load as load_model
from umekomi.progress import say
from umekomi.recipes import get
from umekomi.statistics import Interval, interval, paired_interval, spearman
from umekomi.tasks import make
from umekomi.verbs.reproduce import Claim, Measurement, cached

SEEDS = (0, 1, 2)
LENGTHS = {"scifact": 64}
"""Tokens that all arms read of a text, where it is not 128: SciFact's corpus takes most of the time."""
HALFWAY = ("pydocs", "jaquad")
"""Where the mean of minilm and the adapted model is judged as well."""
CLAIM = "adapted-search"
QUICK = {"SEEDS": (0,)}


def recipe() -> Any:
    return replace(get("gemini-embedding").small(), runs=1, merge="none", hard_negatives=0, prefixes=())


@cache
def judged(name: str, seed: int | None) -> list[Any]:
    """[nDCG@10 of every query, (gold, cosine) of STS-B's test pairs] for minilm (seed None), or minilm adapted, halfway
    and whole."""
    data, train = load(name, "test"), load(name, "train")
    key = [CLAIM, name, fingerprint(data), fingerprint(train), seed, LENGTHS.get(name, 128), recipe().settings()]

    def measure() -> list[Any]:
        from umekomi.parts import merging

        say(f"  {name}, seed {seed}")
        start = load_model("minilm")
        start.model.max_seq_length = LENGTHS.get(name, 128)
        arms = [start.model]
        if seed is not None:
            adapted = recipe().fit(train, start=start, seed=seed).model
            adapted.prompts = start.model.prompts
            arms = [merging.load_into(start.model, adapted.state_dict())]
            if name in HALFWAY:
                arms.insert(
                    0, merging.load_into(start.model, merging.soup([start.model.state_dict(), adapted.state_dict()]))
                )
        out = []
        for model in arms:
            embedder = type(start)(model, "minilm")
            out += [
                make(name).evaluate(embedder, batch_size=64).main.values,
                make("stsb").evaluate(embedder, batch_size=64).main.values,
            ]
        return out

    return cached(key, measure)


def adapted(claim: str, names: Sequence[str], progress: bool) -> Iterator[Measurement]:
    for name in names:
        before, sts_before = judged(name, None)
        runs = [judged(name, seed) for seed in SEEDS]
        yield Measurement(claim, "minilm as it is", name, len(before), "ndcg@10", *interval(before), seeds=1)
        yield Measurement(
            claim,
            "minilm as it is",
            f"stsb, beside {name}",
            len(sts_before),
            "spearman",
            *interval(sts_before, "spearman"),
            seeds=1,
        )
        arms = ("mean of minilm and adapted", "adapted")[-(len(runs[0]) // 2) :]
        for place, arm in zip(range(0, len(runs[0]), 2), arms, strict=True):
            values = np.mean([run[place] for run in runs], axis=0)
            yield Measurement(claim, arm, name, len(values), "ndcg@10", *interval(values), seeds=len(SEEDS))
            yield Measurement(
                claim,
                f"{arm} − as it is",
                name,
                len(values),
                "ndcg@10, paired difference",
                *paired_interval(values, before),
                seeds=len(SEEDS),
                paper="+",
            )
            each = [paired_interval(run[place + 1], sts_before, "spearman") for run in runs]
            value = float(np.mean([spearman(run[place + 1]) for run in runs]) - spearman(sts_before))
            bounds = Interval(value, min(one.low for one in each), max(one.high for one in each))
            yield Measurement(
                claim,
                f"{arm} − as it is",
                f"stsb, beside {name}",
                len(sts_before),
                "spearman, paired difference",
                *bounds,
                seeds=len(SEEDS),
                paper="?",
            )


CLAIMS = [
    Claim(
        name,
        "gemini-embedding",
        "1,000 of one's own pairs improve search on held-out ones, and cost no more than a point of STS-B.",
        "the premise of every domain adaptation; the mean with the start is Wortsman et al. 2109.01903",
        "+",
        partial(adapted, name, sets),
    )
    for name, sets in ((CLAIM, ("pydocs", "jaquad")), (f"{CLAIM}-scifact", ("scifact",)))
]
