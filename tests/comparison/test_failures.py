"""What fails in one candidate costs no other's row; what cannot be judged is refused before anything is learned."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from umekomi.comparison import fusion, judging
from umekomi.comparison.leaderboard import read_row, write_row
from umekomi.errors import DataError, UmekomiError, WrongUse
from umekomi.recipes import get
from umekomi.verbs.compare import compare

PAIRS = [
    {"anchor": f"which thing has mark {i}", "positive": f"The thing that bears mark {i} is told of here. It has {i}."}
    for i in range(30)
]


@pytest.fixture
def broken(tmp_path):
    """A model whose table holds NaN."""
    from safetensors.numpy import load_file, save_file

    get("lsa")(dimensions=4).fit([row["positive"] for row in PAIRS]).save(tmp_path / "broken")
    file = next((tmp_path / "broken").rglob("*.safetensors"))
    tensors = {name: np.full_like(values, np.nan) for name, values in load_file(file).items()}
    save_file(tensors, file)
    for sums in (tmp_path / "broken").rglob("SHA256SUMS"):
        sums.unlink()
    return tmp_path / "broken"


def test_nan_weights_are_skipped_with_their_line_and_the_other_rows_stay(broken, tmp_path):
    found = compare(["tfidf", str(broken), "random"], PAIRS, out=tmp_path / "c", hybrid=True)
    assert {row.candidate for row in found.rows} >= {"bm25", "tfidf", "random"}
    assert "NaN" in found.skipped[str(broken)] or "finite" in found.skipped[str(broken)]
    assert "\n" not in found.skipped[str(broken)]


@pytest.mark.parametrize(
    "error", [RuntimeError("two\nlines"), MemoryError(), ValueError("a library's"), OSError(5, "x")]
)
def test_whatever_fails_in_a_candidate_is_its_own_line(tmp_path, monkeypatch, error, capsys):
    real = judging.Judging.model

    def fails(self, candidate):
        if candidate.spec == "random":
            raise error
        return real(self, candidate)

    monkeypatch.setattr(judging.Judging, "model", fails)
    found = compare(["random", "tfidf"], PAIRS, out=tmp_path / "c")
    assert [row.candidate for row in found.rows] == ["tfidf"]
    assert found.skipped["random"].startswith(type(error).__name__)
    assert "\n" not in found.skipped["random"]
    with pytest.raises(UmekomiError, match="no candidate could be judged: random"):
        compare(["random"], PAIRS, out=tmp_path / "c")


def test_a_fusion_that_fails_costs_no_row(tmp_path, monkeypatch):
    def fails(*arguments):
        raise ValueError("a library's")

    monkeypatch.setattr(fusion, "untuned", fails)
    found = compare(["bm25", "lsa"], PAIRS, out=tmp_path / "c", hybrid=True)
    assert {row.candidate for row in found.rows} == {"bm25", "lsa", "bm25+lsa:tuned"}
    assert found.skipped == {"bm25+lsa": "ValueError: a library's"}


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (PAIRS, {"task": "zzz"}, "no task named 'zzz'"),
        (PAIRS, {"task": "clustering"}, "the task clustering takes labelled texts; a table holds pairs"),
        ({"text": ["a", "b"], "label": ["x", "x"]}, {}, "column 'label': expected two labels or more, found only 'x'"),
        ({"text": ["a", "b", "c"], "label": ["x", "", "y"]}, {}, "row 2, column 'label': expected a label"),
        (
            {"sentence1": ["a", "b"], "sentence2": ["c", "d"], "score": [1.0, 1.0]},
            {},
            "column 'score': expected two scores or more that differ",
        ),
        (
            {"query": ["a", "b"], "document": ["c", "d"], "score": [0.0, 0.0]},
            {},
            "column 'score': expected a document judged above zero",
        ),
        ({"query": ["a", "b"], "document": [None, "d"], "score": [1.0, 0.0]}, {}, "row 1, column 'document'"),
        (PAIRS, {"seed": -1}, "seed: expected a whole number from 0"),
        (PAIRS, {"budget_ms": math.nan}, "budget_ms: expected a number above zero, found nan"),
    ],
)
def test_what_cannot_be_judged_is_refused_before_anything_is_learned(tmp_path, data, options, message):
    with pytest.raises((WrongUse, DataError), match=message):
        compare(["tfidf", "random"], data, out=tmp_path / "c", **options)
    assert not (tmp_path / "c").exists()


def test_one_rare_label_stops_no_comparison(tmp_path):
    rows = [{"text": f"{'ab'[i % 2]} {i}", "label": "xy"[i % 2]} for i in range(20)] + [{"text": "r", "label": "rare"}]
    found = compare(["tfidf", "random"], rows, out=tmp_path / "c")
    assert any("'rare'" in note for row in found.rows for note in row.notes)


def test_grades_between_zero_and_one_count_also_where_an_earlier_version_made_them_zero(tmp_path):
    rows = [
        {"query": f"mark {i}{i}", "document": f"the thing with mark {j}{j}", "score": 0.9 if i == j else 0.1}
        for i in range(4)
        for j in range(4)
    ]
    found = compare(["bm25", "random"], rows, out=tmp_path / "c")
    values = {row.candidate: row.score.value for row in found.rows}
    assert values["bm25"] == pytest.approx(1)
    assert 0 < values["random"] <= 1
    from umekomi.comparison.plan import plan

    assert plan(rows, None, None, False, 0, None).task.edition() == ["grades as they are"]
    assert plan(PAIRS, None, None, False, 0, None).task.edition() == [], "what agrees is not done again"


def test_reranking_of_judged_pairs_is_planned_like_it_is_evaluated(tmp_path):
    rows = [
        {"query": f"mark {i}{i}", "document": f"the thing with mark {j}{j}", "score": float(i == j)}
        for i in range(4)
        for j in range(4)
    ]
    found = compare(["bm25", "random"], rows, task="reranking", out=tmp_path / "c")
    assert found.task == "reranking"
    assert found.winner == "bm25"


def test_a_row_keeps_what_is_no_number(tmp_path):
    found = compare(["tfidf"], PAIRS, out=tmp_path / "c").rows[0]
    found.others["odd"] = type(found.others["map"])(math.nan, math.nan, math.nan)
    write_row(tmp_path / "row.json", found)
    assert json.loads((tmp_path / "row.json").read_text(), parse_constant=pytest.fail)["others"]["odd"] == [None] * 3
    back = read_row(tmp_path / "row.json")
    assert all(math.isnan(value) for value in back.others["odd"])
    assert back.values == found.values
