"""The journalled calls that publish: signed in for, agreed to, carried out, their end recorded.

Publishing costs nothing and cannot be undone. A person is asked on every real network, and wherever
the caller says that one can be (`ask`), unless OG_PUBLISH says otherwise.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import anyio
from anyio import CancelScope

from og_mcp.client.session.calling import Calling
from og_mcp.client.session.consent_check import use_approval
from og_mcp.client.session.interrupted import BROKEN_OFF, end_publication
from og_mcp.client.session.parts import Parts
from og_mcp.client.session.publication import Publication, Steps
from og_mcp.client.session.publishable_files import close
from og_mcp.errors import CallFailedError, OGError
from og_mcp.types import Call, ConsentRequest, Shape, Stage

if TYPE_CHECKING:
    from og_mcp.client.chain.ticket import Ticket

Work = Callable[["Ticket", Steps], Awaitable[Shape]]
"""Carries a publication out, noting its steps; returns its result."""


class PublicationCalls:
    """Makes the calls of one session that publish.

    Args:
        parts: What they are made with.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def asks(self, *, ask: bool) -> bool:
        """Whether a person has to agree first (OG_PUBLISH).

        On a real network one always has to: what is published cannot be taken back.

        Args:
            ask: Whether one can be asked.
        """
        settings = self._parts.settings
        if settings.publish == "allow":
            return False
        return ask or settings.publish == "ask" or not settings.local

    async def make(self, asked: Publication, work: Work) -> Call:
        """Journal a publication, and carry it out or join the one that it repeats.

        Goes on with one whose process has died.
        Closes the publication's file.

        Raises:
            ApprovalRequiredError: A person has to agree first.
            OGError: It failed.
        """
        taken = False

        async def run(ticket: Ticket) -> None:
            nonlocal taken
            taken = True
            try:
                await self._run(ticket, work)
            finally:
                await close(asked.model)

        async def consent(call: Call) -> None:
            if self.asks(ask=asked.ask):
                await self._consented(call, asked.what)

        calling = Calling(self._parts, self._end_interrupted)
        try:
            # Whoever cannot sign in learns it before anything is recorded or a person is asked.
            await (await self._parts.account.get()).id_token()
            try:
                return await calling.make(asked.request, asked.terms, run, consent=consent)
            except CallFailedError as exc:
                # The process of the call that this one repeats has died. What is there already is
                # not published twice; a version would be, and its call ends with other words.
                if exc.args[0] != BROKEN_OFF:
                    raise
                return await calling.make(asked.request, asked.terms, run, consent=consent)
        finally:
            if not taken:
                await close(asked.model)

    async def _end_interrupted(self, call: Call, _wait_s: float | None) -> None:
        await end_publication(await self._parts.journal.get(), call)

    async def _run(self, ticket: Ticket, work: Work) -> None:
        """Carry a publication out and record its end."""
        journal, steps = await self._parts.journal.get(), Steps()
        try:
            result = await work(ticket, steps)
        except OGError as exc:
            raise steps.stopped(exc) from exc
        except anyio.get_cancelled_exc_class():
            stage = Stage.SENT_UNKNOWN if ticket.committed else Stage.NOT_SENT
            told = steps.cancelled(committed=ticket.committed)
            with CancelScope(shield=True):
                await journal.fail(ticket.call_id, stage, told)
            raise
        with CancelScope(shield=True):
            await journal.settle(ticket.call_id, Stage.CONFIRMED, 0, result.shown_json())

    async def _consented(self, call: Call, what: str) -> None:
        """Use up a person's approval.

        Raises:
            ApprovalRequiredError: Nobody has agreed; the call waits for it.
        """
        network = self._parts.settings.network_name
        consent = ConsentRequest(request_hash=call.request_hash, network=network, what=what)
        await use_approval(self._parts, call, consent)
