"""The call engine: every call that can cost something goes through it.

* open: the call is recorded, or joins the one that it repeats.
* agree: a person agrees to what it may cost, where one must.
* execute: the operation carries it out, in a task that belongs to the session. When the caller's
  connection breaks after a signature, the work goes on.
* record: its end and its receipt are recorded.
* deliver: whoever waits gets the end. A call that nobody waits for is stopped while it is free.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, TypeVar, cast

import anyio
from anyio.abc import TaskGroup

from og_mcp.calls import Journal
from og_mcp.client.calls.consent import Consent
from og_mcp.client.calls.context import CallContext
from og_mcp.client.calls.operation import Operation, Outcome, Terms
from og_mcp.client.calls.recorder import CallRecorder, unknown_outcome
from og_mcp.client.calls.states import BROKEN_OFF, counts_until, has_ended, is_in_doubt, is_lost
from og_mcp.client.calls.subject import subject_of
from og_mcp.client.wire.canonical_json import canonical, digest
from og_mcp.client.wire.offloading import off_loop
from og_mcp.errors import (
    AlreadySentError,
    AnswerNotKeptError,
    CallFailedError,
    CallStateError,
    OGError,
    ServiceError,
    ShuttingDownError,
)
from og_mcp.settings import Settings
from og_mcp.types import Call, CallRequest, Opened, Shape, Stage

logger = logging.getLogger(__name__)

R = TypeVar("R", bound=Shape)

Recover = Callable[[Call, float | None], Awaitable[None]]
"""Finds out what became of a call that nobody runs, for the caller who repeats it. Signs nothing. Waits so
many seconds for what is on its way."""

CANCELLED: Final = "The call was cancelled before anything was sent; nothing was paid."
GIVEN_UP: Final = "The call was given up before anything was sent; nothing was paid."
INTERNAL: Final = "og-mcp failed in a way it did not expect; its log says more."
SHUT_DOWN: Final = str(ShuttingDownError())

MAX_WAIT_S: Final = 24 * 3600.0

FREE_AGAIN_S: Final = 0.5
"""While shutting down: seconds between two checks for calls that have sent nothing."""


@dataclass
class RunningCall:
    """A call that this process carries out."""

    operation: Operation[Any]
    context: CallContext
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    done: anyio.Event = field(default_factory=anyio.Event)
    waiters: int = 0
    outcome: Outcome[Shape] | None = None
    failure: OGError | None = None
    task: asyncio.Task[None] | None = None

    @contextmanager
    def waited_for(self) -> Iterator[None]:
        """Count who waits for the call. When the last one is cancelled, a call that has cost nothing stops."""
        self.waiters += 1
        try:
            yield
        except anyio.get_cancelled_exc_class():
            if self.waiters == 1 and not self.context.committed:
                self.scope.cancel()
            raise
        finally:
            self.waiters -= 1


class CallEngine:
    """Runs the calls of one session.

    Args:
        settings: What is kept of requests; when a person is asked.
        journal: Every call is in it before anything of it is sent.
        tasks: The session's; calls that still run end with it.
        recorder: Records how calls end.
        recover: Finds out what became of calls that nobody runs any more.
    """

    def __init__(
        self,
        settings: Settings,
        journal: Journal,
        tasks: TaskGroup,
        recorder: CallRecorder,
        recover: Recover,
    ) -> None:
        self._settings, self._journal, self._tasks = settings, journal, tasks
        self._consent = Consent(settings, journal)
        self._recorder, self._recover = recorder, recover
        self._running: dict[str, RunningCall] = {}
        self._is_ending = False

    async def dry_run(self, operation: Operation[R]) -> R:
        """Check and price a call; sends and records nothing.

        Raises:
            OGError: It would be refused, in the same words.
        """
        try:
            quote = await operation.quote()
        finally:
            await operation.close()
        head = {"call_id": "", "network": self._settings.network_name, "status": "dry_run"}
        checks = [*quote.checks, self._consent.check(operation, quote)]
        fields = {**head, **operation.fields, **quote.fields, "checks": checks}
        return operation.result.model_validate(fields)

    async def run(self, operation: Operation[R], terms: Terms) -> R:
        """Record a call and carry it out, or join the one that it repeats; return its end.

        Returns:
            The result; one of status `running` where the end took longer than `terms.wait_s`.

        Raises:
            ApprovalRequiredError: A person has to agree first.
            AlreadySentError: The same request was sent before, and its answer is lost.
            AnswerNotKeptError: It is done, and its answer was handed over before.
            ShuttingDownError: The session takes no calls any more; nothing was sent.
            OGError: It failed.
        """
        running: RunningCall | None = None
        try:
            await operation.prepare()
            opened, context = await self._open(operation, terms), None
            if opened.joined and is_in_doubt(opened.call):
                with anyio.CancelScope(shield=True):
                    # Taken over and given up before it runs, it would be waited for for ever.
                    context = await operation.take_again(opened.call.id)
                if context is None:
                    opened = await self._recovered(operation, opened.call, terms)
            for may_recover in (True, False):
                running = await self._begin(operation, opened, terms, context)
                call, wait_s = opened.call, MAX_WAIT_S if terms.left_s is None else terms.left_s
                if running is None:
                    call = await self._journal.wait(call.id, terms.principal, wait_s)
                    if may_recover and (call.orphaned or call.error == BROKEN_OFF):
                        # Its process died; what it signed is looked up, and nothing is signed again.
                        opened = await self._recovered(operation, call, terms)
                        continue
                else:
                    with running.waited_for(), anyio.move_on_after(wait_s):
                        await running.done.wait()
                break
        finally:
            if running is None or running.operation is not operation:
                await operation.close()
        return await self._end(operation, call, running)

    async def end(self, grace_s: float) -> None:
        """Take no calls any more, end those for which nothing was signed, and wait for the others.

        Args:
            grace_s: Seconds to wait; what runs on then ends with the session, and is settled by
                whoever opens the journal next.
        """
        self._is_ending = True
        try:
            with anyio.move_on_after(grace_s):
                while self._running:
                    for running in self._running.values():
                        if not running.context.committed:
                            running.scope.cancel()
                    with anyio.move_on_after(FREE_AGAIN_S):
                        await next(iter(self._running.values())).done.wait()
        finally:
            for running in self._running.values():
                if running.task is not None and running.context.committed:
                    # Time is up: this gets through the shields, whatever the call waits for.
                    running.task.cancel()

    async def _open(self, operation: Operation[R], terms: Terms) -> Opened:
        """Record the call before anything of it is sent, or join the one that it repeats."""
        request = operation.request
        forms = await off_loop(partial(_forms_of, request), request)
        request_hash, text, (model, words) = forms
        if self._is_ending:
            raise ShuttingDownError
        asked = CallRequest(
            tool=operation.tool,
            principal=terms.principal,
            network=self._settings.network_name,
            request_hash=request_hash,
            request=text,
            idempotency_key=terms.idempotency_key,
            model=model,
            first_words=words if self._settings.receipts == "full" else "",
        )
        with anyio.CancelScope(shield=True):
            # A call that is recorded and given up before it runs would be waited for for ever.
            opened = await self._journal.open_call(asked)
            if opened.joined and opened.call.error == BROKEN_OFF:
                # What is published already is not published twice: the call goes on from there.
                await self._journal.deliver(opened.call.id)
                opened = await self._journal.open_call(asked)
        return opened

    async def _begin(
        self, operation: Operation[R], opened: Opened, terms: Terms, again: CallContext | None
    ) -> RunningCall | None:
        """Start a call, or find it running; `None` where another process runs it, or it has ended.

        Args:
            operation: What is to be run.
            opened: As the journal opened it.
            terms: Who asks.
            again: The state of an earlier try, where it is sent again under the same payment.

        Raises:
            AlreadySentError: It was sent, and nobody has its answer.
            ApprovalRequiredError: A person has to agree first.
        """
        call, created_at = opened.call, datetime.now(UTC).isoformat()
        if again is not None:
            context = replace(again, created_at=created_at, record=call, repeats=True)
            context.committed = True
        elif opened.joined:
            await self._refuse_lost(call)
            return self._running.get(call.id)
        else:
            # The time of this try: a repetition under the same key may come a month later.
            context = CallContext(
                call.id,
                call.principal,
                created_at,
                record=call,
                consent=self._consent,
                is_keyed=bool(call.idempotency_key),
            )
            context.max_wei = await self._agreed(operation, call)
        context.until = terms.until
        running = self._running[call.id] = RunningCall(operation, context)
        if self._is_ending and not context.committed:
            running.scope.cancel()
        self._tasks.start_soon(self._perform, running)
        return running

    async def _agreed(self, operation: Operation[R], call: Call) -> int | None:
        """Use up a person's approval where one is needed; returns the most they agreed to, wei."""
        if not self._consent.is_due(operation):
            return None
        try:
            try:
                # A person is asked last, once nothing else is in the way.
                quote = await operation.quote()
            except OGError as exc:
                await self._journal.fail(call.id, Stage.NOT_SENT, str(exc))
                raise
            agreed_wei = await self._consent.use(call, quote)
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True), suppress(CallStateError):
                # It waits for approval already where the question was recorded in the last moment.
                await self._journal.fail(call.id, Stage.NOT_SENT, GIVEN_UP)
            raise
        except OGError as exc:
            exc.call_id = call.id
            raise
        return agreed_wei if quote.max_wei else None

    async def _perform(self, running: RunningCall) -> None:
        """Carry a call out and record its end, even if nobody waits for it any more."""
        operation, context = running.operation, running.context
        call_id, running.task = context.call_id, asyncio.current_task()
        try:
            with running.scope:
                outcome = await operation.execute(context)
                with anyio.CancelScope(shield=True):
                    await self._recorder.record(call_id, outcome)
                running.outcome = outcome
                await self._after(operation, context)
            if running.scope.cancelled_caught:
                await self._recorder.fail(call_id, self._cancelled(running))
        except OGError as exc:
            running.failure = unknown_outcome(exc, context)
            await self._recorder.fail(call_id, running.failure)
        except anyio.get_cancelled_exc_class():
            # The session is being closed. What has signed something is recovered by the next one.
            error = operation.cancelled(context)
            if error is not None or not context.committed:
                await self._recorder.fail(call_id, error or OGError(CANCELLED))
            if not self._is_ending:
                raise
            # Time is up. Raising it would also stop other calls from being recorded.
            logger.warning("call %s runs on without og-mcp; its end is looked up later", call_id)
        except Exception:
            # The top of a background task: a mistake of ours must neither end the other calls nor
            # leave this one running for ever.
            logger.exception("call %s", call_id)
            error = OGError(INTERNAL)
            error.stage = Stage.SENT_UNKNOWN if context.committed else Stage.NOT_SENT
            await self._recorder.fail(call_id, error)
        finally:
            self._running.pop(call_id, None)
            running.done.set()
            await operation.close()

    @staticmethod
    async def _after(operation: Operation[Any], context: CallContext) -> None:
        """Do what comes after a good end; whatever becomes of that, the end stands."""
        try:
            await operation.settled(context)
        except OGError as exc:
            logger.warning("call %s: what comes after its end failed: %s", context.call_id, exc)

    def _cancelled(self, running: RunningCall) -> OGError:
        """Say what became of a call that its last waiter, or the end of the session, has stopped."""
        if self._is_ending and not running.context.committed:
            return OGError(SHUT_DOWN)
        return running.operation.cancelled(running.context) or OGError(CANCELLED)

    async def _recovered(self, operation: Operation[R], call: Call, terms: Terms) -> Opened:
        """Find out what became of a call that is repeated: its end, or a new try."""
        try:
            await self._recover(call, terms.left_s)
        except ServiceError as exc:
            if call.status == "running":
                exc.call_id, exc.stage = call.id, call.stage
                raise
            # What the journal has is still true; the chain is asked again next time.
            logger.info("call %s was not looked up: %s", call.id, exc)
        found = await self._journal.get(call.id, call.principal)
        is_told = found.status != "failed" or found.stage in {Stage.CHARGED, Stage.CONFIRMED}
        if is_told or is_in_doubt(found):
            return Opened(found, joined=True)
        # Nothing of it was taken, or its payment has its end.
        return await self._open(operation, terms)

    async def _refuse_lost(self, call: Call) -> None:
        """Refuse a repetition of a call that was sent and whose answer is lost.

        Raises:
            AlreadySentError: It is one.
            CallFailedError: Its transaction was given up.
        """
        if not is_lost(call):
            return
        await self._journal.deliver(call.id)
        if has_ended(call):
            raise CallFailedError(call.id, call.stage, call.error)
        if call.cap is None:
            raise AlreadySentError(call.id, call.created_at)
        if call.cap.status == "settled":
            raise AlreadySentError(call.id, call.created_at, call.amount_opg)
        raise AlreadySentError(call.id, call.created_at, known_by=counts_until(call.cap.deadline))

    async def _end(self, operation: Operation[R], call: Call, running: RunningCall | None) -> R:
        """Return the end of a call to its caller, and note that it was delivered."""
        if running is not None:
            if running.failure is not None:
                running.failure.call_id = call.id
                await self._deliver(call.id)
                raise running.failure
            if running.outcome is not None:
                await self._deliver(call.id)
                # The journal has it; there is no need to read back what was just written.
                result = cast("R", running.outcome.result)
                return operation.present(result, replace(call, cap=running.context.cap or call.cap))
            try:
                call = await self._journal.get(call.id, call.principal)
            except OGError as exc:
                failure = unknown_outcome(exc, running.context)
                failure.call_id = call.id
                raise failure from exc
        if call.status == "running":
            head = {"call_id": call.id, "network": call.network, "status": "running"}
            fields = {**head, **operation.fields, **operation.progress(call)}
            return operation.result.model_validate(fields)
        await self._deliver(call.id)
        if call.status == "failed":
            if call.stage is Stage.NOT_SENT and call.error == SHUT_DOWN:
                raise ShuttingDownError(call.id)
            raise CallFailedError(call.id, call.stage, call.error)
        if not call.result:
            raise AnswerNotKeptError(call.id, call.stage)
        return operation.present(operation.result.model_validate_json(call.result), call)

    async def _deliver(self, call_id: str) -> None:
        """Note that the caller has the end; a journal that cannot take the note does not keep it from them."""
        try:
            await self._journal.deliver(call_id)
        except OGError as exc:
            logger.warning("call %s: its delivery was not recorded: %s", call_id, exc)


def _forms_of(request: Mapping[str, Any]) -> tuple[str, str, tuple[str, str]]:
    """Return a request's hash, its canonical text, and what lists tell it by."""
    return digest(request), canonical(request), subject_of(request)
