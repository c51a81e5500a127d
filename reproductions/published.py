"""Figures that others published for a model that is here, by this house's data, tasks and engine: where they differ,
one of the three is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from umekomi.verbs.evaluate import evaluate
from umekomi.verbs.reproduce import Claim, Measurement

PUBLISHED = {"stsb": "0.8203", "scifact": "0.6451"}
"""all-MiniLM-L6-v2 in MTEB's results."""
QUICK: dict[str, Any] = {}


def figures(progress: bool) -> Iterator[Measurement]:
    for name, figure in PUBLISHED.items():
        found = evaluate("minilm", name, progress=progress)
        value, low, high = found.main.interval()
        yield Measurement(
            "published-minilm",
            "minilm",
            name,
            len(found.main.values),
            found.metric,
            value,
            low,
            high,
            seeds=1,
            paper=figure,
            paper_data=name,
        )


CLAIMS = [
    Claim(
        "published-minilm",
        "evaluate",
        "minilm has a Spearman of .8203 on STS-B and an nDCG@10 of .6451 on SciFact.",
        "MTEB, results of sentence-transformers/all-MiniLM-L6-v2",
        "0",
        figures,
    ),
]
