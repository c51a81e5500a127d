"""A retrieval set made of other data, and a held-out part that leaks nothing."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from umekomi.data.columns import COLUMNS, Dataset, RetrievalData
from umekomi.data.rows import features_of, targets
from umekomi.data.shapes import shape_name, shape_of
from umekomi.data.tables import as_table
from umekomi.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from umekomi.data.columns import TableLike


def as_retrieval(data: TableLike) -> RetrievalData:
    """A retrieval set from pairs (each anchor a query, each distinct positive a document), from judged pairs, or from
    bare texts (inverse cloze, Lee et al. 2019: a text's first sentence asks for the rest of it)."""
    from umekomi.data.readers import retrieval

    split = as_table(data)
    kind = shape_name(split)
    if isinstance(split, RetrievalData):
        return split
    if kind == "pairs":
        judged = [(a, p, 1.0) for a, p in zip(split["anchor"].to_pylist(), split["positive"].to_pylist(), strict=True)]
    elif kind == "judged pairs":
        judged = list(zip(*(split[c].to_pylist() for c in ("query", "document", "score")), strict=True))
    elif kind in ("texts", "labelled texts"):
        judged = [(q, d, 1.0) for q, d in inverse_cloze(split["text"].to_pylist())]
        if len(judged) < 2:
            raise DataError("retrieval from bare texts needs two texts or more of at least two sentences each")
    else:
        raise DataError(f"no retrieval set can be made of {kind}")
    queries: dict[str, str] = {}
    corpus: dict[str, str] = {}
    grades: dict[tuple[str, str], float] = {}
    for query, document, score in judged:
        key = queries.setdefault(query, f"q{len(queries)}"), corpus.setdefault(document, f"d{len(corpus)}")
        grades[key] = max(grades.get(key, 0.0), float(score))
    beside = (
        _beside(split, [query for query, _, _ in judged], list(queries)) if kind in ("pairs", "judged pairs") else {}
    )
    return retrieval(
        pa.table({"id": list(queries.values()), "text": list(queries), **beside}),
        pa.table({"id": list(corpus.values()), "text": list(corpus)}),
        pa.table(
            {"query_id": [q for q, _ in grades], "corpus_id": [d for _, d in grades], "score": list(grades.values())}
        ),
    )


def _beside(table: pa.Table, asked: list[str], queries: list[str]) -> dict[str, pa.ChunkedArray]:
    """The columns that are none of the standard ones, as they stand in the first row of each query."""
    first: dict[str, int] = {}
    for row, query in enumerate(asked):
        first.setdefault(query, row)
    rows = pa.array([first[query] for query in queries], pa.int64())
    names = [name for name in table.column_names if name not in COLUMNS and not name.startswith("negative_")]
    return {name: table[name].take(rows) for name in names}


def inverse_cloze(items: list[str]) -> list[tuple[str, str]]:
    """(first sentence, the rest without it) of every text that has both, of three words and eight words or more (a
    Japanese text: 8 and 20 characters)."""
    from umekomi.data.pydocs import first_sentence, remove_sentence

    out = []
    for text in items:
        sentence = " ".join(first_sentence(text).split())
        rest = remove_sentence(text, sentence)
        spaced = text.count(" ") * 20 > len(text)
        long_enough = (
            len(sentence.split()) >= 3 and len(rest.split()) >= 8 if spaced else len(sentence) >= 8 and len(rest) >= 20
        )
        if long_enough and sentence not in " ".join(rest.split()):
            out.append((sentence, rest))
    return out


def split_held_out(dataset: Dataset, share: float = 0.3, seed: int = 0) -> Dataset:
    """Train and test splits of a dataset that has but one: rows that share an item (a text that occurs in both) stay on
    the same side, so that nothing of the test split is trained on. Classes keep their shares."""
    only = dataset[next(iter(dataset))]
    if isinstance(only, RetrievalData):
        side = _sides([[row] for row in only.queries["text"].to_pylist()], share, seed)
        return Dataset(
            dataset.name,
            {name: _queries(only, side == (name == "test")) for name in ("train", "test")},
            dataset.licence,
            dataset.notes,
        )
    about = shape_of(only)
    if not about.together and not about.features:
        raise DataError(
            f"{dataset.name}: no held-out split can be carved of {about.name} ({', '.join(only.column_names)}): give "
            "files named train and test"
        )
    labels = only[about.classes].to_pylist() if about.classes else None
    if about.features:  # equal rows stay together
        classes, codes = targets(only, dataset.name)
        labels = codes.tolist() if classes else None
        rows: list[Any] = [[str(row)] for row in only.select(features_of(only, dataset.name)).to_pylist()]
    else:
        rows = list(zip(*(only[column].to_pylist() for column in about.together), strict=True))
    side = _sides(rows, share, seed, labels)
    if side.all() or not side.any():
        raise DataError(
            f"{dataset.name}: no held-out split can be carved: all {only.num_rows} rows hang together by shared items"
        )
    index = {name: np.flatnonzero(side == (name == "test")) for name in ("train", "test")}
    note = (
        f"held-out split carved: {len(index['test'])} of {only.num_rows} rows, "
        f"none sharing an item with the rest (seed {seed})"
    )
    return Dataset(
        dataset.name, {name: only.take(rows) for name, rows in index.items()}, dataset.licence, (*dataset.notes, note)
    )


def _queries(data: RetrievalData, keep: NDArray[np.bool_]) -> RetrievalData:
    queries = data.queries.filter(pa.array(keep))
    return RetrievalData(
        queries, data.corpus, data.qrels.filter(pc.is_in(data.qrels["query_id"], queries["id"].combine_chunks()))
    )


def _sides(rows: list[Any], share: float, seed: int, labels: list[Any] | None = None) -> NDArray[np.bool_]:
    """True for the rows held out. Connected components of rows by shared items, drawn by a hash of their first item."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    items: dict[Any, int] = {}
    edges = [
        (row, len(rows) + items.setdefault(" ".join(str(item).split()).lower(), len(items)))
        for row, parts in enumerate(rows)
        for item in parts
    ]
    size = len(rows) + len(items)
    graph = coo_array((np.ones(len(edges)), ([a for a, _ in edges], [b for _, b in edges])), shape=(size, size))
    component = connected_components(graph, directed=False)[1][: len(rows)]
    draw: dict[int, float] = {}
    for row, group in enumerate(component):
        if group not in draw:
            digest = hashlib.blake2b(f"{seed}:{rows[row]}".encode(), digest_size=8).digest()
            draw[group] = int.from_bytes(digest, "little") / 2**64
    chance = np.array([draw[group] for group in component])
    if labels is None:
        return _fill(chance, component, share * len(rows))
    side = np.zeros(len(rows), bool)
    keys = np.array([str(label) for label in labels])
    for key in np.unique(keys):
        mine = np.flatnonzero(keys == key)
        side[mine] = _fill(chance[mine], component[mine], max(share * len(mine), 1 if len(mine) == 2 else 0))
    # a text with two labels may have been drawn twice: all of its rows go where its first row went
    first = {group: side[row] for row, group in reversed(list(enumerate(component)))}
    return np.array([first[group] for group in component])


def _fill(chance: NDArray[np.float64], component: NDArray[np.integer], wanted: float) -> NDArray[np.bool_]:
    """Whole components in the order of their draw, until enough rows are held out; one too big to fit is passed
    over."""
    groups, first, counts = np.unique(component, return_index=True, return_counts=True)
    held_out: set[int] = set()
    filled = 0
    for index in np.argsort(chance[first], kind="stable"):
        if filled + counts[index] <= wanted or (not held_out and counts[index] < len(component) / 2):
            held_out.add(int(groups[index]))
            filled += int(counts[index])
    return np.array([int(group) in held_out for group in component])
