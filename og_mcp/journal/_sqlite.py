"""SQLite: one file, shared by the processes of one machine.

WAL, so that readers and the writer do not wait for each other. Two connections: one for a worker
thread, whose commits wait for the disk (`synchronous=FULL`), and one for the event loop's thread,
whose commits do not (`NORMAL`): they outlive the process at once, and a power cut once a later
commit has gone to disk. Nothing is sent before such a later commit.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Final

from sqlalchemy import URL, Dialect

from og_mcp.errors import JournalError, quote
from og_mcp.journal._database import BUSY_S, Connection
from og_mcp.journal._file_lock import MADE, PRIVATE, FileMutexes, locked, make_private
from og_mcp.journal._migrating import SCRIPTS, migrate
from og_mcp.journal._sql import SQLITE
from og_mcp.journal._steps import Answer, Query

NEW: Final = SCRIPTS / "sqlite.sql"
"""The tables of a new journal; a test holds it equal to what the migrations make."""

PREPARE_S: Final = 60.0
"""How long another process may take to make the tables."""

OLDEST: Final = (3, 35, 0)
"""The first SQLite whose statements can return what they changed."""


class SQLiteConnection(Connection):
    """A connection to the file."""

    dialect: ClassVar[Dialect] = SQLITE

    def __init__(self, path: Path, *, synchronous: str, timeout_s: float) -> None:
        super().__init__()
        self._raw = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=timeout_s
        )
        self._raw.create_function("clock_us", 0, lambda: time.time_ns() // 1000)
        self._raw.execute(f"PRAGMA synchronous={synchronous}")
        # Without it, macOS leaves what it was told to write in the disk's own cache.
        self._raw.execute("PRAGMA fullfsync=ON")

    def leave_checkpoints(self) -> None:
        """Leave it to other connections to copy the log into the file, which waits for disk."""
        self._raw.execute("PRAGMA wal_autocheckpoint=0")

    def use_wal(self) -> None:
        """Write to a log beside the file, once and for all connections."""
        self._raw.execute("PRAGMA journal_mode=WAL")

    def exchange(self, queries: Sequence[Query]) -> list[Answer]:
        """Run statements in order."""
        return [self._run(query) for query in queries]

    def _run(self, query: Query) -> Answer:
        compiled = query.statement.on(SQLITE)
        cursor = self._raw.execute(compiled.sql, {**compiled.constants, **query.parameters})
        if cursor.description is None:
            return Answer((), (), cursor.rowcount)
        # Read to the end, since a statement that has more to give holds its lock.
        return Answer([column[0] for column in cursor.description], cursor.fetchall(), 0)

    def plain(self, sql: str) -> list[tuple[Any, ...]]:
        """Run SQL without parameters."""
        return self._raw.execute(sql).fetchall()

    def make_tables(self) -> None:
        """Make the tables of a new journal as all migrations leave them, in a tenth of the time."""
        if self.plain("SELECT count(*) FROM sqlite_master") == [(0,)]:
            self._raw.executescript(f"BEGIN IMMEDIATE;{NEW.read_text(encoding='utf-8')}COMMIT;")

    def begin(self) -> None:
        """Take the write lock at once: one that is asked for later can be refused."""
        self._raw.execute("BEGIN IMMEDIATE")

    def rollback(self) -> None:
        """Undo the transaction, if there is one."""
        if self._raw.in_transaction:
            self._raw.execute("ROLLBACK")

    @contextmanager
    def relaxed(self) -> Iterator[None]:
        """Write without waiting for the disk."""
        self._raw.execute("PRAGMA synchronous=NORMAL")
        try:
            yield
        finally:
            self._raw.execute("PRAGMA synchronous=FULL")

    def close(self) -> None:
        """Close it."""
        self._raw.close()


class SQLiteDatabase:
    """The journal's file and its neighbours.

    Args:
        path: The file; made, with its folder, where it is missing.
        busy_s: Seconds to wait for what another program writes.
    """

    dialect = SQLITE
    errors: tuple[type[Exception], ...] = (sqlite3.Error,)

    def __init__(self, path: Path, busy_s: float = BUSY_S) -> None:
        self.path, self.folder, self._busy_s = path, path.parent, busy_s
        self._identity: tuple[int, int] | None = None

    def prepare(self) -> None:
        """Make the file for its owner alone, and its tables; one process at a time."""
        if sqlite3.sqlite_version_info < OLDEST:
            raise JournalError(
                f"SQLite {sqlite3.sqlite_version} is too old for the journal.",
                "Use a Python with SQLite 3.35 or newer, or PostgreSQL by OG_JOURNAL_URL.",
            )
        make_private(self.folder)
        with locked(self.path.with_name(f"{self.path.name}.lock"), PREPARE_S):
            if not self.path.exists():
                # Closing the file a second time would drop every lock that this process has on it,
                # and another process would take the log away from under an open journal.
                os.close(os.open(self.path, MADE, PRIVATE))
            self.path.chmod(PRIVATE)
            connection = self.connect()
            try:
                connection.use_wal()
                connection.make_tables()
                migrate(connection, URL.create("sqlite", database=str(self.path)))
            finally:
                connection.close()
        self._identity = self._identify()

    def connect(self) -> SQLiteConnection:
        """Open the connection for a worker thread."""
        return SQLiteConnection(self.path, synchronous="FULL", timeout_s=self._busy_s)

    def connect_nearby(self) -> Connection:
        """Open the connection for the event loop's thread."""
        connection = SQLiteConnection(self.path, synchronous="NORMAL", timeout_s=0)
        connection.leave_checkpoints()
        return connection

    def mutexes(self) -> FileMutexes:
        """Return the locks that this process may take."""
        return FileMutexes(self.path)

    def check(self) -> None:
        """Refuse to go on with a file that was moved or deleted (threats.md T6)."""
        if self._identify() != self._identity:
            raise JournalError(
                f"The journal {quote(self.path)} was moved or replaced while it was open.",
                "Put it back, or restart og-mcp; nothing is signed without it.",
            )

    def _identify(self) -> tuple[int, int] | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else None

    def is_transient(self, error: Exception) -> bool:
        """Say whether only another writer was in the way."""
        code = getattr(error, "sqlite_errorcode", None)
        return code is not None and code & 0xFF == sqlite3.SQLITE_BUSY

    def look_through(self) -> None:
        """Read every page of the file."""
        try:
            connection = self.connect()
            try:
                [[found]] = connection.plain("PRAGMA quick_check(1)")
            finally:
                connection.close()
        except sqlite3.Error as exc:
            raise self.mapped(exc) from exc
        if found != "ok":
            raise _damaged(self.path, str(found))

    def is_locked(self, error: Exception) -> bool:
        """Say whether another program writes, or has opened the file for itself alone."""
        return self.is_transient(error)

    def mapped(self, error: Exception) -> JournalError:
        """Name the file and what can be done."""
        code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
        if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            return JournalError(
                f"The journal {quote(self.path)} is locked by another program.",
                "Close what has it open, such as a database browser or a backup, and repeat the call.",
            )
        if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            return _damaged(self.path, str(error))
        return JournalError(
            f"The journal {quote(self.path)} cannot be used: {quote(error)}.",
            "Check that the file can be written and the disk has room; OG_DATA_DIR and "
            "OG_JOURNAL_URL say where it is.",
        )


def _damaged(path: Path, how: str) -> JournalError:
    return JournalError(
        f"The journal {quote(path)} is damaged: {quote(how)}.",
        "Stop og-mcp, move the file and those beside it that end in -wal and -shm away, and put a copy "
        "in their place or begin anew without: what is not in it is not counted against your caps, so "
        "wait a day, or look first at what the wallet signed.",
    )
