"""Our own server as a service in a comparison: the same figures as the model behind it."""

import numpy as np
import pytest

pytest.importorskip("httpx")
pytest.importorskip("fastapi")

from umekomi.models import load
from umekomi.verbs.compare import compare

THINGS = ["cat", "dog", "bond", "stock", "river", "poem", "engine", "recipe"]
PAIRS = [
    {
        "anchor": f"who keeps {THINGS[i % 8]} number {i}",
        "positive": f"{THINGS[i % 8].title()} {i} is kept in house {i * 7}.",
    }
    for i in range(40)
]


def test_a_row_over_http_is_the_local_row(server, folders, tmp_path, monkeypatch):
    monkeypatch.setenv("UMEKOMI_CACHE", str(tmp_path / "cache"))
    tiny = str(folders[0])
    hosted = f"openai:{folders[0].name}@{server.url}"
    found = compare([tiny, hosted], PAIRS, out=tmp_path / "c")
    local, over_http = ({row.candidate: row for row in found.rows}[name] for name in (tiny, hosted))
    np.testing.assert_allclose(over_http.values, local.values, atol=1e-6)
    for metric, figure in local.others.items():
        assert over_http.others[metric].value == pytest.approx(figure.value, abs=1e-6)
    texts = [pair["positive"] for pair in PAIRS]
    np.testing.assert_allclose(
        load(hosted).encode(texts, role="document"), load(tiny).encode(texts, role="document"), atol=1e-6
    )
    assert over_http.usd == 0 and over_http.tokens > 0 and over_http.dimensions == local.dimensions


def test_a_transformer_over_http(server, minilm, tmp_path, monkeypatch):
    monkeypatch.setenv("UMEKOMI_CACHE", str(tmp_path / "cache"))
    texts = [pair["positive"] for pair in PAIRS]
    np.testing.assert_allclose(load(f"openai:minilm@{server.url}").encode(texts), minilm.encode(texts), atol=1e-5)
    np.testing.assert_array_equal(
        load(f"openai:minilm@{server.url}").encode(texts), load(f"openai:minilm@{server.url}").encode(texts)
    )


def test_a_model_that_the_server_has_not(server, tmp_path, monkeypatch):
    monkeypatch.setenv("UMEKOMI_CACHE", str(tmp_path / "cache"))
    found = compare(["bm25", f"openai:nothing@{server.url}"], PAIRS, out=tmp_path / "c")
    assert "expected the model nothing at" in found.skipped[f"openai:nothing@{server.url}"]
