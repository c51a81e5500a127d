"""Pairs of texts and how well they fit, from 0 to 1: what scorers of pairs learn from, whatever data they came from."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from umekomi.data.contrast import relation
from umekomi.data.shapes import shape_name
from umekomi.data.tables import as_table, check
from umekomi.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

SAME = {"0": 0.0, "false": 0.0, "0.0": 0.0, "1": 1.0, "true": 1.0, "1.0": 1.0}
"""The labels that say whether two texts are the same, as files write them."""
ENTAILED = {"entailment": 1.0, "neutral": 0.0, "contradiction": 0.0}


def judged(data: Any, who: str) -> pa.Table:
    """sentence1, sentence2, label (float) from scored pairs (the lowest score becomes 0, the highest 1), labelled pairs
    (0 or 1; of entailment, 1 where the first entails the second) or judged pairs (grade by the highest, below zero
    0)."""
    table = as_table(data)
    kind = shape_name(table)
    if kind == "labelled pairs":
        return _of(_columns(table, ("sentence1", "sentence2"), who), _labels(table, who))
    if kind == "scored pairs":
        scores = check(table, ("score",), who)["score"].to_pylist()
        low, spread = min(scores), max(scores) - min(scores)
        _differ(spread, scores, who)
        return _of(_columns(table, ("sentence1", "sentence2"), who), [(score - low) / spread for score in scores])
    grades = check(table, ("query", "document", "score"), who)["score"].to_pylist()
    top = max(grades)
    _differ(top > 0 and len(set(grades)) > 1, grades, who)
    return _of(_columns(table, ("query", "document"), who), [max(grade, 0) / top for grade in grades])


def against(pairs: pa.Table, negatives: int, seed: int) -> pa.Table:
    """sentence1, sentence2, label from anchor, positive[, negative_1 …]: the positive fits (1), the negatives do not
    (0). Where a row has fewer than ``negatives``, other rows' positives are drawn that are no answer to its anchor."""
    rows = pairs.to_pylist()
    answers: dict[str, set[str]] = {}
    for row in rows:
        answers.setdefault(row["anchor"], set()).add(row["positive"])
    documents = list(dict.fromkeys(row["positive"] for row in rows))
    draw = random.Random(seed)
    out = []
    for row in rows:
        own = answers[row["anchor"]]
        against = [text for name, text in row.items() if name.startswith("negative") and text and text.strip()]
        others = draw.sample(documents, min(len(documents), negatives + len(own)))
        against += [text for text in others if text not in own and text not in against][
            : max(negatives - len(against), 0)
        ]
        out += [(row["anchor"], row["positive"], 1.0), *((row["anchor"], text, 0.0) for text in against)]
    if len(out) == len(rows):
        raise DataError(f"expected pairs of two documents or more, found {len(documents)}: nothing tells them apart")
    first, second, label = (list(each) for each in zip(*out, strict=True))
    return _of([first, second], label)


def _columns(table: pa.Table, names: tuple[str, ...], who: str) -> list[list[str]]:
    import pyarrow as pa

    table = check(table, names, who)
    for name in names:
        if not (pa.types.is_string(table[name].type) or pa.types.is_large_string(table[name].type)):
            raise DataError(f"{who}: column {name!r}: expected text, found {table[name].type}")
    return [table[name].to_pylist() for name in names]


def _labels(table: pa.Table, who: str) -> list[float]:
    given = check(table, ("label",), who)["label"].to_pylist()
    words = [str(label).strip().lower() for label in given]
    if set(words) <= SAME.keys():
        out = [SAME[word] for word in words]
    else:
        relations = [relation(label) for label in given]
        wrong = next((row for row, name in enumerate(relations) if name not in ENTAILED), None)
        if wrong is not None:
            raise DataError(
                f"{who}: row {wrong + 1}, column 'label': expected 0 or 1, or {', '.join(ENTAILED)}, found "
                f"{given[wrong]!r}"
            )
        out = [ENTAILED[name] for name in relations]
    _differ(len(set(out)) > 1, given, who, "label")
    return out


def _differ(differs: Any, found: list[Any], who: str, column: str = "score") -> None:
    if not differs:
        raise DataError(
            f"{who}: column {column!r}: expected pairs that fit and pairs that do not, found all {found[0]!r}"
        )


def _of(texts: list[list[str]], label: list[float]) -> pa.Table:
    import pyarrow as pa

    return pa.table({"sentence1": texts[0], "sentence2": texts[1], "label": pa.array(label, pa.float64())})
