"""How coroutines reach the database: at once where that cannot block, else in the worker."""

from __future__ import annotations

import asyncio
from typing import Final, TypeVar

from anyio import CancelScope, to_thread

from og_mcp.errors import JournalError
from og_mcp.journal._database import Connection, Database
from og_mcp.journal._steps import Work, do_all
from og_mcp.journal._worker import Worker

T = TypeVar("T")

FLUSH_AFTER_S: Final = 0.005
"""After which the disk is told to take what stands in its log; one flush is for all till then."""


class Store:
    """An open journal's database.

    Args:
        database: Prepared.
        renew: Renews this process's lease.
        renew_s: How often, seconds.
    """

    def __init__(self, database: Database, renew: Work[None], renew_s: float) -> None:
        self.database = database
        self._nearby = database.connect_nearby()
        self._worker = Worker(database, renew, renew_s)
        self.mutexes = database.mutexes()
        """The locks of this process."""

        self._flush: asyncio.TimerHandle | None = None
        self._closed = False

    async def run(
        self,
        work: Work[T],
        *,
        durable: bool = True,
        atomic: bool = False,
        order: str = "",
        alone: bool = False,
    ) -> T:
        """Do a piece of work; what has begun is finished, even if the caller is cancelled.

        Args:
            work: Its statements; repeating it must give the same.
            durable: Whether the disk must have it on return. Where not, a crash of the process
                still loses nothing, a power cut loses what no later durable work followed.
            atomic: Whether the statements must hold together.
            order: See `Job.order`.
            alone: See `Job.alone`; where it is durable.
        """
        self.check_open()
        if not durable and self._nearby is not None:
            try:
                return self._do_here(self._nearby, work, atomic=atomic)
            except self.database.errors as exc:
                self._nearby.rollback()
                # Another writer is at work: wait for it in the thread.
                if not self.database.is_transient(exc):
                    raise self.database.mapped(exc) from exc
        done = self._worker.submit(work, atomic=atomic, order=order, alone=alone)
        with CancelScope(shield=True):
            await done
        return done.result()

    async def run_ahead(self, work: Work[T], *, atomic: bool = False, alone: bool = False) -> T:
        """Do a piece of work that the death of this process cannot undo; the disk has it soon.

        A power cut within `FLUSH_AFTER_S` could still take it back.

        Args:
            work: Its statements; repeating it must give the same.
            atomic: Whether the statements must hold together.
            alone: See `Job.alone`; for where the database is not near.
        """
        if self._nearby is None:
            return await self.run(work, atomic=atomic, alone=alone)
        result = await self.run(work, durable=False, atomic=atomic, alone=alone)
        if self._flush is None:
            # Later than the next steps of the same call, which would have to wait for its lock.
            self._flush = asyncio.get_running_loop().call_later(FLUSH_AFTER_S, self._flush_now)
        return result

    def _flush_now(self) -> None:
        self._flush = None
        self._worker.flush()

    def _do_here(self, nearby: Connection, work: Work[T], *, atomic: bool) -> T:
        if not atomic:
            [result] = do_all([work], nearby.exchange)
            return result  # type: ignore[no-any-return] # the work's own
        nearby.begin()
        try:
            [result] = do_all([work], nearby.exchange)
            nearby.commit()
        finally:
            nearby.rollback()
        return result  # type: ignore[no-any-return] # the work's own

    def check_open(self) -> None:
        """Raise JournalError once the journal is closed."""
        if self._closed:
            raise JournalError("The journal is closed.", "Open it again.")

    async def aclose(self) -> None:
        """Do what is queued, then close the connections and let go of the locks."""
        if self._closed:
            return
        self._closed = True
        if self._flush is not None:
            self._flush.cancel()
            self._flush_now()
        with CancelScope(shield=True):
            await self.mutexes.aclose()
            await to_thread.run_sync(self._worker.close)
            if self._nearby is not None:
                self._nearby.close()
