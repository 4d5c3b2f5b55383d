"""PostgreSQL: shared by the servers of several machines."""

from __future__ import annotations

import asyncio
import hashlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final

import psycopg
from anyio import CancelScope, to_thread
from sqlalchemy import URL

from og_mcp.errors import JournalError, quote
from og_mcp.journal._database import BUSY_S
from og_mcp.journal._libpq import PostgresConnection
from og_mcp.journal._migrating import migrate
from og_mcp.journal._sql import POSTGRESQL, Row

TRANSIENT: Final = ("40001", "40P01")
"""SQLSTATEs of a transaction that lost to another one: it can be repeated."""

MIGRATION_LOCK: Final = 0x6F672D6D6370
"""Advisory lock of whoever brings the tables up to date."""


class PostgresDatabase:
    """The journal's database.

    Args:
        url: Where it is and who asks.
        folder: For what lies in files.
    """

    dialect = POSTGRESQL
    errors: tuple[type[Exception], ...] = (psycopg.Error,)

    def __init__(self, url: URL, folder: Path) -> None:
        self._url, self.folder = url.set(drivername="postgresql+psycopg"), folder
        _, given = POSTGRESQL.create_connect_args(self._url)
        self._arguments: Row = {
            "connect_timeout": int(BUSY_S),
            "application_name": "og-mcp",
            "client_encoding": "utf8",
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            **given,
        }

    def prepare(self) -> None:
        """Bring the tables up to date, one process at a time."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        connection = PostgresConnection(self._arguments, statement_timeout_s=120)
        try:
            connection.plain(f"SELECT pg_advisory_lock({MIGRATION_LOCK})")
            migrate(connection, self._url)
        finally:
            connection.close()

    def connect(self) -> PostgresConnection:
        """Open the connection for a worker thread."""
        return PostgresConnection(self._arguments, statement_timeout_s=3 * BUSY_S)

    def connect_nearby(self) -> None:
        """Return nothing: the server is never near."""

    def mutex(self, key: str) -> AdvisoryMutex:
        """Return the lock of that name."""
        number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big", signed=True)
        return AdvisoryMutex(self, self._arguments, number)

    def check(self) -> None:
        """Trust the server."""

    def is_transient(self, error: Exception) -> bool:
        """Say whether the connection broke or the transaction lost to another one."""
        if isinstance(error, psycopg.Error) and error.sqlstate in TRANSIENT:
            return True
        # Class 57P is a server that stops or starts; without a code, no server answered.
        state = getattr(error, "sqlstate", None)
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) and (
            state is None or state.startswith(("57P", "08"))
        )

    def mapped(self, error: Exception) -> JournalError:
        """Name the server, never the user or the password, and what can be done."""
        place = f"{self._url.host or 'localhost'}:{self._url.port or 5432}/{self._url.database}"
        reason = str(error).strip().split("\n", 1)[0]
        if self._url.password:
            reason = reason.replace(str(self._url.password), "***")
        return JournalError(
            f"The journal in PostgreSQL at {quote(place)} cannot be used: {quote(reason)}.",
            "Check that the server that OG_JOURNAL_URL names runs and lets this user in.",
        )


class AdvisoryMutex:
    """A session's advisory lock, which the server releases when the session ends.

    Has a connection of its own, since the session must live as long as the lock and not longer,
    and a thread of its own, which alone uses that connection.
    """

    def __init__(self, database: PostgresDatabase, arguments: Row, number: int) -> None:
        self._database, self._arguments, self._number = database, arguments, number
        self._session: PostgresConnection | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="og-mcp-lane")
        self._closed = False

    async def acquire(self) -> None:
        """Wait in the server's queue, which is first come, first served."""
        taking = asyncio.wrap_future(self._thread.submit(self._take))
        try:
            await asyncio.shield(taking)
        except asyncio.CancelledError:
            with CancelScope(shield=True):
                await self._abandon(taking)
            raise

    async def release(self) -> None:
        """Let go, without waiting for the server: the next turn waits in the same thread."""
        if not self._closed:
            self._thread.submit(self._give)

    async def aclose(self) -> None:
        """End the session."""
        if self._closed:
            return
        self._closed = True
        with CancelScope(shield=True):
            await asyncio.wrap_future(self._thread.submit(self._discard))
        self._thread.shutdown(wait=False)

    async def _abandon(self, taking: asyncio.Future[None]) -> None:
        """Stop waiting for the lock; if it came meanwhile, let go of it."""
        while not taking.done():
            await to_thread.run_sync(self._interrupt)
            await asyncio.wait([taking], timeout=0.1)
        # Read, so that nobody misses the error of a wait that nobody wants any more.
        taking.exception()
        await asyncio.wrap_future(self._thread.submit(self._discard))

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
                if not self._database.is_transient(exc):
                    raise
                # The session was lost since the last time, which is learned only by using it.
                self._discard()
                self._lock()
        except psycopg.Error as exc:
            self._discard()
            raise self._database.mapped(exc) from exc

    def _lock(self) -> None:
        if self._session is None:
            self._session = PostgresConnection(self._arguments, statement_timeout_s=0)
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
