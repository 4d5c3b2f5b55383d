"""Decides who has paid, and keeps the books of the local gateway."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from eth_keys.datatypes import PrivateKey
from starlette.responses import JSONResponse, Response
from x402.http.utils import encode_payment_required_header
from x402.schemas import PaymentRequired, PaymentRequirements, ResourceInfo, SettleResponse

from og_mcp.localnet.chain import Chain
from og_mcp.localnet.genesis import OPG_TOKEN
from og_mcp.localnet.payments.facilitator import Facilitator
from og_mcp.localnet.payments.payment import Payment
from og_mcp.localnet.payments.sessions import Place, Session, Sessions

SPONSORING: Final = {
    "erc20ApprovalGasSponsoring": {
        "info": {"description": "An offer that a client has to drop.", "version": "1"},
        "schema": {"type": "object"},
    }
}
"""The extension is offered, as on the public network, and not carried out: a client that answers
it has signed an unlimited approval, and gains nothing."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the payment endpoint looks at in a request."""

    method: str
    path: str
    url: str
    gateway: int
    """Port of the gateway that it came to."""

    session_id: str
    """Value of X-Upto-Session, or empty."""

    signature: str
    """Value of PAYMENT-SIGNATURE, or empty."""


@dataclass(frozen=True, kw_only=True)
class Settlement:
    """One payment that was taken, or could not be."""

    payment: Payment
    session: str
    """The first characters of the session's id; empty where each request is settled."""

    amount: int
    """Base units."""

    said: SettleResponse

    def as_json(self, chain: Chain) -> dict[str, Any]:
        """Describe it; `status` is what the chain says at the moment."""
        return {
            "session": self.session,
            "payer": self.payment.payer,
            "nonce": self.payment.nonce,
            "amount": str(self.amount),
            "transaction_hash": self.said.transaction,
            "status": self._status(chain),
            "error": self.said.error_reason or "",
        }

    def _status(self, chain: Chain) -> str:
        if not self.said.transaction:
            return "failed"
        found = chain.records.transaction(bytes.fromhex(self.said.transaction[2:]))
        if found is None:
            return "pending"
        return "settled" if found[1].succeeded else "failed"


class Payments:
    """What a gateway asks for, whom it lets in, and what it took.

    Args:
        chain: The payment chain.
        facilitator: Key of the facilitator; its account needs native coins there.
        pay_to: Address that payments go to; the registry entry of the gateway names it.
        payers: Addresses that may pay. Nobody else may: a signature from outside must not be
            taken by a network that anybody can run (threats.md T5).
        session_cap: Base units that an authorization is wanted for, which pays for a session.
        session_deadline_s: Seconds from the signature of an authorization to its deadline.
        session_idle_s: Seconds between the last charge of a session and its settlement.
    """

    requirement: PaymentRequirements
    """What challenges ask for (`accepts[0]`), and payments have to be signed for."""

    with_sessions: bool
    """Whether one payment serves many requests; else each request is paid and settled."""

    refusals: int
    """How many more valid payments are answered by a challenge all the same."""

    def __init__(  # noqa: PLR0913 - each is a fact of the gateway, given by its name
        self,
        chain: Chain,
        *,
        facilitator: PrivateKey,
        pay_to: str,
        payers: Iterable[str],
        session_cap: int,
        session_deadline_s: int,
        session_idle_s: float,
    ) -> None:
        self.pay_to = pay_to
        self.counters: Counter[str] = Counter()
        self._chain = chain
        self._facilitator = Facilitator(chain, facilitator)
        self._payers = {address.lower() for address in payers}
        self._settlements: list[Settlement] = []
        self._session_cap, self._session_deadline_s = session_cap, session_deadline_s
        self._session_idle_s = session_idle_s
        self.sessions = Sessions(self._settle_session, session_idle_s)
        self.as_at_start()

    def as_at_start(self) -> None:
        """Take back what tests changed; sessions and settlements stay."""
        self.requirement = self._first_requirement()
        self.with_sessions, self.refusals = True, 0
        self._next: tuple[int, PaymentRequirements] | None = None
        self.sessions.idle_s = self._session_idle_s
        self.counters.clear()

    def _first_requirement(self) -> PaymentRequirements:
        return PaymentRequirements(
            scheme="upto",
            network=f"eip155:{self._chain.chain_id}",
            asset=OPG_TOKEN,
            amount=str(self._session_cap),
            pay_to=self.pay_to,
            max_timeout_seconds=self._session_deadline_s,
            extra={
                "name": "OpenGradient",
                "version": "1",
                "assetTransferMethod": "permit2",
                "facilitatorAddress": self._facilitator.address,
            },
        )

    def know(self, payer: str) -> None:
        """Let one more address pay."""
        self._payers.add(payer.lower())

    def change(self, requirement: PaymentRequirements, after_challenges: int) -> None:
        """Ask for something else, once so many challenges have still asked for the old."""
        self._next = (after_challenges, requirement)
        self._turn(0)

    def _turn(self, challenges: int) -> None:
        if self._next is None:
            return
        left, requirement = self._next
        self._next = (left - challenges, requirement)
        if left <= challenges:
            self.requirement, self._next = requirement, None

    # Letting in

    async def admit(self, request: Request) -> Session | Payment | Response:
        """Look for the payment of a request.

        Returns:
            The session or (in the mode without sessions) the payment that covers it; or the
            answer that refuses it.
        """
        if request.session_id and self.with_sessions:
            # A session goes before a payment that came with it.
            place = Place(request.gateway, request.method, request.path)
            return self.sessions.named(request.session_id, place) or _ended()
        if not request.signature:
            return self.challenge(request, "Payment required")
        try:
            payment = Payment.read(request.signature, self.requirement)
        except ValueError:
            return self.challenge(request, "invalid_payload")
        if reason := await self._objection(payment):
            return self.challenge(request, reason)
        return self._session(payment, request) if self.with_sessions else payment

    async def _objection(self, payment: Payment) -> str:
        if not payment.as_asked:
            return "No matching payment requirements"
        if payment.payer not in self._payers:
            return "The payer is not an account of this local network"
        self.counters["verifications"] += 1
        if reason := await self._facilitator.verify(payment):
            return reason
        if self.refusals:
            self.refusals -= 1
            return "refused on request"
        return ""

    def _session(self, payment: Payment, request: Request) -> Session | Response:
        session = self.sessions.paid_by(payment, request.gateway)
        if session is None:
            self.counters["sessions"] += 1
            return self.sessions.open(payment, Place(request.gateway, request.method, request.path))
        return _ended() if session.ended else session

    def challenge(self, request: Request, reason: str) -> Response:
        """Ask for a payment."""
        asked = PaymentRequired(
            error=reason,
            resource=ResourceInfo(url=request.url),
            accepts=[self.requirement],
            extensions=SPONSORING,
        )
        self.counters["challenges"] += 1
        self._facilitator.load()
        self._turn(1)
        header = encode_payment_required_header(asked)
        return JSONResponse({"error": reason}, 402, {"PAYMENT-REQUIRED": header})

    # Taking

    def charge(self, session: Session, cost: int) -> None:
        """Charge an answer to its session; one that would overshoot the cap goes uncharged."""
        if cost > 0:
            charged = self.sessions.charge(session, cost)
            self.counters["charged" if charged else "uncharged"] += 1

    async def settle_request(self, payment: Payment, cost: int) -> SettleResponse:
        """Take what one request cost; one that would overshoot the cap goes uncharged."""
        return await self._settle(payment, cost if cost <= payment.cap else 0)

    async def _settle_session(self, session: Session) -> None:
        await self._settle(session.payment, session.spent, session.id[:8])

    async def _settle(self, payment: Payment, amount: int, session: str = "") -> SettleResponse:
        said = await self._facilitator.settle(payment, amount)
        if amount:
            self.counters["settlements"] += 1
            self._settlements.append(
                Settlement(payment=payment, session=session, amount=amount, said=said)
            )
        return said

    def settlements(self) -> list[dict[str, Any]]:
        """Describe every settlement, oldest first."""
        return [settlement.as_json(self._chain) for settlement in self._settlements]

    async def close(self) -> None:
        """Drop all sessions; what they spent is not settled: the chain ends with them."""
        await self.sessions.close()
        await self._facilitator.close()


def _ended() -> Response:
    return JSONResponse({"error": "Session expired or exhausted"}, 402)
