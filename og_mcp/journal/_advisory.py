"""Lanes on PostgreSQL: advisory locks, which the server releases when their session ends.

One session has the locks of all lanes of a process that were free when it asked, many in one
exchange. A lane that another process has is waited for in a session of its own, in the server's
queue, since a session can wait for one thing only.
"""

from __future__ import annotations

import asyncio
import hashlib
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

import psycopg
from anyio import CancelScope, to_thread
from sqlalchemy import BigInteger, bindparam, func, select

from og_mcp.journal._libpq import PostgresConnection
from og_mcp.journal._sql import Statement
from og_mcp.journal._steps import Query

_number = bindparam("of_number", type_=BigInteger)
_take: Final = Statement(select(func.pg_try_advisory_lock(_number)))
_give: Final = Statement(select(func.pg_advisory_unlock(_number)))


class Server(Protocol):
    """What locks need of a database."""

    def connect(self, *, patient: bool = False) -> PostgresConnection:
        """Open a session; a patient one may wait for ever."""
        ...

    def is_transient(self, error: Exception) -> bool:
        """Whether the same can hold in a new session."""
        ...

    def mapped(self, error: Exception) -> Exception:
        """Say what a driver's error means, without secrets."""
        ...


class AdvisoryLocks:
    """The locks of one process.

    Args:
        server: Where they are.
    """

    def __init__(self, server: Server) -> None:
        self._server, self._held = server, _Session(server)
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

    def __init__(self, number: int, held: _Session, waiting: _Queue) -> None:
        self._number, self._held, self._waiting = number, held, waiting
        self._has_waited = False
        """Whether it is had in the session that waited for it."""

    async def acquire(self) -> None:
        """Take it where it is free, else wait for it; can be cancelled."""
        taking = self._held.ask(_take, self._number)
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
            self._held.ask(_give, self._number)

    async def aclose(self) -> None:
        """End the session that waits."""
        await self._waiting.aclose()

    def _give_if_taken(self, taking: asyncio.Future[bool]) -> None:
        if not taking.cancelled() and taking.exception() is None and taking.result():
            self._held.ask(_give, self._number)


@dataclass(eq=False)
class _Asked:
    """A lock to take or give, and who waits for the answer."""

    statement: Statement
    number: int
    future: asyncio.Future[bool]
    answer: bool = False
    error: Exception | None = None


class _Session:
    """The session that has locks, with a thread of its own, which alone uses it.

    When it breaks, all its locks are free. Whoever believes to have one is stopped by the lane's
    epoch, as soon as somebody else has signed.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._asked: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._connection: PostgresConnection | None = None
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def ask(self, statement: Statement, number: int) -> asyncio.Future[bool]:
        """Take or give a lock; tells whether it worked."""
        asked = _Asked(statement, number, self._loop.create_future())
        if self._is_closed:
            asked.future.set_result(False)
            return asked.future
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="og-mcp-lanes", daemon=True)
            self._thread.start()
        self._asked.put(asked)
        return asked.future

    def close(self) -> None:
        """Answer what was asked, and end; blocks."""
        self._is_closed = True
        if self._thread is not None:
            self._asked.put(None)
            self._thread.join()

    def _serve(self) -> None:
        going_on = True
        while going_on:
            together, going_on = self._gather()
            try:
                self._answer(together)
            except psycopg.Error as exc:
                self._discard()
                for asked in together:
                    asked.error = self._server.mapped(exc)
            # A loop that was closed under its journal has nobody left who waits.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(_resolve, together)
        self._discard()

    def _gather(self) -> tuple[list[_Asked], bool]:
        """Wait for a question; then take all there are. False with them: the last there will be."""
        together: list[_Asked] = []
        asked = self._asked.get()
        while asked is not None:
            together.append(asked)
            try:
                asked = self._asked.get_nowait()
            except queue.Empty:
                return together, True
        return together, False

    def _answer(self, together: Sequence[_Asked]) -> None:
        try:
            self._exchange(together)
        except psycopg.Error as exc:
            if not self._server.is_transient(exc):
                raise
            # The session was lost since the last time, which is learned only by using it. What it
            # had is given already; what may be taken twice in one session is never quite given.
            self._discard()
            self._exchange([asked for asked in together if asked.statement is _take])

    def _exchange(self, together: Sequence[_Asked]) -> None:
        if not together:
            return
        if self._connection is None:
            self._connection = self._server.connect()
        queries = [Query(asked.statement, {"of_number": asked.number}) for asked in together]
        for asked, answer in zip(together, self._connection.exchange(queries), strict=True):
            asked.answer = bool(answer.rows[0][0])

    def _discard(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _resolve(together: Sequence[_Asked]) -> None:
    """Hand answers to the event loop, in its own thread."""
    for asked in together:
        if asked.future.done():
            continue
        if asked.error is None:
            asked.future.set_result(asked.answer)
        elif asked.statement is _take:
            asked.future.set_exception(asked.error)
        else:
            # The session's end gave it.
            asked.future.set_result(True)


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
