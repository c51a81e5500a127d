"""The verb ``mine``: hard negatives for one's own pairs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from umekomi.data import load
from umekomi.data.columns import Retrieval, as_table, shape
from umekomi.data.views import pairs
from umekomi.errors import DataError, WrongUse
from umekomi.models import load_embedder
from umekomi.parts import similarity as similarities
from umekomi.tasks.retrieval import best
from umekomi.training import training_split


@dataclass(frozen=True)
class Mined:
    """``table`` (anchor, positive, negative_1 …) and how many candidates each rule took out."""

    table: Any
    pairs: int
    short: int
    counts: dict[str, int]

    def summary(self) -> str:
        """One line."""
        rules = ", ".join(f"{count:,} by {rule}" for rule, count in self.counts.items() if count)
        return f"{self.table.num_rows:,} of {self.pairs:,} pairs have enough negatives ({self.short:,} left out); candidates taken out: {rules or 'none'}"


def mine(
    model: Any,
    data: Any,
    out: str | Path | None = None,
    *,
    split: str | None = None,
    negatives: int = 3,
    relative_margin: float | None = 0.05,
    margin: float | None = None,
    duplicate: float | None = 0.97,
    depth: int = 50,
    skip: int = 0,
    batch_size: int = 32,
    progress: bool = False,
) -> Mined:
    """For every (anchor, positive) the ``negatives`` most similar documents that are no positive, by ``model``'s own
    similarity, most similar first. Written to ``out`` (JSONL, TSV or Parquet by its ending) as columns that recipes take.

    Rules, each counted: a known positive of the same anchor (by text, whatever its white space) is never a negative;
    ``relative_margin`` keeps a candidate only below s(pos) - relative_margin · \\|s(pos)\\| with the anchor's
    lowest-scored positive (NV-Embed's TopKPercPos 95 %); ``margin`` only below s(pos) - margin; ``duplicate`` takes out
    one whose similarity to the positive itself is that high (cosine embedders only: a near-copy of the answer is an
    answer). ``skip`` passes over the first so many.
    """
    import numpy as np
    import pyarrow as pa

    if negatives < 1 or depth < negatives + skip:
        raise WrongUse(f"mine: expected at least one negative and a depth of {negatives + skip} or more, found {negatives} and {depth}")
    if out is not None:
        _check_ending(out)
    embedder = load_embedder(model)
    rows = as_table(training_split(load(data), split))
    table = pairs(rows, "mine")
    corpus = list(dict.fromkeys([*table["positive"].to_pylist(), *_more(rows)]))
    anchors, positives = table["anchor"].to_pylist(), table["positive"].to_pylist()
    place = {text: number for number, text in enumerate(corpus)}
    known: dict[str, set[int]] = {}
    same: dict[str, list[int]] = {}
    for number, text in enumerate(corpus):
        same.setdefault(_plain(text), []).append(number)
    for anchor, positive in zip(anchors, positives, strict=True):
        known.setdefault(anchor, set()).update(same[_plain(positive)])
    questions = list(known)
    asked = embedder.encode(questions, role="query", batch_size=batch_size, progress=progress)
    documents = embedder.encode(corpus, role="document", batch_size=batch_size, progress=progress)
    if len(corpus) <= negatives:
        raise DataError(f"mine: expected more than {negatives} distinct documents, found {len(corpus)}")
    numbers, scores = best(embedder, asked, documents, min(depth + max(map(len, known.values())), len(corpus)))
    row_of = {question: row for row, question in enumerate(questions)}
    counts = {"known positive": 0, "relative margin": 0, "margin": 0, "near-copy of the positive": 0}
    found: list[tuple[Any, ...]] = []
    short = 0
    guard = duplicate is not None and embedder.metric == "cosine" and hasattr(documents, "dtype") and not hasattr(documents, "indptr")
    lowest: dict[str, float] = {}
    for question, own in known.items():
        row = row_of[question]
        own_vectors = similarities.take(documents, sorted(own))
        lowest[question] = float(embedder.similarity(similarities.rows(asked, row, row + 1), own_vectors)[0].min())
    for anchor, positive in zip(anchors, positives, strict=True):
        row, own = row_of[anchor], known[anchor]
        candidates = [(int(n), float(s)) for n, s in zip(numbers[row], scores[row], strict=True) if np.isfinite(s)]
        kept = [hit for hit in candidates if hit[0] not in own]
        counts["known positive"] += len(candidates) - len(kept)
        base = lowest[anchor]
        if relative_margin is not None:
            kept, before = [hit for hit in kept if hit[1] < base - relative_margin * abs(base)], len(kept)
            counts["relative margin"] += before - len(kept)
        if margin is not None:
            kept, before = [hit for hit in kept if hit[1] < base - margin], len(kept)
            counts["margin"] += before - len(kept)
        if guard and kept:
            here = similarities.rows(documents, place[positive], place[positive] + 1)
            near = embedder.similarity(here, similarities.take(documents, [n for n, _ in kept]))[0]
            before = len(kept)
            kept = [hit for hit, value in zip(kept, near, strict=True) if value < duplicate]
            counts["near-copy of the positive"] += before - len(kept)
        kept = kept[skip : skip + negatives]
        if len(kept) < negatives:
            short += 1
        else:
            found.append((anchor, positive, *[corpus[n] for n, _ in kept]))
    names = ["anchor", "positive", *[f"negative_{i + 1}" for i in range(negatives)]]
    mined = pa.table({name: pa.array([row[i] for row in found], pa.string()) for i, name in enumerate(names)})
    if out is not None:
        write(mined, out)
    return Mined(mined, len(anchors), short, counts)


def _more(rows: Any) -> list[str]:
    """Documents beside the positives: a retrieval set's whole corpus, judged pairs' every document."""
    if isinstance(rows, Retrieval):
        return rows.corpus["text"].to_pylist()  # type: ignore[no-any-return]
    return rows["document"].to_pylist() if shape(rows) == "judged pairs" else []


def _plain(text: str) -> str:
    return " ".join(text.split()).lower()


ENDINGS = (".jsonl", ".tsv", ".csv", ".parquet")


def _check_ending(out: str | Path) -> None:
    if Path(out).suffix not in ENDINGS:
        raise WrongUse(f"{out}: expected a file ending in {', '.join(ENDINGS)}")


def write(table: Any, out: str | Path) -> None:
    """A table as a file, whole or not at all; a tab or line break cannot stand in TSV and becomes a space there."""
    import csv
    import json

    import pyarrow.parquet as pq

    from umekomi.files import whole_file

    _check_ending(out)
    with whole_file(out) as temporary:
        if Path(out).suffix == ".parquet":
            pq.write_table(table, temporary)
            return
        with temporary.open("w", encoding="utf-8", newline="") as stream:
            if Path(out).suffix == ".jsonl":
                for row in table.to_pylist():
                    stream.write(json.dumps(row, ensure_ascii=False) + "\n")
            elif Path(out).suffix == ".csv":
                writer = csv.writer(stream, lineterminator="\n")
                writer.writerow(table.column_names)
                writer.writerows(tuple(row.values()) for row in table.to_pylist())
            else:
                for fields in [table.column_names, *(row.values() for row in table.to_pylist())]:
                    stream.write("\t".join(" ".join(str(field).split("\t")).replace("\r", " ").replace("\n", " ") for field in fields) + "\n")
