"""Paying gateways: one signature for a session of many requests, within the caps.

Money first: a payment is recorded before it is signed, and a call before a byte of it leaves under
a payment. What may have arrived is never sent again.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import httpx

from og_mcp.calls import Journal
from og_mcp.client.calls.context import CallContext
from og_mcp.client.payments.clock import Clock, Moment, check_date
from og_mcp.client.payments.funds import Funds
from og_mcp.client.payments.gateway_session import GatewaySession, SessionSlot
from og_mcp.client.payments.paid_request_sender import PaidRequestSender
from og_mcp.client.payments.payer import Payer
from og_mcp.client.payments.payment_signer import PaymentSigner
from og_mcp.client.payments.prices import CHALLENGE_HEADER, Prices
from og_mcp.client.payments.request_sender import GatewayRequest, RequestSender
from og_mcp.client.payments.requirement import LONGEST_DEADLINE_S
from og_mcp.client.payments.requirements import Known
from og_mcp.client.payments.settlement_tracker import SettlementTracker
from og_mcp.client.payments.spent_elsewhere import SpentElsewhere
from og_mcp.client.tee.gateways import Gateway
from og_mcp.errors import (
    BudgetExceededError,
    CallStateError,
    OGError,
    PaymentRefusedError,
    PaymentRejectedError,
    RepetitionError,
    coins,
)
from og_mcp.networks import Network
from og_mcp.types import Account, Cap, OPGCaps, Stage

logger = logging.getLogger(__name__)

PAYMENT_REQUIRED: Final = 402

SIGNATURES: Final = 2
"""Signatures that one call may make: the second only where the gateway has changed its price."""

ATTEMPTS: Final = 4

REPETITIONS: Final = 5
"""How often one call is sent in all, where the gateway answers with errors of its own."""

ANOTHER: Final = "another gateway would have to be paid anew"
NOT_TAKEN: Final = "it does not take the payment any more"
ASKED_AGAIN: Final = "it asks for a payment again"


class Payments:
    """The payments of one wallet.

    Args:
        network: What may be paid with, and to whom.
        journal: Every payment is on its disk before it is signed.
        elsewhere: What was paid that the journal does not know.
        funds: Balance and allowance.
        payer: Signs.
        account: The payer's account on the payment chain.
        caps: Follows what was signed.
        limits: The operator's caps.
        allow_insecure: Whether an RPC that nobody vouches for will do (threats.md T30).
        answer_s: Seconds to wait for an answer.
        wait_s: Seconds to wait for settlements where open payments alone are in the way.
        clock: Counts the age of sessions.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the parts it drives
        self,
        network: Network,
        journal: Journal,
        elsewhere: SpentElsewhere,
        funds: Funds,
        payer: Payer,
        account: Account,
        caps: SettlementTracker,
        *,
        limits: OPGCaps,
        allow_insecure: bool,
        answer_s: float,
        wait_s: float,
        clock: Clock,
    ) -> None:
        self._journal, self._funds, self._clock = journal, funds, clock
        self._prices = Prices(network, journal, account.key)
        self._signer = PaymentSigner(
            network,
            journal,
            elsewhere,
            funds,
            payer,
            account,
            caps,
            self._prices,
            limits=limits,
            allow_insecure=allow_insecure,
            wait_s=wait_s,
            clock=clock,
        )
        self._sender = RequestSender(answer_s)
        self._paid_sender = PaidRequestSender(journal, self._sender, self._prices, clock)
        self._slots: dict[tuple[str, str, str], SessionSlot] = {}
        self._repeatable: dict[str, CallContext] = {}
        """What may be sent again under the payment that it was sent under, by the call's id."""

    def prefetch(self) -> None:
        """Begin to read balance and allowance, beside other questions; a failure shows later."""
        self._funds.prefetch()

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
        outgoing = GatewayRequest(gateway, path, body, headers)
        response = await self._sender.send(outgoing, self._sender.request(outgoing))
        try:
            if response.status_code != PAYMENT_REQUIRED:
                return 0
            check_date(response.headers.get("date", ""), outgoing.where)
            return (await self._prices.challenged(gateway, path, response)).requirement.amount
        finally:
            await response.aclose()

    async def check_price(self, principal: str, tee_id: str, path: str, amount: int) -> bool:
        """Check a price against caps, balance and allowance, as a signature over it would be.

        Args:
            principal: Who asks.
            tee_id: The gateway's.
            path: Below its endpoint.
            amount: What it wants covered, base units.

        Returns:
            Whether the request would go out under a payment that is open: nothing new is signed.

        Raises:
            OPGCapError: It is above the cap of one call.
            BudgetExceededError: It would pass the cap of 24 hours.
            PaymentError: Balance or allowance do not cover it.
        """
        slot, now = self._slots.get((principal, tee_id, path)), self._clock.now()
        session = slot.session if slot is not None else None
        if session is not None and session.requirement.amount != amount:
            session = None
        if session is not None and session.is_fit(session.requirement, now):
            return True
        asked = await self._prices.remembered(tee_id, path)
        timeout_s = LONGEST_DEADLINE_S if asked is None else asked.timeout_s
        try:
            if asked is not None:
                await self._signer.check_recipient(asked.pay_to)
            await self._signer.check_price(amount, timeout_s)
        except BudgetExceededError as exc:
            if not _goes_on(session, exc, now):
                raise
            return True
        return False

    def allow_repetition(self, call: CallContext) -> None:
        """Let a call that failed by the gateway's own error be sent again."""
        now = self._clock.now()
        self._repeatable = {
            call_id: one for call_id, one in self._repeatable.items() if _may_go_again(one, now)
        }
        if _may_go_again(call, now):
            self._repeatable[call.call_id] = call

    async def take_again(self, call_id: str) -> CallContext | None:
        """Take a call over that may be sent again, for exactly one caller; `None`: it may not."""
        call = self._repeatable.pop(call_id, None)
        if call is None or call.cap is None or not _may_go_again(call, self._clock.now()):
            return None
        try:
            await self._journal.repeat(call_id, call.cap.id)
        except CallStateError as exc:
            logger.info("call %s is not repeated: %s", call_id, exc)
            return None
        return call

    @asynccontextmanager
    async def post(
        self,
        gateway: Gateway,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        call: CallContext,
    ) -> AsyncIterator[httpx.Response]:
        """Send a request and pay for it; yields the answer, whose body is still to be read.

        Args:
            gateway: Where to.
            path: Below the gateway's endpoint, e.g. `/v1/chat/completions`.
            body: The very bytes that are sent.
            headers: Beside those that pay.
            call: For whom; `call.cap` names the payment afterwards, `None` where none was asked.

        Raises:
            ServiceUnreachableError: Nothing was sent; another gateway may be tried (T9).
            ApprovalRequiredError: A person has to agree first; nothing was signed.
            PaymentError: It cannot be paid; `stage` says whether a signature left.
            OPGCapError: A cap is in the way; nothing was signed. Also BudgetExceededError.
            AnswerLostError: Sent under a payment, and no answer came.
            RepetitionError: It repeats a call, and cannot go where that was paid.
        """
        outgoing = GatewayRequest(gateway, path, body, headers)
        if call.repeats:
            response = await self._again(outgoing, call)
        else:
            known = await self._prices.known(gateway, path) or await self._challenge(outgoing)
            if isinstance(known, Known):
                response = await self._paid(outgoing, call, known)
            else:
                # It asked for nothing, and has answered.
                response = known
        try:
            yield response
        finally:
            await response.aclose()

    async def _challenge(self, outgoing: GatewayRequest) -> Known | httpx.Response:
        """Send unpaid: learn what is asked, or get the answer where nothing is."""
        response = await self._sender.send(outgoing, self._sender.request(outgoing))
        if response.status_code != PAYMENT_REQUIRED:
            return response
        try:
            check_date(response.headers.get("date", ""), outgoing.where)
        finally:
            await response.aclose()
        return await self._prices.challenged(outgoing.gateway, outgoing.path, response)

    async def _again(self, outgoing: GatewayRequest, call: CallContext) -> httpx.Response:
        """Send once more under the payment that it was sent under; signs nothing.

        Raises:
            RepetitionError: It cannot be.
        """
        sent = call.sent
        assert sent is not None  # noqa: S101 - else it would not repeat anything
        session, gateway = sent.session, outgoing.gateway
        if (gateway.tee.tee_id, outgoing.path) != (sent.tee_id, sent.path):
            raise RepetitionError(outgoing.where, session.cap.id, ANOTHER)
        known = await self._prices.known(gateway, sent.path) or Known(session.requirement, None)
        session.used = self._clock.now()
        response = await self._paid_sender.send(session, known, outgoing, call)
        if response is not None and response.status_code != PAYMENT_REQUIRED:
            return response
        if response is not None:
            await response.aclose()
        session.ended = True
        raise RepetitionError(outgoing.where, session.cap.id, NOT_TAKEN)

    async def _paid(
        self, outgoing: GatewayRequest, call: CallContext, known: Known
    ) -> httpx.Response:
        """Send under a session's payment; an ended session or a changed price is handled once."""
        gateway, path = outgoing.gateway, outgoing.path
        slot = self._slots.setdefault((call.principal, gateway.tee.tee_id, path), SessionSlot())
        for _ in range(ATTEMPTS):
            try:
                session = await self._session(slot, outgoing, call, known)
            except OGError as exc:
                if call.left is None:
                    raise
                raise _no_other(outgoing, call.left, known, exc) from exc
            response = await self._paid_sender.send(session, known, outgoing, call)
            if response is None:
                # Whoever opened it may have learned that sessions are not kept here.
                known = await self._prices.known(gateway, path) or known
                continue
            if response.status_code != PAYMENT_REQUIRED:
                return response
            session.ended = True
            known = await self._asked_again(session, known, outgoing, call, response)
        raise _rejected(outgoing, session, call, ASKED_AGAIN)

    async def _session(
        self, slot: SessionSlot, outgoing: GatewayRequest, call: CallContext, known: Known
    ) -> GatewaySession:
        """Return the session that is open, or sign for a new one: one at a time (T8).

        Where open payments alone are in the way of a new one, the old one is used for longer; else
        their settlement is waited for.
        """
        requirement, asked_at = known.requirement, self._clock.now()
        async with slot.turn:
            now = self._clock.now()
            current = slot.session
            if current is not None and current.is_fit(requirement, now):
                current.used = now
                return current
            try:
                session = await self._signer.sign(outgoing, call, requirement)
            except BudgetExceededError as exc:
                if current is not None and _goes_on(current, exc, now):
                    current.used = now
                    return current
                session = await self._signer.sign(outgoing, call, requirement, asked_at)
            # Without sessions every payment is for one request alone.
            slot.session = None if known.sessions is False else session
            return session

    async def _asked_again(
        self,
        session: GatewaySession,
        known: Known,
        outgoing: GatewayRequest,
        call: CallContext,
        response: httpx.Response,
    ) -> Known:
        """Return what to sign for where a payment was answered by 402.

        Raises:
            PaymentRejectedError: Nothing: it was this call's own, and for what is asked again.
        """
        is_own = session.opened_by == call.call_id
        if CHALLENGE_HEADER in response.headers:
            try:
                changed = await self._prices.challenged(outgoing.gateway, outgoing.path, response)
            except PaymentRefusedError as exc:
                raise _rejected(outgoing, session, call, exc.what) from exc
            is_changed, known = changed.requirement != session.requirement, changed
        else:
            is_changed = False
            await response.aclose()
        if is_own and not (is_changed and call.signatures < SIGNATURES):
            raise _rejected(outgoing, session, call, ASKED_AGAIN)
        return known


def _goes_on(session: GatewaySession | None, refused: BudgetExceededError, now: Moment) -> bool:
    """Whether a session is used for longer: open payments alone are in the way of a new one."""
    if session is None or not refused.is_open_alone:
        return False
    return session.can_go_on(session.requirement, now)


def _may_go_again(call: CallContext, now: Moment) -> bool:
    """Whether the payment that a call was sent under may pay for it once more."""
    if call.sent is None or call.attempts >= REPETITIONS:
        return False
    session = call.sent.session
    return session.can_go_on(session.requirement, now)


def _no_other(
    outgoing: GatewayRequest, left: Cap, known: Known, why: OGError
) -> PaymentRejectedError:
    """Say that a payment has left, and that the other one that is asked for is not signed."""
    needs_person = isinstance(why, CallStateError)
    asked = f"it asks for another of up to {coins(known.requirement.amount)} OPG, which "
    asked += "needs an approval" if needs_person else "was not signed"
    error = PaymentRejectedError(outgoing.where, left.id, left.max_opg, asked)
    if not needs_person:
        error.hint = f"{why.args[0]} {error.hint}"
    return error


def _rejected(
    outgoing: GatewayRequest, session: GatewaySession, call: CallContext, why: str
) -> PaymentRejectedError:
    error = PaymentRejectedError(outgoing.where, session.cap.id, session.cap.max_opg, why)
    if call.left is None:
        # It waited for others' payments, and sent nothing under any.
        error.stage = Stage.NOT_SENT
    return error
