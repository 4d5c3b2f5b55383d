"""Runs journalled calls: once, waited for by whoever repeats them, stopped only while free.

The work of a call belongs to the session, not to whoever asked for it: when the asker's stream
breaks after a signature, the work goes on and the journal keeps its end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

import anyio
from anyio.abc import TaskGroup

from og_mcp.calls import Journal
from og_mcp.client.chain.ticket import Ticket
from og_mcp.errors import (
    CallFailedError,
    CallStateError,
    OGError,
    ShuttingDownError,
    TransactionPendingError,
)
from og_mcp.types import Call, Opened, Stage

logger = logging.getLogger(__name__)

Work = Callable[[Ticket], Awaitable[None]]
"""Carries a call out and settles it in the journal, or raises."""

LONG_S: Final = 24 * 3600.0
LONGEST_PAUSE_S: Final = 30.0
CANCELLED: Final = "The call was cancelled before anything was sent; nothing was paid."
SHUT_DOWN: Final = str(ShuttingDownError())
FREE_AGAIN_S: Final = 0.5
"""Seconds between two looks, at the end, for calls that turned out to have sent nothing."""

INTERNAL: Final = "og-mcp failed in a way it did not expect; its log says more."


@dataclass
class _Running:
    """A call that this process carries out."""

    ticket: Ticket
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    done: anyio.Event = field(default_factory=anyio.Event)
    waiters: int = 0
    failure: OGError | None = None
    task: asyncio.Task[None] | None = None


@dataclass(frozen=True)
class _Failure:
    """A bad end as the journal takes it."""

    stage: Stage
    error: str
    fee_wei: int = 0
    receipt: str = ""


def _failed(error: OGError) -> _Failure:
    fee_wei = getattr(error, "fee_wei", 0)
    return _Failure(error.stage, str(error), fee_wei, error.receipt)


class Runner:
    """Carries calls out in the background of a session.

    Args:
        journal: Where every call is recorded before anything of it is sent.
        tasks: The session's; calls that are running end with it.
    """

    def __init__(self, journal: Journal, tasks: TaskGroup) -> None:
        self._journal, self._tasks = journal, tasks
        self._running: dict[str, _Running] = {}
        self._is_ending = False

    async def end(self, grace_s: float) -> None:
        """End the calls for which nothing was signed, and wait for the others.

        Args:
            grace_s: Seconds to wait; what runs on then ends with the session, and is settled by
                whoever opens the journal next.
        """
        self._is_ending = True
        try:
            with anyio.move_on_after(grace_s):
                while self._running:
                    for running in self._running.values():
                        if not running.ticket.committed:
                            running.scope.cancel()
                    with anyio.move_on_after(FREE_AGAIN_S):
                        await next(iter(self._running.values())).done.wait()
        finally:
            for running in self._running.values():
                if running.task is not None and running.ticket.committed:
                    # Through the shields: whatever it waits for, its time is up.
                    running.task.cancel()

    async def follow(
        self, opened: Opened, principal: str, work: Work, *, wait_s: float | None
    ) -> Call:
        """Carry an opened call out, or join it.

        Args:
            opened: As the journal opened it.
            principal: Who asks.
            work: Carries it out.
            wait_s: Seconds after which the call is handed back running; `None`: wait for its end.

        Returns:
            The call, done or still running. Its end counts as delivered with this return.

        Raises:
            OGError: The call failed; what `work` raised, or what the journal kept of it.
        """
        call_id = opened.call.id
        if not opened.joined:
            # Of this try: one under the same key may come a month after the first.
            created_at = datetime.now(UTC).isoformat()
            ticket = Ticket(call_id, created_at=created_at, principal=principal)
            # A call that is repeated under its payment has sent something before.
            ticket.committed = opened.call.cap is not None
            running = _Running(ticket)
            self._running[call_id] = running
            if self._is_ending and not ticket.committed:
                running.scope.cancel()
            self._tasks.start_soon(self._perform, running, work)
        mine = self._running.get(call_id)
        if mine is not None:
            mine.waiters += 1
        try:
            call = await self._wait(
                opened.call, principal, LONG_S if wait_s is None else wait_s, mine
            )
        except anyio.get_cancelled_exc_class():
            # The last one who leaves stops a call that is still free.
            if mine is not None and mine.waiters == 1 and not mine.ticket.committed:
                mine.scope.cancel()
            raise
        finally:
            if mine is not None:
                mine.waiters -= 1
        if call.status == "running":
            return call
        await self._deliver(call_id)
        if call.status == "failed":
            if call.stage is Stage.NOT_SENT and call.error == SHUT_DOWN:
                raise ShuttingDownError(call_id)
            raise CallFailedError(call_id, call.stage, call.error)
        return call

    async def _wait(self, call: Call, principal: str, wait_s: float, mine: _Running | None) -> Call:
        call_id = call.id
        if mine is None:
            return await self._journal.wait(call_id, principal, wait_s)
        with anyio.move_on_after(wait_s):
            await mine.done.wait()
        if mine.failure is not None:
            mine.failure.call_id = call_id
            await self._deliver(call_id)
            raise mine.failure
        if mine.ticket.result:
            # The journal has it; what was just written need not be read.
            ticket = mine.ticket
            return replace(call, status="done", result=ticket.result, cap=ticket.cap or call.cap)
        try:
            return await self._journal.get(call_id, principal)
        except OGError as exc:
            failure = _in_doubt(exc, mine.ticket)
            failure.call_id = call_id
            raise failure from exc

    async def _deliver(self, call_id: str) -> None:
        """Note that the caller has the end; they get it even where the journal cannot take that."""
        try:
            await self._journal.deliver(call_id)
        except OGError as exc:
            logger.warning("call %s: its delivery was not recorded: %s", call_id, exc)

    async def _perform(self, running: _Running, work: Work) -> None:
        call_id, running.task = running.ticket.call_id, asyncio.current_task()
        try:
            with running.scope:
                await work(running.ticket)
            if running.scope.cancelled_caught:
                why = SHUT_DOWN if self._is_ending else CANCELLED
                await self._fail(call_id, _Failure(Stage.NOT_SENT, why))
        except OGError as exc:
            running.failure = _in_doubt(exc, running.ticket)
            await self._fail(call_id, _failed(running.failure))
        except asyncio.CancelledError:
            if not self._is_ending:
                raise
            # Its time is up; raised, it would end what is being recorded of other calls, too.
            logger.warning("call %s runs on without og-mcp; its end is looked up later", call_id)
        except Exception:
            # The top of a background task: a mistake of ours must neither end the other calls nor
            # leave this one running for ever.
            logger.exception("call %s", call_id)
            stage = Stage.SENT_UNKNOWN if running.ticket.committed else Stage.NOT_SENT
            await self._fail(call_id, _Failure(stage, INTERNAL))
        finally:
            self._running.pop(call_id, None)
            running.done.set()

    async def _fail(self, call_id: str, failure: _Failure) -> None:
        with anyio.CancelScope(shield=True):
            try:
                await self._record(call_id, failure)
            except OGError as exc:
                logger.warning("call %s: its failure is recorded later: %s", call_id, exc)
                self._tasks.start_soon(self._fail_later, call_id, failure)

    async def _fail_later(self, call_id: str, failure: _Failure) -> None:
        """Record a failure once the journal is back: else all who repeat the call would wait."""
        pause = 1.0
        while True:
            await anyio.sleep(pause)
            try:
                await self._record(call_id, failure)
            except OGError:
                pause = min(pause * 2, LONGEST_PAUSE_S)
            else:
                return

    async def _record(self, call_id: str, failure: _Failure) -> None:
        # A journal that broke off may have recorded a signature that it could not confirm, or not
        # have recorded the one that was made.
        for possible in dict.fromkeys((failure.stage, Stage.SENT_UNKNOWN, Stage.NOT_SENT)):
            with suppress(CallStateError):
                await self._journal.fail(
                    call_id,
                    possible,
                    failure.error,
                    fee_wei=failure.fee_wei,
                    receipt=failure.receipt,
                )
                return
        # It came further meanwhile, e.g. by a reconciliation.
        logger.info("call %s had ended before it failed", call_id)


def _in_doubt(error: OGError, ticket: Ticket) -> OGError:
    """Correct an error that says nothing was sent where a signature stands."""
    if error.stage is not Stage.NOT_SENT or not ticket.committed:
        return error
    if ticket.signed:
        return TransactionPendingError(ticket.signed[-1].transaction_hash, 0.0, str(error))
    error.stage = Stage.SENT_UNKNOWN
    return error
