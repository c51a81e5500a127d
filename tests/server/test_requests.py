"""What a request may say, and what it gets for saying it wrong: in this process, without a socket."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from starlette.testclient import TestClient

from umekomi.indexes import Index
from umekomi.models.base import Scorer
from umekomi.models.untrained import HashingEmbedder
from umekomi.server.app import Settings
from umekomi.server.maps import project
from umekomi.server.model_pool import ModelPool
from umekomi.server.routes import application

JSON = {"content-type": "application/json"}
TEXTS = ["a loaf of bread", "kittens purr all day", "prices of stocks fell"]


class Judge(Scorer):
    """A scorer: the more letters, the better."""

    kind = "scorer"

    def __init__(self):
        super().__init__("judge")

    def _score(self, a, b, condition):
        assert all(b), "it is never asked for an empty text"
        return np.array([len(each) - 100.0 for each in b])

    def _write(self, folder):
        raise NotImplementedError

    _read = classmethod(_write)


class Panics(BaseException):
    """As pyo3's PanicException."""


class Fragile(HashingEmbedder):
    """Its library panics at some texts."""

    def _encode(self, items, **options):
        if "poison" in items:
            raise Panics("index out of range")
        found = super()._encode(items, **options)
        return np.where(np.array(["weights" in item for item in items])[:, None], np.nan, found).astype(np.float32)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    root = tmp_path_factory.mktemp("requests")
    embedder = HashingEmbedder(32)
    embedder.save(root / "hashing")
    index = Index.create(root / "notes", model=embedder, source=str(root / "hashing"), text="text")
    index.add(["a", "b", "c"], embedder.encode(TEXTS), {"text": TEXTS, "year": [1, 2, 3]})
    for metric in ("cosine", "dot", "euclidean", "poincare"):
        Index.create(root / metric, metric=metric).add(
            ["x", "y", "z"], np.array([[0.1, 0.5, 0], [0.1, 0, 0.6], [0.7, 0.1, 0.1]], "f4")
        )
    models = [root / "hashing", Fragile(16, name="fragile"), Judge()]
    indexes = [root / name for name in ("notes", "cosine", "dot", "euclidean", "poincare")]
    app = application(models, indexes, Settings(hosts=frozenset({"testserver", "localhost", "::1"})))
    with TestClient(app, raise_server_exceptions=False) as asked:
        yield asked
        assert asked.get("/ready").status_code == 200


def post(client, path, body, **headers):
    content = body if isinstance(body, (bytes, str)) else json.dumps(body)
    answer = client.post(path, content=content, headers=JSON | headers)
    return answer.status_code, answer.json()


def refused(client, path, body, **headers):
    status, answer = post(client, path, body, **headers)
    assert set(answer["error"]) == {"message", "type", "param", "code"} and "\n" not in answer["error"]["message"]
    return status, answer["error"]["message"]


# --- one reader of bodies -------------------------------------------------------------------------------------------

HASHING = '"model":"hashing"'


@pytest.mark.parametrize(
    "value", ["NaN", "Infinity", "-Infinity", "1e400", "-1e400", '"\\ud800"', '"\\udc00a"', "01", "1.", "'a'"]
)
@pytest.mark.parametrize(
    "field",
    ['"input":%s', '"input":[%s]', '"input":[[%s]]', '"input":"a","ignored":{"x":[%s]}', '"input":"a","dimensions":%s'],
)
def test_what_strict_readers_refuse_is_no_json(client, field, value):
    status, message = refused(client, "/v1/embeddings", "{" + HASHING + "," + field % value + "}")
    assert status == 400 and message.startswith("expected JSON, found what is none")


@pytest.mark.parametrize(
    "body", [b"\xef\xbb\xbf{}", '{"input":"a"}'.encode("utf-16"), b'{"input":"\xe9"}', b"{}{}", b"[" * 5000, b"\x00"]
)
def test_other_bytes_are_no_json(client, body):
    assert refused(client, "/v1/embeddings", body)[0] == 400


def test_a_key_stands_once(client):
    for body in (
        '{"input":"a","input":"b"}',
        '{"input":"a","inp\\u0075t":"b"}',
        '{"input":"a","x":[{"y":{"k:":1,"k:":2}}]}',
    ):
        status, message = refused(client, "/v1/embeddings", body)
        assert status == 400 and message.startswith("expected every key once, found '")
    body = '{"model":"hashing","input":"a: \\"b\\": {\\\\","x":[{"y:":{"k":[{"k":{}}]}}]}'
    assert post(client, "/v1/embeddings", body)[0] == 200


def test_many_values_are_refused_before_they_are_made(client):
    for inner in (b"[],", b"{},", b"1,", b'"",'):
        status, message = refused(client, "/v1/embeddings", b'{"input":[' + inner * 1_200_000 + b"1]}")
        assert status == 413 and message.startswith("the body is too large: expected at most 1,100,000 values")
    status, message = refused(client, "/v1/search", {"query": [0.0] * 500_000, "index": "notes"})
    assert (status, message) == (400, "query: expected a text or 32 numbers, found 500000 numbers")


@pytest.mark.parametrize("charset", ["utf-16", "iso-2022-jp", "utf-7", "latin-1", "no-such", "\x00"])
def test_another_charset_is_refused(client, charset):
    kind = f"application/json; charset={charset}"
    status, message = refused(client, "/v1/embeddings", '{"input":"a"}', **{"content-type": kind})
    assert status == 415 and message.startswith("charset: expected utf-8, found")


def test_a_body_in_utf8_and_no_encoding_is_read(client):
    body = {"model": "hashing", "input": "a"}
    for kind in ('application/json; charset="UTF-8"', "application/json;charset=us-ascii", "text/plain", ""):
        assert post(client, "/v1/embeddings", body, **{"content-type": kind})[0] == 200
    status, message = refused(client, "/v1/embeddings", body, **{"content-encoding": "gzip"})
    assert (status, message) == (415, "content-encoding: expected none, found 'gzip'")


def test_header_fields_that_say_one_thing_stand_once(client):
    for name in ("host", "authorization", "content-type", "x-api-key"):
        answer = client.get("/v1/models", headers=[(name, "testserver"), (name, "testserver")])
        assert (answer.status_code, answer.json()["error"]["message"]) == (
            400,
            f"{name}: expected this header field once, found it twice",
        )


# --- fields ---------------------------------------------------------------------------------------------------------


def test_null_is_what_is_left_out(client):
    optional = ("encoding_format", "dimensions", "user", "role", "input_type", "task", "late_chunking", "truncation")
    plain = post(client, "/v1/embeddings", {"model": "hashing", "input": "a b"})
    assert plain[0] == 200
    assert post(client, "/v1/embeddings", {"model": "hashing", "input": "a b"} | dict.fromkeys(optional)) == plain
    asked = {"model": "hashing", "query": "a", "documents": ["a", "b"]}
    optional = ("top_n", "return_documents", "truncation")
    assert len(post(client, "/v1/rerank", asked | dict.fromkeys(optional))[1]["results"]) == 2
    asked = {"query": "bread", "index": "notes"}
    optional = ("k", "filter", "mark", "rerank", "truncation", "model")
    assert len(post(client, "/v1/search", asked | dict.fromkeys(optional))[1]["results"]) == 3
    for body in ({"model": "hashing", "input": None}, {"model": "hashing", "input": [None]}):
        assert refused(client, "/v1/embeddings", body)[0] == 400


def test_names_are_short(client):
    for path, body in (
        ("/v1/embeddings", {"model": "a" * 5000, "input": "a"}),
        ("/v1/embeddings", {"model": "hashing", "input": "a", "role": "a" * 5000}),
        ("/v1/search", {"query": "a", "index": "a" * 5000}),
        ("/v1/search", {"query": "a", "index": "notes", "rerank": "a" * 5000}),
    ):
        status, message = refused(client, path, body)
        assert status == 400 and len(message) < 300
    assert client.get("/v1/models/" + "a" * 20_000).status_code == 404


@pytest.mark.parametrize("numbers", [[True, False, True], ["1", "2", "3"], [[1], [2], [3]], [None, 1, 2]])
def test_a_query_of_numbers_has_numbers(client, numbers):
    status, message = refused(client, "/v1/search", {"query": numbers, "index": "dot"})
    assert status == 400 and message.startswith("query: expected a text or an array of numbers")


# --- what orders ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1e-320, 1e-42, 1e-20, 1, 1e20, 1e30, 1e200, 1.7e308])
def test_a_cosine_does_not_ask_for_a_size(client, size):
    status, body = post(client, "/v1/search", {"query": [0, size, size * 0.5], "index": "cosine"})
    assert status == 200 and [hit["id"] for hit in body["results"]] == ["x", "y", "z"]
    want = np.array([0.5, 0.3, 0.15]) / np.sqrt(1.25) / np.sqrt([0.26, 0.37, 0.51])
    assert np.allclose([hit["score"] for hit in body["results"]], want, atol=1e-5)


@pytest.mark.parametrize("metric", ["dot", "euclidean", "poincare"])
@pytest.mark.parametrize("size", [1e-320, 1e-42, 1e-20, 1e20, 1e30, 1e200])
def test_where_size_counts_what_float32_cannot_hold_is_refused(client, metric, size):
    status, message = refused(client, "/v1/search", {"query": [0, size, 0], "index": metric})
    assert status == 400 and message.startswith("query: expected a vector whose largest number lies between 1e-15 and")


def test_vectors_without_a_direction_or_outside_of_the_ball(client):
    status, message = refused(client, "/v1/search", {"query": [0, 0, 0], "index": "cosine"})
    assert (status, message) == (400, "query: expected a vector with a direction, found zeros only")
    assert refused(client, "/v1/search", {"query": [0.9, 0.9, 0], "index": "poincare"})[0] == 400
    for metric in ("dot", "euclidean", "poincare"):
        status, body = post(client, "/v1/search", {"query": [0, 0.9, 0], "index": metric})
        assert status == 200 and body["results"][0]["id"] == "x"


@pytest.mark.parametrize("model", ["hashing", "judge"])
def test_a_text_that_says_nothing_comes_last(client, model):
    documents = ["", "zebra", " \n", "bread and butter", {"text": ""}, "unlike all"]
    status, body = post(client, "/v1/rerank", {"model": model, "query": "bread", "documents": documents})
    found = body["results"]
    assert status == 200 and [each["index"] for each in found][3:] == [0, 2, 4]
    scores = [each["relevance_score"] for each in found]
    assert scores == sorted(scores, reverse=True)
    first = post(client, "/v1/rerank", {"model": model, "query": "bread", "documents": documents, "top_n": 1})
    assert first[1]["results"] == found[:1] and found[0]["index"] in (3, 5)
    status, body = post(client, "/v1/rerank", {"model": model, "query": "bread", "documents": ["", " "]})
    assert [each["index"] for each in body["results"]] == [0, 1]


def test_punctuation_only_is_nothing_to_a_model_of_words(client):
    body = {"model": "hashing", "query": "bread", "documents": ["...", "a kitten", "b prices", "c stocks", "bread"]}
    order = [each["index"] for each in post(client, "/v1/rerank", body)[1]["results"]]
    assert order[0] == 4 and order[-1] == 0


def test_a_blank_query_is_refused(client):
    for path, body in (("/v1/rerank", {"model": "hashing", "documents": ["a"]}), ("/v1/search", {"index": "notes"})):
        assert refused(client, path, body | {"query": " \n"}) == (400, "query: expected a text, found white space only")


# --- libraries that give up -----------------------------------------------------------------------------------------


def test_a_panic_is_one_line_for_the_text_that_it_is_about(client):
    for body in ({"input": "poison"}, {"input": ["a", "b", "poison"]}):
        status, message = refused(client, "/v1/embeddings", {"model": "fragile"} | body)
        assert status == 400 and message.endswith("a library gave up with Panics: index out of range")
    assert "cannot read text 3: a library" in message
    body = {"model": "fragile", "query": "a", "documents": ["b", "poison"]}
    assert refused(client, "/v1/rerank", body)[0] == 400
    assert post(client, "/v1/embeddings", {"model": "fragile", "input": "a"})[0] == 200


def test_a_vector_that_is_not_finite_is_not_sent(client):
    status, message = refused(client, "/v1/embeddings", {"model": "fragile", "input": "weights"})
    assert status == 500 and message.startswith("fragile: expected finite vectors, found NaN or infinity for item 1")


# --- hosts ----------------------------------------------------------------------------------------------------------


def test_hosts_with_and_without_a_port(client):
    for host in ("[::1]", "[::1]:80", "[0:0:0:0:0:0:0:1]:80", "LOCALHOST", "localhost:", "testserver:8"):
        assert client.get("/health", headers={"host": host}).status_code == 200, host
    for host in ("", "[::2]", "[::1", "::1:80:80", "localhost:80:80", "localhost.evil", "[::1]evil", "evil:[::1]"):
        assert client.get("/health", headers={"host": host}).status_code == 403, host


# --- memory and maps ------------------------------------------------------------------------------------------------


def test_the_first_model_is_weighed(tmp_path):
    HashingEmbedder(8).save(tmp_path / "m")
    (tmp_path / "m" / "ballast").write_bytes(b"a" * 5_000_000)
    holder = ModelPool([tmp_path / "m"], memory=1, engine="auto", batcher=None)
    holder.load_first()
    assert holder.models["m"].bytes >= 5_000_000


@pytest.mark.parametrize("size", [1e-38, 1.0, 1e30, 3e38])
def test_a_map_of_vectors_of_any_size(size):
    vectors = (np.random.default_rng(0).random((50, 5)) * size).astype(np.float32)
    places = project(vectors)
    assert places.shape == (50, 2) and np.isfinite(places).all() and np.allclose(np.abs(places).max(0), 1)
    for few in (vectors[:1], vectors[:2], vectors[:, :1], np.zeros((3, 4), np.float32)):
        assert project(few).shape == (len(few), 2) and np.isfinite(project(few)).all()
