"""One HTTP connection of the server: bounded in number, and in the time that a request takes to come.

uvicorn has a limit for the time between requests alone (threats.md T43).
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADERS_S: Final = 10.0
"""Seconds from a connection's first moment, or a request's first byte, to the end of the headers."""

BODY_S: Final = 60.0
"""Seconds from the end of the headers to the end of the body."""

MAX_CONNECTIONS: Final = 256
"""Connections open at once; each needs a file descriptor, of which many systems allow 1,024."""

_BUSY: Final = (503, "Service Unavailable", "The server has no room for more connections.")
_SLOW: Final = (408, "Request Timeout", "The request did not arrive in time.")


class HTTPConnection(H11Protocol):
    """A connection that ends when a request does not arrive in time."""

    _awaited: Any = None
    """What the time limit is for: the client's state, as h11 sees it."""

    _limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Accept the connection if there is room for it."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            self._end(*_BUSY)
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        """Read on, within the time that is left."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the time limit."""
        self._forget()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """Start a new time limit when headers or body begin, and end it when both have arrived."""
        state = self.conn.their_state
        if state is self._awaited or self.transport.is_closing():
            return
        self._forget()
        self._awaited = state
        within_s = {h11.IDLE: HEADERS_S, h11.SEND_BODY: BODY_S}.get(state)
        if within_s is not None:
            self._limit = self.loop.call_later(within_s, self._end, *_SLOW)

    def _forget(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

    def _end(self, status: int, reason: str, text: str) -> None:
        """Send an answer, unless one was begun, and close."""
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            head = (
                f"HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain; charset=utf-8\r\n"
                f"Content-Length: {len(text)}\r\nConnection: close\r\n\r\n"
            )
            self.transport.write(f"{head}{text}".encode())
        self.transport.close()
