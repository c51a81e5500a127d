"""Where the application listens, and how it ends."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

import uvicorn
from fastapi import FastAPI

from umekomi.errors import UmekomiError, WrongUse
from umekomi.limits import checked
from umekomi.progress import say
from umekomi.server.app import Settings
from umekomi.server.keys import SHORTEST_KEY, DrainTimeout
from umekomi.server.protocol import Bounded
from umekomi.server.routes import application

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]", "::1"})
DRAIN_SECONDS = 60


class Server(uvicorn.Server):
    """On SIGTERM or Ctrl-C: new requests are refused, accepted ones answered, then it ends."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        state = self.config.app.state.umekomi  # type: ignore[union-attr]
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True  # a second Ctrl-C does not wait
        if not state.draining:
            say(f"umekomi: {signal.Signals(sig).name}: answering what was accepted, taking nothing new")
        state.draining = self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.server_state.draining = True  # type: ignore[attr-defined]
        # who has connected and was not yet taken in would be reset with the listening socket
        waiting = [connection for each in sockets or [] for connection in _accepted(each)]
        for server in self.servers:
            server.close()
        for each in sockets or []:
            each.close()
        loop = asyncio.get_running_loop()
        for connection in waiting:
            await loop.connect_accepted_socket(self._protocol, connection)
        await super().shutdown(sockets)

    def _protocol(self) -> Bounded:
        return Bounded(self.config, self.server_state, self.lifespan.state)


def _accepted(listening: socket.socket) -> list[socket.socket]:
    accepted = []
    while True:
        try:
            accepted.append(listening.accept()[0])
        except OSError:  # none is left
            return accepted


@checked
def run(
    models: Sequence[Any],
    *,
    indexes: Sequence[str | Path] = (),
    host: str = "127.0.0.1",
    port: int = 8080,
    api_key: str = "",
    engine: str = "auto",
    memory_gb: float = 0,
    queue_tokens: int = Settings.queue_tokens,
    latency: float = Settings.latency,
    timeout: float = Settings.timeout,
    body_mb: float = Settings.body / (1 << 20),
    batching: bool = True,
    drain_seconds: int = DRAIN_SECONDS,
) -> None:
    """Listen and answer until SIGTERM or Ctrl-C. Anywhere but on loopback an ``api_key`` is needed.

    Args:
        models: names, folders or embedders that are served.
        indexes: folders, or addresses in databases, of indexes that can be searched.
        host: the address listened on.
        port: the port.
        api_key: what a request must bring; empty: nothing.
        engine: what runs a transformer (:func:`umekomi.models.engines.choice.open_for_encoding`).
        memory_gb: the most that open models may take; 0: half of the machine's.
        queue_tokens: tokens that may wait for a model before it says that it is busy.
        latency: seconds that a batch should take at most.
        timeout: seconds within which a request must be answered.
        body_mb: the largest body.
        batching: joins requests that wait into one batch.
        drain_seconds: that open requests have when the server ends.
    """
    if 0 < len(api_key) < SHORTEST_KEY:
        raise WrongUse(f"serve: expected an API key of {SHORTEST_KEY} characters or more, found {len(api_key)}")
    local = is_loopback(host)
    if not local and not api_key:
        raise WrongUse(
            f"serve: {host} can be reached from other machines: set an API key (UMEKOMI_API_KEY or --api-key-file) to "
            "listen there"
        )
    settings = Settings(
        engine=engine,
        memory=int(memory_gb * 1e9),
        queue_tokens=queue_tokens,
        latency=latency,
        timeout=timeout,
        body=int(body_mb * (1 << 20)),
        batching=batching,
        api_key=api_key,
        hosts=LOOPBACK | {host} if local and not api_key else frozenset(),
    )
    app = application(models, indexes, settings)
    try:
        app.state.umekomi.holder.load_first()
        listening = _listening(host, port)
    except BaseException:
        app.state.umekomi.close()
        raise
    address = f"[{host}]" if ":" in host else host
    say(
        f"umekomi: {', '.join(app.state.umekomi.holder.models)} at http://{address}:{listening.getsockname()[1]} "
        "(schema at /openapi.json)"
    )
    server = server_of(app, drain_seconds)
    server.run(sockets=[listening])
    if not server.started:
        raise UmekomiError("the server could not start; the line above says why")
    if server.force_exit:
        raise DrainTimeout("serve: interrupted twice: what was still being answered was given up")


class _ToStandardError(logging.StreamHandler[TextIO]):
    """Writes to what is standard error at the time."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def server_of(app: FastAPI, drain_seconds: int = DRAIN_SECONDS) -> Server:
    """uvicorn's server of the application, with the bounds of :mod:`umekomi.server.protocol`. What it warns of goes to
    standard error; its own configuration would close every handler of the process it is in."""
    logger = logging.getLogger("uvicorn")
    if not any(isinstance(handler, _ToStandardError) for handler in logger.handlers):
        handler = _ToStandardError()
        handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
        logger.addHandler(handler)
        logger.propagate = False
    return Server(
        uvicorn.Config(
            app,
            log_config=None,
            http=Bounded,
            ws="none",
            lifespan="on",
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=drain_seconds,
            backlog=2048,
        )
    )


def is_loopback(host: str) -> bool:
    """Is it an address that only this machine reaches?

    >>> is_loopback("127.0.0.1"), is_loopback("0.0.0.0")
    (True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listening(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=2048
        )
    except OSError as error:
        raise UmekomiError(f"serve: {host}:{port} cannot be listened on: {error.strerror or error}") from None
    except (ValueError, TypeError) as error:  # a name that no resolver is even asked for
        raise WrongUse(f"serve, host: expected an address or a name, found {host[:80]!r} ({error})") from None
