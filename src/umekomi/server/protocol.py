"""uvicorn's protocol with a limit on how long a client may take to send a request's head: a connection that says
nothing, or dribbles, is closed."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

try:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol as Fastest
except ImportError:
    Fastest = H11Protocol  # type: ignore[misc, assignment]

HEAD_SECONDS = 10.0


class HeadLimited(Fastest):
    """Closes a connection whose first request's head, or whose next request's once begun, is not whole in
    :data:`HEAD_SECONDS`."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        if self._late is None and (self.cycle is None or self.cycle.response_complete):
            self._watch()
        cycle = self.cycle
        super().data_received(data)
        if self.cycle is not cycle and self._late is not None:
            self._late.cancel()
            self._late = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
        super().connection_lost(exc)

    def _watch(self) -> None:
        self._late = self.loop.call_later(HEAD_SECONDS, self._close)

    def _close(self) -> None:
        self._late = None
        if not self.transport.is_closing():
            self.transport.close()
