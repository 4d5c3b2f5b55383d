"""Records how a call ended, also while the database restarts."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Final

import anyio
import stamina
from anyio.abc import TaskGroup

from og_mcp.calls import Journal
from og_mcp.client.calls.context import CallContext
from og_mcp.client.calls.operation import Outcome
from og_mcp.errors import CallStateError, JournalError, OGError, TransactionPendingError
from og_mcp.types import Shape, Stage

logger = logging.getLogger(__name__)

MAX_PAUSE_S: Final = 30.0


class CallRecorder:
    """Records how calls end.

    Args:
        journal: Where.
        tasks: Where a failure is recorded that the journal cannot take now.
    """

    def __init__(self, journal: Journal, tasks: TaskGroup) -> None:
        self._journal, self._tasks = journal, tasks

    async def record(self, call_id: str, outcome: Outcome[Shape]) -> None:
        """Record a good end. It was paid for, so a restarting database must not lose it.

        Raises:
            JournalError: The journal cannot take it, for a minute.
        """
        try:
            await self._settle(call_id, outcome)
        except JournalError as exc:
            if not _is_unavailable(exc):
                raise
            async for attempt in stamina.retry_context(_is_unavailable, attempts=4, timeout=60.0):
                with attempt:
                    await self._settle(call_id, outcome)

    async def _settle(self, call_id: str, outcome: Outcome[Shape]) -> None:
        await self._journal.settle(
            call_id,
            outcome.stage,
            outcome.fee_wei,
            outcome.result.shown_json(),
            outcome.receipt,
            told_opg=outcome.told_opg,
        )

    async def fail(self, call_id: str, error: OGError) -> None:
        """Record a bad end, now or once the journal is back: until then, repetitions would wait."""
        with anyio.CancelScope(shield=True):
            try:
                await self._fail(call_id, error)
            except OGError as exc:
                logger.warning("call %s: its failure is recorded later: %s", call_id, exc)
                self._tasks.start_soon(self._fail_later, call_id, error)

    async def _fail_later(self, call_id: str, error: OGError) -> None:
        pause = 1.0
        while True:
            await anyio.sleep(pause)
            try:
                await self._fail(call_id, error)
            except OGError:
                pause = min(pause * 2, MAX_PAUSE_S)
            else:
                return

    async def _fail(self, call_id: str, error: OGError) -> None:
        # A journal that broke off may have recorded a signature that it could not confirm, or not
        # have recorded the one that was made.
        fee_wei = getattr(error, "fee_wei", 0)
        for stage in dict.fromkeys((error.stage, Stage.SENT_UNKNOWN, Stage.NOT_SENT)):
            with suppress(CallStateError):
                await self._journal.fail(
                    call_id, stage, str(error), fee_wei=fee_wei, receipt=error.receipt
                )
                return
        # The call has moved on in the meantime, e.g. through a recovery.
        logger.info("call %s had ended before it failed", call_id)


def unknown_outcome(error: OGError, call: CallContext) -> OGError:
    """Correct an error that says that nothing was sent although something was signed."""
    if error.stage is not Stage.NOT_SENT or not call.committed:
        return error
    if call.signed:
        return TransactionPendingError(call.signed[-1].transaction_hash, 0.0, str(error))
    error.stage = Stage.SENT_UNKNOWN
    return error


def _is_unavailable(exc: Exception) -> bool:
    return isinstance(exc, JournalError) and not isinstance(exc, CallStateError)
