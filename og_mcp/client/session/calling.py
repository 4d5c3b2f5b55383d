"""How a session makes a call: recorded or joined, agreed to, carried out, followed to its end."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from anyio import CancelScope, get_cancelled_exc_class

from og_mcp.client.session.loading import load
from og_mcp.client.session.parts import Parts
from og_mcp.client.wire.offloading import off_loop
from og_mcp.errors import CallStateError, ServiceError
from og_mcp.types import Call, CallRequest, Opened, Stage

if TYPE_CHECKING:
    from og_mcp.client.session.runner import Work

Consent = Callable[[Call], Awaitable[None]]
"""Makes sure that a person agreed, or raises ApprovalRequiredError; run before the work."""

Look = Callable[[Call], Awaitable[bool]]
"""Asks a chain what became of a call; tells whether that is known now. Signs nothing."""

logger = logging.getLogger(__name__)

GIVEN_UP: Final = "The call was given up before anything was sent; nothing was paid."


@dataclass(frozen=True)
class Terms:
    """Who asks, and on what terms."""

    principal: str
    idempotency_key: str = ""
    wait_s: float | None = None
    """Seconds after which a running call is handed back; `None`: wait for its end."""


class Calling:
    """The journalled calls of one session.

    Args:
        parts: What they are carried out with.
        look: Finds the end of a call that is interrupted or in doubt; else the network's own chain
            is asked for its transaction.
    """

    def __init__(self, parts: Parts, look: Look | None = None) -> None:
        self._parts, self._look = parts, look or self._look_again

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
            OGError: It failed.
        """
        with CancelScope(shield=True):
            # A call that is recorded and given up before it runs would be waited for for ever.
            opened = await self._open(request, terms, max_opg)
        if opened.joined and _is_in_doubt(opened.call) and await self._is_found(opened.call):
            # Its end now, or, where it never came to be, a try that sends something.
            with CancelScope(shield=True):
                opened = await self._open(request, terms, max_opg)
        if consent is not None and not opened.joined:
            try:
                await consent(opened.call)
            except get_cancelled_exc_class():
                await self._give_up(opened.call)
                raise
        return await self._follow(opened, terms, work)

    async def _open(self, request: Mapping[str, Any], terms: Terms, max_opg: int) -> Opened:
        form = await load("wire.canonical_json")
        journal = await self._parts.journal.get()

        def forms() -> tuple[str, str]:
            return form.digest(request), form.canonical(request)

        request_hash, text = await off_loop(forms, request)
        return await journal.open_call(
            CallRequest(
                tool=request["tool"],
                principal=terms.principal,
                network=self._parts.settings.network_name,
                request_hash=request_hash,
                request=text,
                idempotency_key=terms.idempotency_key,
                max_opg=max_opg,
            )
        )

    async def _follow(self, opened: Opened, terms: Terms, work: Work) -> Call:
        runner = await self._parts.runner.get()
        call = await runner.follow(opened, terms.principal, work, wait_s=terms.wait_s)
        if call.orphaned:
            # Its process died; what it signed is looked up, and nothing is signed again.
            await self._look(call)
            again = Opened(call, joined=True)
            call = await runner.follow(again, terms.principal, work, wait_s=terms.wait_s)
        return call

    async def _look_again(self, call: Call) -> bool:
        found: bool = await (await self._parts.history.get()).look_again(call)
        return found

    async def _is_found(self, call: Call) -> bool:
        try:
            return await self._look(call)
        except ServiceError as exc:
            # What the journal has is still true; the chain is asked again next time.
            logger.info("call %s was not looked up: %s", call.id, exc)
            return False

    async def _give_up(self, call: Call) -> None:
        """Record that nobody waits for a call any more that has not begun to run."""
        with CancelScope(shield=True), suppress(CallStateError):
            # It waits for approval already where the question was recorded in the last moment.
            await (await self._parts.journal.get()).fail(call.id, Stage.NOT_SENT, GIVEN_UP)


def _is_in_doubt(call: Call) -> bool:
    """Whether a call has failed without knowing what became of what it signed."""
    is_unknown = call.status == "failed" and call.stage is Stage.SENT_UNKNOWN
    return is_unknown and (bool(call.transaction_hashes) or call.cap is not None)
