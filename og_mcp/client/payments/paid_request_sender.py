"""Sending under a session: recorded before a byte leaves, and taken back only where none did."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack

import anyio
import anyio.lowlevel
import httpx

from og_mcp.calls import Journal
from og_mcp.client.calls.context import CallContext, SentUnder
from og_mcp.client.payments.clock import Clock
from og_mcp.client.payments.gateway_session import (
    SESSION_HEADER,
    GatewaySession,
    is_session_id,
)
from og_mcp.client.payments.prices import Prices
from og_mcp.client.payments.request_sender import GatewayRequest, RequestSender
from og_mcp.client.payments.requirements import Known
from og_mcp.errors import (
    CallStateError,
    OGError,
    PaymentRejectedError,
    ServiceUnreachableError,
)
from og_mcp.redaction import hide_briefly

logger = logging.getLogger(__name__)

CAP_OPEN = "open"
GONE = "it asked for another payment, and then could not be reached"


class PaidRequestSender:
    """Sends requests that a session pays for.

    Args:
        journal: Where it is recorded what pays for a call.
        sender: Sends.
        prices: Where it is remembered whether a gateway keeps sessions.
        clock: Counts the age of sessions.
    """

    def __init__(
        self, journal: Journal, sender: RequestSender, prices: Prices, clock: Clock
    ) -> None:
        self._journal, self._sender, self._prices = journal, sender, prices
        self._clock = clock

    async def send(
        self, session: GatewaySession, known: Known, outgoing: GatewayRequest, call: CallContext
    ) -> httpx.Response | None:
        """Send a request under a session; `None` where the session ended before that.

        Raises:
            ServiceUnreachableError: Nothing of the call has left; another gateway may be tried (T9).
            PaymentRejectedError: Nothing left now, but something has before.
            AnswerLostError: Sent, and no answer came.
        """
        async with AsyncExitStack() as opening:
            if not (session.id or known.sessions):
                # The request that opens the session at the gateway; the others wait for it.
                await opening.enter_async_context(session.first)
                # An answer may be waited for longer than a session lives.
                if session.is_old(self._clock.now()):
                    session.ended = True
                if session.id and not session.ended:
                    # The very same payment joins the session that it has opened.
                    await opening.aclose()
            if session.dropped:
                raise _unreachable(outgoing, call)
            if session.ended:
                return None
            # Before it is on record: what is under way under a payment keeps others from dropping it.
            session.under_way.add(call.call_id)
            try:
                if not await self._pay_by(session, call):
                    return None
                # From the first byte on, its fate is found out, cancelled or not.
                with anyio.CancelScope(shield=True):
                    response = await self._leave(session, outgoing, call)
            finally:
                session.under_way.discard(call.call_id)
            await self._learn(session, known, outgoing, response)
            return response

    async def _pay_by(self, session: GatewaySession, call: CallContext) -> bool:
        """Record what pays for a call, before a byte of it leaves; false where that has ended."""
        # Who gives the call up now still finds it free; the next moment nobody does.
        await anyio.lowlevel.checkpoint_if_cancelled()
        before, is_paid = call.committed, False
        call.committed = True
        if call.cap is session.cap:
            return True
        try:
            await self._journal.pay_by(call.call_id, session.cap.id, durable=call.is_keyed)
            is_paid = True
        except CallStateError:
            cap = await self._journal.cap(session.cap.id)
            if cap.status == CAP_OPEN and not cap.cancelled:
                raise
            # It is settled, its owner has cancelled it, or it can never be taken.
            session.ended = True
        finally:
            if not is_paid:
                call.committed = before
        if is_paid:
            call.cap = session.cap
        return is_paid

    async def _leave(
        self, session: GatewaySession, outgoing: GatewayRequest, call: CallContext
    ) -> httpx.Response:
        try:
            request = self._sender.request(outgoing, session.headers)
        except BaseException:
            await self._take_back(session, call)
            raise
        try:
            response = await self._sender.send(outgoing, request, session.cap)
        except ServiceUnreachableError as exc:
            await self._take_back(session, call)
            if call.left is None or call.repeats:
                raise
            raise _unreachable(outgoing, call) from exc
        except BaseException:
            _has_left(session, outgoing, call)
            raise
        _has_left(session, outgoing, call)
        return response

    async def _take_back(self, session: GatewaySession, call: CallContext) -> None:
        """Undo what was recorded for a request of which nothing left."""
        session.under_way.discard(call.call_id)
        # Of several that fail together, the last one drops what none of them has used.
        is_mine_alone = not (session.left or session.under_way)
        if is_mine_alone:
            # At once: from here on nobody may send under it.
            session.ended = session.dropped = True
        try:
            if is_mine_alone:
                await self._journal.drop_cap(session.cap.id)
                call.signatures -= session.opened_by == call.call_id
            elif call.left is None:
                await self._journal.unpay(call.call_id)
        except CallStateError as exc:
            logger.info("payment %s stays as it is: %s", session.cap.id, exc)
        if call.left is None:
            call.cap, call.committed = None, False
        elif is_mine_alone:
            call.cap = call.left

    async def _learn(
        self,
        session: GatewaySession,
        known: Known,
        outgoing: GatewayRequest,
        response: httpx.Response,
    ) -> None:
        """Note what an answer says about sessions."""
        if not response.is_success:
            return
        given = response.headers.get(SESSION_HEADER, "")
        if is_session_id(given) and given != session.id:
            hide_briefly(given)
            session.id = given
        elif not session.id:
            session.ended = True
        await self._prices.learned(
            outgoing.gateway, outgoing.path, known, sessions=bool(session.id)
        )


def _has_left(session: GatewaySession, outgoing: GatewayRequest, call: CallContext) -> None:
    session.left, call.left = True, session.cap
    call.sent = SentUnder(session, outgoing.gateway.tee.tee_id, outgoing.path)
    call.attempts += 1


def _unreachable(outgoing: GatewayRequest, call: CallContext) -> OGError:
    """Say that a gateway cannot be reached, and whether something has left before (T9)."""
    if call.left is None:
        return ServiceUnreachableError("gateway", outgoing.where)
    return PaymentRejectedError(outgoing.where, call.left.id, call.left.max_opg, GONE)
