"""Blank documents: services refuse them, networks give them a vector that is near something, BM25 finds none. They are
no documents for any kind of candidate."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

pytest.importorskip("httpx")

import umekomi
from umekomi.cli.main import main
from umekomi.data import RetrievalData
from umekomi.errors import DataError, WrongUse
from umekomi.models import load
from umekomi.verbs.compare import compare

TEXTS = [f"The {thing} number {n} is told of here" for n, thing in enumerate(["cat", "dog", "bond", "poem"] * 5)]
BLANK = {3: "", 8: " \t\n", 12: "\u3000"}


def retrieval(judged_blank=False):
    texts = [BLANK.get(n, text) for n, text in enumerate(TEXTS)]
    asked = [n for n in range(len(TEXTS)) if n not in BLANK] + ([3] if judged_blank else [])
    qrels = [(f"q{n}", f"d{n}", 1.0) for n in asked] + ([("q0", "d8", 1.0)] if judged_blank else [])
    return RetrievalData(
        pa.table({"id": [f"q{n}" for n in asked], "text": [f"where is number {n}" for n in asked]}),
        pa.table({"id": [f"d{n}" for n in range(len(texts))], "text": texts}),
        pa.table(
            {name: [row[place] for row in qrels] for place, name in enumerate(("query_id", "corpus_id", "score"))}
        ),
    )


@pytest.mark.parametrize("judged_blank", [False, True])
def test_no_candidate_is_skipped_or_asked_for_blank_documents(service, judged_blank, tmp_path):
    server = service()
    data = retrieval(judged_blank)
    names = ["bm25", "hashing", f"openai:m@{server.url}", f"hashing>openai:r@{server.url}"]
    found = compare(names, data, out=tmp_path / "c", hybrid=True)
    assert not found.skipped and {row.candidate for row in found.rows} > set(names)
    sent = [text for body in server.bodies for text in body.get("input", body.get("documents"))]
    assert len(sent) > 20 and all(text.strip() for text in sent)
    assert [note for note in found.notes if "blank" in note] == [
        "3 blank documents left out with their judgements: no model can find such"
    ]
    assert found.size == {"queries": 17, "documents": 17}
    assert all(len(row.values) == 17 for row in found.rows), "the same items for all"
    assert all(document not in ("d3", "d8", "d12") for row in found.rows for hits in row.hits.values()
               for document, _ in hits)  # fmt: skip
    plain = compare(["hashing"], data.without_blank(), out=tmp_path / "d")
    assert plain.rows[0].values == next(row.values for row in found.rows if row.candidate == "hashing")
    assert (
        not any("blank" in note for note in plain.notes) and data.without_blank().without_blank().corpus.num_rows == 17
    )


def test_judging_one_model_says_how_many(service, capsys):
    result = umekomi.evaluate(f"openai:m@{service().url}", "retrieval", retrieval())
    assert len(result.main.values) == 17 and capsys.readouterr().err.count("3 blank documents left out") == 1


def test_where_nothing_is_left():
    queries = pa.table({"id": ["q"], "text": ["a question"]})
    corpus = pa.table({"id": ["a", "b"], "text": [" ", "a text"]})
    qrels = pa.table({"query_id": ["q"], "corpus_id": ["a"], "score": [1.0]})
    with pytest.raises(DataError, match="expected a judged document that says something"):
        compare(["bm25"], RetrievalData(queries, corpus, qrels))


def test_a_vector_of_a_blank_text_is_an_error_that_names_it(service, tmp_path, capsys):
    server = service()
    name = f"openai:m@{server.url}"
    with pytest.raises(WrongUse, match="expected texts, found an empty one in place 2"):
        load(name).encode(["a", "\u3000"])
    source = tmp_path / "t.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in ("a", " ", "b")))
    for words in (["encode", name, str(source), "--out", str(tmp_path / "v.npy")],
                  ["index", name, str(source), "--out", str(tmp_path / "i")]):  # fmt: skip
        assert main(words) != 0
        error = capsys.readouterr().err
        assert "line 2" in error and "expected text, found empty text" in error and error.count("\n") == 1
    assert not server.bodies
