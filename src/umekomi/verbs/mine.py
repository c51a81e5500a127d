"""The verb ``mine``: hard negatives for one's own pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umekomi.data import load
from umekomi.data.columns import RetrievalData
from umekomi.data.shapes import pairs, shape_name
from umekomi.data.tables import as_table
from umekomi.errors import WrongUse
from umekomi.limits import checked
from umekomi.models.engines.choice import open_for_encoding, open_to_judge
from umekomi.recipes import quick_model
from umekomi.tasks.negatives import hard_negatives
from umekomi.verbs.train import training_split

if TYPE_CHECKING:
    import pyarrow as pa

    from umekomi.data.columns import Given, Split
    from umekomi.models.base import Named, Saved


@dataclass(frozen=True)
class MinedNegatives:
    """``table`` (anchor, positive, negative_1 …) and how many candidates each rule took out."""

    table: Any
    pairs: int
    short: int
    counts: dict[str, int]

    def summary(self) -> str:
        """One line."""
        rules = ", ".join(f"{count:,} by {rule}" for rule, count in self.counts.items() if count)
        return (
            f"{self.table.num_rows:,} of {self.pairs:,} pairs have enough negatives ({self.short:,} left out); "
            f"candidates taken out: {rules or 'none'}"
        )


@checked
def mine(
    model: Named,
    data: Given,
    out: str | Path | None = None,
    *,
    split: str | None = None,
    negatives: int = 3,
    relative_margin: float | None = 0.05,
    margin: float | None = None,
    duplicate: float | None = 0.97,
    depth: int = 50,
    skip: int = 0,
    raters: Sequence[Any] = (),
    lowest: bool = False,
    batch_size: int = 32,
    encoding: str | None = None,
    progress: bool = False,
) -> MinedNegatives:
    r"""For every (anchor, positive) the most similar documents that are no positive, by the model's own similarity,
    most similar first, as columns that recipes take. A known positive of the same anchor (by text, whatever its white
    space) is never a negative; this and every other rule is counted.

    Args:
        model: a name, a folder, or an embedder.
        data: pairs, judged pairs or a retrieval set.
        out: written to, JSONL, TSV or Parquet by its ending.
        split: the split mined.
        negatives: so many a pair.
        relative_margin: keeps a candidate only below s(pos) - relative_margin · \|s(pos)\| with the anchor's
            lowest-scored positive (NV-Embed's TopKPercPos 95 %).
        margin: keeps a candidate only below s(pos) - margin.
        duplicate: takes out one whose similarity to the positive itself is that high (cosine embedders only: a
            near-copy of the answer is an answer).
        depth: candidates that are looked at beside the positives.
        skip: passes over the first so many.
        raters: models, or recipes that learn from texts alone, that rank what is left; their ranks are fused, and the
            highest are taken.
        lowest: takes the lowest-ranked, as Gemini Embedding does (arXiv 2503.07891; its raters are two prompts of a
            language model).
        batch_size: items that are encoded at once.
        encoding: of a file that is not UTF-8.
        progress: shows a bar.
    """
    if depth < negatives + skip:
        raise WrongUse(
            f"expected {negatives + skip} or more, the negatives and those passed over, found {depth}",
            parameter="depth",
        )
    if lowest and not raters:
        raise WrongUse("mine: expected raters whose lowest-ranked candidates are taken, found none")
    if out is not None:
        _check_ending(out)
    embedder = open_for_encoding(model)
    rows = as_table(training_split(load(data, encoding=encoding), split))
    table = pairs(rows, "mine")
    judges = [_rater(rater, table, rows) for rater in raters]
    mined = hard_negatives(
        embedder,
        table,
        _more(rows),
        negatives=negatives,
        relative_margin=relative_margin,
        margin=margin,
        duplicate=duplicate,
        depth=depth,
        skip=skip,
        raters=judges,
        lowest=lowest,
        batch_size=batch_size,
        progress=progress,
    )
    if out is not None:
        write(mined.table, out)
    return MinedNegatives(mined.table, table.num_rows, mined.short, mined.counts)


def _rater(rater: Named, table: pa.Table, rows: Split) -> Saved:
    """A model, or a recipe that learns from texts alone (bm25, tfidf, lsa), learned from the documents mined from."""
    quick = quick_model(rater, lambda: dict.fromkeys([*table["positive"].to_pylist(), *_more(rows)]))
    return open_to_judge(rater) if quick is None else quick


def _more(rows: Split) -> list[str]:
    """Documents beside the positives: a retrieval set's whole corpus, judged pairs' every document."""
    if isinstance(rows, RetrievalData):
        return rows.corpus["text"].to_pylist()  # type: ignore[no-any-return]
    return rows["document"].to_pylist() if shape_name(rows) == "judged pairs" else []


ENDINGS = (".jsonl", ".tsv", ".csv", ".parquet")


def _check_ending(out: str | Path) -> None:
    if Path(out).suffix not in ENDINGS:
        raise WrongUse(f"{out}: expected a file ending in {', '.join(ENDINGS)}")


def write(table: pa.Table, out: str | Path) -> None:
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
                    stream.write(
                        "\t".join(
                            " ".join(("" if field is None else str(field)).split("\t"))
                            .replace("\r", " ")
                            .replace("\n", " ")
                            for field in fields
                        )
                        + "\n"
                    )
