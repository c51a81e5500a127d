"""What a stranger may send on a connection, and what a connection gets when the server ends: over real sockets of
loopback, against a server in a thread."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import threading
import time

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from umekomi.models.untrained import HashingEmbedder
from umekomi.server.app import Settings
from umekomi.server.protocol import HEAD_BYTES, HEAD_FIELDS, LINGER_BYTES
from umekomi.server.routes import application
from umekomi.server.running import LOOPBACK, server_of

BODY = json.dumps({"input": "a text"}).encode()
POST = b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\n"
WHOLE = POST + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"


class Slow(HashingEmbedder):
    """Takes a moment for texts that say so."""

    seconds = 0.5

    def _encode(self, items, **options):
        time.sleep(self.seconds if any("slow" in item for item in items) else 0)
        return super()._encode(items, **options)


class InThread:
    """A server that listens until the end of the block."""

    def __init__(self, **settings):
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=2048)
        self.port = self.listening.getsockname()[1]
        self.app = application([Slow(16)], settings=Settings(hosts=LOOPBACK, **settings))
        self.server = server_of(self.app, 10)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.listening]}, daemon=True)

    def __enter__(self):
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        return self

    def __exit__(self, *_):
        self.end()

    def end(self):
        self.server.handle_exit(signal.SIGTERM, None)
        self.thread.join(20)
        assert not self.thread.is_alive()

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=15)

    def ask(self, *parts, half=False):
        """All that comes back until the server closes."""
        with self.connect() as connection:
            for part in parts:
                try:
                    connection.sendall(part)
                except OSError:
                    break
            if half:
                connection.shutdown(socket.SHUT_WR)
            return rest(connection)


def rest(connection) -> bytes:
    found = b""
    while part := connection.recv(65536):
        found += part
    return found


def statuses(answer: bytes) -> list[int]:
    """Of every answer in a row."""
    found = []
    while answer:
        head, _, after = answer.partition(b"\r\n\r\n")
        found.append(int(head.split()[1]))
        length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length"))
        answer = after[length:]
    return found


@pytest.fixture(scope="module")
def running():
    with InThread(body=1 << 20, body_seconds=1.0) as server:
        yield server
        assert statuses(server.ask(HEALTH + b"Connection: close\r\n\r\n")) == [200], "it lived through all tests"


def told(answer: bytes) -> tuple[int, str]:
    """The status and the message of an error."""
    assert b"connection: close" in answer.split(b"\r\n\r\n")[0]
    return int(answer.split()[1]), json.loads(answer.split(b"\r\n\r\n")[1])["error"]["message"]


def test_heads_are_bounded(running):
    begun = time.monotonic()
    field = b"a: b\r\n"
    for head in (
        HEALTH + b"x: " + b"a" * 2_000_000 + b"\r\n\r\n",
        HEALTH + b"x: " + b"a" * HEAD_BYTES,  # without an end
        HEALTH + b"a" * HEAD_BYTES,  # a name without an end
        HEALTH + field * 200_000 + b"\r\n",
        HEALTH + field * HEAD_FIELDS + b"\r\n",
        b"GET /" + b"a" * HEAD_BYTES + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /" + b"a" * 2_000_000,
        b"\r\n" * HEAD_BYTES,
        WHOLE + HEALTH + b"x: " + b"a" * HEAD_BYTES * 2,
    ):
        answer = running.ask(head)
        if head.startswith(WHOLE):
            assert answer.startswith(b"HTTP/1.1 200")
            answer = answer[answer.index(b"HTTP/1.1 431") :]
        status, message = told(answer)
        assert status == 431 and message.startswith("a request's head is too large: expected at most 65,536 bytes")
    assert time.monotonic() - begun < 10
    fields = b"".join(b"a%d: b\r\n" % number for number in range(HEAD_FIELDS - 2))
    assert running.ask(HEALTH + fields + b"Connection: close\r\n\r\n").startswith(b"HTTP/1.1 200")
    long = b"x: " + b"a" * (HEAD_BYTES - 200) + b"\r\n"
    assert running.ask(HEALTH + long + b"Connection: close\r\n\r\n").startswith(b"HTTP/1.1 200")


def test_a_head_without_end_holds_nobody_up(running):
    with running.connect() as stranger:
        stranger.sendall(HEALTH + b"x: ")
        sent = 0
        try:
            while sent < 100:
                stranger.sendall(b"a" * 1_000_000)
                sent += 1
                begun = time.monotonic()
                assert running.ask(HEALTH + b"Connection: close\r\n\r\n").startswith(b"HTTP/1.1 200")
                assert time.monotonic() - begun < 1
        except OSError:
            pass
        assert sent < 30


def test_what_follows_a_body_is_bounded_and_no_header(running):
    chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(BODY), BODY)
    assert statuses(running.ask(chunked + b"0\r\nHost: evil.example\r\n\r\n", half=True)) == [200]
    for tail in (b"0\r\nx: " + b"a" * HEAD_BYTES * 2, b"0\r\n" + b"a: b\r\n" * 1000, b"5;" + b"a" * HEAD_BYTES * 2):
        assert told(running.ask(chunked + tail))[0] == 431
    small = b"".join(b"1\r\n%c\r\n" % letter for letter in BODY.ljust(50_000))
    assert statuses(running.ask(POST + b"Transfer-Encoding: chunked\r\n\r\n" + small + b"0\r\n\r\n", half=True)) == [
        200
    ]


@pytest.mark.parametrize("path", [b"/v1/embeddings", b"/health", b"/nowhere", b"/v1/models"])
def test_a_refused_body_is_not_read_for_ever(running, path):
    with running.connect() as connection:
        connection.sendall(b"POST " + path + b" HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        begun, sent = time.monotonic(), 0
        chunk = b"%x\r\n%s\r\n" % (100_000, b" " * 100_000)
        with pytest.raises((ConnectionError, TimeoutError)):
            while time.monotonic() - begun < 10:
                connection.sendall(chunk)
                sent += len(chunk)
        assert time.monotonic() - begun < 8 and sent < 4 * LINGER_BYTES
    with running.connect() as connection:  # who stops to read gets the answer
        connection.sendall(b"POST " + path + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3000000\r\n\r\n")
        connection.sendall(b" " * 1_500_000)
        status, _ = told(rest(connection))
        assert status == {b"/v1/embeddings": 413, b"/nowhere": 404}.get(path, 405)


@pytest.mark.parametrize(
    "wrong",
    [
        b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"Content-Length: +3\r\n\r\nabc",
        b"Content-Length: -3\r\n\r\nabc",
        b"Content-Length: 99999999999999999999999\r\n\r\nabc",
        b"Transfer-Encoding: gzip\r\n\r\nabc",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"A : b\r\n\r\n",
        b"A: b\r\n c\r\n\r\n",
        b"A\x00: b\r\n\r\n",
    ],
)
def test_a_request_that_two_readers_could_read_in_two_ways_is_refused(running, wrong):
    status, message = told(running.ask(POST + wrong + WHOLE))
    assert status == 400 and "\n" not in message


def test_lines_that_are_no_request(running):
    for line in (
        b"NONSENSE\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02",
    ):
        assert told(running.ask(line, half=True)) == (400, "the request is not HTTP/1.1")
    assert told(running.ask(b"CONNECT localhost:1 HTTP/1.1\r\nHost: localhost\r\n\r\n"))[0] == 400
    assert told(running.ask("GET /é HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()))[0] == 400


def test_a_wish_for_another_protocol_is_passed_over_and_the_body_read(running):
    wish = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"
    length = b"Content-Length: %d\r\n\r\n" % len(BODY)
    chunked = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
    assert statuses(running.ask((POST + wish + length + BODY) * 3, POST + wish + chunked, half=True)) == [200] * 4
    assert (
        statuses(running.ask(POST + wish + length, BODY[:3], BODY[3:], HEALTH + wish + b"\r\n", half=True)) == [200] * 2
    )


def test_a_half_closed_client_is_answered(running):
    assert statuses(running.ask(WHOLE, half=True)) == [200]
    assert statuses(running.ask(WHOLE * 5, half=True)) == [200] * 5
    slow = json.dumps({"input": "slow"}).encode()
    assert statuses(running.ask(POST + b"Content-Length: %d\r\n\r\n" % len(slow) + slow, half=True)) == [200]
    assert told(running.ask(WHOLE[:-3], half=True)) == (400, "the connection ended within a request")
    assert told(running.ask(HEALTH, half=True)) == (400, "the connection ended within a request")
    assert statuses(running.ask(WHOLE, WHOLE[:-3], half=True)) == [200, 400]
    assert running.ask(b"", half=True) == b""


def test_what_is_wrong_with_the_second_is_not_the_firsts(running):
    slow = json.dumps({"input": "slow"}).encode()
    first = POST + b"Content-Length: %d\r\n\r\n" % len(slow) + slow
    broken = POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nxyz\r\n"
    for second in (b"NONSENSE\r\n\r\n", broken, HEALTH + b"x: " + b"a" * HEAD_BYTES * 2):
        assert statuses(running.ask(first + second)) in ([200, 400], [200, 431])
        assert statuses(running.ask(first + WHOLE + second)) in ([200, 200, 400], [200, 200, 431])


def test_who_leaves_with_requests_in_a_row_is_no_fault(running, capfd):
    slow = json.dumps({"input": "slow"}).encode()
    first = POST + b"Content-Length: %d\r\n\r\n" % len(slow) + slow
    with running.connect() as connection:
        connection.sendall(first + first + WHOLE)
        time.sleep(0.1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close by a reset
    time.sleep(1.0)
    with running.connect() as connection:
        connection.sendall(WHOLE[:-3])
    assert statuses(running.ask(WHOLE, half=True)) == [200]
    said = capfd.readouterr()
    assert said.err == said.out == ""


def test_a_slow_body_ends_and_says_so(running):
    begun = time.monotonic()
    assert told(running.ask(WHOLE[:-3]))[0] == 408
    assert time.monotonic() - begun < 8


# --- the end --------------------------------------------------------------------------------------------------------


def test_at_the_end_all_that_was_sent_is_answered(capfd):
    slow = json.dumps({"input": "slow"}).encode()
    first = POST + b"Content-Length: %d\r\n\r\n" % len(slow) + slow
    with InThread() as server:
        pipelined, late, idle, kept = (server.connect() for _ in range(4))
        pipelined.sendall(first + WHOLE * 3)
        kept.sendall(WHOLE)
        assert kept.recv(65536).startswith(b"HTTP/1.1 200")
        time.sleep(0.2)
        loop = server.server.servers[0].get_loop()
        holds, release = threading.Event(), threading.Event()
        asyncio.run_coroutine_threadsafe(_hold(holds, release), loop)
        assert holds.wait(60)  # from here on the loop takes nobody in: they wait in the kernel's queue
        queued = [server.connect() for _ in range(5)]
        for each in queued:
            each.sendall(WHOLE)
        kept.sendall(WHOLE)
        late.sendall(WHOLE)
        server.server.handle_exit(signal.SIGTERM, None)
        release.set()
        found = statuses(rest(pipelined))
        assert len(found) == 4 and found[0] == 200 and set(found) <= {200, 503}
        for each in (*queued, kept, late):
            assert statuses(rest(each)) == [503]
        assert rest(idle) == b""
    assert "Traceback" not in capfd.readouterr().err


def test_a_second_ctrl_c_does_not_wait_and_says_nothing_of_tracebacks(capfd):
    slow = json.dumps({"input": ["very slow"]}).encode()
    server = InThread()
    server.app.state.umekomi.holder.models["hashing"].source.seconds = 3.0
    with server, server.connect() as connection:
        connection.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(slow) + slow)
        time.sleep(0.3)
        begun = time.monotonic()
        server.server.handle_exit(signal.SIGINT, None)
        time.sleep(0.3)
        server.server.handle_exit(signal.SIGINT, None)
        assert statuses(rest(connection)) == [503]
        server.thread.join(10)
        assert time.monotonic() - begun < 2.5 and server.server.force_exit
    assert capfd.readouterr().err.splitlines() == ["umekomi: SIGINT: answering what was accepted, taking nothing new"]


async def _hold(holds, release):
    holds.set()
    release.wait(60)
