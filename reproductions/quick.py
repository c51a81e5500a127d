"""Every claim in seconds: ``umekomi reproduce NAME --quick``. Named sets are cut to some rows, minilm is a network of
two layers that knows nothing, and each file's ``QUICK`` gives its constants small values. What comes out says that
arms, files and columns still fit together; it says nothing of the claim, and is not written to results/."""

from __future__ import annotations

import argparse
import copy
import os
import tempfile
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

from umekomi.data import Dataset, RetrievalData, sets, shape_name
from umekomi.verbs import reproduce

ROWS = {"wordnet-topics": 400, "hyperlex": 10_000, "cora": 400, "citeseer": 400, "pubmed": 400, "blogcatalog": 2000}
"""Of each split, where it is not :data:`SOME`."""
TEXTS = ("text", "anchor", "positive", "sentence1", "sentence2", "query", "document", "negative")
SOME, QUERIES, CLASSES, SENTENCES, LETTERS = 40, 8, 4, 20, 100


@contextmanager
def small_world() -> Iterator[None]:
    """Inside, whatever asks for a named set gets some rows of it, whatever asks for minilm gets a small network of its
    width; what is kept or cached goes to a folder that is gone behind the block."""
    from umekomi import statistics
    from umekomi.models import text

    bounds = statistics._bounds
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        stack.enter_context(patch.dict(os.environ, UMEKOMI_CACHE=str(Path(folder) / "cache")))
        stack.enter_context(patch.object(sets, "load", some))
        stack.enter_context(patch.object(statistics, "_bounds", lambda *given: bounds(*given[:3], 20, 0)))
        stack.enter_context(patch.object(text, "minilm", lambda: copy.deepcopy(network())))
        stack.enter_context(patch.object(reproduce, "cached_folder", lambda: Path(folder) / "kept"))
        yield


@cache
def some(name: str, whole: Callable[[str], Dataset] = sets.load) -> Dataset:
    """The named set, cut; read once a process."""
    return cut(whole(name))


@cache
def network() -> Any:
    """A BERT of two layers in minilm's place, its tokenizer learned from a module of Python's library."""
    from umekomi.models.networks import scratch

    texts = Path(argparse.__file__).read_text(encoding="utf-8").splitlines()
    backbone = scratch("bert", texts, layers=2, width=384, heads=4, hidden=64, vocabulary=400, max_length=256)
    embedder = backbone.embedder("mean")
    embedder.name, embedder.card = "minilm", {"licence": "Apache-2.0"}
    return embedder


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
