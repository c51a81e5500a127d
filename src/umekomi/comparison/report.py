"""The comparison as one page: self-contained, without network, light and dark, by keyboard, on paper."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from umekomi.comparison.leaderboard import by_item
from umekomi.data import RetrievalData
from umekomi.files import plain, whole_file
from umekomi.tasks import Task
from umekomi.tasks.retrieval import RetrievalTask

if TYPE_CHECKING:
    from umekomi.comparison.leaderboard import Comparison

SAMPLES = 16
SNIPPET = 280


def write_report(comparison: Comparison, task: Task) -> Path:
    """``report.html`` in the comparison's folder."""
    data = comparison.to_json() | {"samples": sample_items(comparison, task)}
    text = json.dumps(plain(data), ensure_ascii=False, allow_nan=False).replace("</", "<\\/")
    template = (Path(__file__).parent / "report.html").read_text(encoding="utf-8")
    path = comparison.out / "report.html"
    with whole_file(path) as temporary:
        temporary.write_text(template.replace('"UMEKOMI_DATA"', text, 1), encoding="utf-8")
    return path


def sample_items(comparison: Comparison, task: Task) -> list[dict[str, Any]]:
    """The items on which the candidates differ most: what each found, and whether it was right."""
    values = np.stack([by_item(np.array(row.values, np.float64), row.statistic) for row in comparison.rows])
    order = np.argsort(-values.std(0), kind="stable")
    if isinstance(task, RetrievalTask):
        return _queries(comparison, task, order[: SAMPLES * 4 : 4] if len(order) > SAMPLES * 8 else order[:SAMPLES])
    rows = getattr(task, "data", None)
    if rows is None or isinstance(rows, RetrievalData) or rows.num_rows != values.shape[1]:
        return []
    out = []
    for number in order[:SAMPLES]:
        row = rows.slice(int(number), 1).to_pylist()[0]
        parts = [str(row[name]) for name in ("text", "sentence1", "sentence2") if name in row]
        parts = parts or [f"{name}: {value}" for name, value in row.items() if name != "target"]
        gold = row.get("score", row.get("label", row.get("target")))
        cells = {}
        for index, candidate in enumerate(comparison.rows):
            raw = np.array(candidate.values, np.float64)[number]
            shown = (
                f"{raw[1]:.3f}" if np.ndim(raw) else ("right" if raw == 1 else "wrong" if raw == 0 else f"{raw:.2f}")
            )
            cells[candidate.candidate] = {"value": float(values[index, number]), "shown": shown}
        out.append({"query": " / ".join(_snippet(part) for part in parts), "gold": str(gold), "cells": cells})
    return out


def _queries(comparison: Comparison, task: RetrievalTask, chosen: Iterable[int]) -> list[dict[str, Any]]:
    judgements = list(task.data.judgements().items())
    texts = dict(zip(task.data.corpus["id"].to_pylist(), task.data.corpus["text"].to_pylist(), strict=True))
    questions = dict(zip(task.data.queries["id"].to_pylist(), task.data.queries["text"].to_pylist(), strict=True))
    out = []
    for number in chosen:
        query, judged = judgements[int(number)]
        right = sorted((document for document, grade in judged.items() if grade > 0), key=lambda d: -judged[d])
        cells = {}
        for row in comparison.rows:
            hits = row.hits.get(query, [])
            documents = [document for document, _ in hits]
            first = next((rank for rank, document in enumerate(documents, 1) if document in right), None)
            cells[row.candidate] = {
                "value": float(row.values[int(number)]),
                "shown": f"right at {first}" if first else "not in the first ten",
                "hits": [
                    {"text": _snippet(texts[document]), "score": round(score, 3), "right": judged.get(document, 0) > 0}
                    for document, score in hits[:3]
                ],
            }
        out.append(
            {"query": _snippet(questions[query]), "gold": _snippet(texts[right[0]]) if right else "", "cells": cells}
        )
    return out


def _snippet(text: str) -> str:
    return text if len(text) <= SNIPPET else text[:SNIPPET].rstrip() + "…"
