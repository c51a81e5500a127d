"""One thread at a time asks an index, whatever becomes of the request that it works for."""

from __future__ import annotations

import asyncio
import threading

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from starlette.testclient import TestClient

from umekomi.indexes import Index
from umekomi.server.app import Settings
from umekomi.server.routes import application
from umekomi.server.workers import alone


def test_a_request_that_is_given_up_leaves_the_lock_to_its_thread():
    go_on, at_work, seen = threading.Event(), threading.Event(), []

    def first():
        at_work.set()
        go_on.wait(10)
        seen.append("first")
        raise ValueError("nobody waits for this any more")

    async def run():
        lock = asyncio.Lock()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await alone(lock, first)
        assert at_work.is_set() and lock.locked()
        second = asyncio.create_task(alone(lock, lambda: seen.append("second")))
        await asyncio.sleep(0.05)
        assert not seen
        go_on.set()
        await second
        assert seen == ["first", "second"] and not lock.locked()
        with pytest.raises(KeyError, match="here"):  # what a job raises reaches the one who waits
            await alone(lock, lambda: {}["here"])
        assert not lock.locked()

    asyncio.run(run())


def test_everything_that_is_listed_of_an_index_is_read_under_its_lock(tmp_path, monkeypatch):
    index = Index.create(tmp_path / "notes", metric="cosine", text="text")
    index.add(["a", "b"], [[1.0, 0.0], [0.0, 1.0]], {"text": ["red apples", "green pears"]})
    app = application(["hashing"], [tmp_path / "notes"], Settings(hosts=frozenset({"testserver"})))
    opened, lock = app.state.umekomi.indexes["notes"]
    locked = []
    snapshot = Index.snapshot

    def watched(self):
        if self is opened:
            locked.append((lock.locked(), threading.current_thread() is not loop))
        return snapshot(self)

    with TestClient(app, raise_server_exceptions=False) as client:
        loop = client.portal.call(threading.current_thread)
        monkeypatch.setattr(Index, "snapshot", watched)
        for ask in (
            lambda: client.get("/v1/indexes"),
            lambda: client.post("/v1/search", json={"query": [1.0, 0.0], "k": 1}),
            lambda: client.get("/v1/indexes/notes/map"),
            lambda: client.get("/v1/indexes/notes/items?points=0,1"),
            lambda: client.get("/v1/indexes/notes/groups?field=text"),
        ):
            locked.clear()
            assert ask().status_code == 200
            assert locked and set(locked) == {(True, True)}
