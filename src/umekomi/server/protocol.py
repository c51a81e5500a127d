"""uvicorn's protocol with bounds on what a stranger can send and how long it may take, and an end that loses nothing. A
head is bounded in bytes, fields and seconds; what comes after an answer that could not wait for it is read for a moment
and thrown away; a client that has closed its half is answered; when the server ends, what was sent is answered."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from umekomi.server.errors import ApiError

HEAD_SECONDS = 10.0
HEAD_BYTES = 64 << 10
"""Of a request's line and header fields together; also what a body may hold between two parts of its content."""
HEAD_FIELDS = 200
SLICE = 16 << 10
"""Bytes that the parser gets at once: it puts a field together anew with every call, so it may not be asked too often,
and what it has not told of is counted between calls."""
LINGER_SECONDS = 2.0
LINGER_BYTES = 8 << 20
STALLED_SECONDS = 20.0
"""A client that takes nothing of its answer for so long has gone."""
GRACE_SECONDS = 0.3
"""How long an open connection may still bring a request when the server ends: it was sent and not yet read."""


class TooMuch(Exception):
    """A head beyond its bounds; raised in the parser, to stop it."""


class Bounded(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._late: asyncio.TimerHandle | None = None
        self._unseen = 0  # bytes fed since the parser told of a whole head, a piece of a body, or a whole message
        self._head = self._fields = 0  # bytes and fields of this message's head, and of what follows its body
        self._in_head = True
        self._why = ""
        self._refusal: ApiError | None = None  # to be written when the requests before it have been answered
        self._ending = False  # no request is taken any more; what still comes is thrown away
        self._thrown = 0
        self._half_closed = False

    # --- what comes in ----------------------------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch()
        if self._draining:
            self.shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ending = True
        self._unwatch()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        view = memoryview(data)
        for start in range(0, len(view), SLICE):
            if self._ending or self._refusal is not None:
                self._thrown += len(view) - start
                if self._thrown > LINGER_BYTES:
                    self.transport.abort()
                return
            self._feed(view[start : start + SLICE])
        if self._in_head and not self._busy and self._late is None and not self._ending:
            self._watch()

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more: what it asked is answered, and the connection closed then."""
        self._half_closed = True
        if not self._ending and self._refusal is None:
            if self._busy and not self.cycle.more_body:
                self.cycle.keep_alive = False
            elif self._head or self._busy:
                self._refuse(ApiError(400, "the connection ended within a request"))
        return self._busy and not self._ending

    def _feed(self, data: memoryview) -> None:
        self._unseen += len(data)
        try:
            while True:
                try:
                    self.parser.feed_data(data)
                    break
                except httptools.HttpParserUpgrade as upgrade:
                    data = data[upgrade.args[0] :]
                    self._without_upgrade()
        except httptools.HttpParserError:
            self._refuse(ApiError(431, self._why) if self._why else ApiError(400, "the request is not HTTP/1.1"))
            return
        if self._unseen > HEAD_BYTES:
            self._refuse(ApiError(431, f"a request's head is too large: expected at most {HEAD_BYTES:,} bytes"))

    def _without_upgrade(self) -> None:
        """Read a head again without its wish for another protocol, which nobody here speaks: the parser would leave the
        body to that protocol."""
        if self.parser.get_method() == b"CONNECT":
            self._why = ""
            raise httptools.HttpParserError
        lines = [self.parser.get_method() + b" " + self.url + b" HTTP/" + self.parser.get_http_version().encode()]
        lines += [name + b": " + value for name, value in self.headers if name not in (b"upgrade", b"http2-settings")]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.parser.feed_data(b"\r\n".join([*lines, b"", b""]))

    # --- what the parser tells --------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head = self._fields = 0
        self._in_head = True

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields += 1
        self._count(len(name) + len(value) + 4)
        if self._in_head:  # a field behind the body is none of the head's
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._in_head, self._unseen = False, 0
        self._unwatch()
        super().on_headers_complete()
        cycle = self.cycle
        cycle.transport = _Closing(self)  # type: ignore[assignment]

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start" and (
                cycle.more_body or (self._draining and cycle is self.cycle and self._refusal is None)
            ):
                cycle.keep_alive = False
            await RequestResponseCycle.send(cycle, message)

        cycle.send = send  # type: ignore[method-assign]
        if self._draining:
            self.flow.resume_reading()

    def on_body(self, body: bytes) -> None:
        self._unseen = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._in_head, self._unseen, self._head = True, 0, 0
        super().on_message_complete()

    def _count(self, size: int) -> None:
        self._head += size
        if self._head > HEAD_BYTES or self._fields > HEAD_FIELDS:
            self._why = (
                f"a request's head is too large: expected at most {HEAD_BYTES:,} bytes and {HEAD_FIELDS} header fields"
            )
            raise TooMuch

    # --- what goes out ----------------------------------------------------------------------------------------------

    @property
    def _busy(self) -> bool:
        """Is a request being answered?"""
        return self.cycle is not None and not self.cycle.response_complete and not self.cycle.disconnected

    @property
    def _draining(self) -> bool:
        return getattr(self.server_state, "draining", False)

    def on_response_complete(self) -> None:
        if self._ending:
            self.server_state.total_requests += 1
            return
        last = not self.pipeline
        super().on_response_complete()
        if last and self._refusal is not None:
            self._write(self._refusal)
        elif last and self._half_closed:
            self.transport.close()
        elif last and self._draining:
            self.shutdown()

    def _refuse(self, error: ApiError) -> None:
        """``error`` is this connection's last answer: now, or when the requests before it have been answered."""
        self._unwatch()
        broken = self.cycle if self._busy and self.cycle.more_body else None
        if broken is not None and self.pipeline and self.pipeline[0][0] is broken:
            self.pipeline.popleft()
            self._refusal = error
        elif broken is not None:
            broken.disconnected = True
            broken.message_event.set()
            if broken.response_started:
                self.transport.close()
            else:
                self._write(error)
        elif self._busy:
            self._refusal = error
        else:
            self._write(error)

    def _write(self, error: ApiError) -> None:
        self.config.app.state.umekomi.metrics.requests.labels("other", str(error.status)).inc()  # type: ignore[union-attr]
        body = bytes(error.response().body)
        self.transport.write(
            b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s"
            % (error.status, HTTPStatus(error.status).phrase.encode(), len(body), body)
        )
        self.end()

    def end(self) -> None:
        """Say that nothing more comes, and close when the client has read it: closed at once with something unread, the
        client's side would throw the answer away."""
        if self._ending or self.transport.is_closing():
            return
        self._ending = True
        self._unwatch()
        self._unset_keepalive_if_required()
        if self._half_closed or not self.transport.can_write_eof():
            self.transport.close()
            return
        self.transport.write_eof()
        self.flow.resume_reading()
        self._late = self.loop.call_later(LINGER_SECONDS, self._lingered, -1)

    def _lingered(self, unsent: int) -> None:
        """Close, unless the client still reads its answer, of which ``unsent`` bytes were left when last looked."""
        left = self.transport.get_write_buffer_size()
        if left == 0:
            self.transport.close()
        elif left == unsent:
            self.transport.abort()
        else:
            self._late = self.loop.call_later(STALLED_SECONDS, self._lingered, left)

    def timeout_keep_alive_handler(self) -> None:
        if not self.transport.is_closing():
            self.end() if self.transport.get_write_buffer_size() else self.transport.close()

    def shutdown(self) -> None:
        """The server ends: a request that is being answered, or was sent and not read, is the last one."""
        if self._busy:
            self.flow.resume_reading()
        elif not self._ending:
            self.loop.call_later(GRACE_SECONDS, self._close_idle)

    def _close_idle(self) -> None:
        if not self._busy and not self._head and not self.transport.is_closing():
            self.transport.close()

    # --- time -------------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        self._unwatch()
        self._late = self.loop.call_later(HEAD_SECONDS, self._too_late)

    def _unwatch(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _too_late(self) -> None:
        self._late = None
        if not self.transport.is_closing():
            self.transport.close()


class _Closing:
    """A transport that a cycle may write to, and whose closing waits for the client."""

    def __init__(self, protocol: Bounded) -> None:
        self._protocol = protocol
        self.is_closing = protocol.transport.is_closing

    def write(self, data: bytes) -> None:
        if not self.is_closing():  # of several requests of one connection uvicorn tells only the last that it is lost
            self._protocol.transport.write(data)

    def close(self) -> None:
        self._protocol.end()
