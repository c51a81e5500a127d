"""Starting, keys, draining, a full queue, time-outs, eviction."""

from __future__ import annotations

import asyncio
import concurrent.futures as futures
import json
import os
import re
import signal
import threading
import time

import numpy as np
import pytest
import zygote

httpx = pytest.importorskip("httpx")
pytest.importorskip("fastapi")
pytest.importorskip("sentence_transformers")

from served import Server

import umekomi
from umekomi.errors import DataError, UmekomiError, WrongUse
from umekomi.models.untrained import HashingEmbedder
from umekomi.server.batching import Batcher, Busy
from umekomi.server.model_pool import ModelPool
from umekomi.server.running import is_loopback, run
from umekomi.server.workers import Panic


def command(*words, **env):
    process = zygote.Process(module="umekomi", words=["serve", *words], environment={**os.environ, **env})
    error = process.communicate(timeout=60)[1]
    return process.returncode, error.strip()


def test_elsewhere_than_on_loopback_a_key_is_needed(folders, tmp_path):
    status, said = command(folders[0], "--host", "0.0.0.0")
    assert (
        status == 2
        and said
        == "umekomi: serve: 0.0.0.0 can be reached from other machines: set an API key (UMEKOMI_API_KEY or --api-key-file) to listen there"
    )
    status, said = command(folders[0], "--api-key-file", tmp_path / "no")
    assert status == 2 and "expected a file with an API key in it" in said
    (tmp_path / "short").write_text("abc")
    assert (
        "expected an API key of 8 characters or more, found 3"
        in command(folders[0], "--api-key-file", tmp_path / "short")[1]
    )
    assert (
        is_loopback("localhost")
        and is_loopback("::1")
        and not is_loopback("192.168.0.1")
        and not is_loopback("example.org")
    )


def test_a_key_keeps_everybody_else_out(folders, tmp_path):
    (tmp_path / "key").write_text("a-long-secret\n")
    with Server(folders[0], "--api-key-file", tmp_path / "key", "--host", "127.0.0.1") as running:
        body = {"input": "a"}
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "a-long-secret"}):
            answer = httpx.post(running.url + "/v1/embeddings", json=body, headers=headers)
            assert (answer.status_code, answer.json()["error"]["code"], answer.headers["www-authenticate"]) == (
                401,
                "invalid_api_key",
                "Bearer",
            )
        assert (
            httpx.post(
                running.url + "/v1/embeddings", json=body, headers={"authorization": "Bearer a-long-secret"}
            ).status_code
            == 200
        )
        assert httpx.get(running.url + "/metrics").status_code == 401
        assert (
            httpx.get(running.url + "/health").status_code
            == httpx.get(running.url + "/ready").status_code
            == httpx.get(running.url + "/").status_code
            == 200
        )


def test_wrong_words_end_before_anything_listens(folders, tmp_path):
    assert command()[0] == 2
    status, said = command("no/such/folder")
    assert status == 2 and said.startswith("umekomi: no model or folder named 'no/such/folder'; there are: ")
    assert command("minlm") == (2, "umekomi: no model or folder named 'minlm'; the nearest: minilm")
    assert "from 0 to 65,535" in command(folders[0], "--port", "70000")[1]
    assert "engine: expected" in command(folders[0], "--engine", "fast")[1]
    with Server(folders[0]) as running:
        status, said = command(folders[0], "--port", running.port)
        assert status == 1 and f"127.0.0.1:{running.port} cannot be listened on" in said
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "modules.json").write_text(
        json.dumps([{"idx": 0, "name": "0", "path": "", "type": "os.system"}])
    )
    status, said = command(tmp_path / "evil")
    assert status != 0 and "umekomi runs no code that a folder names" in said and "Traceback" not in said


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_accepted_requests_are_answered_when_it_ends(folders, sig):
    """Six long requests are in the queue when the signal comes: all are answered, whole; a new one is refused."""
    with Server("minilm") as running:
        texts = ["word " * 200] * 8
        answers: list[int] = []

        def ask() -> None:
            body = httpx.post(running.url + "/v1/embeddings", json={"input": texts}, timeout=120)
            answers.append(len(body.json()["data"]) if body.status_code == 200 else -body.status_code)

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        assert len(answers) < 6, "some were still waiting"
        running.process.send_signal(sig)
        time.sleep(0.3)
        with pytest.raises(httpx.HTTPError):
            httpx.post(running.url + "/v1/embeddings", json={"input": "a"}, timeout=5).raise_for_status()
        for thread in threads:
            thread.join()
        assert running.process.wait(30) == 0
        said = running.stop()
        assert answers == [8] * 6
        assert "answering what was accepted" in said and "Traceback" not in said


def test_a_full_queue_says_when_to_come_back(folders):
    with Server("minilm", "--queue-tokens", "2000") as running:
        answers = []

        def ask() -> None:
            answers.append(httpx.post(running.url + "/v1/embeddings", json={"input": ["word " * 200] * 6}, timeout=120))

        threads = [threading.Thread(target=ask) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        statuses = [answer.status_code for answer in answers]
        assert set(statuses) == {200, 429}, statuses
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert int(refused.headers["retry-after"]) >= 1 and refused.json()["error"]["code"] == "queue_full"
        assert 'umekomi_rejected_total{model="minilm"}' in httpx.get(running.url + "/metrics").text
        assert "umekomi_queue_tokens 0.0" in httpx.get(running.url + "/metrics").text, (
            "what was taken in was given back"
        )
        assert httpx.post(running.url + "/v1/embeddings", json={"input": "a"}).status_code == 200


def test_a_request_may_not_take_for_ever(folders):
    with Server("minilm", "--timeout", "0.3") as running:
        answer = httpx.post(running.url + "/v1/embeddings", json={"input": ["word " * 250] * 200}, timeout=60)
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timeout")
        for _ in range(100):
            if "umekomi_queue_tokens 0.0" in httpx.get(running.url + "/metrics").text:
                break
            time.sleep(0.1)
        assert httpx.post(running.url + "/v1/embeddings", json={"input": "a"}, timeout=60).status_code in (200, 504)
        assert "umekomi_queue_tokens 0.0" in httpx.get(running.url + "/metrics").text


def test_models_are_opened_when_asked_for_and_closed_for_memory(folders, tmp_path):
    for number in range(3):
        HashingEmbedder(64).save(tmp_path / f"m{number}")

    async def go() -> None:
        holder = ModelPool(
            [tmp_path / f"m{number}" for number in range(3)],
            memory=1,
            engine="auto",
            batcher=lambda e, _: Batcher(e, queue_tokens=1000, latency=0.1),
        )
        for number in (0, 1, 2, 1):
            async with holder.using(f"m{number}") as held:
                assert held.opened is not None and held.users == 1
                async with holder.using(f"m{(number + 1) % 3}"):
                    assert held.opened is not None, "a model in use is never closed"
        assert sum(held.opened is not None for held in holder.models.values()) <= 2
        assert holder.evictions >= 3
        await holder.close_all()
        with pytest.raises(WrongUse, match="no model named 'm7'; the nearest: m"):
            holder.named("m7")

    asyncio.run(go())
    with pytest.raises(WrongUse, match="two models are called 'm0'"):
        ModelPool([tmp_path / "m0", tmp_path / "m0"], memory=1, engine="auto", batcher=None)


def test_a_model_that_opens_slowly_is_opened_once(tmp_path):
    HashingEmbedder(8).save(tmp_path / "m")
    times = []

    class Slow(ModelPool):
        def _load(self, source):
            times.append(source)
            time.sleep(0.4)
            return super()._load(source)

    async def go() -> None:
        make = lambda e, _: Batcher(e, queue_tokens=1000, latency=0.1)  # noqa: E731
        holder = Slow([tmp_path / "m"], memory=1, engine="auto", batcher=make)
        for seconds in (0.1, 0.1, 5):
            try:
                async with asyncio.timeout(seconds), holder.using(None) as held:
                    assert held.opened is not None
            except TimeoutError:
                assert seconds < 1
        assert len(times) == 1 and holder.models["m"].users == 0
        await holder.close_all()

    asyncio.run(go())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"memory_gb": float("nan")}, "memory_gb: expected a number from 0 to 1,000,000, found nan"),
        ({"memory_gb": -1}, "memory_gb: expected a number from 0 to 1,000,000, found -1"),
        ({"memory_gb": float("inf")}, "memory_gb: expected a number from 0 to 1,000,000, found inf"),
        ({"timeout": float("inf")}, "timeout: expected a number from 0.001 to 86,400, found inf"),
        ({"latency": float("nan")}, "latency: expected a number from 0.001 to 86,400, found nan"),
        ({"body_mb": 1e300}, "body_mb: expected a number from 0.001 to 100,000, found 1e+300"),
        ({"queue_tokens": -5}, "queue_tokens: expected a whole number from 1 to 2,147,483,647, found -5"),
        ({"queue_tokens": "many"}, "queue_tokens: expected a whole number from 1 to 2,147,483,647, found many"),
        ({"port": -1}, "port: expected a whole number from 0 to 65,535, found -1"),
        ({"api_key": "a"}, "expected an API key of 8 characters or more, found 1"),
        ({"host": "a\0b", "api_key": "a" * 8}, "host: expected an address or a name, found 'a"),
    ],
)
def test_options_are_in_their_ranges(options, says):
    with pytest.raises(WrongUse, match=re.escape(says)):
        run([HashingEmbedder(8)], **options)


def test_a_key_of_the_environment_is_as_long_as_one_of_a_file(monkeypatch):
    from umekomi.server import api_key

    monkeypatch.setenv("UMEKOMI_API_KEY", "a")
    with pytest.raises(WrongUse, match="UMEKOMI_API_KEY: expected a key of 8 characters or more, found 1"):
        api_key(None)
    monkeypatch.setenv("UMEKOMI_API_KEY", " a-long-key\n")
    assert api_key(None) == "a-long-key"
    monkeypatch.setenv("UMEKOMI_API_KEY", "")
    assert api_key(None) == ""


# --- batching -------------------------------------------------------------------------------------------------------


class Recording(HashingEmbedder):
    """Writes down the batches it gets."""

    def __init__(self, width: int = 16, seconds: float = 0.0) -> None:
        super().__init__(width)
        self.batches: list[list[str]] = []
        self.seconds = seconds

    def _encode(self, items, **options):
        if any("poison" in item for item in items):
            raise ValueError("a text that breaks the model")
        self.batches.append(list(items))
        time.sleep(self.seconds)
        return super()._encode(items, **options)


def batched(embedder, jobs, **settings):
    """What each of ``jobs`` (texts, role) came to, all asked at once."""

    async def go():
        batcher = Batcher(
            embedder,
            queue_tokens=settings.pop("queue_tokens", 100_000),
            latency=settings.pop("latency", 10),
            **settings,
        )
        found = await asyncio.gather(
            *(batcher.encode(texts, role=role) for texts, role in jobs), return_exceptions=True
        )
        assert batcher.queued == 0 and not batcher.waiting
        await batcher.close()
        return found

    return asyncio.run(go())


def test_requests_share_batches_and_get_their_own_vectors():
    embedder = Recording(seconds=0.02)
    jobs = [([f"text {i} {j}" for j in range(1 + i % 3)], None) for i in range(40)]
    found = batched(embedder, jobs)
    assert len(embedder.batches) < 10
    for (texts, _), report in zip(jobs, found, strict=True):
        assert (report.vectors == HashingEmbedder(16).encode(texts)).all()
    embedder = Recording()
    batched(embedder, jobs, batching=False)
    assert len(embedder.batches) == 40


def test_a_large_request_does_not_hold_up_a_small_one():
    embedder = Recording(seconds=0.01)
    order: list[str] = []

    async def go():
        batcher = Batcher(embedder, queue_tokens=10**6, latency=0.001)

        async def ask(name, texts):
            await batcher.encode(texts)
            order.append(name)

        await asyncio.gather(ask("large", [f"long text number {i}" for i in range(5000)]), ask("small", ["a"]))
        await batcher.close()

    asyncio.run(go())
    assert order == ["small", "large"]


def test_roles_do_not_mix():
    embedder = Recording(seconds=0.01)
    seen: list[tuple] = []

    def encode(e, texts, truncation, role):
        from umekomi.models.truncation import encode_truncated

        seen.append((role, len(texts)))
        return encode_truncated(e, texts, truncation=truncation, role=None)

    batched(embedder, [([f"{i}"], "query" if i % 2 else "document") for i in range(20)], encode=encode)
    assert (
        sum(count for role, count in seen if role == "query")
        == sum(count for role, count in seen if role == "document")
        == 10
    )
    assert len(seen) < 8


def test_one_requests_fault_is_not_its_neighbours():
    found = batched(Recording(seconds=0.01), [(["first"], None), (["a"], None), (["poison"], None), (["b"], None)])
    assert [type(each).__name__ for each in found] == ["Encoded", "Encoded", "ValueError", "Encoded"]
    assert (found[3].vectors == HashingEmbedder(16).encode(["b"])).all()


class Panics(BaseException):
    """As pyo3's PanicException: no Exception."""


@pytest.mark.parametrize(
    "thrown", [Panics, SystemExit, KeyboardInterrupt, asyncio.CancelledError, futures.CancelledError, StopIteration]
)
def test_whatever_a_library_throws_the_lane_lives_on(thrown):
    class Throwing(Recording):
        def _encode(self, items, **options):
            if "poison" in items:
                raise thrown("called `Option::unwrap()` on a `None` value\nnote: run with RUST_BACKTRACE=1")
            return super()._encode(items, **options)

    jobs = [(["first"], None), (["a"], None), (["b", "c", "poison"], None), (["poison"], None), (["d"], None)]
    for batching in (True, False):
        found = batched(Throwing(seconds=0.01), jobs, batching=batching)
        assert [type(each).__name__ for each in found] == ["Encoded", "Encoded", "Panic", "Panic", "Encoded"]
        assert (found[4].vectors == HashingEmbedder(16).encode(["d"])).all()
        assert str(found[2]).startswith(f"text 3: a library gave up with {thrown.__name__}: called `Option")
        assert "\n" not in str(found[2])


def test_a_job_between_batches_may_throw_anything():
    def job():
        raise Panics("no")

    async def go():
        batcher = Batcher(Recording(), queue_tokens=100, latency=1)
        with pytest.raises(Panic, match="a library gave up with Panics: no"):
            await batcher.run(job)
        assert len((await batcher.encode(["a"])).vectors) == 1
        await batcher.close()

    asyncio.run(go())


def test_jobs_are_bounded_by_the_queue_too():
    async def go():
        batcher = Batcher(Recording(), queue_tokens=50, latency=1)
        first = asyncio.create_task(batcher.run(lambda: time.sleep(0.2), ["a" * 120]))
        await asyncio.sleep(0.05)
        with pytest.raises(Busy):
            await batcher.run(lambda: None, ["a" * 120])
        await first
        assert batcher.queued == 0 and await batcher.run(lambda: 3, ["a" * 120]) == 3
        await batcher.close()

    asyncio.run(go())


def test_a_model_that_gives_too_few_vectors_fails_its_request():
    def encode(e, texts, truncation, role):
        from umekomi.models.truncation import encode_truncated

        return encode_truncated(e, texts[:1] if "short" in texts else texts)

    found = batched(Recording(), [(["a", "short"], None), (["b"], None)], encode=encode)
    assert "gave 1 vectors for 2 texts" in str(found[0]) and len(found[1].vectors) == 1


def test_the_number_of_a_text_is_its_place_in_its_request():
    def encode(e, texts, truncation, role):
        from umekomi.models.truncation import encode_truncated

        if "long" in texts:
            raise DataError(f"text {texts.index('long') + 1} is longer than it reads")
        return encode_truncated(e, texts)

    (found,) = batched(Recording(), [([*["a"] * 40, "long"], None)], encode=encode)
    assert str(found) == "text 41 is longer than it reads"


def test_what_does_not_fit_is_refused_and_cancelling_makes_room():
    async def go():
        batcher = Batcher(Recording(seconds=0.2), queue_tokens=50, latency=10)
        first = asyncio.create_task(batcher.encode(["a" * 80]))
        await asyncio.sleep(0.05)
        waiting = asyncio.create_task(batcher.encode(["b" * 160]))
        await asyncio.sleep(0.01)
        with pytest.raises(Busy):
            await batcher.encode(["c" * 80])
        waiting.cancel()
        await asyncio.sleep(0.01)
        assert batcher.queued == 0
        report = await batcher.encode(["d" * 80])
        assert report.vectors.shape == (1, 16)
        await first
        await batcher.close()

    asyncio.run(go())


def test_many_threads_of_one_model_keep_requests_apart(minilm):
    from umekomi.models.engines.choice import open_for_encoding

    texts = [f"sentence number {i} " + "and more " * (i % 40) for i in range(300)]
    jobs = [(texts[i : i + 1 + i % 5], None) for i in range(0, 300, 5)]
    found = batched(open_for_encoding("minilm", "onnx"), jobs)
    for (mine, _), report in zip(jobs, found, strict=True):
        assert np.abs(report.vectors - minilm.encode(mine)).max() < 1e-5


def test_run_is_the_verb_and_needs_a_model():
    with pytest.raises(WrongUse, match="expected at least one model or one index"):
        run([])
    with pytest.raises(UmekomiError, match="expected embedders, scorers and predictors"):
        run([3])
    for name, value in (("timeout", 0), ("port", 70_000), ("memory_gb", float("nan")), ("queue_tokens", 2.5)):
        with pytest.raises(
            WrongUse, match=rf"{name}: expected a( whole)? number from [\d,.]+ to [\d,]+, found {value}"
        ):
            umekomi.serve([HashingEmbedder(8)], **{name: value})
