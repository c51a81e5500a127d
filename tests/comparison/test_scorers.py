"""Scorers in the verbs: beside embedders in one table, on pairs and behind a first stage."""

from __future__ import annotations

import json

import numpy as np
import pytest

from umekomi.comparison.leaderboard import Row, _recommend
from umekomi.data import load
from umekomi.errors import WrongUse
from umekomi.models import opening
from umekomi.models.base import Scorer
from umekomi.statistics import interval, paired_interval
from umekomi.tasks import make, retrieval
from umekomi.verbs.compare import compare
from umekomi.verbs.evaluate import evaluate

THINGS = ("cat", "dog", "bond", "stock", "river", "poem", "engine", "recipe")
PAIRS = [
    {
        "anchor": f"which {THINGS[i % 8]} has mark m{i}",
        "positive": f"The {THINGS[i % 8]} with mark m{i} is told of here",
    }
    for i in range(40)
]
SCORED = [
    {"sentence1": f"{a} one", "sentence2": f"{b} {c}", "score": float(2 * (a == b) + (c == "one"))}
    for a in THINGS
    for b in THINGS
    for c in ("one", "two")
]


class Shared(Scorer):
    """Words that both texts share."""

    kind = "shared-words"
    calls = 0

    def __init__(self, name="shared"):
        super().__init__(name, {"licence": "CC0-1.0"})

    def _score(self, a, b, condition):
        Shared.calls += len(a)
        return np.array([len(set(x.split()) & set(y.split())) for x, y in zip(a, b, strict=True)], float)

    def _write(self, folder):
        return {}

    @classmethod
    def _read(cls, folder, head, open):
        return cls()


@pytest.fixture
def shared(tmp_path, monkeypatch):
    monkeypatch.setitem(opening.KINDS, Shared.kind, f"{__name__}:Shared")
    Shared().save(tmp_path / "shared")
    monkeypatch.chdir(tmp_path)
    return "shared"


def test_scorers_and_embedders_stand_in_one_table(tmp_path, shared, capsys):
    from umekomi.cli.compare import print_leaderboard

    found = compare([shared, "tfidf", "random"], SCORED, out=tmp_path / "c")
    rows = {row.candidate: row for row in found.rows}
    assert rows[shared].score.value > 0.97 > rows["random"].score.value
    scorer, embedder = rows[shared], rows[found.baseline]
    gap = found.differences[shared]
    assert gap.value == pytest.approx(scorer.score.value - embedder.score.value) and gap.low < gap.value < gap.high
    assert (scorer.makes, scorer.unit, scorer.dimensions, scorer.bytes_per_item) == ("scorer", "pairs", None, None)
    assert scorer.items_per_second > 0 and scorer.texts_per_second is None and embedder.items_per_second is None
    assert scorer.task_seconds > 0 and embedder.task_seconds > 0
    assert scorer.licence == "CC0-1.0"
    calls = Shared.calls
    again = compare([shared, "tfidf", "random"], SCORED, out=tmp_path / "c")
    assert Shared.calls == calls and again.intervals == found.intervals, "nothing is scored twice"
    print_leaderboard(found)
    told = capsys.readouterr().out
    assert "pairs/s" in told and "task s" in told
    data = json.loads((tmp_path / "c" / "report.html").read_text().split('id="data">')[1].split("</script>")[0])
    assert next(row for row in data["rows"] if row["candidate"] == shared)["dimensions"] is None


def test_an_embedder_that_cannot_be_told_from_a_scorer_takes_its_place():
    draw = np.random.default_rng(0)
    values = draw.random(50)
    costs = {"texts_per_second": None, "queries_per_second": None, "ms_per_query": None, "training_seconds": 0.0}
    about = {"metric": "ndcg@10", "statistic": "mean", "others": {}, "licence": "unknown", **costs}

    def row(name, values, makes, stored):
        return Row(name, name, values=values.tolist(), dimensions=None, bytes_per_item=stored, makes=makes, **about)

    judge, near = (
        row("judge", values, "scorer", None),
        row("near", values + draw.normal(0, 0.1, 50) - 0.005, "embedder", 64.0),
    )
    far = row("far", values - 0.2, "embedder", 64.0)
    for rows, chosen, said in (
        ([judge, near, far], "near", "Use near: on these 50 items not to be told from judge"),
        ([judge, far], "judge", "Use judge: the best within 100 bytes an item at ndcg@10"),
    ):
        intervals = {each.candidate: interval(each.score.values) for each in rows}
        found = _recommend(
            rows, intervals, {}, None, 100.0, None, lambda a, b: paired_interval(a.score.values, b.score.values)
        )
        assert found[0] == chosen and found[1].startswith(said)
        assert ("and reads each text once, not every pair" in found[1]) == (chosen == "near")


def test_the_next_command_of_a_scorer_that_wins(tmp_path, shared):
    found = compare([shared, "random"], SCORED, out=tmp_path / "c")
    assert found.winner == shared and found.next_command == f"umekomi serve {shared}"
    assert found.recommendation.startswith(f"Use {shared}: the best at spearman")
    found = compare([shared, f"{shared}@8", "random"], SCORED, out=tmp_path / "c")
    assert found.skipped == {f"{shared}@8": "cannot be cut to 8 dimensions: shared is a shared-words, and has none"}


def test_a_scorer_orders_all_documents_or_a_shortlist(shared, monkeypatch):
    task = make("retrieval", load(PAIRS))
    every = evaluate(shared, task)
    assert every.notes[0] == "scores every query with all 40 documents"
    assert every.value == pytest.approx(1.0)
    monkeypatch.setattr(retrieval, "ALL_PAIRS", 0)
    few = retrieval.RetrievalTask(task.data, depth=5)
    calls = Shared.calls
    found = evaluate(shared, few)
    assert Shared.calls - calls <= 40 * 5, "no more than the first stage finds"
    assert found.notes[0] == "orders BM25's first 5 documents of each query, and finds no other"
    bm25 = evaluate("bm25", few)
    assert found.value == pytest.approx(1.0)
    assert found.scores["recall@100"].value == pytest.approx(bm25.scores["recall@100"].value), "no other document"


def test_compare_on_retrieval_counts_the_first_stage(tmp_path, shared, monkeypatch):
    monkeypatch.setattr(retrieval, "ALL_PAIRS", 0)
    found = compare([shared, "bm25", "random"], PAIRS, out=tmp_path / "c", hybrid=True)
    rows = {row.candidate: row for row in found.rows}
    assert rows[shared].ms_per_query > 0 and rows[shared].hits
    assert f"bm25+{shared}" not in rows, "fusion is of embedders' rankings"


def test_conditions_are_given_to_scorers_that_take_them_and_else_said():
    class Conditioned(Shared):
        conditions = True

        def _score(self, a, b, condition):
            return np.array([float(each == "loud") for each in condition])

    rows = {
        "sentence1": ["a b", "a b", "c d", "c d"],
        "sentence2": ["a b", "a b", "c e", "c e"],
        "condition": ["loud", "low", "loud", "low"],
        "score": [5.0, 1.0, 5.0, 1.0],
    }
    task = make("similarity", load(rows))
    assert evaluate(Conditioned(), task).value == pytest.approx(1.0)
    blind = evaluate(Shared(), task)
    assert abs(blind.value) < 1e-9 and blind.notes == ("judged without the conditions, which shared does not take",)


def test_what_a_task_does_not_judge_is_one_line(shared):
    with pytest.raises(WrongUse, match="classification judges embedders; shared is a shared-words"):
        evaluate(shared, "classification", [{"text": f"t {i}", "label": i % 2} for i in range(8)])
    with pytest.raises(WrongUse, match="engine onnx: expected a transformer text embedder, .* is of kind shared-words"):
        evaluate(shared, "similarity", SCORED, engine="onnx")
