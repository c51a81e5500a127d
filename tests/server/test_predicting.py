"""Predictors and scorers on the wire: what each route answers them, and to what it is not for."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from starlette.testclient import TestClient
from test_requests import Judge, post, refused

from umekomi.recipes import get
from umekomi.server.app import Settings
from umekomi.server.routes import application

AGE = [20 + i * 7 % 60 for i in range(60)]
ROWS = {
    "age": AGE,
    "colour": [("red", "blue", None)[i % 3] for i in range(60)],
    "target": [("no", "yes")[age > 50] for age in AGE],
}


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    root = tmp_path_factory.mktemp("predicting")
    get("linear")().fit(ROWS).save(root / "buys")
    get("linear")().fit({"age": AGE, "target": [2.0 * age for age in AGE]}).save(root / "price")
    get("lsa")(dimensions=4, vocabulary=60).fit({"text": ["a cat sat", "a dog ran", "the cat ran"] * 3}).save(
        root / "lsa"
    )
    models = [root / "buys", root / "price", root / "lsa", Judge()]
    app = application(models, (), Settings(hosts=frozenset({"testserver"})))
    with TestClient(app, raise_server_exceptions=False) as asked:
        yield asked


def test_predictions_are_the_models_own(client):
    rows = [{"age": 70, "colour": "red"}, {"age": 21, "colour": None}]
    status, answer = post(client, "/v1/predict", {"model": "buys", "rows": rows})
    assert status == 200 and [entry["prediction"] for entry in answer["data"]] == ["yes", "no"]
    want = get("linear")().fit(ROWS).predict(rows)
    found = [[entry["probabilities"][name] for name in ("no", "yes")] for entry in answer["data"]]
    assert np.allclose(found, want, atol=1e-6)
    status, answer = post(client, "/v1/predict", {"model": "price", "rows": [{"age": 30, "more": "ignored"}]})
    assert status == 200 and answer["data"][0]["prediction"] == pytest.approx(60, abs=1)
    listed = {entry["id"]: entry for entry in client.get("/v1/models").json()["data"]}
    assert (listed["buys"]["makes"], listed["buys"]["classes"]) == ("predictor", ["no", "yes"])
    assert listed["buys"]["columns"] == ["age", "colour"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"age": "old", "colour": "red"}], "linear, row 1, column 'age': expected a number, found 'old'"),
        ([{"age": 3, "colour": "red"}, {"age": 3}], "linear, row 2: expected the column 'colour', found age"),
        ([{}], "linear, row 1: expected the column 'age', found none"),
        ([{"age": 3, "colour": True}], "linear, row 1, column 'colour': expected a text, found True"),
        ([{"age": 1e200, "colour": "red"}], "linear, row 1, column 'age': expected one like those learned from"),
        ([], "rows: expected 1 to 2,048 objects with a text, number, truth value or null under each column"),
        ([{"age": [3]}], "rows: expected 1 to 2,048 objects"),
        (["age"], "rows: expected 1 to 2,048 objects"),
        ({"age": 3}, "rows: expected 1 to 2,048 objects"),
    ],
)
def test_a_bad_row_is_one_line(client, rows, said):
    status, message = refused(client, "/v1/predict", {"model": "buys", "rows": rows})
    assert status == 400 and message.startswith(said)


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        (
            "/v1/predict",
            {"model": "lsa", "rows": [{"a": 1}]},
            "model: lsa predicts nothing of rows: expected a predictor",
        ),
        ("/v1/predict", {"model": "judge", "rows": [{"a": 1}]}, "model: judge predicts nothing of rows"),
        ("/v1/predict", {"model": "none", "rows": [{"a": 1}]}, "no model named 'none'"),
        ("/v1/predict", {"model": "buys"}, "rows: Field required"),
        ("/v1/rerank", {"model": "buys", "query": "a", "documents": ["b"]}, "model: buys orders no texts"),
        ("/v1/embeddings", {"model": "buys", "input": "a"}, "model: buys gives no dense vectors"),
        ("/v1/embeddings", {"model": "buys", "input": "a", "dimensions": 4}, "model: buys gives no dense vectors"),
        ("/v1/embeddings", {"model": "buys", "input": "a", "late_chunking": True}, "model: buys gives no vectors"),
        ("/v1/embeddings", {"model": "buys", "input": [[1]]}, "input.0: buys has no tokenizer of ids"),
        ("/v1/similarity", {"model": "buys", "input": ["a"]}, "model: buys gives no dense vectors"),
    ],
)
def test_a_route_for_another_sort_of_model_is_one_line(client, path, body, said):
    status, message = refused(client, path, body)
    assert status in (400, 404) and message.startswith(said)


def test_a_saved_cross_encoder_reranks(tmp_path):
    pytest.importorskip("sentence_transformers")
    from umekomi.models import load
    from umekomi.models.scratch import untrained_transformer

    texts = [f"word{i} and word{i + 1}" for i in range(20)]
    base = untrained_transformer("bert", texts, layers=1, width=16, heads=2, vocabulary=300, max_length=32).embedder()
    pairs = {"sentence1": texts, "sentence2": texts[::-1], "score": [float(i) for i in range(20)]}
    get("cross-encoder").tiny().fit(pairs, start=base).save(tmp_path / "cross")
    app = application([tmp_path / "cross"], (), Settings(hosts=frozenset({"testserver"})))
    with TestClient(app, raise_server_exceptions=False) as asked:
        answer = asked.post("/rerank", content=json.dumps({"query": "word1", "documents": texts[:5]})).json()
    want = load(tmp_path / "cross").score(["word1"] * 5, texts[:5])
    assert [entry["index"] for entry in answer["results"]] == np.argsort(-want, kind="stable").tolist()
    assert answer["results"][0]["relevance_score"] == pytest.approx(float(want.max()), abs=1e-6)
