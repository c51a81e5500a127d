"""NV-Embed (Lee et al. 2025) on small networks: in-batch negatives on classes, the order of stages, positives of
classes, mined negatives, direction and pooling."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from reproductions.shared import small_networks as small
from umekomi.data import load
from umekomi.data.contrast import contrastive_rows
from umekomi.models import load as load_model
from umekomi.progress import say
from umekomi.statistics import interval
from umekomi.verbs.reproduce import Claim, Measurement, cached

QUICK: dict[str, Any] = {}
"""What is small here is small in ``shared/small_networks.py``."""


CLASSES = ("trec", "agnews", "trec:clustering", "agnews:clustering")


def labelled(progress: bool) -> Iterator[Measurement]:
    claim = "in-batch-on-classes"
    arms = ("no in-batch negatives", "in-batch negatives", "in-batch negatives but of one's own class")

    def make_arm(arm: str, seed: int) -> Any:
        tables = {}
        for name in ("trec", "agnews"):
            table = load(name, "train")
            made = contrastive_rows(
                table.take(np.sort(np.random.default_rng(0).permutation(table.num_rows)[:1200])),
                claim,
                in_batch=arm != arms[0],
                negatives=1,
                seed=seed,
            )
            if arm == arms[1]:
                made = made.set_column(
                    made.column_names.index("label"),
                    "label",
                    pa.array([[policy[0], -1, policy[2]] for policy in made["label"].to_pylist()]),
                )
            tables[name] = made
        if arm == "not trained on pairs":
            return small.backbone("encoder").embedder("mean")
        return small.fine_tune(small.backbone("encoder").embedder("mean"), tables, seed, temperature=0.05)

    found = small.Arms(claim, CLASSES, make_arm)
    yield from found.figures("not trained on pairs", (0,))
    for arm in arms:
        yield from found.figures(arm)
    yield from found.differences(arms[0], arms[1], "+", "71.94 − 70.83 (MTEB, single stage)")
    yield from found.differences(arms[2], arms[1], "?")
    yield from found.differences(arms[0], arms[2], "?")


def stages(progress: bool) -> Iterator[Measurement]:
    claim = "stage-order"
    orders = ("two-stage", "reversed", "single", "single-in-batch")
    found = small.Arms(
        claim,
        ("pydocs", "trec", "agnews", "stsb"),
        lambda arm, seed: small.nv_embed(order=arm).fit(
            small.training_sets(), start=small.backbone("decoder"), seed=seed
        ),
    )
    for arm in orders:
        yield from found.figures(arm)
    for other, source in (
        ("reversed", "72.31 − 71.85"),
        ("single", "72.31 − 71.94"),
        ("single-in-batch", "72.31 − 70.83"),
    ):
        yield from found.differences("two-stage", other, "+", source)


def examples(progress: bool) -> Iterator[Measurement]:
    claim = "examples-or-labels"
    data = {name: table for name, table in small.training_sets().items() if name in ("trec", "agnews")}
    found = small.Arms(
        claim,
        CLASSES,
        lambda arm, seed: small.nv_embed(labels=arm).fit(data, start=small.backbone("decoder"), seed=seed),
    )
    for arm in ("example", "label"):
        yield from found.figures(arm)
    yield from found.differences("example", "label", "+", "69.27 − 64.80 (16 MTEB tasks)")


@cache
def planted() -> tuple[Any, dict[str, str]]:
    """(pairs of pydocs, each planted false negative's positive): every answer has a near-copy in the corpus that is an
    answer too."""
    from umekomi.data.augment import damaged

    table = load("pydocs", "train").pairs()
    return table, {damaged(text, 7, 0.1): text for text in table["positive"].to_pylist()}


def mining(progress: bool) -> Iterator[Measurement]:
    from umekomi.tasks.negatives import hard_negatives

    claim = "mining-margin"
    table, copies = planted()
    arms = {
        "the nearest": {},
        "the nearest below 95 % of the positive": {"relative_margin": 0.05},
        "no mined negatives": None,
    }

    @cache
    def mined(arm: str) -> Any:
        options = {"relative_margin": None, "duplicate": None} | (arms[arm] or {})
        say(f"  {claim}: mining, {arm}")
        return hard_negatives(
            load_model("minilm"), table, list(copies), negatives=2, keep_short=True, batch_size=64, **options
        ).table  # type: ignore[arg-type]

    def false_share(arm: str) -> Any:
        def count() -> list[Any]:
            some = mined(arm).to_pylist()
            return [
                np.array(
                    [
                        float(copies.get(row[name]) == row["positive"])
                        for row in some
                        for name in ("negative_1", "negative_2")
                    ]
                )
            ]

        return cached([claim, arm, "planted", len(copies)], count)[0]

    for arm in ("the nearest", "the nearest below 95 % of the positive"):
        share = false_share(arm)
        yield Measurement(
            claim,
            f"{arm}: mined negatives that are copies of the answer",
            "pydocs with planted copies",
            len(share),
            "share",
            *interval(share),
            1,
        )

    def make_arm(arm: str, seed: int) -> Any:
        made = contrastive_rows(table if arms[arm] is None else mined(arm), claim, seed=seed)
        return small.fine_tune(small.backbone("encoder").embedder("mean"), {"all": made}, seed, temperature=0.05)

    found = small.Arms(claim, ("pydocs",), make_arm)
    for arm in arms:
        yield from found.figures(arm)
    yield from found.differences(
        "the nearest below 95 % of the positive", "the nearest", "+", "NV-Embed: mined negatives, 71.83 − 70.73"
    )
    yield from found.differences("the nearest below 95 % of the positive", "no mined negatives", "+")


def poolings(progress: bool) -> Iterator[Measurement]:
    claim = "direction-and-pooling"
    names = {
        "last token": "lasttoken",
        "mean": "mean",
        "latent attention": "latent",
        "MLP of as many parameters, mean": "latent-control",
    }
    triples = load("snli-cad", "train")

    def make_arm(arm: str, seed: int) -> Any:
        direction, _, pooling = arm.partition(", ")
        import torch

        with torch.random.fork_rng():
            torch.manual_seed(seed)
            start = small.backbone("decoder").embedder(
                names[pooling], bidirectional=direction == "bidirectional", latents=32, heads=4
            )
        tables = {
            "questions": contrastive_rows(load("pydocs", "train"), claim),
            "entailment": contrastive_rows(triples.slice(0, 3000), claim),
        }
        return small.fine_tune(start, tables, seed, temperature=0.05)

    found = small.Arms(claim, ("pydocs", "stsb", "sick-r"), make_arm)
    for direction in ("causal", "bidirectional"):
        for pooling in names:
            yield from found.figures(f"{direction}, {pooling}")
    for pooling, source in (
        ("last token", "71.63 − 70.85"),
        ("mean", "71.71 − 71.38"),
        ("latent attention", "72.31 − 71.61"),
    ):
        yield from found.differences(f"bidirectional, {pooling}", f"causal, {pooling}", "+", source)
    yield from found.differences("bidirectional, mean", "bidirectional, last token", "+", "71.71 − 71.63")
    yield from found.differences("bidirectional, latent attention", "bidirectional, mean", "+", "72.31 − 71.71")
    yield from found.differences(
        "bidirectional, latent attention", "bidirectional, MLP of as many parameters, mean", "?"
    )


CLAIMS = [
    Claim(
        "in-batch-on-classes",
        "nv-embed",
        "On labelled data in-batch negatives do harm, being of one's own class.",
        "Lee et al. 2025 (NV-Embed), section 3.3, table 4",
        "+",
        labelled,
    ),
    Claim(
        "stage-order",
        "nv-embed",
        "Retrieval first and everything then is better than the reverse and than one stage.",
        "Lee et al. 2025 (NV-Embed), table 4",
        "+",
        stages,
    ),
    Claim(
        "examples-or-labels",
        "nv-embed",
        "Texts of the class are better positives than its name.",
        "Lee et al. 2025 (NV-Embed), table 5",
        "+",
        examples,
    ),
    Claim(
        "mining-margin",
        "nv-embed",
        "A margin relative to the positive keeps unmarked answers out of the mined negatives.",
        "Lee et al. 2025 (NV-Embed), section 4.1.1",
        "+",
        mining,
    ),
    Claim(
        "direction-and-pooling",
        "nv-embed",
        "A decoder embeds better without its causal mask, and latent attention better than mean and last token.",
        "Lee et al. 2025 (NV-Embed), table 3",
        "+",
        poolings,
    ),
]
