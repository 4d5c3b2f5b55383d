"""What the server does of itself, once its first answers are out and it is quiet.

A host that opens many windows starts a server for each: none of them may load anything heavy before
it has answered, nor all of them at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext

from og_mcp.client import Session

logger = logging.getLogger(__name__)

QUIET_S: Final = 1.0
"""Seconds without a message before the server begins."""

MAX_WAIT_S: Final = 2.0
"""Seconds from the first message after which it begins however busy it is."""


class WarmUp:
    """Loads what calls need, settles what an earlier process left, and begins to learn.

    Args:
        session: Whose.
        begin: What begins when all is loaded.
    """

    def __init__(self, session: Session, begin: Callable[[], Awaitable[None]]) -> None:
        self._session, self._begin = session, begin
        self._heard = anyio.Event()
        self._last = 0.0
        self._task: asyncio.Task[None] | None = None

    async def note(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Note a message; a middleware of mcp."""
        self._last = anyio.current_time()
        self._heard.set()
        try:
            return await call_next(ctx)
        finally:
            self._last = anyio.current_time()

    def start(self) -> None:
        """Begin to wait."""
        if self._session.settings.transport != "stdio":
            # No host waits for its start.
            self._last = anyio.current_time()
            self._heard.set()
        self._task = asyncio.create_task(self._run(), name="og-mcp warm-up")

    async def stop(self) -> None:
        """End it, wherever it is."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            await self._heard.wait()
            latest = anyio.current_time() + MAX_WAIT_S
            while (pause := min(self._last + QUIET_S, latest) - anyio.current_time()) > 0:  # noqa: ASYNC110 - a clock
                await anyio.sleep(pause)
            await self._session.preload()
            await self._session.recover()
            await self._begin()
        except Exception:
            # The top of a background task; the calls load and look up for themselves.
            logger.exception("the server's warm-up failed")
