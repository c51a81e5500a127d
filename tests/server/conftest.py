"""minilm, a static model and an index of six documents, served once for all tests here."""

from __future__ import annotations

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("sentence_transformers")

from served import DOCUMENTS, Server


@pytest.fixture(scope="session")
def folders(tmp_path_factory, minilm):
    """(a static model, an index of six documents)."""
    import json

    from umekomi.indexing import index
    from umekomi.recipes import get

    root = tmp_path_factory.mktemp("served")
    get("static")().fit(start=minilm).save(root / "tiny")
    (root / "documents.jsonl").write_text("".join(json.dumps({"id": i, "text": t, "year": y}) + "\n" for i, t, y in DOCUMENTS))
    index("minilm", root / "documents.jsonl", root / "notes")
    return root / "tiny", root / "notes"


@pytest.fixture(scope="session")
def server(folders):
    tiny, notes = folders
    with Server("minilm", tiny, "--index", notes) as running:
        yield running
        assert running.process.poll() is None, "the server lived through all tests"


@pytest.fixture(scope="session")
def call(server):
    """(status, JSON or text, headers) of a request."""
    import httpx

    client = httpx.Client(base_url=server.url, timeout=60)

    def ask(method, path, json=None, **options):
        answer = client.request(method, path, json=json, **options)
        kind = answer.headers.get("content-type", "")
        return answer.status_code, answer.json() if kind.startswith("application/json") else answer.text, answer.headers

    yield ask
    client.close()
