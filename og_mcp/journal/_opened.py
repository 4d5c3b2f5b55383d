"""From settings to an open journal."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from anyio import to_thread
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from og_mcp.calls import Journal
from og_mcp.errors import ConfigurationError, SettingProblem
from og_mcp.journal._database import BUSY_S, Database
from og_mcp.journal._journal import SQLJournal
from og_mcp.journal._sqlite import SQLiteDatabase
from og_mcp.settings import Settings

FILE: Final = "journal.db"
VARIABLE: Final = "OG_JOURNAL_URL"
MIN_BUSY_S: Final = 0.25
"""Another process of og-mcp needs less to write."""


async def opened(settings: Settings, lease_s: float) -> Journal:
    """Prepare the database and open the journal in it."""
    database = database_of(settings)
    await to_thread.run_sync(_prepare, database)
    journal = SQLJournal(database, keep_documents=settings.receipts != "hashes", lease_s=lease_s)
    try:
        await journal.arrive()
    except BaseException:
        await journal.aclose()
        raise
    return journal


def database_of(settings: Settings) -> Database:
    """Return the journal's database, not yet prepared.

    Raises:
        ConfigurationError: OG_JOURNAL_URL names none that can be used.
    """
    # A step may wait eight times before it gives up: while others wait, too, and once more alone.
    busy_s = min(BUSY_S, max(settings.wait_s / 8, MIN_BUSY_S))
    if settings.journal_url is None:
        return SQLiteDatabase(settings.data_dir / FILE, busy_s)
    url = _parsed(settings.journal_url.get_secret_value())
    if url.drivername == "sqlite":
        return SQLiteDatabase(_file(url, settings.data_dir), busy_s)
    try:
        from og_mcp.journal._postgres import PostgresDatabase  # noqa: PLC0415 - an optional extra
    except ImportError as exc:
        raise _wrong("needs PostgreSQL's driver: pip install 'og-mcp[postgres]'") from exc
    return PostgresDatabase(url, settings.data_dir)


def _parsed(text: str) -> URL:
    try:
        return make_url(text)
    except (ArgumentError, ValueError):
        # Not chained: the library's message may repeat the URL, and so a password.
        raise _wrong("cannot be read as a URL; special characters need %-encoding") from None


def _file(url: URL, data_dir: Path) -> Path:
    if not url.database or url.database == ":memory:" or url.query:
        raise _wrong("must name a file: sqlite:///journal.db, without options")
    return data_dir / url.database


def _wrong(what: str) -> ConfigurationError:
    return ConfigurationError([SettingProblem(VARIABLE, what)])


def _prepare(database: Database) -> None:
    try:
        database.prepare()
    except database.errors as exc:
        raise database.mapped(exc) from exc
    except OSError as exc:
        raise database.mapped(exc) from exc
    except SQLAlchemyError as exc:
        # Raised by a migration; what the driver said is its cause.
        cause = getattr(exc, "orig", None)
        raise database.mapped(cause or exc) from exc
