"""Whether a ranking of models by made questions is the ranking by real ones: on every labelled set of retrieval in the
house, each way of making questions without a language model, Kendall's tau-b between the two orders of the same
candidates. The interval is over both sets of queries, resampled together a thousand times."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np

from umekomi.data import RetrievalData, fingerprint, load
from umekomi.errors import DataError
from umekomi.models import load as load_model
from umekomi.models.cached import CachedEmbedder
from umekomi.models.engines.choice import open_for_encoding
from umekomi.progress import say
from umekomi.recipes import get, names
from umekomi.tasks.questions import WAYS, make_questions
from umekomi.tasks.retrieval import RetrievalTask
from umekomi.verbs.reproduce import Claim, Measurement, cached

SETS = ("pydocs", "scifact", "cranfield", "crowdflower-search", "jaquad")
CANDIDATES = (
    "bm25", "tfidf", "lsa", "lsa@32", "random", "hashing", "minilm", "minilm@128", "minilm@32", "static",
)  # fmt: skip
QUESTIONS = 500
RESAMPLES = 1000
QUICK = {
    "SETS": ("pydocs", "cranfield"),
    "CANDIDATES": ("bm25", "tfidf", "lsa", "lsa@32", "random", "minilm", "minilm@32"),
    "QUESTIONS": 30,
    "RESAMPLES": 20,
}
CLAIM = "questions-agree"


@cache
def _opened(name: str) -> Any:
    return CachedEmbedder(open_for_encoding(name))


@cache
def _learned(name: str, documents: tuple[str, ...]) -> Any:
    """A small model of a recipe, from the documents, or minilm's token table: real and made questions about them are
    asked of the same one."""
    recipe = get(name).small()
    if name == "static":
        return CachedEmbedder(recipe.fit(start=load_model("minilm")))
    return CachedEmbedder(recipe.fit({"text": list(documents)} if recipe.learns else None))


def candidates(data: RetrievalData, progress: bool) -> list[Any]:
    """Every candidate's nDCG@10 of each query, each float64 ``[queries]``: what learns, learns from the documents."""
    texts = tuple(data.corpus["text"].to_pylist())
    task, out = RetrievalTask(data), []
    for spec in CANDIDATES:
        name, _, width = spec.partition("@")
        model = _learned(name, texts) if name in names() else _opened(name)
        queries = model.encode_query(data.queries["text"].to_pylist(), batch_size=64, progress=progress)
        documents = model.encode_document(texts, batch_size=64, progress=progress)
        if width and int(width) < documents.shape[1]:
            queries, documents = model.cut(queries, int(width)), model.cut(documents, int(width))
        out.append(task.judge(model, queries, documents).main.values)
    return out


def agreement(real: np.ndarray, made: np.ndarray) -> tuple[float, float, float]:
    """Kendall's tau-b of two orders of candidates, and its interval: ``real`` and ``made`` are float64
    ``[candidates, queries]``."""
    from scipy.stats import kendalltau

    def tau(a: np.ndarray, b: np.ndarray) -> float:
        return float(kendalltau(a.mean(1), b.mean(1)).statistic)

    draw, taus = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        rows = draw.integers(0, real.shape[1], real.shape[1]), draw.integers(0, made.shape[1], made.shape[1])
        taus.append(tau(real[:, rows[0]], made[:, rows[1]]))
    return tau(real, made), float(np.nanquantile(taus, 0.025)), float(np.nanquantile(taus, 0.975))


def agree(progress: bool) -> Iterator[Measurement]:
    for name in SETS:
        data = load(name, "test")
        key = [CLAIM, fingerprint(data), CANDIDATES, "token table"]
        real = np.stack(cached(key, lambda data=data: candidates(data, progress)))  # type: ignore[misc]
        for way in (*WAYS, "all"):
            try:
                made = make_questions(data, way, name, most=QUESTIONS).data
            except DataError as error:
                say(f"  {name}, {way}: {error}")
                continue
            key = [CLAIM, fingerprint(made), CANDIDATES, "token table"]
            found = np.stack(cached(key, lambda made=made: candidates(made, progress)))  # type: ignore[misc]
            tau = agreement(real, found)
            say(f"  {name}, {way}: tau {tau[0]:.3f} [{tau[1]:.3f}, {tau[2]:.3f}] on {found.shape[1]} questions")
            yield Measurement(CLAIM, way, name, found.shape[1], "Kendall's tau", *tau, seeds=1)


CLAIMS = [
    Claim(
        CLAIM,
        "questions",
        "Candidates stand in the same order on questions made from the documents as on real ones.",
        "the premise of every comparison without labels",
        "+",
        agree,
    )
]
