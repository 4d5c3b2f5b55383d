"""How a session makes a call: recorded or joined, agreed to, carried out, followed to its end."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from anyio import CancelScope, get_cancelled_exc_class

from og_mcp.client.payments.told import counts_until
from og_mcp.client.session.doubt import has_ended, is_in_doubt, is_lost
from og_mcp.client.session.loading import load
from og_mcp.client.session.parts import Parts
from og_mcp.client.session.subject import subject_of
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
from og_mcp.types import Call, CallRequest, Opened, Stage

if TYPE_CHECKING:
    from og_mcp.client.session.runner import Work

Consent = Callable[[Call], Awaitable[None]]
"""Makes sure that a person agreed, or raises ApprovalRequiredError; run before the work."""

Look = Callable[[Call, float | None], Awaitable[object]]
"""Finds out what became of a call that nobody runs, for whoever repeats it; signs nothing. Waits
for its end no longer than so many seconds, where it is on its way."""

Repeat = Callable[[Call], Awaitable[bool]]
"""Takes a call over that may be sent again under what was signed for it; false where it may not."""

logger = logging.getLogger(__name__)

GIVEN_UP: Final = "The call was given up before anything was sent; nothing was paid."


@dataclass(frozen=True)
class Terms:
    """Who asks, and on what terms."""

    principal: str
    idempotency_key: str = ""
    wait_s: float | None = None
    """Seconds after which a running call is handed back; `None`: wait for its end."""

    asked_at: float = field(default_factory=time.monotonic)
    """When they asked: what is loaded and looked up before the call begins is waited for, too."""

    @property
    def left_s(self) -> float | None:
        """What is left of `wait_s`."""
        if self.wait_s is None:
            return None
        return max(0.0, self.wait_s - (time.monotonic() - self.asked_at))


class Calling:
    """The journalled calls of one session.

    Args:
        parts: What they are carried out with.
        look: Finds the end of a call that is interrupted or in doubt.
        repeat: Takes a call in doubt over that may be sent again, where there are such.
    """

    def __init__(self, parts: Parts, look: Look, repeat: Repeat | None = None) -> None:
        self._parts, self._look, self._repeat = parts, look, repeat

    async def make(
        self,
        request: Mapping[str, Any],
        terms: Terms,
        work: Work,
        *,
        consent: Consent | None = None,
        max_opg: int = 0,
    ) -> Call:
        """Journal a call, carry it out or join the one that it repeats, and return its end.

        Args:
            request: Tool and arguments; its canonical JSON is what the journal compares.
            terms: Who asks.
            work: Carries the call out and settles it in the journal, or raises.
            consent: Asked before the work, where the call is not joined.
            max_opg: The most OPG that the call may cost, base units.

        Raises:
            ApprovalRequiredError: A person has to agree first.
            AlreadySentError: The same request was sent before, and its answer is lost.
            AnswerNotKeptError: It is done, and its answer was handed over before.
            ShuttingDownError: The session takes no calls any more; nothing was sent.
            OGError: It failed.
        """

        async def open_call() -> Opened:
            with CancelScope(shield=True):
                # A call that is recorded and given up before it runs would be waited for for ever.
                opened = await self._open(request, terms, max_opg)
            return opened  # noqa: RET504 - mypy: the scope might swallow an error

        async def begin(opened: Opened) -> Call:
            if consent is not None and not opened.joined:
                await self._consented(opened.call, consent)
            runner = await self._parts.runner.get()
            return await runner.follow(opened, terms.principal, work, wait_s=terms.left_s)

        opened = await open_call()
        if opened.joined and is_in_doubt(opened.call):
            if self._repeat is not None and await self._repeat(opened.call):
                journal = await self._parts.journal.get()
                opened = Opened(await journal.get(opened.call.id, terms.principal), joined=False)
            else:
                opened = await self._fate_of(opened.call, terms, open_call)
        call = await begin(await self._unlost(opened))
        if call.orphaned:
            # Its process died; what it signed is looked up, and nothing is signed again.
            opened = await self._fate_of(call, terms, open_call)
            call = await begin(await self._unlost(opened))
        if call.status == "done" and not call.result:
            raise AnswerNotKeptError(call.id, call.stage)
        return call

    async def _open(self, request: Mapping[str, Any], terms: Terms, max_opg: int) -> Opened:
        form = await load("wire.canonical_json")
        journal = await self._parts.journal.get()

        def forms() -> tuple[str, str, tuple[str, str]]:
            return form.digest(request), form.canonical(request), subject_of(request)

        request_hash, text, (model, words) = await off_loop(forms, request)
        if self._parts.is_ending:
            raise ShuttingDownError
        keeps_words = self._parts.settings.receipts == "full"
        return await journal.open_call(
            CallRequest(
                tool=request["tool"],
                principal=terms.principal,
                network=self._parts.settings.network_name,
                request_hash=request_hash,
                request=text,
                idempotency_key=terms.idempotency_key,
                max_opg=max_opg,
                model=model,
                first_words=words if keeps_words else "",
            )
        )

    async def _fate_of(
        self, call: Call, terms: Terms, open_call: Callable[[], Awaitable[Opened]]
    ) -> Opened:
        """Find out what became of a call that is repeated: its end, or a new try."""
        try:
            await self._look(call, terms.left_s)
        except ServiceError as exc:
            if call.status == "running":
                exc.call_id, exc.stage = call.id, call.stage
                raise
            # What the journal has is still true; the chain is asked again next time.
            logger.info("call %s was not looked up: %s", call.id, exc)
        journal = await self._parts.journal.get()
        found = await journal.get(call.id, call.principal)
        is_told = found.status != "failed" or found.stage in {Stage.CHARGED, Stage.CONFIRMED}
        if is_told or is_in_doubt(found):
            return Opened(found, joined=True)
        # Nothing of it was taken, or its payment has its end.
        return await open_call()

    async def _unlost(self, opened: Opened) -> Opened:
        """Refuse to hand over the end of a call that was sent, and whose answer nobody has.

        Raises:
            AlreadySentError: It is one.
        """
        call = opened.call
        if not opened.joined or not is_lost(call):
            return opened
        await (await self._parts.journal.get()).deliver(call.id)
        if has_ended(call):
            raise CallFailedError(call.id, call.stage, call.error)
        if call.cap is None:
            raise AlreadySentError(call.id, call.created_at)
        if call.cap.status == "settled":
            raise AlreadySentError(call.id, call.created_at, call.amount_opg)
        raise AlreadySentError(call.id, call.created_at, known_by=counts_until(call.cap.deadline))

    async def _consented(self, call: Call, consent: Consent) -> None:
        try:
            await consent(call)
        except get_cancelled_exc_class():
            await self._give_up(call)
            raise
        except OGError as exc:
            exc.call_id = call.id
            raise

    async def _give_up(self, call: Call) -> None:
        """Record that nobody waits for a call any more that has not begun to run."""
        with CancelScope(shield=True), suppress(CallStateError):
            # It waits for approval already where the question was recorded in the last moment.
            await (await self._parts.journal.get()).fail(call.id, Stage.NOT_SENT, GIVEN_UP)
