import json

import numpy as np
import pyarrow as pa
import pytest

from umekomi.data import load
from umekomi.errors import DataError, WrongUse
from umekomi.models.base import Scorer, TextFace
from umekomi.verbs.mine import mine


class Plane(TextFace):
    """Texts are angles in degrees: cosines are known by hand."""

    kind, dimension = "plane", 2

    def _encode(self, items, **options):
        angles = np.deg2rad([float(item.split()[-1]) for item in items])
        return np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)

    def _write(self, folder):
        return {}

    @classmethod
    def _read(cls, folder, head):
        return cls("plane")


MODEL = Plane("plane")
# the anchor at 0; its positive at 20; others further and further away
PAIRS = pa.table(
    {
        "anchor": ["q 0", *[f"other {a}" for a in (5, 22, 30, 40, 60, 90)]],
        "positive": ["d 20", *[f"d {a}" for a in (5, 22, 30, 40, 60, 90)]],
    }
)


def negatives_of(anchor, **options):
    found = mine(MODEL, PAIRS, **options)
    return next(
        (
            [row[f"negative_{i + 1}"] for i in range(options.get("negatives", 3))]
            for row in found.table.to_pylist()
            if row["anchor"] == anchor
        ),
        None,
    ), found


def test_relative_margin_by_hand():
    """cos 20 = .940: only candidates below .95 of it, .893 = cos 26.8, are negatives; the nearest of those first."""
    got, found = negatives_of("q 0", duplicate=None)
    assert got == ["d 30", "d 40", "d 60"]
    assert found.counts["relative margin"] > 0


def test_absolute_margin_and_none():
    assert negatives_of("q 0", relative_margin=None, margin=0.2, duplicate=None, negatives=2)[0] == ["d 60", "d 90"]
    assert negatives_of("q 0", relative_margin=None, duplicate=None, negatives=2)[0] == ["d 5", "d 22"]


def test_a_near_copy_of_the_positive_is_protected():
    """d 22 is 2 degrees from the positive: cosine .9994."""
    got, found = negatives_of("q 0", relative_margin=None, duplicate=0.999, negatives=2)
    assert got == ["d 5", "d 30"]
    assert found.counts["near-copy of the positive"] >= 1


def test_planted_false_negatives_are_found():
    """The same answer written with other white space, and a second positive of the same anchor, are never negatives."""
    table = pa.table(
        {"anchor": ["q 0", "q 0", "x 90", "y 80", "z 70"], "positive": ["d 20", "d 25", "D   20", "d 80", "d 70"]}
    )
    found = mine(MODEL, table, negatives=1, relative_margin=None, duplicate=None)
    for row in found.table.to_pylist():
        if row["anchor"] == "q 0":
            assert row["negative_1"] == "d 70"
    assert found.counts["known positive"] > 0


def test_what_is_left_out_is_counted_and_the_file_is_data(tmp_path):
    _, found = negatives_of("q 0", out=tmp_path / "n.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "n.jsonl").read_text().splitlines()]
    assert len(rows) == found.table.num_rows
    assert found.table.num_rows + found.short == found.pairs == 7
    assert "left out" in found.summary()

    for ending in ("tsv", "csv", "parquet"):
        negatives_of("q 0", out=tmp_path / f"n.{ending}")
        assert load(tmp_path / f"n.{ending}", "all").to_pylist() == rows


def test_wrong_arguments(tmp_path):
    with pytest.raises(WrongUse, match="ending in .jsonl"):
        mine(MODEL, PAIRS, tmp_path / "n.txt")
    with pytest.raises(WrongUse, match="negatives: expected a whole number from 1 to 2,147,483,647, found 0"):
        mine(MODEL, PAIRS, negatives=0)


def test_raters_are_fused_and_the_lowest_taken():
    """Gemini Embedding takes the neighbours that its raters find least like an answer. Two raters that agree turn the
    list round."""
    options = {"relative_margin": None, "duplicate": None, "negatives": 2, "depth": 4}
    assert negatives_of("q 0", **options)[0] == ["d 5", "d 22"]
    assert negatives_of("q 0", raters=[MODEL, MODEL], **options)[0] == ["d 5", "d 22"]
    assert negatives_of("q 0", raters=[MODEL, MODEL], lowest=True, **options)[0] == ["d 40", "d 30"]


class Judge(Scorer):
    """A scorer that likes large angles."""

    kind = "judge"

    def __init__(self):
        super().__init__("judge")

    def _score(self, a, b, condition):
        return np.array([float(text.split()[-1]) for text in b], np.float32)

    def _write(self, folder):
        raise NotImplementedError

    _read = classmethod(_write)


def test_reciprocal_ranks_by_hand():
    """Candidates 5, 22, 30, 40: the plane ranks them 1 2 3 4, the judge 4 3 2 1; twice the judge is 4 3 2 1."""
    options = {"relative_margin": None, "duplicate": None, "negatives": 2, "depth": 4}
    assert negatives_of("q 0", raters=[MODEL, Judge(), Judge()], **options)[0] == ["d 40", "d 30"]
    found = negatives_of("q 0", raters=[MODEL, Judge()], **options)[0]
    assert set(found) == {"d 5", "d 40"}  # 1/61 + 1/64 is more than 1/62 + 1/63
    with pytest.raises(WrongUse, match="raters"):
        mine(MODEL, PAIRS, lowest=True)
    with pytest.raises(WrongUse, match="embedders or scorers"):
        mine(MODEL, PAIRS, raters=[object()], relative_margin=None)


def test_a_recipe_can_rate():
    found = mine(MODEL, PAIRS, raters=["bm25"], relative_margin=None, duplicate=None, negatives=2)
    assert found.table.num_rows == len(PAIRS)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            {"query": ["a", "b"], "document": [None, "d"], "score": [1.0, 0.0]},
            "row 1, column 'document': expected a value",
        ),
        (
            {"query": ["a", "b"], "document": ["c", "d"], "score": [1.0, None]},
            "row 2, column 'score': expected a finite",
        ),
        ({"query": ["a", "b"], "document": ["c", "d"], "score": ["1", "x"]}, "column 'score': expected a number"),
        ({"query": ["a"], "document": [["b", "c"]], "score": [1.0]}, "column 'document': expected text, found list"),
        ({"anchor": ["a", None], "positive": ["b", "c"]}, "row 2, column 'anchor': expected text, found nothing"),
        (
            {
                "queries": {"id": [1], "text": ["a"]},
                "corpus": {"id": [1, 2], "text": ["b", "c"]},
                "qrels": {"query_id": [1], "corpus_id": [9], "score": [1]},
            },
            "column 'corpus_id': expected an id of the corpus, found '9'",
        ),
    ],
)
def test_pairs_that_a_stranger_brings_are_one_line(rows, message):
    with pytest.raises(DataError, match=message):
        mine(MODEL, rows)


def test_a_retrieval_set_in_memory_may_have_numbers_for_ids():
    sets = {
        "queries": {"id": [1, 2], "text": ["q 0", "q 1"]},
        "corpus": {"_id": [1, 2, 3], "text": ["d 1", "d 2", "d 3"]},
        "qrels": {"query-id": [1, 2], "corpus-id": [1, 2], "score": [1, 1]},
    }
    assert load(sets, "all").judgements() == {"1": {"1": 1}, "2": {"2": 1}}
