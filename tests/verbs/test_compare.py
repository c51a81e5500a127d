from __future__ import annotations

import collections
import json
import random
import signal
import time

import numpy as np
import pytest
import zygote

import umekomi
from umekomi.comparison.judging import FORMAT
from umekomi.data.views import as_retrieval
from umekomi.errors import UmekomiError, WrongUse
from umekomi.verbs.compare import compare

THINGS = ["cat", "dog", "bond", "stock", "river", "poem", "engine", "recipe", "planet", "letter"]
PAIRS = [
    {
        "anchor": f"which {THINGS[i % 10]} has mark {i}",
        "positive": f"The {THINGS[i % 10]} that bears mark {i} is told of here. It has {i * 3} parts.",
    }
    for i in range(120)
]


def journal(folder):
    return [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]


def once(folder):
    """No piece of work stands twice in the journal."""
    counts = collections.Counter((entry["event"], entry["candidate"], entry["key"]) for entry in journal(folder))
    assert max(counts.values()) == 1, counts.most_common(3)
    return counts


def test_leaderboard_recommendation_and_report(tmp_path):
    found = compare(["bm25", "tfidf", "random", "lsa", "hashing@512"], PAIRS, out=tmp_path / "c", hybrid=True)
    values = [found.intervals[row.candidate].value for row in found.rows]
    assert values == sorted(values, reverse=True)
    by_name = {row.candidate: row for row in found.rows}
    assert set(by_name) == {"bm25", "tfidf", "random", "lsa", "hashing@512", "bm25+lsa", "bm25+lsa:tuned"}
    assert by_name["random"].score.value < 0.15
    assert found.intervals["random"].low <= found.intervals["random"].value <= found.intervals["random"].high
    assert found.baseline in ("bm25", "tfidf", "lsa")
    assert found.recommendation.startswith(f"Use {found.winner}")
    assert by_name["random"].bytes_per_item == 384 * 4
    assert by_name["hashing@512"].dimensions == 512
    assert all(row.texts_per_second > 0 and row.ms_per_query > 0 for row in found.rows)
    page = (tmp_path / "c" / "report.html").read_text()
    assert "UMEKOMI_DATA" not in page
    assert "http://www.w3.org/2000/svg" in page
    assert not [word for word in ("https://", "src=", "@import", "url(") if word in page], "nothing is fetched"
    data = json.loads(page.split('id="data">')[1].split("</script>")[0].replace("<\\/", "</"))
    assert data["winner"] == found.winner
    assert len(data["samples"]) > 0
    json.dumps(found.to_json(), default=str)


def test_the_paired_difference_is_that_of_the_same_queries(tmp_path):
    found = compare(["bm25", "random"], PAIRS, out=tmp_path / "c")
    a, b = (np.array(row.values) for row in found.rows)
    assert found.differences["random"].value == pytest.approx(b.mean() - a.mean())


def test_a_second_run_does_nothing_again(tmp_path):
    first = compare(["bm25", "lsa", "lsa@16"], PAIRS, out=tmp_path / "c")
    before = journal(tmp_path / "c")
    second = compare(["bm25", "lsa", "lsa@16"], PAIRS, out=tmp_path / "c")
    assert journal(tmp_path / "c") == before
    assert second.intervals == first.intervals
    counts = once(tmp_path / "c")
    assert sum(event == "encoded" and candidate == "lsa" for event, candidate, _ in counts) == 2, (
        "documents and queries once, shared with the cut"
    )
    compare(["bm25", "lsa", "lsa@8"], PAIRS, out=tmp_path / "c")
    new = journal(tmp_path / "c")[len(before) :]
    assert [entry["event"] for entry in new] == ["judged"]


def test_rows_of_an_older_meaning_are_computed_anew(tmp_path, monkeypatch):
    monkeypatch.setattr("umekomi.verbs.compare.FORMAT", FORMAT - 1)
    compare(["bm25", "lsa"], PAIRS, out=tmp_path / "c")
    monkeypatch.undo()
    judged, trained = once(tmp_path / "c"), len(journal(tmp_path / "c"))
    compare(["bm25", "lsa"], PAIRS, out=tmp_path / "c")
    assert len(journal(tmp_path / "c")) == 2 * trained, judged
    assert len(list((tmp_path / "c" / "results").glob("*.json"))) == 4


def test_other_data_are_another_comparison(tmp_path):
    compare(["bm25"], PAIRS, out=tmp_path / "c")
    compare(["bm25"], PAIRS[:100], out=tmp_path / "c")
    assert sum(entry["event"] == "judged" for entry in journal(tmp_path / "c")) == 2


RUN = """
import sys, json, time
from umekomi.verbs.compare import compare
from umekomi.models.untrained import HashingEmbedder
real = HashingEmbedder._encode
def slow(self, items, **o):
    if len(items) > 1:  # not where one query after the other is timed
        time.sleep(.3)
    return real(self, items, **o)
HashingEmbedder._encode = slow
found = compare(sys.argv[3:], json.load(open(sys.argv[1])), out=sys.argv[2], hybrid=True)
print(json.dumps({row.candidate: row.score.value for row in found.rows}))
"""


def test_killed_at_three_random_moments_and_resumed(tmp_path):
    (tmp_path / "pairs.json").write_text(json.dumps(PAIRS))

    candidates = ["bm25", "tfidf", "hashing", "hashing@64", "lsa", "random"]

    def start():
        return zygote.Process(source=RUN, words=[tmp_path / "pairs.json", tmp_path / "c", *candidates])

    draw = random.Random(11)
    killed = 0
    for _ in range(3):
        process = start()
        time.sleep(draw.uniform(0.3, 2.5))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.wait()
        if (tmp_path / "c" / "journal.jsonl").exists():
            once(tmp_path / "c")
    assert killed
    done = start()
    resumed, error = done.communicate()
    assert done.returncode == 0, error[-2000:]
    counts = once(tmp_path / "c")
    assert 6 <= sum(event == "judged" for event, _, _ in counts) <= 8, (
        "a kill between result and journal may cost the line, never the result"
    )
    assert len(list((tmp_path / "c" / "results").glob("*.json"))) == 8, (
        "six candidates and one fusion, untuned and tuned"
    )
    whole = compare(candidates, PAIRS, out=tmp_path / "whole", hybrid=True)
    assert json.loads(resumed) == {row.candidate: row.score.value for row in whole.rows}


def test_classification_and_similarity_from_the_columns(tmp_path):
    rows = [{"text": f"a {THINGS[i % 4]} number {i}", "label": "animal" if i % 4 < 2 else "money"} for i in range(120)]
    found = compare(["tfidf", "hashing", "random"], rows, out=tmp_path / "a")
    assert found.task == "classification"
    assert found.metric == "accuracy"
    scored = [
        {
            "sentence1": f"a {THINGS[i % 10]} here",
            "sentence2": f"a {THINGS[i // 10 % 10]} here",
            "score": float(i % 10 == i // 10 % 10),
        }
        for i in range(100)
    ]
    found = compare(["tfidf", "random"], scored, out=tmp_path / "b")
    assert found.task == "similarity"
    assert found.winner == "tfidf"
    assert found.next_command.startswith("umekomi ")


def test_labels_that_no_recipe_here_learns_from_are_skipped_and_said(tmp_path):
    rows = [{"text": f"{THINGS[i % 4]} {i}", "label": str(i % 2)} for i in range(60)]
    found = compare(["tfidf", "near2"], rows, out=tmp_path / "a")
    assert "near2 learns from pairs (anchor, positive)" in found.skipped["near2"]


def test_budgets(tmp_path):
    found = compare(["bm25", "random", "hashing", "hashing@32"], PAIRS, out=tmp_path / "c", budget_bytes=200)
    assert found.intervals[found.winner]
    winner = next(row for row in found.rows if row.candidate == found.winner)
    assert winner.bytes_per_item <= 200
    found = compare(["random"], PAIRS, out=tmp_path / "c", budget_bytes=10)
    assert found.recommendation.startswith("Nothing fits within 10 bytes")


def test_a_folder_of_japanese_texts(tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    subjects = ["梅雨", "東京", "埋め込み", "機械学習", "富士山", "俳句", "新幹線", "将棋"]
    for i, subject in enumerate(subjects):
        (folder / f"{i}.txt").write_text(
            f"{subject}とは何かを説明する文章です。この文書では{subject}について詳しく述べ、その歴史と意味を順に紹介します。",
            encoding="utf-8",
        )
    found = compare(["bm25", "lsa"], folder, out=tmp_path / "c")
    assert found.task == "retrieval"
    assert any("inverse cloze" in note for note in found.notes)
    assert any("tokenizer: " in note for row in found.rows if row.candidate == "bm25" for note in row.notes)
    assert found.intervals["bm25"].value > 0.8


def test_retrieval_rows_of_reciprocal_rank_fusion_by_hand(tmp_path):
    """Two rankings of three documents: 1/61 + 1/63 for the first of one and third of the other."""
    from umekomi.parts.ranking import RRF_K

    assert 1 / (RRF_K + 1) + 1 / (RRF_K + 3) > 2 / (RRF_K + 2)
    found = compare(["bm25", "lsa"], PAIRS, out=tmp_path / "c", hybrid=True)
    fused = next(row for row in found.rows if row.candidate == "bm25+lsa")
    ranks = {}
    for name in ("bm25", "lsa"):
        row = next(row for row in found.rows if row.candidate == name)
        ranks[name] = {query: [document for document, _ in hits] for query, hits in row.hits.items()}
    checked = 0
    for query, hits in fused.hits.items():
        document, score = hits[0]
        places = [ranks[name][query].index(document) + 1 for name in ranks if document in ranks[name][query]]
        if len(places) == 2:
            assert score == pytest.approx(sum(1 / (60 + place) for place in places), rel=1e-4)
            checked += 1
    assert checked > 5


def test_wrong_use(tmp_path):
    with pytest.raises(WrongUse, match="at least one"):
        compare([], PAIRS)
    with pytest.raises(WrongUse, match="the nearest: bm25"):
        compare(["bm52"], PAIRS)
    with pytest.raises(WrongUse, match="expected NAME@DIMENSIONS"):
        compare(["bm25@many"], PAIRS)
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(WrongUse, match="holds files of something else"):
        compare(["bm25"], PAIRS, out=tmp_path)
    with pytest.raises(UmekomiError, match="cannot be cut to 4 dimensions"):
        compare(["bm25@4"], PAIRS, out=tmp_path / "c")


def test_carved_pairs_leak_nothing(minilm, tmp_path):
    """A training recipe makes a held-out split; no anchor and no document of it was trained on."""
    from umekomi.comparison.plan import plan

    planned = plan(PAIRS, None, None, True, 0, None)
    judged, train = planned.task.data, as_retrieval(planned.train)
    assert not set(judged.queries["text"].to_pylist()) & set(train.queries["text"].to_pylist())
    assert not set(judged.corpus["text"].to_pylist()) & set(train.corpus["text"].to_pylist())
    assert any("none sharing an item" in note for note in planned.notes)


def test_a_trained_candidate_and_its_cut(tmp_path):
    pytest.importorskip("sentence_transformers")
    found = compare(["minilm", "near2", "near2@64"], PAIRS, out=tmp_path / "c")
    assert set(found.gains) == {"near2", "near2@64"}
    assert found.gains["near2"][0] == "minilm"
    by_name = {row.candidate: row for row in found.rows}
    assert by_name["near2@64"].dimensions == 64
    assert by_name["near2"].training_seconds > 0
    if found.gains["near2"][1].includes_zero:
        assert "no settled gain" in found.recommendation
    counts = once(tmp_path / "c")
    assert sum(event == "trained" for event, _, _ in counts) == 1


def test_tables_of_entities_are_compared_by_their_own_distance(tmp_path):
    """A hierarchy is judged on what is learned from; recipes that read other columns are skipped with a reason."""
    rows = {
        "child": [f"{kind}{i}" for kind in "ab" for i in range(8)] + ["a", "b"],
        "parent": [kind for kind in "ab" for i in range(8)] + ["root", "root"],
    }
    found = umekomi.compare(["poincare", "edrep", "starspace", "bm25"], rows, out=tmp_path / "out")
    assert found.winner == "poincare"
    assert {row.candidate for row in found.rows} == {"poincare", "edrep", "starspace"}
    assert "learns from texts" in found.skipped["bm25"]
    model = umekomi.load(next(row.model for row in found.rows if row.candidate == "poincare"))
    assert model.metric == "poincare"
    hits = umekomi.search(model, "a3", k=3)
    assert [hit.id for hit in hits] == [name for name, _ in model.most_similar("a3", k=3)]
    with pytest.raises(WrongUse, match="is no table of names"):
        umekomi.search("random", "a3")


def test_starspace_joins_a_comparison_of_labelled_texts(tmp_path):
    rows = [
        {"text": f"{word} number {i}", "label": label}
        for label, word in (("x", "ball goal"), ("y", "soup oven"))
        for i in range(30)
    ]
    found = umekomi.compare(["tfidf", "starspace", "random"], rows, out=tmp_path / "out")
    values = {row.candidate: row.score.value for row in found.rows}
    assert values["starspace"] > 0.9
