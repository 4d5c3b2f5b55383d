"""Paying gateways: one signature for a session of many requests, within the caps.

Money first: a payment is recorded before it is signed, and a call before a byte of it leaves under
a payment. What may have arrived is never sent again.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import anyio
import httpx

from og_mcp.calls import Journal
from og_mcp.client.payments.caps import Caps
from og_mcp.client.payments.gateway_session import SESSION_HEADER, GatewaySession, Line
from og_mcp.client.payments.opg import OPG
from og_mcp.client.payments.order import Order
from og_mcp.client.payments.payer import Payer
from og_mcp.client.payments.prices import CHALLENGE_HEADER, Prices
from og_mcp.client.payments.purse import Purse
from og_mcp.client.payments.requirements import Known
from og_mcp.client.payments.sending import Sending
from og_mcp.client.payments.signing import Signing
from og_mcp.client.tee.gateways import Gateway
from og_mcp.errors import (
    AnswerLostError,
    CallStateError,
    PaymentRejectedError,
    ServiceUnreachableError,
)
from og_mcp.networks import Network, shown
from og_mcp.redaction import hide
from og_mcp.types import Account, OPGCaps, Stage

__all__ = ["Order", "Payments"]

logger = logging.getLogger(__name__)

PAYMENT_REQUIRED: Final = 402

SIGNATURES: Final = 2
"""Signatures that one call may make: the second only where the gateway has changed its price."""

ATTEMPTS: Final = 4


class Payments:
    """The payments of one wallet.

    Args:
        network: What may be paid with, and to whom.
        journal: Every payment is on its disk before it is signed.
        opg: What the chain shows as paid.
        purse: Balance and allowance.
        payer: Signs.
        account: The payer's account on the payment chain.
        caps: Follows what was signed.
        limits: The operator's caps.
        allow_insecure: Whether an RPC that nobody vouches for will do (threats.md T30).
        answer_s: Seconds to wait for an answer.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the parts it drives
        self,
        network: Network,
        journal: Journal,
        opg: OPG,
        purse: Purse,
        payer: Payer,
        account: Account,
        caps: Caps,
        *,
        limits: OPGCaps,
        allow_insecure: bool,
        answer_s: float,
    ) -> None:
        self._journal, self._purse = journal, purse
        self._prices = Prices(network, journal, account.key)
        self._signing = Signing(
            network,
            journal,
            opg,
            purse,
            payer,
            account,
            caps,
            self._prices,
            limits=limits,
            allow_insecure=allow_insecure,
        )
        self._sending = Sending(answer_s)
        self._lines: dict[tuple[str, str, str], Line] = {}

    def look_ahead(self) -> None:
        """Begin to read balance and allowance, beside other questions; a failure shows later."""
        self._purse.look_ahead()

    async def preferred(self, path: str) -> str:
        """Return the TEE whose price is known since the last payment; empty where none is."""
        return await self._prices.preferred(path)

    async def price(self, gateway: Gateway, path: str) -> int | None:
        """Return the cap that the gateway is known to ask for, base units; asks nobody."""
        known = await self._prices.known(gateway, path)
        return None if known is None else known.requirement.amount

    async def ask_price(
        self, gateway: Gateway, path: str, body: bytes, headers: Mapping[str, str]
    ) -> int:
        """Ask the gateway what a request would have to be covered by, base units; pays nothing.

        Raises:
            PaymentRefusedError: It asks for something that is never signed.
            ServiceError: No usable answer.
        """
        response = await self._sending.send(gateway, path, body, headers)
        try:
            if response.status_code != PAYMENT_REQUIRED:
                return 0
            return (await self._prices.challenged(gateway, path, response)).requirement.amount
        finally:
            await response.aclose()

    async def check_price(self, amount: int) -> None:
        """Check a price against caps, balance and allowance, as a signature over it would be.

        Raises:
            OPGCapError: It is above the cap of one call.
            BudgetExceededError: It would pass the cap of 24 hours.
            PaymentError: Balance or allowance do not cover it.
        """
        await self._signing.check_price(amount)

    @asynccontextmanager
    async def post(
        self, gateway: Gateway, path: str, body: bytes, headers: Mapping[str, str], order: Order
    ) -> AsyncIterator[httpx.Response]:
        """Send a request and pay for it; yields the answer, whose body is still to be read.

        Args:
            gateway: Where to.
            path: Below the gateway's endpoint, e.g. `/v1/chat/completions`.
            body: The very bytes that are sent.
            headers: Beside those that pay.
            order: For whom; `order.cap` names the payment afterwards, `None` where none was asked.

        Raises:
            ServiceUnreachableError: Nothing was sent; another gateway may be tried (T9).
            ApprovalRequiredError: A person has to agree first; nothing was signed.
            PaymentError: It cannot be paid; `stage` says whether a signature left.
            OPGCapError: A cap is in the way; nothing was signed. Also BudgetExceededError.
            AnswerLostError: Sent under a payment, and no answer came.
        """
        known = await self._prices.known(gateway, path)
        response = None
        if known is None:
            response = await self._sending.send(gateway, path, body, headers)
            if response.status_code == PAYMENT_REQUIRED:
                known = await self._prices.challenged(gateway, path, response)
        if known is not None:
            response = await self._paid(gateway, path, body, headers, order, known)
        assert response is not None  # noqa: S101 - one of the two was sent
        try:
            yield response
        finally:
            await response.aclose()

    async def _paid(  # noqa: PLR0913, PLR0917 - a request and who pays for it
        self,
        gateway: Gateway,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        order: Order,
        known: Known,
    ) -> httpx.Response:
        """Send under a session's payment; an ended session or a changed price is handled once."""
        line = self._lines.setdefault((order.principal, gateway.tee.tee_id, path), Line())
        for _ in range(ATTEMPTS):
            session = await self._session(line, gateway, path, order, known)
            response = await self._send_under(
                session, known, gateway, order, path=path, body=body, headers=headers
            )
            if response is None:
                # Whoever opened it may have learned that sessions are not kept here.
                known = await self._prices.known(gateway, path) or known
                continue
            if response.status_code != PAYMENT_REQUIRED:
                return response
            session.ended = True
            asked = response.headers.get(CHALLENGE_HEADER)
            if asked is not None:
                changed = await self._prices.challenged(gateway, path, response)
                same, known = changed.requirement == session.requirement, changed
            else:
                same = True
                await response.aclose()
            own = session.opened_by == order.ticket.call_id
            if own and (same or order.signatures >= SIGNATURES):
                raise _rejected(gateway, session, order)
        raise _rejected(gateway, session, order)

    async def _session(
        self, line: Line, gateway: Gateway, path: str, order: Order, known: Known
    ) -> GatewaySession:
        """Return the session that is open, or sign for a new one: one at a time (T8)."""
        async with line.turn:
            now = anyio.current_time()
            current = line.session
            if current is not None and current.is_fit(known.requirement, now):
                current.used = now
                return current
            session = await self._signing.sign(gateway, path, order, known.requirement)
            # Without sessions every payment is for one request alone.
            line.session = None if known.sessions is False else session
            return session

    async def _send_under(  # noqa: PLR0913 - a request, its payment, and who asks
        self,
        session: GatewaySession,
        known: Known,
        gateway: Gateway,
        order: Order,
        *,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
    ) -> httpx.Response | None:
        """Send a request under a session; `None` where the session ended while it waited."""

        async def send() -> httpx.Response:
            await self._pay_by(session, order)
            paid = {**headers, **session.headers}
            # From the first byte on, its fate is found out, cancelled or not.
            with anyio.CancelScope(shield=True):
                session.under_way += 1
                try:
                    response = await self._sending.send(gateway, path, body, paid, order.cap)
                except ServiceUnreachableError:
                    await self._take_back(session, order)
                    raise
                except AnswerLostError:
                    session.left = True
                    raise
                finally:
                    session.under_way -= 1
                session.left = True
            await self._learn(session, known, gateway, path, response)
            return response

        if session.id or known.sessions:
            # The very same payment joins the session that it has opened.
            return await send()
        async with session.first:
            if session.ended:
                return None
            if not session.id:
                return await send()
        return await send()

    async def _pay_by(self, session: GatewaySession, order: Order) -> None:
        """Record what pays for a call, before a byte of it leaves."""
        order.ticket.committed = True
        if order.cap is not session.cap:
            await self._journal.pay_by(order.ticket.call_id, session.cap.id)
            order.cap = session.cap

    async def _take_back(self, session: GatewaySession, order: Order) -> None:
        """Undo what was recorded for a request of which nothing left."""
        try:
            if session.left or session.under_way > 1:
                await self._journal.unpay(order.ticket.call_id)
            else:
                session.ended = True
                await self._journal.drop_cap(session.cap.id)
                order.signatures -= session.opened_by == order.ticket.call_id
        except CallStateError as exc:
            logger.info("payment %s stays as it is: %s", session.cap.id, exc)
        order.cap, order.ticket.committed = None, False

    async def _learn(
        self,
        session: GatewaySession,
        known: Known,
        gateway: Gateway,
        path: str,
        response: httpx.Response,
    ) -> None:
        """Note what an answer says about sessions."""
        if not response.is_success:
            return
        given = response.headers.get(SESSION_HEADER, "")
        if given and given != session.id:
            hide(given)
            session.id = given
        elif not session.id:
            session.ended = True
        await self._prices.learned(gateway, path, known, sessions=bool(session.id))


def _rejected(gateway: Gateway, session: GatewaySession, order: Order) -> PaymentRejectedError:
    why = "it asks for a payment again"
    where = shown(gateway.tee.endpoint)
    error = PaymentRejectedError(where, session.cap.id, session.cap.max_opg, why)
    if order.cap is None:
        # It waited for others' payments, and sent nothing under any.
        error.stage = Stage.NOT_SENT
    return error
