"""How long should a chunk be? Whole sentences up to 128, 256 and 512 tokens, and documents as they are, by BM25 and by
minilm: how much of the evidence is within the first 1,000 tokens of what was found, best chunk first. Cranfield's
evidence is the whole of each relevant document; of JaQuAD's articles it is the sentence that holds the answer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from umekomi.data import fingerprint, load
from umekomi.models.engines.choice import open_for_encoding
from umekomi.progress import say
from umekomi.recipes import get
from umekomi.statistics import interval, paired_interval
from umekomi.tasks.chunks import READ, Chunks, Span, chunked, is_whole
from umekomi.verbs.reproduce import Claim, Measurement, cached

SETS = ("cranfield", "jaquad-articles")
SIZES = (128, 256, 512)
SCALE = 1
"""What sizes are divided by."""
QUICK = {"SCALE": 16}
CLAIM = "chunk-sizes"
MODELS = ("bm25", "minilm")
METRIC = f"evidence@{READ}"


def judged(task: Chunks, progress: bool) -> list[np.ndarray]:
    """Of each model the share of every query's evidence that was read, float64 ``[queries]``: BM25 knows the chunks'
    words."""
    found = []
    for name in MODELS:
        model = get(name)().fit({"text": task.texts()}) if name == "bm25" else open_for_encoding(name)
        found.append(task.evaluate(model, batch_size=64, progress=progress).main.values)
    return found


def measure(progress: bool) -> Iterator[Measurement]:
    for name in SETS:
        data = load(name, "test")
        cuts = {f"{size}": tuple(chunked(data, max(1, size // SCALE))) for size in SIZES}
        texts = data.corpus["text"].to_pylist()
        cuts["whole"] = tuple(Span(number, 0, len(text)) for number, text in enumerate(texts))
        values: dict[tuple[str, str], np.ndarray] = {}
        for cut, spans in cuts.items():
            alike = ", the documents themselves" if cut != "whole" and is_whole(data, list(spans)) else ""
            say(f"  {name}, {cut}: {len(spans):,} chunks of {len(texts):,} documents{alike}")
            key = [CLAIM, fingerprint(data), spans]
            task = Chunks(data, spans, name)
            for model, each in zip(MODELS, cached(key, lambda task=task: judged(task, progress)), strict=True):  # type: ignore[misc]
                values[model, cut] = each
                yield Measurement(CLAIM, f"{model}, {cut}", name, len(each), METRIC, *interval(each), seeds=1)
        for model in MODELS:
            for size in SIZES:
                own, whole = values[model, f"{size}"], values[model, "whole"]
                gap = paired_interval(own, whole)
                arm = f"{model}, {size} − whole"
                yield Measurement(CLAIM, arm, name, len(own), f"{METRIC}, paired difference", *gap, seeds=1)


CLAIMS = [
    Claim(
        CLAIM,
        "chunks",
        "Of the same 1,000 tokens, more is evidence where documents are searched in chunks than where they are whole.",
        "the premise of every search in chunks",
        "+",
        measure,
    )
]
