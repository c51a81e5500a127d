"""Every claim in seconds: ``umekomi reproduce NAME --quick``. Named sets are cut to some rows, minilm is a network of
two layers that knows nothing, and each file's ``QUICK`` gives its constants small values. What comes out says that
arms, files and columns still fit together; it says nothing of the claim, and is not written to results/."""

from __future__ import annotations

import argparse
import inspect
import os
import re
import subprocess
import tarfile
import tempfile
import typing
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from reproductions.shared.word_vectors import glove
from umekomi.data import Dataset, RetrievalData, sets, shape_name
from umekomi.verbs import reproduce

ROWS = {
    "wordnet-topics": 400,
    "hyperlex": 10_000,
    "cora": 400,
    "citeseer": 400,
    "pubmed": 400,
    "blogcatalog": 2000,
    "pydocs": 80,
    "crowdflower-search": 80,
    "cranfield": 300,
    "wordnet-nouns": 3000,
    "wordnet-glosses": 60_000,
    "sts13": 300,
    "sts14": 300,
}
"""Of each split, where it is not :data:`SOME`: main directions, for one, need as many rows as they are, and a
part of STS in which all pairs are judged alike has no figure."""
TEXTS = ("text", "anchor", "positive", "sentence1", "sentence2", "query", "document", "negative")
SOME, QUERIES, CLASSES, SENTENCES, LETTERS = 40, 8, 4, 20, 100


@contextmanager
def small_world() -> Iterator[None]:
    """Inside, whatever asks for a named set gets some rows of it, whatever asks for minilm gets a small network of its
    width; what is kept or cached goes to a folder that is gone behind the block."""
    from umekomi import statistics
    from umekomi.models import opening

    bounds, packaged = statistics._bounds, opening.packaged_folder
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        stack.enter_context(patch.dict(os.environ, UMEKOMI_CACHE=str(Path(folder) / "cache")))
        stack.enter_context(patch.object(sets, "load", some))
        stack.enter_context(patch.object(statistics, "_bounds", lambda *given: bounds(*given[:3], 20, 0)))
        small = Path(folder) / "minilm"
        network().save(small)
        stack.enter_context(
            patch.object(opening, "packaged_folder", lambda entry: small if entry.name == "minilm" else packaged(entry))
        )
        stack.enter_context(patch.object(reproduce, "cached_folder", lambda: Path(folder) / "kept"))
        stack.enter_context(patch.dict(os.environ, UMEKOMI_GLOVE=str(word_vectors(Path(folder) / "glove.txt"))))
        glove.cache_clear()
        stack.callback(glove.cache_clear)
        yield


def word_vectors(file: Path) -> Path:
    """A file like GloVe's in its place: words of some modules of Python's library, their vectors drawn."""
    text = " ".join(Path(module.__file__).read_text(encoding="utf-8") for module in (argparse, inspect, subprocess))
    words = sorted(set(re.findall(r"[a-z]+|[.,?!]", text.lower())))
    vectors = np.random.default_rng(0).normal(size=(len(words), 50)).round(4)
    file.write_text("".join(f"{w} {' '.join(map(str, row))}\n" for w, row in zip(words, vectors, strict=True)))
    return file


@cache
def some(name: str, whole: Callable[[str], Dataset] = sets.load) -> Dataset:
    """The named set, cut; read once a process."""
    return cut(whole(name))


@cache
def network() -> Any:
    """A BERT of two layers in minilm's place, its tokenizer learned from some modules of Python's library: more tokens
    than eight times its width, as minilm has."""
    from umekomi.models.scratch import untrained_transformer

    texts = [
        line
        for module in (argparse, inspect, subprocess, tarfile, typing)
        for line in Path(module.__file__).read_text(encoding="utf-8").splitlines()
    ]
    return untrained_transformer(
        "bert", texts, layers=2, width=384, heads=4, hidden=64, vocabulary=3200, max_length=256
    ).embedder("mean")


def cut(data: Dataset) -> Dataset:
    """The dataset with some rows of each split; labelled ones keep their commonest classes."""
    first = next(iter(data.splits.values()))
    labels: list[Any] = []
    if not isinstance(first, RetrievalData) and "label" in first.column_names:
        labels = [label for label, _ in Counter(first["label"].to_pylist()).most_common(CLASSES)]
    count = ROWS.get(data.name, SOME)
    return Dataset(
        data.name, {split: fewer(part, count, labels) for split, part in data.splits.items()}, data.licence, data.notes
    )


def fewer(part: Any, count: int, labels: list[Any]) -> Any:
    """About ``count`` rows of a split, taken from all over it; of links the first, that there be paths."""
    if isinstance(part, RetrievalData):
        asked = part.queries.slice(0, QUERIES)
        qrels = part.qrels.filter(pc.is_in(part.qrels["query_id"], value_set=asked["id"].combine_chunks()))
        judged = set(qrels["corpus_id"].to_pylist())
        others = [i for i, name in enumerate(part.corpus["id"].to_pylist()) if name not in judged][:count]
        rows = [i for i, name in enumerate(part.corpus["id"].to_pylist()) if name in judged]
        corpus = part.corpus.take(pa.array(sorted(rows + others)))
        return part._replace(queries=shorter(asked), corpus=shorter(corpus), qrels=qrels)
    if labels:
        part = part.filter(pc.is_in(part["label"], value_set=pa.array(labels, part.schema.field("label").type)))
    kind = shape_name(part)
    if kind in ("graph", "hierarchy", "triples") and "score" not in part.column_names:
        return part.slice(0, count)
    if part.num_rows > count:
        part = part.take(np.sort(np.random.default_rng(0).permutation(part.num_rows)[:count]))
    if kind == "documents":
        short = [sentences[:SENTENCES] for sentences in part["document"].to_pylist()]
        part = part.set_column(part.column_names.index("document"), "document", pa.array(short))
    return shorter(part)


def shorter(table: pa.Table) -> pa.Table:
    """Texts without what stands behind their first :data:`LETTERS` letters."""
    for place, field in enumerate(table.schema):
        if field.name in TEXTS and pa.types.is_string(field.type):
            table = table.set_column(place, field.name, pc.utf8_slice_codeunits(table[field.name], 0, LETTERS))
    return table
