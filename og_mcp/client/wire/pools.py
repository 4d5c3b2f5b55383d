"""Many small connection pools in place of a large one.

httpcore 1.0 looks at every connection of a pool, and from each idle one at every other, whenever a
request begins or ends: with a hundred connections that takes 20 ms of the event loop each time.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from typing import Final

import httpx

IN_POOL: Final = 10
"""Requests that run in one pool before another is opened."""

KEPT_S: Final = 30.0
"""After which connections that nothing used are closed; a gateway closes idle ones too."""

LIMITS: Final = httpx.Limits(
    max_connections=None, max_keepalive_connections=IN_POOL, keepalive_expiry=KEPT_S
)
"""For each pool."""


class Pools(httpx.AsyncBaseTransport):
    """Sends each request by the first pool that has room, so that few requests use few connections.

    Args:
        open_pool: Opens one, with `LIMITS`.
        clock: Seconds, ever growing.
    """

    def __init__(
        self,
        open_pool: Callable[[], httpx.AsyncBaseTransport],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open_pool, self._clock = open_pool, clock
        self._pools: list[_Pool] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; httpx's interface of transports."""
        pool = self._with_room()
        pool.running += 1
        try:
            await self._close_unused()
            response = await pool.transport.handle_async_request(request)
        except BaseException:
            self._end(pool)
            raise
        assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101 - of a request of ours
        response.stream = _Running(response.stream, lambda: self._end(pool))
        return response

    async def aclose(self) -> None:
        """Close every pool."""
        pools, self._pools = self._pools, []
        for pool in pools:
            await pool.transport.aclose()

    def _with_room(self) -> _Pool:
        for pool in self._pools:
            if pool.running < IN_POOL:
                return pool
        self._pools.append(_Pool(self._open_pool()))
        return self._pools[-1]

    def _end(self, pool: _Pool) -> None:
        pool.running -= 1
        pool.used_at = self._clock()

    async def _close_unused(self) -> None:
        """Close pools that a burst has left: httpcore closes what expired only where it is used."""
        long_ago = self._clock() - KEPT_S
        unused = [pool for pool in self._pools if not pool.running and pool.used_at < long_ago]
        self._pools = [pool for pool in self._pools if pool not in unused]
        for pool in unused:
            await pool.transport.aclose()


class _Pool:
    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self.transport = transport
        self.running = 0
        self.used_at = 0.0


class _Running(httpx.AsyncByteStream):
    """An answer's body; tells when it is closed."""

    def __init__(self, stream: httpx.AsyncByteStream, ended: Callable[[], None]) -> None:
        self._stream, self._ended = stream, ended
        self._is_open = True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the body's parts."""
        async for part in self._stream:
            yield part

    async def aclose(self) -> None:
        """Close it; again does nothing more."""
        try:
            await self._stream.aclose()
        finally:
            if self._is_open:
                self._is_open = False
                self._ended()
