"""Bringing the tables up to date: versioned migrations, run when a journal is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.pool import NullPool

from og_mcp.errors import JournalError
from og_mcp.journal._database import Connection

HEAD: Final = "0007"
"""The newest migration; a test holds it equal to the folder's."""

SCRIPTS: Final = Path(__file__).parent / "migrations"

_TABLES: Final = {
    "sqlite": "SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'",
    "postgresql": "SELECT count(*) FROM pg_tables WHERE tablename = 'alembic_version'"
    " AND schemaname = current_schema()",
}


def migrate(connection: Connection, url: URL) -> None:
    """Run the migrations that a journal has not had; the caller holds a lock for that.

    Alembic loads only where there is something to do: it takes longer than opening a journal.

    Args:
        connection: Reads the journal's version.
        url: Of the same journal, with password.

    Raises:
        JournalError: A newer version of og-mcp wrote the journal.
    """
    version = _version(connection)
    if version == HEAD:
        return
    engine = _engine(url)
    try:
        _upgrade(engine, version)
    finally:
        engine.dispose()


def _version(connection: Connection) -> str | None:
    [[there]] = connection.plain(_TABLES[connection.dialect.name])
    found = connection.plain("SELECT version_num FROM alembic_version") if there else ()
    return str(found[0][0]) if found else None


def _engine(url: URL) -> Engine:
    engine = create_engine(url, poolclass=NullPool, hide_parameters=True)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _leave_transactions)
        event.listen(engine, "begin", _begin_immediately)
    return engine


def _leave_transactions(connection: Any, _: object) -> None:  # noqa: ANN401 - sqlite3's connection
    # By itself sqlite3 would end the transaction before each change of a table.
    connection.isolation_level = None


def _begin_immediately(connection: Any) -> None:  # noqa: ANN401 - SQLAlchemy's connection
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _upgrade(engine: Engine, version: str | None) -> None:
    from alembic import command  # noqa: PLC0415 - needed once in the life of a journal
    from alembic.config import Config  # noqa: PLC0415 - as above
    from alembic.util import CommandError  # noqa: PLC0415 - as above

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, HEAD)
        except CommandError as exc:
            raise JournalError(
                f"The journal is of version {version}, and this og-mcp knows versions up to {HEAD}.",
                "A newer og-mcp wrote it: upgrade og-mcp.",
            ) from exc
