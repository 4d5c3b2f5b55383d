"""PostgreSQL: shared by the servers of several machines."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import psycopg
from sqlalchemy import URL

from og_mcp.errors import JournalError, quote
from og_mcp.journal._advisory import AdvisoryLocks
from og_mcp.journal._database import BUSY_S
from og_mcp.journal._file_lock import make_private
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
        make_private(self.folder)
        connection = PostgresConnection(self._arguments, statement_timeout_s=120)
        try:
            connection.plain(f"SELECT pg_advisory_lock({MIGRATION_LOCK})")
            migrate(connection, self._url)
        finally:
            connection.close()

    def connect(self, *, patient: bool = False) -> PostgresConnection:
        """Open a connection; a patient one waits for ever."""
        timeout_s = 0.0 if patient else 3 * BUSY_S
        return PostgresConnection(self._arguments, statement_timeout_s=timeout_s)

    def connect_nearby(self) -> None:
        """Return nothing: the server is never near."""

    def mutexes(self) -> AdvisoryLocks:
        """Return the locks that this process may take."""
        return AdvisoryLocks(self)

    def check(self) -> None:
        """Trust the server."""

    def look_through(self) -> None:
        """Trust the server with this, too."""

    def is_locked(self, error: Exception) -> bool:  # noqa: ARG002 - the protocol's
        """Rows are locked here, never the whole journal."""
        return False

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
