"""What goes over the wire is what clients expect: the official OpenAI packages, LangChain, LlamaIndex, and every kind
of wrong request."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import ROUNDS

pytest.importorskip("fastapi")
pytest.importorskip("sentence_transformers")

TEXTS = ["The cat sat on the mat.", "埋め込み", "Stock prices fell sharply."]


# --- clients --------------------------------------------------------------------------------------------------------


def test_the_official_python_client(server, minilm):
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=server.url + "/v1", api_key="none")
    answer = client.embeddings.create(model="minilm", input=TEXTS)
    want = minilm.encode(TEXTS)
    assert np.abs(np.array([each.embedding for each in answer.data]) - want).max() < 1e-5
    assert [each.index for each in answer.data] == [0, 1, 2]
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == int(minilm.lengths(TEXTS).sum())
    assert (answer.model, answer.object) == ("minilm", "list")
    floats = (
        client.embeddings.create(model="minilm", input=TEXTS[0], encoding_format="float", dimensions=8)
        .data[0]
        .embedding
    )
    assert np.abs(np.array(floats) - minilm.encode(TEXTS[:1], dimensions=8)[0]).max() < 1e-5
    assert abs(np.linalg.norm(floats) - 1) < 1e-5
    assert {model.id for model in client.models.list()} == {"minilm", "tiny"}
    assert client.models.retrieve("minilm").id == "minilm"
    with pytest.raises(openai.NotFoundError, match="no model named 'ada'"):
        client.embeddings.create(model="ada", input="a")
    with pytest.raises(openai.BadRequestError, match="dimensions: expected 1 to 384"):
        client.embeddings.create(model="minilm", input="a", dimensions=385)


def test_the_official_node_client(server, minilm, tmp_path):
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node and npm are not on this machine")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    done = subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--silent", "openai@6"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"the package openai could not be installed: {done.stderr[-200:]}")
    (tmp_path / "ask.js").write_text(
        "import OpenAI from 'openai';\n"
        f"const client = new OpenAI({{baseURL: '{server.url}/v1', apiKey: 'none'}});\n"
        f"const found = await client.embeddings.create({{model: 'minilm', input: {json.dumps(TEXTS)}}});\n"
        "console.log(JSON.stringify({vectors: found.data.map(d => Array.from(d.embedding)), usage: found.usage}));\n"
    )
    done = subprocess.run(["node", "ask.js"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert np.abs(np.array(found["vectors"]) - minilm.encode(TEXTS)).max() < 1e-5
    assert found["usage"]["total_tokens"] > 0


def test_langchain(server, minilm):
    openai = pytest.importorskip("langchain_openai")
    client = openai.OpenAIEmbeddings(
        model="minilm", base_url=server.url + "/v1", api_key="none", check_embedding_ctx_length=False
    )
    assert np.abs(np.array(client.embed_documents(TEXTS)) - minilm.encode(TEXTS)).max() < 1e-5
    assert np.abs(np.array(client.embed_query(TEXTS[0])) - minilm.encode(TEXTS[:1])[0]).max() < 1e-5


def test_llama_index(server, minilm):
    openai = pytest.importorskip("llama_index.embeddings.openai")
    client = openai.OpenAIEmbedding(model_name="minilm", api_base=server.url + "/v1", api_key="none")
    assert np.abs(np.array(client.get_text_embedding_batch(TEXTS)) - minilm.encode(TEXTS)).max() < 1e-5
    assert np.abs(np.array(client.get_query_embedding(TEXTS[0])) - minilm.encode(TEXTS[:1])[0]).max() < 1e-5


# --- embeddings -----------------------------------------------------------------------------------------------------


def test_base64_is_little_endian_float32(call, minilm):
    _, body, _ = call("POST", "/v1/embeddings", {"model": "minilm", "input": TEXTS, "encoding_format": "base64"})
    rows = [np.frombuffer(base64.b64decode(each["embedding"]), "<f4") for each in body["data"]]
    assert np.abs(np.stack(rows) - minilm.encode(TEXTS)).max() < 1e-5


def test_token_ids_are_the_models_own(call, minilm):
    ids = [minilm.model.tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("hello world", "bread")]
    _, body, _ = call("POST", "/v1/embeddings", {"model": "minilm", "input": ids})
    assert (
        np.abs(np.array([each["embedding"] for each in body["data"]]) - minilm.encode(["hello world", "bread"])).max()
        < 1e-5
    )
    _, body, _ = call("POST", "/v1/embeddings", {"model": "minilm", "input": ids[0]})
    assert len(body["data"]) == 1


def test_what_was_cut_is_told(call, minilm):
    texts = ["short", "word " * 400]
    status, body, _ = call("POST", "/v1/embeddings", {"model": "minilm", "input": texts})
    assert (status, body["truncated"]) == (200, [1])
    status, chunked, _ = call("POST", "/v1/embeddings", {"model": "minilm", "input": texts, "truncation": "chunk"})
    assert (status, chunked["truncated"]) == (200, [])
    assert chunked["usage"]["total_tokens"] > 400 > body["usage"]["total_tokens"]
    status, refused, _ = call("POST", "/v1/embeddings", {"model": "minilm", "input": texts, "truncation": "error"})
    assert status == 400 and "text 2 is longer than minilm reads" in refused["error"]["message"]


def test_two_thousand_texts_at_once(call):
    texts = [f"{i}" for i in range(2048)]
    status, body, _ = call("POST", "/v1/embeddings", {"model": "tiny", "input": texts})
    assert status == 200 and [each["index"] for each in body["data"]] == list(range(2048))
    again = call("POST", "/v1/embeddings", {"model": "tiny", "input": texts[1999]})[1]["data"][0]["embedding"]
    assert np.abs(np.array(body["data"][1999]["embedding"]) - np.array(again)).max() < 1e-6
    status, body, _ = call("POST", "/v1/embeddings", {"model": "tiny", "input": [*texts, "one more"]})
    assert (
        status == 400
        and "expected a text, 1 to 2,048 texts, or as many arrays of token ids, found an array of 2,049 texts"
        in body["error"]["message"]
    )


def test_roles_in_everybodys_words(call):
    vectors = [
        call("POST", "/v1/embeddings", {"model": "minilm", "input": "bread", **words})[1]["data"][0]["embedding"]
        for words in (
            {"role": "query"},
            {"input_type": "search_query"},
            {"task": "retrieval.query"},
            {"user": "someone", "unknown_field": [1]},
        )
    ]
    assert all(vector == vectors[0] for vector in vectors)
    status, body, _ = call("POST", "/v1/embeddings", {"model": "minilm", "input": "bread", "role": "poet"})
    assert status == 400 and body["error"]["message"] == "role: expected one of document, query, found 'poet'"


def test_late_chunking(folders, minilm):
    import httpx
    from served import Server

    from umekomi.models.truncation import late_chunks

    pieces = ["Berlin is the capital of Germany.", " Its inhabitants are many."]
    with Server("minilm", "--engine", "torch") as running:
        body = httpx.post(
            running.url + "/v1/embeddings", json={"input": pieces, "late_chunking": True}, timeout=60
        ).json()
        got = np.array([each["embedding"] for each in body["data"]])
        assert np.abs(got - late_chunks(minilm, [pieces]).flat).max() < 1e-5


# --- rerank and search ----------------------------------------------------------------------------------------------


def test_rerank(call, minilm):
    documents = ["Stock prices fell.", {"text": "Bake a loaf of bread.", "id": 7}, "Kittens purr."]
    for path in ("/v1/rerank", "/rerank", "/v2/rerank"):
        status, body, _ = call(
            "POST",
            path,
            {"model": "minilm", "query": "baking", "documents": documents, "top_n": 2, "return_documents": True},
        )
        assert status == 200 and len(body["results"]) == 2
        assert body["results"][0]["index"] == 1 and body["results"][0]["document"] == {"text": "Bake a loaf of bread."}
        scores = minilm.similarity(
            minilm.encode_query(["baking"]),
            minilm.encode_document(["Stock prices fell.", "Bake a loaf of bread.", "Kittens purr."]),
        )[0]
        assert abs(body["results"][0]["relevance_score"] - scores[1]) < 1e-4
        assert body["results"][0]["relevance_score"] >= body["results"][1]["relevance_score"]


def test_rerank_by_a_cross_encoder(tmp_path, minilm):
    import httpx
    from sentence_transformers import CrossEncoder
    from served import Server

    from umekomi.models.scorers import CrossEncoderScorer

    minilm.model[0].save(str(tmp_path / "start"))
    CrossEncoderScorer(CrossEncoder(str(tmp_path / "start"), num_labels=1), "judge").save(tmp_path / "judge")
    with Server(tmp_path / "judge") as running:
        body = httpx.post(
            running.url + "/v1/rerank", json={"query": "a", "documents": ["b", "c", "d"]}, timeout=60
        ).json()
        assert sorted(each["index"] for each in body["results"]) == [0, 1, 2]
        answer = httpx.post(running.url + "/v1/embeddings", json={"input": "a"}, timeout=60)
        assert answer.status_code == 400 and "gives no dense vectors" in answer.json()["error"]["message"]


def test_search(call, server, folders):
    from umekomi.verbs.search import search

    status, body, _ = call("POST", "/v1/search", {"query": "baking bread", "k": 3, "mark": True})
    want = search(folders[1], "baking bread", k=3)
    assert status == 200 and body["index"] == "notes" and body["model"] == "minilm"
    assert [(each["id"], each["text"], tuple(each["best"]), each["payload"]) for each in body["results"]] == [
        (h.id, h.text, h.best, h.payload) for h in want
    ]
    assert np.allclose([each["score"] for each in body["results"]], [h.score for h in want], atol=1e-5)
    status, body, _ = call("POST", "/v1/search", {"query": "weather", "filter": "year == 2021"})
    assert {each["id"] for each in body["results"]} == {"stocks", "rain"}
    status, body, _ = call("POST", "/v1/search", {"query": "weather", "filter": "year ==="})
    assert status == 400
    vector = call("POST", "/v1/embeddings", {"model": "minilm", "input": "baking bread", "role": "query"})[1]["data"][
        0
    ]["embedding"]
    status, body, _ = call("POST", "/v1/search", {"query": vector, "k": 1})
    assert body["results"][0]["id"] == "bread"
    status, body, _ = call("POST", "/v1/search", {"query": vector[:5]})
    assert status == 400 and "expected a text or 384 numbers, found 5 numbers" in body["error"]["message"]
    status, body, _ = call("POST", "/v1/search", {"query": "bread", "index": "other"})
    assert status == 404 and body["error"]["code"] == "index_not_found"
    status, body, _ = call("POST", "/v1/search", {"query": "a loaf", "rerank": "tiny"})
    order = call(
        "POST",
        "/v1/rerank",
        {"model": "tiny", "query": "a loaf", "documents": [each["text"] for each in body["results"]]},
    )[1]["results"]
    assert [each["index"] for each in order] == sorted(
        range(len(order)), key=lambda place: -body["results"][place]["score"]
    )


def test_the_map_has_a_place_for_every_row(call, server):
    import urllib.request

    (index,) = call("GET", "/v1/indexes")[1]["data"]
    assert (index["id"], index["rows"], index["model"], index["map"]) == ("notes", 6, "minilm", 6)
    places = np.frombuffer(urllib.request.urlopen(f"{server.url}/v1/indexes/notes/map").read(), "<f4").reshape(-1, 2)
    assert places.shape == (6, 2) and np.abs(places).max() == 1
    assert [each["id"] for each in call("GET", "/v1/indexes/notes/items?points=0,5")[1]["data"]] == ["bread", "markup"]
    assert call("GET", "/v1/indexes/notes/items?points=6")[0] == 400
    assert call("GET", "/v1/indexes/notes/items?points=a")[0] == 400
    groups = call("GET", "/v1/indexes/notes/groups?field=year")[1]
    assert (groups["ordered"], [group["label"] for group in groups["groups"]]) == (
        True,
        ["2019", "2020", "2021", "2022", "2026"],
    )
    assert groups["points"] == [0, 2, 1, 2, 4, 3]
    status, body, _ = call("GET", "/v1/indexes/notes/groups?field=colour")
    assert (status, body["error"]["message"]) == (400, "field: expected one of text, year, found 'colour'")
    assert call("GET", "/v1/indexes/notes/groups")[0] == 400


# --- wrong requests -------------------------------------------------------------------------------------------------

WRONG = [
    (b"", 400, "expected JSON"),
    (b"{", 400, "expected JSON"),
    (b"\xff\xfe", 400, "expected JSON"),
    (b'{"model": "minilm", "input": "\\ud800"}', 400, ""),
    (b"[]", 400, "the body"),
    (b"null", 400, "the body"),
    (b'"text"', 400, "the body"),
    (b'{"model": "minilm"}', 400, "input: Field required"),
    (b'{"model": "minilm", "input": null}', 400, "found null"),
    (b'{"model": "minilm", "input": 3}', 400, "found a number"),
    (b'{"model": "minilm", "input": {}}', 400, "found an object"),
    (b'{"model": "minilm", "input": []}', 400, "found an empty array"),
    (b'{"model": "minilm", "input": ["a", 1]}', 400, "an array of 2 numbers and texts"),
    (b'{"model": "minilm", "input": ["a", ""]}', 400, "input.1: expected a text, found an empty one"),
    (b'{"model": "minilm", "input": [[]]}', 400, "input"),
    (b'{"model": "minilm", "input": [-1]}', 400, "input"),
    (b'{"model": "minilm", "input": [1e300]}', 400, "input"),
    (b'{"model": "minilm", "input": [[99999999]]}', 400, "expected ids of minilm's own tokenizer"),
    (b'{"model": "minilm", "input": "a", "dimensions": -1}', 400, "dimensions"),
    (b'{"model": "minilm", "input": "a", "dimensions": 0}', 400, "dimensions"),
    (b'{"model": "minilm", "input": "a", "dimensions": "8"}', 400, "dimensions"),
    (b'{"model": "minilm", "input": "a", "dimensions": true}', 400, "dimensions"),
    (b'{"model": "minilm", "input": "a", "dimensions": 1e9}', 400, "dimensions"),
    (b'{"model": "minilm", "input": "a", "encoding_format": "hex"}', 400, "encoding_format"),
    (b'{"model": "minilm", "input": "a", "truncation": "left"}', 400, "truncation"),
    (b'{"model": 3, "input": "a"}', 400, "model"),
    (b'{"model": "../../etc/passwd", "input": "a"}', 404, "no model named"),
    (b'{"model": "/work", "input": "a"}', 404, "no model named"),
    (b'{"input": "a"}', 400, "model: expected one of minilm, tiny"),
]


@pytest.mark.parametrize(
    ("body", "status", "says"), WRONG, ids=[body.decode("latin-1")[:60] or "nothing" for body, _, _ in WRONG]
)
def test_wrong_bodies_are_the_clients_fault(call, body, status, says):
    found, answer, _ = call("POST", "/v1/embeddings", content=body, headers={"content-type": "application/json"})
    assert found == status
    assert set(answer["error"]) == {"message", "type", "param", "code"}
    assert says in answer["error"]["message"]
    assert "Traceback" not in answer["error"]["message"] and "\n" not in answer["error"]["message"]


def test_ten_megabytes_are_too_many(call, server):
    status, body, _ = call("POST", "/v1/embeddings", {"model": "minilm", "input": "a" * 10_000_000})
    assert (status, body["error"]["code"]) == (413, "too_large")

    def endless():
        for _ in range(200):
            yield b"a" * 100_000

    status, body, _ = call("POST", "/v1/embeddings", content=endless())
    assert status == 413, "a body whose length is not said is counted"


def test_paths(call):
    for path in (
        "/page/../app.py",
        "/page/..%2fapp.py",
        "/page/%2e%2e/%2e%2e/umekomi.json",
        "/../../etc/passwd",
        "/page/index.py",
    ):
        status, body, _ = call("GET", path)
        assert status == 404 and body["error"]["type"] == "invalid_request_error"
    assert call("GET", "/v1/embeddings")[0] == 405
    assert call("DELETE", "/v1/models")[0] == 405
    assert call("GET", "/v1/models/none")[0] == 404
    assert call("GET", "/v1/models/minilm")[1]["dimension"] == 384


def test_another_host_is_refused(call):
    assert call("GET", "/v1/models", headers={"host": "evil.example"})[0] == 403
    assert call("GET", "/v1/models", headers={"host": "localhost:1"})[0] == 200


def test_metrics(call):
    call("POST", "/v1/embeddings", {"model": "minilm", "input": "a"})
    status, text, headers = call("GET", "/metrics")
    assert status == 200 and headers["content-type"].startswith("text/plain")
    for name in (
        "umekomi_requests_total{",
        "umekomi_texts_total{",
        "umekomi_batch_seconds_bucket{",
        "umekomi_queue_tokens 0",
        "process_resident_memory_bytes",
    ):
        assert name in text, name


# --- slow and half-closed connections -------------------------------------------------------------------------------


def raw(server, data: bytes, half: bool = False, wait: float = 30) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=wait) as connection:
        connection.sendall(data)
        if half:
            connection.shutdown(socket.SHUT_WR)
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
        return b"".join(parts)


@pytest.fixture(scope="module", autouse=True)
def silent(server):
    """Connections that say nothing, or no more: (answer, seconds) of each, waited for while other tests run."""

    def wait(data):
        begun = time.monotonic()
        return raw(server, data), time.monotonic() - begun

    with ThreadPoolExecutor(2) as pool:
        yield [pool.submit(wait, data) for data in (b"", b"POST /v1/embeddings HTTP/1.1\r\nHost: loc")]


def test_a_connection_that_says_nothing_is_closed(silent):
    for each in silent:
        answer, seconds = each.result()
        assert answer == b"" and 5 < seconds < 25


def test_half_closed_connections(server, call):
    answer = raw(
        server, b'POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\n{"model"', half=True
    )
    assert answer == b"" or b" 400 " in answer.split(b"\r\n")[0]
    assert raw(server, b"NONSENSE\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert call("GET", "/health")[0] == 200


def test_a_slow_body_is_given_up(folders):
    import asyncio

    from umekomi.server.app import Settings
    from umekomi.server.routes import application

    app = application([str(folders[0])], settings=Settings(body_seconds=0.2))

    async def ask() -> list[dict]:
        sent: list[dict] = []

        async def receive() -> dict:
            await asyncio.sleep(30)
            return {"type": "http.disconnect"}

        async def send(message: dict) -> None:
            sent.append(message)

        async with app.router.lifespan_context(app):
            scope = {
                "type": "http",
                "asgi": {"version": "3.0"},
                "http_version": "1.1",
                "method": "POST",
                "path": "/v1/embeddings",
                "raw_path": b"/v1/embeddings",
                "query_string": b"",
                "headers": [(b"content-length", b"100")],
                "scheme": "http",
                "server": ("127.0.0.1", 1),
                "client": ("127.0.0.1", 2),
                "root_path": "",
            }
            await app(scope, receive, send)
        return sent

    assert asyncio.run(ask())[0]["status"] == 408


def test_schemathesis_finds_no_fault_of_the_servers(server):
    """Requests made from the server's own schema, hundreds of them: never a 5xx, and nothing that is not in the
    schema."""
    schemathesis = pytest.importorskip("schemathesis")
    del schemathesis
    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "schemathesis"),
            "run",
            f"{server.url}/openapi.json",
            "--checks",
            "not_a_server_error,status_code_conformance,content_type_conformance",
            "--max-examples",
            str(2 * ROUNDS),
            "--phases",
            "examples,coverage,fuzzing",
            "--request-timeout",
            "30",
            "--seed",
            "1",
            "--no-color",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout[-6000:]
