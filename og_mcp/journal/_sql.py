"""Statements that are written once, compiled once for each database, and run on its own driver.

SQLAlchemy makes the SQL; running it through SQLAlchemy as well would cost a third of what the
journal may take for a call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from sqlalchemy import BigInteger, ClauseElement, Dialect, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

Row: TypeAlias = dict[str, Any]

SQLITE: Final[Dialect] = sqlite.dialect(paramstyle="named")
POSTGRESQL: Final[Dialect] = PGDialect_psycopg(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call] # SQLAlchemy left it so

# The two inserts have the same `on_conflict_*` methods and no common base.
InsertInto: TypeAlias = Callable[[Table], Any]
_INSERT: Final[dict[str, InsertInto]] = {
    SQLITE.name: sqlite.insert,
    POSTGRESQL.name: postgresql.insert,
}


class now(FunctionElement[int]):  # noqa: N801 - reads as the SQL function it is
    """Microseconds since 1970 by the database's clock."""

    type = BigInteger()
    inherit_cache = True


@compiles(now, "sqlite")
def _now_sqlite(element: now, compiler: SQLCompiler, **_: Any) -> str:  # noqa: ANN401, ARG001 - SQLAlchemy's signature
    return "clock_us()"


@compiles(now, "postgresql")
def _now_postgresql(element: now, compiler: SQLCompiler, **_: Any) -> str:  # noqa: ANN401, ARG001 - SQLAlchemy's signature
    return "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)"


@dataclass(frozen=True)
class Compiled:
    """A statement in one database's words."""

    sql: str
    constants: Row
    """Parameters that are the same every time."""

    names: tuple[str, ...]
    """The parameters in the order of `$1`, `$2`, ... where the database counts them."""


class Statement:
    """One SQL statement with named parameters.

    Args:
        source: The statement; or, where rows may conflict, a function that makes it from the
            database's own `insert`.
    """

    def __init__(self, source: ClauseElement | Callable[[InsertInto], ClauseElement]) -> None:
        self._source = source
        self._compiled: dict[str, Compiled] = {}

    def on(self, dialect: Dialect) -> Compiled:
        """Return the SQL for a database."""
        found = self._compiled.get(dialect.name)
        if found is None:
            found = self._compiled[dialect.name] = self._compile(dialect)
        return found

    def _compile(self, dialect: Dialect) -> Compiled:
        source = self._source
        element = source if isinstance(source, ClauseElement) else source(_INSERT[dialect.name])
        compiled = element.compile(dialect=dialect)
        if not isinstance(compiled, SQLCompiler):
            raise TypeError(element)
        # A parameter without a value is required; one whose value is NULL is not.
        constants = {
            name: bind.value for bind, name in compiled.bind_names.items() if not bind.required
        }
        return Compiled(str(compiled), constants, tuple(compiled.positiontup or ()))
