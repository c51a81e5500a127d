"""Our own server's /v1/rerank behind >, in search and in an index: the same as the model in its folder."""

import json
import urllib.request

import numpy as np
import pytest

pytest.importorskip("httpx")
pytest.importorskip("fastapi")

from served import DOCUMENTS, Server

from umekomi.models.scorers import PairHeadScorer
from umekomi.models.untrained import HashingEmbedder
from umekomi.verbs.compare import compare
from umekomi.verbs.index import index
from umekomi.verbs.search import search

PAIRS = [
    {
        "anchor": f"the thing with mark {n} and part {n % 7}",
        "positive": f"Thing {n} has the mark {n}. Its part is {n % 7}.",
    }
    for n in range(40)
]


def test_our_own_servers_order_is_the_local_one(tmp_path, monkeypatch):
    monkeypatch.setenv("UMEKOMI_CACHE", str(tmp_path / "cache"))
    hashing = HashingEmbedder.default()
    weights = np.concatenate([-np.ones(hashing.dimension), np.ones(hashing.dimension)])
    PairHeadScorer(hashing, weights).save(tmp_path / "orderer")
    local = f"random>20>{tmp_path / 'orderer'}"
    with Server(tmp_path / "orderer", wait=True) as server:
        hosted = f"random>20>openai:orderer@{server.url}"
        found = compare(["random", local, hosted], PAIRS, out=tmp_path / "c", budget_usd=1)
        rows = {row.candidate: row for row in found.rows}
        assert rows[hosted].values == rows[local].values and rows[hosted].hits.keys() == rows[local].hits.keys()
        assert rows[local].score.value > rows["random"].score.value
        assert rows[hosted].usd == 0 and "a server of this machine" in " ".join(rows[hosted].notes)
        texts = tmp_path / "texts.jsonl"
        texts.write_text("".join(json.dumps({"id": name, "text": text}) + "\n" for name, text, _ in DOCUMENTS))
        name = f"openai:orderer@{server.url}"
        mine = search("hashing", "kittens sleep", source=texts, k=3, rerank=str(tmp_path / "orderer"))
        theirs = search("hashing", "kittens sleep", source=texts, k=3, rerank=name)
        assert [hit.id for hit in theirs] == [hit.id for hit in mine]
        index("hashing", texts, out=tmp_path / "library", rerank=name, depth=5)
        assert [hit.id for hit in search(tmp_path / "library", "kittens sleep", k=3)] == [hit.id for hit in mine]
        with Server("--index", tmp_path / "library") as second:
            asked = urllib.request.Request(
                f"{second.url}/v1/search",
                json.dumps({"query": "kittens sleep", "k": 3}).encode(),
                {"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(asked, timeout=30) as answer:
                data = json.load(answer)
        assert [hit["id"] for hit in data["results"]] == [hit.id for hit in mine] and data["model"] == name
    with pytest.raises(Exception, match="cannot be reached at"):
        search(tmp_path / "library", "a new question", k=3)
