"""What the two databases have in common: connections, and how one is asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Protocol

from sqlalchemy import Dialect

from og_mcp.errors import JournalError
from og_mcp.journal._steps import Answer, Query

BUSY_S = 5.0
"""Seconds to wait for another process's write, or for a database to answer."""


class Connection(ABC):
    """One connection of a database's own driver, in autocommit mode."""

    dialect: ClassVar[Dialect]

    @abstractmethod
    def exchange(self, queries: Sequence[Query]) -> Sequence[Answer]:
        """Run statements in order. The first that fails raises; those after it are not done."""

    @abstractmethod
    def plain(self, sql: str) -> Sequence[Sequence[Any]]:
        """Run SQL without parameters; returns its rows."""

    @abstractmethod
    def close(self) -> None:
        """Close it; a second time does nothing."""

    def begin(self) -> None:
        """Start a transaction that will write."""
        self.plain("BEGIN")

    def commit(self) -> None:
        """Force the transaction to disk."""
        self.plain("COMMIT")

    def rollback(self) -> None:
        """Undo the transaction, if there is one."""
        self.plain("ROLLBACK")

    @contextmanager
    def relaxed(self) -> Iterator[None]:
        """Write what a power cut may take back."""
        yield


class Mutex(Protocol):
    """A lock that one process of a journal holds, and that its death releases."""

    async def acquire(self) -> None:
        """Wait for it without holding up the event loop; can be cancelled."""
        ...

    async def release(self) -> None:
        """Let the next process have it."""
        ...


class Mutexes(Protocol):
    """The locks of one process."""

    def mutex(self, key: str) -> Mutex:
        """Return the lock of that name; the same one every time."""
        ...

    async def aclose(self) -> None:
        """Release what is held, and what it is held with."""
        ...


class Database(Protocol):
    """Where a journal is."""

    @property
    def dialect(self) -> Dialect:
        """How SQL is written for it."""
        ...

    @property
    def folder(self) -> Path:
        """Where the journal's files lie: documents, locks, the key."""
        ...

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What its driver raises."""
        ...

    def prepare(self) -> None:
        """Create it where it is new and bring its tables up to date; blocks."""
        ...

    def connect(self) -> Connection:
        """Open a connection whose commits are forced to disk."""
        ...

    def connect_nearby(self) -> Connection | None:
        """Open a connection that answers in microseconds or refuses, and never waits for disk.

        `None` where there is no such thing: behind a network.
        """
        ...

    def mutexes(self) -> Mutexes:
        """Return the locks that this process may take."""
        ...

    def check(self) -> None:
        """Raise JournalError where the journal is not what was opened any more."""
        ...

    def look_through(self) -> None:
        """Raise JournalError where the database is damaged; blocks, and takes time in proportion."""
        ...

    def is_locked(self, error: Exception) -> bool:
        """Whether another program holds all of it, so that other work on it would fail, too."""
        ...

    def is_transient(self, error: Exception) -> bool:
        """Whether the same work can hold on a new connection, or at once again."""
        ...

    def mapped(self, error: Exception) -> JournalError:
        """Say what a driver's error means, without secrets."""
        ...
