"""The session that has the advisory locks of a process: asked for together, in one exchange."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

import psycopg
from sqlalchemy import BigInteger, bindparam, func, select

from og_mcp.errors import JournalError
from og_mcp.journal._libpq import PostgresConnection
from og_mcp.journal._sql import Statement
from og_mcp.journal._steps import Query

_number = bindparam("of_number", type_=BigInteger)
TAKE: Final = Statement(select(func.pg_try_advisory_lock(_number)))
GIVE: Final = Statement(select(func.pg_advisory_unlock(_number)))


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


@dataclass(eq=False)
class _Asked:
    """A lock to take or give, and who waits for the answer."""

    statement: Statement
    number: int
    future: asyncio.Future[bool]
    answer: bool = False
    error: Exception | None = None


class LockSession:
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
        """Take or give a lock; tells whether it worked.

        The answer may be a JournalError.
        """
        asked = _Asked(statement, number, self._loop.create_future())
        if self._is_closed:
            asked.error = JournalError("The journal is closed.", "Open it again.")
            _resolve([asked])
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
            self._exchange([asked for asked in together if asked.statement is TAKE])

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
        elif asked.statement is TAKE:
            asked.future.set_exception(asked.error)
        else:
            # The session's end gave it.
            asked.future.set_result(True)
