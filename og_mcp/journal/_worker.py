"""The thread that writes: takes what has gathered, and puts it into one transaction.

A commit costs far more than a statement, so calls that run at the same time share commits. What a
transaction holds together fails together; each part is then tried alone.

The same thread renews this process's lease, so that a busy event loop does not look like a death.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from og_mcp.journal._database import Connection, Database
from og_mcp.journal._steps import Work, do_all

T = TypeVar("T")
MOST_TOGETHER: Final = 64
"""Pieces of work in one transaction."""

GRACE_S: Final = 5.0
"""Seconds that a database which is gone may take to come back before work on it fails."""


@dataclass(eq=False)
class Job:
    """One piece of work and what became of it."""

    work: Work[Any]
    atomic: bool
    """Whether its statements must hold together."""

    order: str
    """Work that may wait for the same row is done in this order, or two processes could each hold
    what the other one waits for."""

    alone: bool
    """Whether it needs a transaction of its own, with no other work between its statements."""

    future: asyncio.Future[Any] | None
    """Told of the end; nobody waits for what the thread does of itself."""

    result: Any = None
    error: Exception | None = None
    met_lock: bool = False
    """Whether it failed since another program holds the whole database."""


class Worker:
    """Runs work on a connection of its own.

    Args:
        database: Where.
        renew: Renews the lease.
        renew_s: How often, seconds.
    """

    def __init__(self, database: Database, renew: Work[None], renew_s: float) -> None:
        self._database, self._renew, self._renew_s = database, renew, renew_s
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._connection: Connection | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="og-mcp-journal", daemon=True)
        self._thread.start()

    def submit(
        self, work: Work[T], *, atomic: bool, order: str = "", alone: bool = False
    ) -> asyncio.Future[T]:
        """Queue a piece of work, from the event loop."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put(Job(work, atomic, order, alone, future))
        return future

    def flush(self) -> None:
        """Have the disk take what others have written; from the event loop, which does not wait."""
        # A commit takes with it what stands in the log before it, whoever wrote that.
        self._jobs.put(Job(self._renew, atomic=False, order="", alone=False, future=None))

    def close(self) -> None:
        """Do what is queued, and end; blocks."""
        self._closing.set()
        self._jobs.put(None)
        self._thread.join()

    def _serve(self) -> None:
        due = time.monotonic() + self._renew_s
        going_on = True
        while going_on:
            jobs, going_on = self._take(due - time.monotonic())
            if time.monotonic() >= due:
                self._do_relaxed(Job(self._renew, atomic=False, order="", alone=False, future=None))
                due = time.monotonic() + self._renew_s
            if jobs:
                self._do(jobs)
                self._tell(jobs)
        self._disconnect()

    def _take(self, timeout_s: float) -> tuple[list[Job], bool]:
        """Wait for work; then take all there is. False with it: the last there will be."""
        jobs: list[Job] = []
        try:
            job = self._jobs.get(timeout=max(timeout_s, 0))
            while job is not None:
                jobs.append(job)
                if len(jobs) == MOST_TOGETHER:
                    return jobs, True
                job = self._jobs.get_nowait()
        except queue.Empty:
            return jobs, True
        return jobs, False

    def _tell(self, jobs: Sequence[Job]) -> None:
        """Wake those who wait, all at once."""
        # A loop that was closed under its journal has nobody left who waits.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(_resolve, jobs)

    def _do(self, jobs: Sequence[Job]) -> None:
        try:
            self._connect()
        except self._database.errors as exc:
            for job in jobs:
                job.error = self._database.mapped(exc)
            return
        alone = [job for job in jobs if job.alone]
        together = [job for job in jobs if not job.alone]
        if len(together) == 1 or (together and not self._do_together(together)):
            alone = [*together, *alone]
        locked: Exception | None = None
        for job in alone:
            if locked is None:
                self._do_alone(job)
                locked = job.error if job.met_lock else None
            else:
                # What waits behind it would only wait as long again.
                job.error = locked

    def _do_together(self, jobs: Sequence[Job]) -> bool:
        try:
            connection = self._connect()
            connection.begin()
            ordered = sorted(jobs, key=lambda job: job.order)
            results = do_all([job.work for job in ordered], connection.exchange)
            connection.commit()
        except Exception:  # noqa: BLE001 - whose it is shows when each is tried alone
            self._undo()
            return False
        for job, result in zip(ordered, results, strict=True):
            job.result = result
        return True

    def _do_alone(self, job: Job) -> None:
        try:
            [job.result] = self._attempt(job)
        except Exception as exc:  # noqa: BLE001 - it belongs to whoever waits for the work
            self._undo()
            if self._database.is_transient(exc):
                self._do_again(job)
            else:
                job.error = self._mapped(exc)

    def _do_again(self, job: Job) -> None:
        try:
            [job.result] = self._attempt(job)
        except Exception as exc:  # noqa: BLE001 - as the first time
            self._undo()
            job.met_lock = self._database.is_locked(exc)
            job.error = self._mapped(exc)

    def _attempt(self, job: Job) -> list[Any]:
        connection = self._connect()
        if not job.atomic:
            return do_all([job.work], connection.exchange)
        connection.begin()
        result = do_all([job.work], connection.exchange)
        connection.commit()
        return result

    def _connect(self) -> Connection:
        """Return the connection; wait a little for a database that is restarting."""
        deadline = time.monotonic() + GRACE_S
        pause = 0.05
        while self._connection is None:
            try:
                self._connection = self._database.connect()
            except self._database.errors as exc:
                late = time.monotonic() + pause > deadline
                if late or not self._database.is_transient(exc) or self._closing.wait(pause):
                    raise
                pause = min(pause * 2, 0.5)
        return self._connection

    def _undo(self) -> None:
        """Leave no transaction open; a connection that cannot even do that is given up."""
        try:
            if self._connection is not None:
                self._connection.rollback()
        except self._database.errors:
            self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _do_relaxed(self, job: Job) -> None:
        try:
            with self._connect().relaxed():
                self._do_alone(job)
        except self._database.errors:
            # The next renewal tries again; what is queued fails by itself.
            self._disconnect()

    def _mapped(self, error: Exception) -> Exception:
        return self._database.mapped(error) if isinstance(error, self._database.errors) else error


def _resolve(jobs: Sequence[Job]) -> None:
    """Hand results to the event loop, in its own thread."""
    for job in jobs:
        if job.future is None or job.future.done():
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)
