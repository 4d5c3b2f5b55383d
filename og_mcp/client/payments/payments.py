"""Paying gateways: one signature for a session of many requests, within the caps.

Money first: a payment is recorded before it is signed, and a call before a byte of it leaves under
a payment. What may have arrived is never sent again. Session ids and payment headers are bearer
secrets: they live in this process's memory alone (threats.md T29).
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import anyio
import httpx

from og_mcp.calls import Journal
from og_mcp.client.chain.ticket import Ticket
from og_mcp.client.chain.wallet import check_endpoint
from og_mcp.client.payments.caps import Caps
from og_mcp.client.payments.opg import OPG
from og_mcp.client.payments.payer import Draft, Payer
from og_mcp.client.payments.purse import Purse
from og_mcp.client.payments.requirement import ZERO, Requirement, read_challenge
from og_mcp.client.payments.requirements import Known, Requirements
from og_mcp.client.tee.gateways import Gateway
from og_mcp.client.wire.http import mapped
from og_mcp.errors import (
    AllowanceError,
    AnswerLostError,
    BudgetExceededError,
    CallStateError,
    InsufficientOPGError,
    OPGCapError,
    PaymentRefusedError,
    PaymentRejectedError,
    ServiceError,
    ServiceUnreachableError,
    UnsafeEndpointError,
    in_opg,
)
from og_mcp.networks import Network, is_loopback, shown
from og_mcp.redaction import hide
from og_mcp.types import Account, Cap, CapRequest, OPGCaps, Stage

logger = logging.getLogger(__name__)

PAYMENT_REQUIRED: Final = 402
SESSION_HEADER: Final = "X-Upto-Session"
SIGNATURE_HEADER: Final = "PAYMENT-SIGNATURE"
CHALLENGE_HEADER: Final = "PAYMENT-REQUIRED"

RETIRE_S: Final = 130.0
"""Age at which a session is left: one that is kept busy past its deadline never settles."""

RETIRE_SHARE: Final = 0.45
"""The same as a share of the time to the deadline, for shorter ones."""

IDLE_S: Final = 90.0
"""Seconds without use after which a gateway may have settled a session (100 s)."""

SIGNATURES: Final = 2
"""Signatures that one call may make: the second only where the gateway has changed its price."""

PER_CALL: Final = "OG_MAX_PER_CALL"
PER_DAY: Final = "OG_MAX_PER_DAY"

ATTEMPTS: Final = 4
CONNECT_S: Final = 10.0


@dataclass
class Order:
    """A call that is to be paid."""

    ticket: Ticket
    principal: str
    agree: Callable[[int], Awaitable[None]]
    """Makes sure that a person agreed to a signature over so much OPG (base units), or raises."""

    cap: Cap | None = None
    """What pays for it; the newest."""

    signatures: int = 0


@dataclass
class _Session:
    """One signature and what a gateway takes it for."""

    cap: Cap
    requirement: Requirement
    signature: str = field(repr=False)
    born: float
    used: float
    opened_by: str
    """The call that it was signed for."""

    id: str = field(default="", repr=False)
    left: bool = False
    """Whether its signature has left this process."""

    under_way: int = 0
    """Requests under it that are being sent: its signature may be leaving."""

    ended: bool = False
    first: anyio.Lock = field(default_factory=anyio.Lock)
    """Held by the request that opens the session at the gateway."""

    @property
    def headers(self) -> dict[str, str]:
        return {SESSION_HEADER: self.id} if self.id else {SIGNATURE_HEADER: self.signature}

    def is_fit(self, requirement: Requirement, now: float) -> bool:
        """Whether one more request may go out under it."""
        oldest = min(RETIRE_S, RETIRE_SHARE * requirement.timeout_s)
        fresh = now - self.born < oldest and now - self.used < IDLE_S
        return not self.ended and self.requirement == requirement and fresh


@dataclass
class _Line:
    """What one principal has with one path of one gateway."""

    session: _Session | None = None
    turn: anyio.Lock = field(default_factory=anyio.Lock)


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
        self._network, self._journal = network, journal
        self._opg, self._purse = opg, purse
        self._payer, self._account, self._caps = payer, account, caps
        self._limits, self._allow_insecure = limits, allow_insecure
        self._timeout = httpx.Timeout(answer_s, connect=min(answer_s, CONNECT_S))
        self._requirements = Requirements(journal, account.key)
        self._lines: dict[tuple[str, str, str], _Line] = {}
        self._chain_spent: int | None = None

    def look_ahead(self) -> None:
        """Begin to read balance and allowance, beside other questions; a failure shows later."""
        self._purse.look_ahead()

    async def preferred(self, path: str) -> str:
        """Return the TEE whose price is known since the last payment; empty where none is."""
        return await self._requirements.preferred(path)

    async def price(self, gateway: Gateway, path: str) -> int | None:
        """Return the cap that the gateway is known to ask for, base units; asks nobody."""
        known = await self._known(gateway, path)
        return None if known is None else known.requirement.amount

    async def ask_price(
        self, gateway: Gateway, path: str, body: bytes, headers: Mapping[str, str]
    ) -> int:
        """Ask the gateway what a request would have to be covered by, base units; pays nothing.

        Raises:
            PaymentRefusedError: It asks for something that is never signed.
            ServiceError: No usable answer.
        """
        response = await self._send(gateway, path, body, headers)
        try:
            if response.status_code != PAYMENT_REQUIRED:
                return 0
            return (await self._challenged(gateway, path, response)).requirement.amount
        finally:
            await response.aclose()

    async def check_price(self, amount: int) -> None:
        """Check a price against caps, balance and allowance, as a signature over it would be.

        Raises:
            OPGCapError: It is above the cap of one call.
            BudgetExceededError: It would pass the cap of 24 hours.
            PaymentError: Balance or allowance do not cover it.
        """
        limits = self._limits
        if amount > limits.per_call:
            raise OPGCapError(PER_CALL, amount, limits.per_call)
        budget = await self._journal.opg_budget(self._account, limits)
        if amount > budget.left:
            raise BudgetExceededError(
                PER_DAY,
                cap=budget.cap,
                spent=budget.spent,
                open_=budget.open,
                asked=amount,
                write=in_opg,
            )
        await self._check_holdings(amount)

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
        known = await self._known(gateway, path)
        response = None
        if known is None:
            response = await self._send(gateway, path, body, headers)
            if response.status_code == PAYMENT_REQUIRED:
                known = await self._challenged(gateway, path, response)
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
        line = self._lines.setdefault((order.principal, gateway.tee.tee_id, path), _Line())
        for _ in range(ATTEMPTS):
            session = await self._session(line, gateway, path, order, known)
            response = await self._send_under(
                session, known, gateway, order, path=path, body=body, headers=headers
            )
            if response is None:
                # Whoever opened it may have learned that sessions are not kept here.
                known = await self._known(gateway, path) or known
                continue
            if response.status_code != PAYMENT_REQUIRED:
                return response
            session.ended = True
            asked = response.headers.get(CHALLENGE_HEADER)
            if asked is not None:
                changed = await self._challenged(gateway, path, response)
                same, known = changed.requirement == session.requirement, changed
            else:
                same = True
                await response.aclose()
            own = session.opened_by == order.ticket.call_id
            if own and (same or order.signatures >= SIGNATURES):
                raise self._rejected(gateway, session, order)
        raise self._rejected(gateway, session, order)

    async def _session(
        self, line: _Line, gateway: Gateway, path: str, order: Order, known: Known
    ) -> _Session:
        """Return the session that is open, or sign for a new one: one at a time (T8)."""
        async with line.turn:
            now = anyio.current_time()
            current = line.session
            if current is not None and current.is_fit(known.requirement, now):
                current.used = now
                return current
            session = await self._sign(gateway, path, order, known.requirement)
            # Without sessions every payment is for one request alone.
            line.session = None if known.sessions is False else session
            return session

    async def _sign(
        self, gateway: Gateway, path: str, order: Order, requirement: Requirement
    ) -> _Session:
        where = shown(gateway.tee.endpoint)
        self._check(gateway, requirement)
        await order.agree(requirement.amount)
        await self._check_holdings(requirement.amount)
        limits = await self._limits_now(gateway)
        cap: Cap | None = None

        async def record(draft: Draft) -> None:
            nonlocal cap
            order.ticket.committed = True
            resource = shown(gateway.tee.endpoint) + path
            request = self._request(resource, order, requirement, draft)
            cap = await self._journal.open_cap(order.ticket.call_id, request, limits)

        # From the record on, its fate is found out, cancelled or not.
        with anyio.CancelScope(shield=True):
            try:
                signature = await self._payer.sign(where, requirement, record)
            except BaseException:
                if cap is not None:
                    await self._journal.drop_cap(cap.id)
                order.ticket.committed = False
                raise
        assert cap is not None  # noqa: S101 - what is signed is recorded
        order.cap, order.signatures = cap, order.signatures + 1
        self._caps.watch()
        now = anyio.current_time()
        return _Session(cap, requirement, signature, now, now, order.ticket.call_id)

    async def _send_under(  # noqa: PLR0913 - a request, its payment, and who asks
        self,
        session: _Session,
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
                    response = await self._send(gateway, path, body, paid, order.cap)
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

    async def _send(
        self,
        gateway: Gateway,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        paid_by: Cap | None = None,
    ) -> httpx.Response:
        """Send a request; its answer's body is not read yet.

        Raises:
            ServiceUnreachableError: Nothing was sent.
            AnswerLostError: Sent under a payment, and no answer came.
            ServiceError: Sent without one, and no answer came.
        """
        url = gateway.tee.endpoint.rstrip("/") + path
        request = gateway.http.build_request(
            "POST",
            url,
            content=body,
            headers={"Content-Type": "application/json", **headers},
            timeout=self._timeout,
        )
        try:
            with mapped("gateway", url):
                return await gateway.http.send(request, stream=True)
        except ServiceUnreachableError:
            raise
        except ServiceError as exc:
            if paid_by is None:
                raise
            raise AnswerLostError(shown(url), exc.args[0], paid_by.id) from exc

    async def _pay_by(self, session: _Session, order: Order) -> None:
        """Record what pays for a call, before a byte of it leaves."""
        order.ticket.committed = True
        if order.cap is not session.cap:
            await self._journal.pay_by(order.ticket.call_id, session.cap.id)
            order.cap = session.cap

    async def _take_back(self, session: _Session, order: Order) -> None:
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
        session: _Session,
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
        if known.sessions is None or known.sessions != bool(session.id):
            known.sessions = bool(session.id)
            await self._requirements.keep(gateway.tee.tee_id, path, known)

    async def _known(self, gateway: Gateway, path: str) -> Known | None:
        """Return a remembered price, where it is still in order for this gateway."""
        known = await self._requirements.find(gateway.tee.tee_id, path)
        if known is None or known.requirement.flaw(self._network, self._recipients(gateway)):
            return None
        return known

    async def _challenged(self, gateway: Gateway, path: str, response: httpx.Response) -> Known:
        """Read and remember what a 402 asks for."""
        header = response.headers.get(CHALLENGE_HEADER, "")
        await response.aclose()
        where, recipients = shown(gateway.tee.endpoint), self._recipients(gateway)
        requirement = read_challenge(header, where, self._network, recipients)
        before = await self._requirements.find(gateway.tee.tee_id, path)
        known = Known(requirement, before.sessions if before else None)
        await self._requirements.keep(gateway.tee.tee_id, path, known)
        return known

    def _recipients(self, gateway: Gateway) -> frozenset[str]:
        """Return who may be paid: whom the registry names for this TEE, and whom the profile does."""
        named = gateway.tee.payment_address
        return self._network.pay_to | ({named} if named and named != ZERO else frozenset())

    def _check(self, gateway: Gateway, requirement: Requirement) -> None:
        """Check once more, right before the signature.

        Raises:
            PaymentRefusedError: The requirement is not what the network's record allows (T3).
            UnsafeEndpointError: An endpoint is not fit for this network's signatures (T5, T30).
        """
        check_endpoint(self._network, allow_insecure=self._allow_insecure)
        where = shown(gateway.tee.endpoint)
        for url in (gateway.tee.endpoint, self._network.base_rpc_url):
            if is_loopback(url) and not self._network.local:
                raise UnsafeEndpointError(
                    f"Network {self._network.name} does not pay by way of {shown(url)}, "
                    "which is this machine.",
                    "Use OG_NETWORK=local for a local network.",
                )
        flaw = requirement.flaw(self._network, self._recipients(gateway))
        if flaw:
            raise PaymentRefusedError(where, flaw)

    async def _check_holdings(self, amount: int) -> None:
        """Refuse what balance or allowance would not cover; what was read before is read again."""
        for fresh in (False, True):
            held = await self._purse.holdings(anew=fresh)
            if held.opg >= amount and held.allowance >= amount:
                return
        if held.opg < amount:
            raise InsufficientOPGError(self._payer.address, amount, held.opg)
        raise AllowanceError(self._payer.address, amount, held.allowance)

    async def _limits_now(self, gateway: Gateway) -> OPGCaps:
        """Return the caps, with what the chain itself shows as spent (threats.md T6)."""
        if self._chain_spent is None:
            budget = await self._journal.opg_budget(self._account, self._limits)
            self._chain_spent = 0
            if budget.spent == 0 and budget.open == 0:
                # Nothing in the journal: it is new, or it was deleted to reset the cap.
                who, to = self._payer.address, self._recipients(gateway)
                self._chain_spent = await self._opg.paid_in_a_day(who, to)
        limits = self._limits
        return OPGCaps(
            per_call=limits.per_call, per_day=limits.per_day, chain_spent=self._chain_spent
        )

    def _request(
        self, resource: str, order: Order, requirement: Requirement, draft: Draft
    ) -> CapRequest:
        return CapRequest(
            account=self._account,
            principal=order.principal,
            resource=resource,
            asset=requirement.asset,
            pay_to=requirement.pay_to,
            max_opg=requirement.amount,
            nonce=draft.nonce,
            deadline=draft.deadline,
        )

    @staticmethod
    def _rejected(gateway: Gateway, session: _Session, order: Order) -> PaymentRejectedError:
        why = "it asks for a payment again"
        where = shown(gateway.tee.endpoint)
        error = PaymentRejectedError(where, session.cap.id, session.cap.max_opg, why)
        if order.cap is None:
            # It waited for others' payments, and sent nothing under any.
            error.stage = Stage.NOT_SENT
        return error
