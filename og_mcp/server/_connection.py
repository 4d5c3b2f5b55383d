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
"""Open at once; each costs a file descriptor, of which many systems give 1,024."""

_BUSY: Final = (503, "Service Unavailable", "The server has no room for more connections.")
_SLOW: Final = (408, "Request Timeout", "The request did not come whole in time.")


class Connection(H11Protocol):
    """A connection that ends where a request does not come whole in time."""

    _awaited: Any = None
    """What the time limit is for: the state in which h11 sees the client."""

    _limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Take the connection where there is room for it."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            self._end(*_BUSY)
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        """Read on, within the time that there is."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of the time limit."""
        self._forget()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """Set the time limit anew where headers or body are begun, and none where both have come."""
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
        """Answer, where nothing was answered yet, and close."""
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            head = (
                f"HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain; charset=utf-8\r\n"
                f"Content-Length: {len(text)}\r\nConnection: close\r\n\r\n"
            )
            self.transport.write(f"{head}{text}".encode())
        self.transport.close()
