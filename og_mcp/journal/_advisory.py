"""Lanes on PostgreSQL: advisory locks, which the server releases when their session ends.

One session has the locks of all lanes of a process that were free when it asked, many in one
exchange. A lane that another process has is waited for in a session of its own, in the server's
queue, since a session can wait for one thing only.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import psycopg
from anyio import CancelScope, to_thread

from og_mcp.journal._libpq import PostgresConnection
from og_mcp.journal._lock_session import GIVE, TAKE, LockSession, Server


class AdvisoryLocks:
    """The locks of one process.

    Args:
        server: Where they are.
    """

    def __init__(self, server: Server) -> None:
        self._server, self._held = server, LockSession(server)
        self._mutexes: dict[str, AdvisoryMutex] = {}

    def mutex(self, key: str) -> AdvisoryMutex:
        """Return the lock of that name; the same one every time."""
        if key not in self._mutexes:
            digest = hashlib.sha256(key.encode()).digest()
            number = int.from_bytes(digest[:8], "big", signed=True)
            self._mutexes[key] = AdvisoryMutex(number, self._held, _Queue(self._server, number))
        return self._mutexes[key]

    async def aclose(self) -> None:
        """End all sessions."""
        with CancelScope(shield=True):
            for mutex in self._mutexes.values():
                await mutex.aclose()
            await to_thread.run_sync(self._held.close)


class AdvisoryMutex:
    """One lock, in whichever session has it."""

    def __init__(self, number: int, held: LockSession, waiting: _Queue) -> None:
        self._number, self._held, self._waiting = number, held, waiting
        self._has_waited = False
        """Whether it is had in the session that waited for it."""

    async def acquire(self) -> None:
        """Take it where it is free, else wait for it; can be cancelled."""
        taking = self._held.ask(TAKE, self._number)
        try:
            is_taken = await asyncio.shield(taking)
        except asyncio.CancelledError:
            taking.add_done_callback(self._give_if_taken)
            raise
        if not is_taken:
            await self._waiting.acquire()
        self._has_waited = not is_taken

    async def release(self) -> None:
        """Let go, without waiting for the server: the next turn waits in the same thread."""
        if self._has_waited:
            self._waiting.release()
        else:
            self._held.ask(GIVE, self._number)

    async def aclose(self) -> None:
        """End the session that waits."""
        await self._waiting.aclose()

    def _give_if_taken(self, taking: asyncio.Future[bool]) -> None:
        if not taking.cancelled() and taking.exception() is None and taking.result():
            self._held.ask(GIVE, self._number)


class _Queue:
    """A session that waits for one lock, with a thread of its own, which alone uses it."""

    def __init__(self, server: Server, number: int) -> None:
        self._server, self._number = server, number
        self._session: PostgresConnection | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._is_closed = False

    async def acquire(self) -> None:
        """Wait in the server's queue, which is first come, first served."""
        taking = self._do(self._take)
        try:
            await asyncio.shield(taking)
        except asyncio.CancelledError:
            with CancelScope(shield=True):
                await self._abandon(taking)
            raise

    def release(self) -> None:
        """Let go, without waiting for the server."""
        if not self._is_closed:
            self._do(self._give)

    async def aclose(self) -> None:
        """End the session."""
        if self._is_closed or self._thread is None:
            return
        self._is_closed = True
        await self._do(self._discard)
        self._thread.shutdown(wait=False)

    def _do(self, step: Callable[[], None]) -> asyncio.Future[None]:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="og-mcp-lane")
        return asyncio.get_running_loop().run_in_executor(self._thread, step)

    async def _abandon(self, taking: asyncio.Future[None]) -> None:
        """Stop waiting for the lock; if it came meanwhile, let go of it."""
        while not taking.done():
            await to_thread.run_sync(self._interrupt)
            await asyncio.wait([taking], timeout=0.1)
        # Read, so that nobody misses the error of a wait that nobody wants any more.
        taking.exception()
        await self._do(self._discard)

    def _interrupt(self) -> None:
        session = self._session
        if session is not None:
            with suppress(psycopg.Error):
                session.cancel()

    def _take(self) -> None:
        try:
            try:
                self._lock()
            except psycopg.Error as exc:
                if not self._server.is_transient(exc):
                    raise
                # The session was lost since the last time, which is learned only by using it.
                self._discard()
                self._lock()
        except psycopg.Error as exc:
            self._discard()
            raise self._server.mapped(exc) from exc

    def _lock(self) -> None:
        if self._session is None:
            self._session = self._server.connect(patient=True)
        self._session.plain(f"SELECT pg_advisory_lock({self._number})")

    def _give(self) -> None:
        if self._session is None:
            return
        try:
            self._session.plain(f"SELECT pg_advisory_unlock({self._number})")
        except psycopg.Error:
            self._discard()

    def _discard(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()
