"""SimCSE (Gao, Yao & Chen 2021) on small networks: dropout as the only difference of two views, and its
temperature."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from reproductions.shared import small_networks as small
from umekomi.recipes import get
from umekomi.verbs.reproduce import Claim, Measurement

QUICK: dict[str, Any] = {}
"""What is small here is small in ``shared/small_networks.py``."""


SIMCSE: dict[str, Any] = {"learning_rate": 3e-4, "pooling": "mean", "epochs": 2}
"""The mean of tokens, not [CLS]: after some minutes of pre-training [CLS] holds nothing, and every arm fell below its
start."""


def simcse(progress: bool) -> Iterator[Measurement]:
    claim = "simcse-views"
    tasks = ("stsb", "sick-r", "sts14")
    texts = [text for text in small.corpus() if 20 <= len(text) <= 160]
    chosen = [texts[i] for i in np.random.default_rng(0).permutation(len(texts))[:4000]]
    arms = {
        "two masks": {},
        "one mask for both": {"views": "same"},
        "no dropout": {"views": "none"},
        "temperature .001": {"temperature": 0.001},
        "temperature 1": {"temperature": 1.0},
    }

    def make_arm(arm: str, seed: int) -> Any:
        start = small.backbone("encoder", 0)
        if arm == "not trained on pairs":
            return start.embedder("mean")
        if arm == "tf-idf":
            return get("tfidf")().fit({"text": chosen})
        recipe = replace(get("simcse")(), **SIMCSE, **arms[arm])
        return recipe.fit({"text": chosen}, start=start, seed=seed)

    found = small.Arms(claim, tasks, make_arm, about=(SIMCSE,))
    for arm in ("tf-idf", "not trained on pairs"):
        yield from found.figures(arm, (0,))
    for arm in arms:
        yield from found.figures(arm)
    paper = {
        "one mask for both": "82.5 − 43.6 (STS-B dev)",
        "no dropout": "82.5 − 71.1",
        "temperature .001": "86.2 − 84.9",
        "temperature 1": "86.2 − 64.0",
    }
    for arm, source in paper.items():
        yield from found.differences("two masks", arm, "+", source)


CLAIMS = [
    Claim(
        "simcse-views",
        "simcse",
        "Two dropout masks are better than one for both and than none; a temperature of .05 than .001 and 1.",
        "Gao et al. 2021, tables 2, D.1 and section 4.1",
        "+",
        simcse,
    ),
]
