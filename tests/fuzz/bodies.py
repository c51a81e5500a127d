"""Wrong requests in numbers: ``python -m tests.fuzz.bodies --cases 20000 --seed 1``. Bodies, queries and header fields
are mutated and asked in this process; heads and whole connections are mutated and sent over sockets of loopback. No
answer is a 500, none takes ten seconds, what says that it is JSON is strict JSON, and at the end the server is ready.

``--only N`` asks case N of a seed again and prints it."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from umekomi.indexes import Index
from umekomi.models.untrained import HashingEmbedder, RandomEmbedder
from umekomi.recipes import get
from umekomi.server.app import Settings
from umekomi.server.routes import application
from umekomi.server.running import LOOPBACK, server_of

SECONDS = 10.0
PATIENCE = 120.0
"""Seconds after which a case is given up. One that takes longer than :data:`SECONDS` is asked again, and wrong if it
does again: the first time the machine may have been busy with something else."""
SOCKET_SHARE = 10
"""One case of so many goes over a socket."""

BODIES: list[tuple[str, dict[str, Any]]] = [
    ("/v1/embeddings", {"model": "hashing", "input": "a text"}),
    ("/v1/embeddings", {"model": "random", "input": ["a", "埋め込み", "x y"], "encoding_format": "base64"}),
    ("/v1/embeddings", {"model": "hashing", "input": ["a"], "dimensions": 8, "role": "query", "truncation": "error"}),
    ("/v1/embeddings", {"model": "hashing", "input": [[1, 2], [3]], "user": "u", "task": "retrieval.query"}),
    ("/v1/embeddings", {"model": "random", "input": "a b", "late_chunking": True, "input_type": "search_query"}),
    ("/v1/rerank", {"model": "hashing", "query": "bread", "documents": ["a", "", {"text": "bread"}], "top_n": 2}),
    ("/rerank", {"model": "random", "query": "a", "documents": ["b"], "return_documents": True}),
    ("/v2/rerank", {"model": "hashing", "query": "a", "documents": [{"text": "b", "x": {"y": [1]}}]}),
    ("/v1/similarity", {"model": "hashing", "input": ["a", "b c"], "role": "document"}),
    ("/v1/predict", {"model": "linear", "rows": [{"age": 3, "colour": "red"}, {"age": None, "colour": None}]}),
    ("/v1/predict", {"model": "linear", "rows": [{"age": -1.5, "colour": "", "more": True}]}),
    ("/v1/search", {"query": "bread", "index": "notes", "k": 3, "mark": True}),
    ("/v1/search", {"query": "bread", "index": "notes", "filter": 'year > 2 and lang == "ja"'}),
    ("/v1/search", {"query": "bread", "index": "notes", "rerank": "random", "truncation": "chunk"}),
    ("/v1/search", {"query": [0.1] * 32, "index": "notes"}),
    ("/v1/search", {"query": [0.1, -0.5, 0.25], "index": "dot"}),
    ("/v1/search", {"query": [0.1, 0.5, 0.25], "index": "poincare"}),
]
PATHS = [
    "/v1/models",
    "/v1/models/hashing",
    "/v1/indexes",
    "/v1/indexes/notes/map",
    "/v1/indexes/notes/items?points=0,1,2",
    "/v1/indexes/notes/groups?field=year",
    "/v1/indexes/dot/map",
    "/v1/indexes/none/items?points=1",
    "/health",
    "/ready",
    "/metrics",
    "/openapi.json",
    "/",
    "/page/index.html",
]
STRINGS = [
    "",
    " ",
    "a",
    "\x00",
    "a\nb",
    "é",
    "埋め込み",
    "😀",
    "\u202e",
    "\ufeff",
    "a" * 300,
    "../..",
    "%s{0}",
    "None",
    "nan",
]
STRINGS += [
    "hashing",
    "notes",
    "query",
    "word " * 400,
    "🏳️‍🌈" * 20,
    "\U0010ffff",
    "'",
    '"',
    "\\",
    "<script>",
    "-1",
    "1e400",
]
NUMBERS = [0, 1, -1, 2, 1000, 1001, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**30, 0.5, -0.0, 1e-320, 1e-42]
NUMBERS += [1e-15, 1e15, 1e30, 3.5e38, 1e200, 1.7e308]
RAW = [
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"1e400",
    b'"\\ud800"',
    b'"\\udfff\\ud800"',
    b"\x00",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
]
RAW += [
    b"[" * 1100,
    b"]",
    b"{",
    b"}",
    b'"',
    b"\\",
    b"\\u",
    b",",
    b":",
    b"01",
    b"1" * 400,
    b"1e",
    b"-",
    b"nul",
    b"tru",
    b"/**/",
]
RAW += [b'"input":1,', b'"model":"hashing",', b'"a":{"a":1,"a":2},', b"'", b"\r\n", b"\t", b"0x1F", b".5", b"+1"]
FIELDS = [
    (
        "content-type",
        ["application/json", "text/plain", "application/json; charset=utf-16", "; charset=", "\xff", "a;b=c;d"],
    ),
    ("content-encoding", ["gzip", "identity", "", "br, gzip"]),
    ("content-length", ["0", "5", "-1", "99999999999", "x", "１"]),
    ("host", ["evil.example", "[::1]", "[::1", "localhost:", ":", "", "127.0.0.1:99999", "\x80"]),
    ("authorization", ["Bearer", "Bearer x", "Basic Og==", "\xff" * 10]),
    ("x-forwarded-for", ["1.2.3.4", "x" * 1000]),
    ("accept", ["*/*", "text/event-stream", ""]),
    ("range", ["bytes=0-1"]),
]
METHODS = ["GET", "POST", "POST", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE"]


# --- what is asked --------------------------------------------------------------------------------------------------


def any_value(draw: random.Random, depth: int = 0) -> Any:
    kind = draw.randrange(9 if depth < 3 else 6)
    if kind == 0:
        return draw.choice([None, True, False])
    if kind <= 2:
        return draw.choice(NUMBERS)
    if kind <= 5:
        return draw.choice(STRINGS)
    if kind == 6:
        return {draw.choice(STRINGS): any_value(draw, depth + 1) for _ in range(draw.randrange(4))}
    if kind == 7:
        count = draw.choice([0, 1, 2, 3, 32, 2048, 2049])
        return [any_value(draw, depth + 1 if count < 4 else 3)] * count
    return [any_value(draw, depth + 1) for _ in range(draw.randrange(5))]


def changed(draw: random.Random, value: Any) -> Any:
    """``value`` with something else somewhere in it."""
    if isinstance(value, dict) and value and draw.random() < 0.9:
        value = dict(value)
        key = draw.choice([*value])
        what = draw.randrange(6)
        if what == 0:
            del value[key]
        elif what == 1:
            value[draw.choice([*STRINGS, "role", "k", "filter", "dimensions", "mark", "rerank"])] = any_value(draw)
        elif what == 2:
            value[key] = any_value(draw)
        elif what == 3:
            value[key] = None
        else:
            value[key] = changed(draw, value[key])
        return value
    if isinstance(value, list) and value and draw.random() < 0.9:
        value = list(value)
        place = draw.randrange(len(value))
        what = draw.randrange(4)
        if what == 0:
            del value[place]
        elif what == 1:
            value.insert(place, any_value(draw))
        elif what == 2:
            value = (value * draw.choice([2, 10, 100]))[:5000]
        else:
            value[place] = changed(draw, value[place])
        return value
    if isinstance(value, str) and value and draw.random() < 0.5:
        place = draw.randrange(len(value))
        return value[:place] + draw.choice(STRINGS) + value[place + draw.randrange(2) :]
    return any_value(draw)


def mangled(draw: random.Random, data: bytes, pieces: list[bytes]) -> bytes:
    """``data`` with some bytes turned, left out, put twice, or put in."""
    for _ in range(draw.choice([1, 1, 1, 2, 3, 8])):
        a, b = sorted(draw.randrange(len(data) + 1) for _ in range(2))
        what = draw.randrange(6)
        if what == 0:
            data = data[:a] + draw.choice(pieces) + data[a:]
        elif what == 1:
            data = data[:a] + draw.choice(pieces) + data[b:]
        elif what == 2:
            data = data[:a] + data[min(b, a + 8) :]
        elif what == 3:
            data = data[:b] + data[a:]
        elif what == 4 and a < len(data):
            data = data[:a] + bytes([data[a] ^ (1 << draw.randrange(8))]) + data[a + 1 :]
        elif what == 5 and draw.random() < 0.3:
            data = data[:a]
    return data


def body(draw: random.Random) -> tuple[str, bytes]:
    """(path, body)"""
    path, value = draw.choice(BODIES)
    for _ in range(draw.choice([0, 1, 1, 1, 2, 3])):
        value = changed(draw, value)
    data = json.dumps(value, ensure_ascii=draw.random() < 0.5).encode("utf-8", "surrogatepass")
    if draw.random() < 0.4:
        data = mangled(draw, data, RAW)
    return path, data


def address(draw: random.Random) -> str:
    path = draw.choice(PATHS)
    if draw.random() < 0.6:
        place = draw.randrange(1, len(path) + 1)
        path = (
            path[:place]
            + quote(draw.choice([*STRINGS, "0", ",", "-1", "1" * 5000, "１", "year", "&field=text"]))
            + path[place:]
        )
    return path


def fields(draw: random.Random) -> list[tuple[str, str]]:
    found = [("host", "localhost")]
    for _ in range(draw.choice([0, 0, 0, 1, 2, 3])):
        name, values = draw.choice(FIELDS)
        found.append((name, draw.choice(values)))
    return found


# --- in this process ------------------------------------------------------------------------------------------------


async def asked(app: Any, draw: random.Random) -> tuple[str, int, bytes, dict[str, str]]:
    """(what was asked, status, body, header fields)"""
    if draw.random() < 0.2:
        path, data, method = address(draw), b"", draw.choice(METHODS)
    else:
        (path, data), method = body(draw), draw.choice(METHODS) if draw.random() < 0.02 else "POST"
    path, _, query = path.partition("?")
    head = fields(draw)
    parts = [data]
    if draw.random() < 0.2 and data:
        place = draw.randrange(len(data))
        parts = [data[:place], data[place:]]
    messages = [
        {"type": "http.request", "body": part, "more_body": number < len(parts) - 1}
        for number, part in enumerate(parts)
    ]
    if draw.random() < 0.02:
        messages[-1] = {"type": "http.disconnect"}
    found: dict[str, Any] = {"status": 0, "body": b"", "headers": {}}

    async def receive() -> dict[str, Any]:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            found["status"] = message["status"]
            found["headers"] = {key.decode(): value.decode() for key, value in message["headers"]}
        else:
            found["body"] += message.get("body", b"")

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode("latin-1", "replace")) for name, value in head],
        "scheme": "http",
        "server": ("127.0.0.1", 1),
        "client": ("127.0.0.1", 2),
        "root_path": "",
    }
    gone = any(message["type"] == "http.disconnect" for message in messages)
    await app(scope, receive, send)
    if gone and not found["status"]:
        found["status"] = 499
    said = f"{method} {path}?{query} {head[1:]} {data[:2000]!r}"
    return said, found["status"], found["body"], found["headers"]


def wrong_with(status: int, content: bytes, headers: dict[str, str]) -> str:
    """What an answer may not be; empty where it is right."""
    if status == 0 or status >= 500:
        return f"status {status}: {content[:300]!r}"
    if headers.get("content-type", "").startswith("application/json") and content:
        try:
            value = json.loads(content.decode("utf-8"), parse_constant=_no_constant)
        except ValueError as error:
            return f"no strict JSON: {error}: {content[:200]!r}"
        if status >= 400 and not (isinstance(value, dict) and "\n" not in value["error"]["message"]):
            return f"no error in one line: {content[:300]!r}"
    return ""


def _no_constant(word: str) -> None:
    raise ValueError(word)


# --- over sockets ---------------------------------------------------------------------------------------------------

HEADS = [
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b"\x00",
    b"\xff",
    b":",
    b"HTTP/1.1",
    b"HTTP/9",
    b"GET / HTTP/1.1\r\n",
]
HEADS += [
    b"Content-Length: 5\r\n",
    b"Content-Length: 5, 6\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: x\r\n",
]
HEADS += [
    b"Connection: close\r\n",
    b"Connection: Upgrade\r\nUpgrade: h2c\r\n",
    b"Expect: 100-continue\r\n",
    b"Host: b\r\n",
]
HEADS += [
    b"x: " + b"a" * 70_000,
    b"a: b\r\n" * 300,
    b"0\r\n\r\n",
    b"5;a=b\r\nabcde\r\n",
    b"ffffffffffffffffff\r\n",
    b" folded\r\n",
]
HEADS += [
    b"/" + b"a" * 70_000,
    b"%",
    b"%zz",
    b"//",
    b"*",
    b"http://localhost/health",
    b"CONNECT a:1 HTTP/1.1\r\n",
    b"PRI * HTTP/2.0\r\n\r\n",
]


def connection(draw: random.Random) -> bytes:
    """All that one connection sends: a few requests, mutated."""
    found = b""
    for _ in range(draw.choice([1, 1, 2, 4])):
        if draw.random() < 0.5:
            path, data = body(draw)
            if draw.random() < 0.5:
                rest = b"Content-Length: %d\r\n\r\n%s" % (len(data), data)
            else:
                place = draw.randrange(len(data) + 1)
                parts = [part for part in (data[:place], data[place:]) if part]
                rest = b"Transfer-Encoding: chunked\r\n\r\n"
                rest += b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
            found += b"POST " + path.encode() + b" HTTP/1.1\r\nHost: localhost\r\n" + rest
        else:
            found += b"GET " + address(draw).encode() + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
    return mangled(draw, found, HEADS) if draw.random() < 0.8 else found


def sent(port: int, data: bytes, draw: random.Random) -> tuple[str, list[str]]:
    """(what was sent, what is wrong with the answers)"""
    leaves, answer = draw.random() < 0.1, b""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as stream:
            for start in range(0, len(data), draw.choice([10**6, 10**6, 1000])):
                stream.sendall(data[start : start + 10**6])
                if draw.random() < 0.05:
                    break
            if not leaves:
                stream.shutdown(socket.SHUT_WR)
                while part := stream.recv(1 << 16):
                    answer += part
    except TimeoutError:
        return repr(data[:3000]), [f"nothing for {PATIENCE:.0f} s after {answer[:200]!r}"]
    except OSError:
        pass  # it may close on a client that goes on after a refusal
    wrong = []
    while answer and not leaves:
        head, end, answer = answer.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        status = int(lines[0].split()[1]) if lines[0].startswith("HTTP/1.1 ") else 0
        if status == 100:
            continue
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
        length = int(headers.get("content-length", 0)) if status else 0
        content, answer = answer[:length], answer[length:]
        if (end and len(content) == length) or not status:
            wrong += [each for each in [wrong_with(status, content, headers)] if each]
        elif b"HEAD " in data:
            break  # an answer to HEAD says the length of what does not follow
    return repr(data[:3000]), wrong


# --- all of it ------------------------------------------------------------------------------------------------------


def made(folder: Path) -> tuple[list[Any], list[Path]]:
    """(models, indexes)"""
    embedder = HashingEmbedder(32)
    embedder.save(folder / "hashing")
    texts = [f"text {number} of bread and butter. Another sentence {number % 7}!" for number in range(60)]
    index = Index.create(folder / "notes", model=embedder, source=str(folder / "hashing"), text="text")
    payload = {"text": texts, "year": [number % 9 for number in range(60)], "lang": ["ja", "en", ""] * 20}
    index.add([f"id {number}" for number in range(60)], embedder.encode(texts), payload)
    for metric in ("dot", "poincare"):
        vectors = np.random.default_rng(0).uniform(-0.5, 0.5, (20, 3)).astype("f4")
        Index.create(folder / metric, metric=metric).add([str(number) for number in range(20)], vectors)
    rows = {"age": [*range(30)], "colour": ["red", "blue", None] * 10, "target": [0, 1] * 15}
    get("linear")().fit(rows).save(folder / "linear")
    return [folder / "hashing", RandomEmbedder(16), folder / "linear"], [
        folder / name for name in ("notes", "dot", "poincare")
    ]


def run(cases: int, seed: int, only: int | None = None) -> list[str]:
    """What was found, a line a case; prints how many answers of each status there were."""
    wrong: list[str] = []
    statuses: Counter[int] = Counter()
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        models, indexes = made(Path(folder))
        settings = Settings(hosts=LOOPBACK, body=1 << 20, body_seconds=2.0, timeout=PATIENCE)
        app = application(models, indexes, settings)
        listening = socket.create_server(("127.0.0.1", 0))
        server = server_of(app, 5)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        port = listening.getsockname()[1]
        thread.start()
        while not server.started:
            time.sleep(0.01)
        loop = server.servers[0].get_loop()
        for number in range(cases) if only is None else [only]:
            for _ in range(2):
                draw, begun = random.Random(f"{seed}-{number}"), time.monotonic()
                try:
                    if number % SOCKET_SHARE:
                        # in the server's own loop, as its batches live there
                        call = asyncio.run_coroutine_threadsafe(asked(app, draw), loop)
                        said, status, content, headers = call.result(PATIENCE)
                        found = [each for each in [wrong_with(status, content, headers)] if each]
                    else:
                        status = -1
                        data = connection(draw)  # some are of hundreds of megabytes
                        begun = time.monotonic()
                        said, found = sent(port, data, draw)
                except Exception as error:
                    status, said, found = -2, "", [f"{type(error).__name__}: {error}"]
                took = time.monotonic() - begun
                if took <= SECONDS:
                    break
            else:
                found.append(f"took {took:.1f} s")
            statuses[status] += 1
            slowest = max(slowest, took)
            if number % 1000 == 999:
                print(f"{number + 1} cases, {len(wrong)} wrong", file=sys.stderr, flush=True)
            for each in found:
                wrong.append(f"case {number}: {each} <- {said}")
                print(wrong[-1][:1500], file=sys.stderr, flush=True)
            if only is not None:
                print(said)
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as stream:
            stream.sendall(b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            if not stream.recv(100).startswith(b"HTTP/1.1 200"):
                wrong.append("the server is not ready at the end")
        server.handle_exit(signal.SIGTERM, None)
        thread.join(PATIENCE)
        if thread.is_alive():
            wrong.append("the server does not end")
    sockets, _ = statuses.pop(-1, 0), statuses.pop(-2, 0)
    print(f"{cases} cases of seed {seed}, {sockets} of them over sockets; slowest {slowest:.1f} s; {len(wrong)} wrong")
    print(", ".join(f"{status}: {count}" for status, count in sorted(statuses.items())))
    return wrong


def main() -> int:
    """The exit status: 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int)
    words = parser.parse_args()
    wrong = run(words.cases, words.seed, words.only)
    print("\n".join(each[:1500] for each in wrong[-2:]))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
