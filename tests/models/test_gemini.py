"""The client against a server on this machine. Its answers have the shape of the Gemini API's
models.batchEmbedContents, v1beta, as the request and response types of google-genai 3.6.1 (Google, PyPI, read
2026-11-24) publish it: {"requests": [{"model", "content": {"parts": [{"text"}]}, "taskType", "outputDimensionality"}]}
in, {"embeddings": [{"values": [...]}]} out, {"error": {"code", "message", "status"}} when it fails."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

pytest.importorskip("httpx")

from umekomi.errors import UmekomiError, WrongUse
from umekomi.models import load
from umekomi.models.gemini import GeminiEmbedder


def values(text, width):
    vector = np.random.default_rng(len(text)).normal(size=3072)
    return (vector / np.linalg.norm(vector))[:width]  # a shorter one is cut, not brought back to length one


@pytest.fixture
def service(monkeypatch, tmp_path):
    monkeypatch.setenv("UMEKOMI_CACHE", str(tmp_path / "cache"))
    asked, failures = [], []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append({"path": self.path, "key": self.headers.get("x-goog-api-key"), "body": body})
            if failures:
                code = failures.pop(0)
                answer, status = {"error": {"code": code, "message": "not now", "status": "UNAVAILABLE"}}, code
            elif self.path.endswith(":countTokens"):
                answer, status = {"totalTokens": len(body["contents"][0]["parts"][0]["text"].split())}, 200
            else:
                rows = [
                    values(r["content"]["parts"][0]["text"], r.get("outputDimensionality", 3072))
                    for r in body["requests"]
                ]
                answer, status = {"embeddings": [{"values": row.tolist()} for row in rows]}, 200
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("GEMINI_API_KEY", "a-key")
    yield f"http://127.0.0.1:{server.server_port}", asked, failures
    server.shutdown()
    server.server_close()


def test_roles_widths_and_length_one(service):
    url, asked, _ = service
    embedder = GeminiEmbedder(url=url)
    whole = embedder.encode(["a cat", "two dogs"], role="query")
    assert whole.shape == (2, 3072) and whole.dtype == np.float32
    np.testing.assert_allclose(whole[0], values("a cat", 3072), atol=1e-6)
    request = asked[0]
    assert request["path"].endswith("models/gemini-embedding-001:batchEmbedContents") and request["key"] == "a-key"
    assert request["body"]["requests"][0]["taskType"] == "RETRIEVAL_QUERY"
    embedder.encode(["a cat"])
    assert "taskType" not in asked[1]["body"]["requests"][0]
    for width in (768, 1536):
        short = GeminiEmbedder(dimension=width, url=url).encode(["a cat"], role="document")
        assert asked[-1]["body"]["requests"][0]["outputDimensionality"] == width
        np.testing.assert_allclose(np.linalg.norm(short, axis=1), 1, atol=1e-6)
        np.testing.assert_allclose(short, embedder.encode(["a cat"], role="document", dimensions=width), atol=1e-6)


def test_many_texts_go_a_hundred_at_a_time_and_keep_their_order(service):
    url, asked, _ = service
    texts = ["x" * (1 + i) for i in range(250)]
    found = GeminiEmbedder(dimension=768, url=url).encode(texts, role="document")
    assert sorted(len(request["body"]["requests"]) for request in asked) == [50, 100, 100]
    for row in (0, 99, 100, 249):
        np.testing.assert_allclose(
            found[row], values(texts[row], 768) / np.linalg.norm(values(texts[row], 768)), atol=1e-6
        )


def test_a_busy_service_is_tried_again(service):
    url, asked, failures = service
    failures += [429, 503]
    assert GeminiEmbedder(url=url, delay=0.01).encode(["a cat"]).shape == (1, 3072)
    assert len(asked) == 3


@pytest.mark.parametrize(("code", "requests"), [(503, 3), (400, 1), (403, 1)])
def test_what_fails_is_one_line(service, code, requests):
    url, asked, failures = service
    failures += [code] * 9
    with pytest.raises(UmekomiError) as error:
        GeminiEmbedder(url=url, attempts=3, delay=0.01).encode(["a cat"])
    assert str(code) in str(error.value) and "\n" not in str(error.value) and "a-key" not in str(error.value)
    assert len(asked) == requests


def test_long_texts_are_counted_by_the_service(service):
    url, asked, _ = service
    assert GeminiEmbedder(url=url).truncated(["short", "word " * 3000, "word " * 1000]).tolist() == [False, True, False]
    assert len(asked) == 2


def test_a_folder_keeps_settings_and_no_key(service, tmp_path):
    embedder = GeminiEmbedder(dimension=768, url=service[0])
    embedder.save(tmp_path / "model")
    assert "a-key" not in "".join(file.read_text() for file in (tmp_path / "model").rglob("*") if file.is_file())
    again = load(tmp_path / "model")
    np.testing.assert_array_equal(again.encode(["a cat"]), embedder.encode(["a cat"]))
    assert again.fingerprint() == embedder.fingerprint() != GeminiEmbedder(url=service[0]).fingerprint()


def test_without_a_key_or_a_service(monkeypatch):
    for name in ("GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    embedder = load("gemini-embedding-001")
    with pytest.raises(WrongUse, match="GEMINI_API_KEY or GOOGLE_API_KEY"):
        embedder.encode(["a cat"])
    monkeypatch.setenv("GOOGLE_API_KEY", "a-key")
    with pytest.raises(UmekomiError, match="cannot be reached") as error:
        GeminiEmbedder(url="http://127.0.0.1:9", attempts=1).encode(["a cat"])
    assert "\n" not in str(error.value)


def test_wrong_use(service):
    embedder = GeminiEmbedder(url=service[0])
    for wrong in (
        lambda: embedder.encode([""]),
        lambda: embedder.encode(["a"], role="poet"),
        lambda: GeminiEmbedder(dimension=4000),
        lambda: GeminiEmbedder(attempts=0),
    ):
        with pytest.raises(WrongUse):
            wrong()
    assert embedder.encode([]).shape == (0, 3072)


def test_the_second_gemini_takes_prefixes_and_a_request_for_every_text(service):
    url, asked, _ = service
    embedder = GeminiEmbedder("gemini-embedding-2", 768, url=url)
    found = embedder.encode(["a cat", "two dogs"], role="query")
    assert found.shape == (2, 768) and asked[0]["path"].endswith("models/gemini-embedding-2:batchEmbedContents")
    requests = asked[0]["body"]["requests"]
    assert [each["content"]["parts"][0]["text"] for each in requests] == [
        f"task: search result | query: {text}" for text in ("a cat", "two dogs")
    ]
    assert all("taskType" not in each and each["outputDimensionality"] == 768 for each in requests)
    assert load("gemini-embedding-2").dimension == 3072


@pytest.mark.parametrize("name", ["gemini-embedding-exp-03-07", "text-embedding-004", "gemini-embedding-3"])
def test_other_models_of_the_service_are_refused(name, tmp_path):
    with pytest.raises(
        WrongUse, match=f"{name}: expected gemini-embedding-001 or gemini-embedding-2; how others are told"
    ):
        GeminiEmbedder(name)
    GeminiEmbedder().save(tmp_path / "m")
    head = json.loads((tmp_path / "m" / "umekomi.json").read_text())
    head["settings"]["model"] = name
    (tmp_path / "m" / "umekomi.json").write_text(json.dumps(head))
    with pytest.raises(WrongUse, match=f"m: {name}: expected gemini-embedding-001"):
        load(tmp_path / "m")
