"""Gemini Embedding (Lee et al. 2025) on small networks: rows with an equal positive in one batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from reproductions.shared import small_networks as small
from umekomi.data import load
from umekomi.data.contrast import contrastive_rows
from umekomi.progress import say
from umekomi.statistics import interval, paired_interval
from umekomi.verbs.reproduce import Claim, Measurement, cached

QUICK: dict[str, Any] = {}
"""What is small here is small in ``shared/small_networks.py``."""


def duplicates(progress: bool) -> Iterator[Measurement]:
    """Questions and the names of their classes (TREC, six of them): in a batch of 64 a dozen rows have the same
    positive."""
    from umekomi.parts.learning.batches import InstructedCollator
    from umekomi.parts.losses.contrastive import Candidates, InfoNCE

    claim = "duplicate-masking"
    names = {
        "ABBR": "abbreviation",
        "DESC": "description",
        "ENTY": "entity",
        "HUM": "human being",
        "LOC": "location",
        "NUM": "number",
    }

    def named(split: str) -> Any:
        table = load("trec", split)
        return pa.table(
            {
                "text": table["text"],
                "label": [names.get(str(label).upper(), str(label)) for label in table["label"].to_pylist()],
            }
        )

    train, test = (
        contrastive_rows(named(split), claim, in_batch=True, labels="label", negatives=1) for split in ("train", "test")
    )
    train, test = (table.drop_columns(["negative_1"]) for table in (train, test))
    arms = {"duplicates left out": True, "duplicates as negatives": False}
    batch = 64
    labels = named("train")["label"].to_pylist()
    shares = {label: labels.count(label) / len(labels) for label in set(labels)}
    from scipy.stats import binom

    floor = sum(
        share * sum(binom.pmf(count, batch - 1, share) * np.log1p(count) for count in range(batch))
        for share in shares.values()
    )
    yield Measurement(
        claim,
        "rows with the same positive in a batch of 64, predicted from class shares",
        "trec",
        len(labels),
        "share of the others",
        *3 * (float(sum(s**2 for s in shares.values())),),
        1,
    )
    yield Measurement(
        claim,
        "least loss where duplicates are negatives, predicted from class shares",
        "trec",
        len(labels),
        "nats",
        *3 * (float(floor),),
        1,
    )

    def measure(arm: str, seed: int) -> list[Any]:
        def learn() -> list[Any]:
            say(f"  {claim}: {arm}, seed {seed}")
            choice = Candidates(duplicates=arms[arm])
            model = small.fine_tune(
                small.backbone("encoder").embedder("mean"),
                {"all": train},
                seed,
                batch=batch,
                temperature=0.05,
                candidates=choice,
            )
            right = model.similarity(model.encode(test["anchor"].to_pylist()), model.encode(sorted(shares))).argmax(1)
            hits = np.array(
                [sorted(shares)[i] == wanted for i, wanted in zip(right, test["positive"].to_pylist(), strict=True)],
                float,
            )
            probe = small.task_of("trec").evaluate(model, batch_size=128).main.values
            order = np.random.default_rng(seed).permutation(train.num_rows)[: 20 * batch]
            loss, collator = (
                InfoNCE(model.model, temperature=0.05, candidates=choice),
                InstructedCollator(preprocess_fn=model.model.preprocess, model=model.model),
            )
            import torch

            losses, same = [], []
            for start in range(0, len(order), batch):
                some = train.take(np.sort(order[start : start + batch])).to_pylist()
                made = collator(some)
                columns = [
                    {
                        key[len(name) + 1 :]: value
                        for key, value in made.items()
                        if key.startswith(f"{name}_") and hasattr(value, "to")
                    }
                    for name in ("anchor", "positive")
                ]
                with torch.no_grad():
                    losses.append(float(loss(columns, made["label"])))
                groups = made["label"][:, 1].numpy()
                same.append(((groups[:, None] == groups[None]).sum() - batch) / (batch * (batch - 1)))
            return [hits, probe, np.array(losses), np.array(same)]

        return cached([claim, arm, seed, small.SHAPE, small.STEPS, small.RATE, batch], learn)

    runs = {arm: [measure(arm, seed) for seed in small.SEEDS] for arm in arms}
    for place, what, name in (
        (0, "nearest class name", "accuracy"),
        (1, "linear probe", "accuracy"),
        (2, "loss behind training, batches of 64", "nats"),
        (3, "rows with the same positive, counted", "share of the others"),
    ):
        for arm in arms:
            each = [float(run[place].mean()) for run in runs[arm]]
            inside = interval(runs[arm][0][place])
            yield Measurement(
                claim,
                f"{arm}: {what}",
                "trec",
                len(runs[arm][0][place]),
                name,
                float(np.mean(each)),
                min([inside.low, *each]),
                max([inside.high, *each]),
                len(small.SEEDS),
            )
    for place, what in ((0, "nearest class name"), (1, "linear probe")):
        each = [paired_interval(a[place], b[place]) for a, b in zip(*runs.values(), strict=True)]
        yield Measurement(
            claim,
            f"duplicates left out − as negatives: {what}",
            "trec",
            len(runs["duplicates left out"][0][place]),
            "accuracy, difference",
            float(np.mean([one.value for one in each])),
            min(one.low for one in each),
            max(one.high for one in each),
            len(small.SEEDS),
            "+",
        )


CLAIMS = [
    Claim(
        "duplicate-masking",
        "gemini-embedding",
        "Rows with an equal positive must not be each other's negatives; what they cost can be foretold from class "
        "shares.",
        "Lee et al. 2025, eq. 2",
        "+",
        duplicates,
    ),
]
