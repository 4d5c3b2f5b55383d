"""How a session asks gateways: journalled, agreed to, paid, verified, recorded with a receipt."""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import ROUND_UP, Decimal
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Literal

from anyio import CancelScope

from og_mcp import catalogue
from og_mcp.catalogue import Entry
from og_mcp.client.payments.told import cost_of, payment_of, told_beside, usd_of
from og_mcp.client.session.calling import Calling, Terms
from og_mcp.client.session.consent_check import consent_check, use_approval
from og_mcp.client.session.loading import load
from og_mcp.client.session.parts import Parts
from og_mcp.client.session.payment_parts import PaymentParts
from og_mcp.errors import GatewayRejectedError, OGError, VerificationError, coins
from og_mcp.networks import shown
from og_mcp.types import Call, Cap, Check, ConsentRequest, Cost, Shape, Stage

if TYPE_CHECKING:
    from og_mcp.client.chain.ticket import Ticket
    from og_mcp.client.llm.gateway_answer import Counted
    from og_mcp.client.llm.gateway_llm import Answered
    from og_mcp.client.llm.question import Question
    from og_mcp.client.payments.order import Order

HELD: Final = "balance and Permit2 allowance cover it"
OPEN: Final = "a payment that is open covers it: nothing is signed as long as it is"

OVER: Final = Decimal("1.05")
"""How much more than the most is no overcharge."""

Shared = Mapping[str, Any]
"""The fields that results of all gateway calls have."""

Reading = Callable[["Answered", Shared], Awaitable[Shape]]
"""Makes the result of a verified answer."""


UNKNOWN_MODEL: Final = re.compile(
    "(unknown|unsupported|invalid) model|model .*(unknown|not (supported|found|known)|not exist)",
    re.IGNORECASE | re.DOTALL,
)
"""How gateways say that they do not know a model."""


@dataclass(frozen=True, kw_only=True)
class GatewayRequest:
    """What a tool asks of a gateway, checked."""

    tool: Literal["chat", "completion", "generate_image", "web_search"]
    question: Question
    model: Entry | None = None
    """`None` where none is asked."""

    beside: Mapping[str, Any] = field(default_factory=dict)
    """What belongs to the request and does not travel, e.g. the size wanted of an image."""

    check: Callable[[], Awaitable[None]] | None = None
    """Looks at what a new call needs beyond the request, before it is paid; raises where it fails."""

    @property
    def canonical(self) -> dict[str, Any]:
        """The request as journal and receipt hold it."""
        of_model = {"inference_mode": "TEE", "provider": self.model.provider} if self.model else {}
        return {
            "tool": self.tool,
            **of_model,
            "settlement_mode": self.question.settlement,
            # The very text that the TEE's hash is made of; a stream is no other request.
            "body": self.question.asked.decode(),
            **self.beside,
        }

    @property
    def about_model(self) -> dict[str, str]:
        """The result's fields that tell of the model."""
        return {"model": self.model.id, "note": self.model.notice} if self.model else {}

    @property
    def expected_usd(self) -> Decimal | None:
        """What it costs if the answer is as long as it may be; `None` where no price is known."""
        body = self.question.body
        if self.model is None:
            return catalogue.web_search_usd()
        if self.model.kind == "image":
            each = self.model.image_usd(body.get("resolution", ""))
            return None if each is None else each * body.get("n", 1)
        return self.model.usd(
            input_tokens=self.question.estimated_tokens, output_tokens=body["max_tokens"]
        )

    @property
    def most_usd(self) -> Decimal | None:
        """The most that it can cost by the catalogue: no byte of it is more than a token."""
        body = self.question.body
        if self.model is None or self.model.kind == "image":
            return self.expected_usd
        return self.model.usd(input_tokens=len(self.question.raw), output_tokens=body["max_tokens"])


class GatewayAsking:
    """The gateway calls of one session.

    Args:
        parts: What they are carried out with.
        paying: What pays them.
    """

    def __init__(self, parts: Parts, paying: PaymentParts) -> None:
        self._parts, self._paying = parts, paying

    async def price(self, request: GatewayRequest, principal: str) -> dict[str, Any]:
        """Check and price a request; pays nothing. Returns the fields of a dry run's result.

        Raises:
            OGError: It would be refused, in the same words.
        """
        llm, payments = await self._paying.llm.get(), await self._paying.payments.get()
        tee, amount = await llm.price(request.question)
        is_open = await payments.check_price(principal, tee.tee_id, request.question.path, amount)
        within = f"within {coins(self._paying.limits.per_call)} a call"
        checks = (
            ("request", "this process", "it can go on the wire and be verified"),
            ("registry", f"RPC {tee.vouched.rpc}", f"TEE {tee.tee_id} is active"),
            ("price", f"gateway {shown(tee.endpoint)}", f"it wants {coins(amount)} OPG covered"),
            ("caps", "OG_MAX_PER_CALL, OG_MAX_PER_DAY", OPEN if is_open else within),
            ("holdings", "payment chain", OPEN if is_open else HELD),
        )
        return {
            "call_id": "",
            "network": self._parts.settings.network_name,
            "status": "dry_run",
            **request.about_model,
            "cost": self._expected(request.expected_usd),
            "max_opg": coins(amount),
            "checks": [
                Check(name=name, result="ok", source=source, detail=detail)
                for name, source, detail in checks
            ]
            + [consent_check(self._parts, "" if is_open else request.tool, max_opg=amount)],
        }

    def _expected(self, usd: Decimal | None) -> Cost:
        """Estimate a cost; in OPG once a gateway has told what one is worth."""
        rate = self._paying.opg_price_usd
        opg = None if usd is None or rate is None else usd / rate
        return Cost(usd=_rounded(usd), opg=_rounded(opg), source="estimate")

    async def make(
        self,
        request: GatewayRequest,
        terms: Terms,
        reading: Reading,
        counted: Counted | None = None,
    ) -> Call:
        """Journal a call, carry it out or join it, and return its end.

        Raises:
            ApprovalRequiredError: A person has to agree first.
            OGError: It failed.
        """
        opened: Call | None = None
        again: Order | None = None

        async def begin(call: Call) -> None:
            nonlocal opened
            opened = call

        async def take_again(call: Call) -> bool:
            nonlocal again
            again = await (await self._paying.payments.get()).take_again(call.id)
            return again is not None

        async def work(ticket: Ticket) -> None:
            assert opened is not None  # noqa: S101 - work follows the opening
            order = await self._order(ticket, opened, again)
            order.until = terms.asked_at + (math.inf if terms.wait_s is None else terms.wait_s)
            await self._carry_out(order, request, reading, counted)

        calling = Calling(self._parts, self._find_end, take_again)
        return await calling.make(request.canonical, terms, work, consent=begin)

    async def _find_end(self, call: Call, _wait_s: float | None) -> None:
        """Ask the payment chain what became of a call's payment; its answer is lost."""
        if call.cap is not None:
            await (await self._paying.caps.get()).look()
        await (await self._parts.history.get()).look_again(call)

    def so_far(self, call: Call, request: GatewayRequest) -> dict[str, Any]:
        """Tell of a call that runs, as fields of its result."""
        return {
            "call_id": call.id,
            "network": call.network,
            "status": call.status,
            **request.about_model,
            "payment": payment_of(call.cap),
            "max_opg": coins(call.cap.max_opg) if call.cap else "0",
        }

    async def _order(self, ticket: Ticket, opened: Call, again: Order | None) -> Order:
        """Say on what terms a call is sent; `again` are those of a call that it repeats."""
        if again is not None:
            return replace(again, ticket=ticket, repeats=True)
        order: Order = (await load("payments.payments")).Order(
            ticket,
            opened.principal,
            lambda amount: self._agreed(opened, amount),
            is_keyed=bool(opened.idempotency_key),
        )
        return order

    async def _carry_out(
        self, order: Order, request: GatewayRequest, reading: Reading, counted: Counted | None
    ) -> None:
        if request.check is not None:
            await request.check()
        llm, ticket = await self._paying.llm.get(), order.ticket
        try:
            answered = await llm.ask(request.question, order, counted)
        except GatewayRejectedError as exc:
            if request.model is not None and is_unknown_model(exc, request.model):
                alike = catalogue.living(self._parts.today(), "gateway", request.model.kind)
                others = (one for one in alike if one.id != request.model.id)
                near = ", ".join(catalogue.nearest(request.model.id, others))
                exc.hint = f"{exc.hint} The nearest models that are known here: {near}."
            raise
        except VerificationError as exc:
            exc.receipt = await self._receipt(ticket, request, None, exc.evidence, order.cap)
            raise
        self._paying.learn_price(answered.answer)
        with CancelScope(shield=True):
            await self._settle(ticket, request, reading, answered)

    async def _settle(
        self, ticket: Ticket, request: GatewayRequest, reading: Reading, answered: Answered
    ) -> None:
        cap = ticket.cap = answered.cap
        shared = {
            "call_id": ticket.call_id,
            "network": self._parts.settings.network_name,
            "status": "done",
            **request.about_model,
            **told_beside(answered.answer),
            "payment": payment_of(cap),
            "verification": answered.evidence.proof,
            "max_opg": coins(cap.max_opg) if cap else "0",
        }
        try:
            result = await reading(answered, shared)
        except OGError as exc:
            exc.stage = Stage.CHARGED
            exc.receipt = await self._receipt(ticket, request, None, answered.evidence.tee, cap)
            raise
        receipt = await self._receipt(
            ticket, request, result, answered.evidence.tee, cap, answered.settlement
        )
        # What nobody charges for is as final as it gets.
        stage = Stage.CHARGED if cap else Stage.CONFIRMED
        history = await self._parts.history.get()
        told_opg = cost_of(answered.answer) if cap else None
        await history.record(ticket, stage, result.shown_json(), receipt, told_opg=told_opg)
        if cap is not None:
            await self._check_cost(ticket.call_id, request, cap, answered.answer)

    async def _check_cost(
        self, call_id: str, request: GatewayRequest, cap: Cap, answer: Mapping[str, Any]
    ) -> None:
        """Note a told cost that is above the most that the request can cost (threats.md T46)."""
        told, most = usd_of(answer), request.most_usd
        if told is None or most is None or told <= most * OVER:
            return
        words = f"it told a cost of {told} USD for call {call_id}, which costs at most {most} USD"
        await (await self._paying.caps.get()).overcharges.note(cap.pay_to, words)

    async def _receipt(  # noqa: PLR0913, PLR0917 - the facts of one call
        self,
        ticket: Ticket,
        request: GatewayRequest,
        result: Shape | None,
        tee: Mapping[str, Any],
        cap: Cap | None,
        settlement: Mapping[str, str] | None = None,
    ) -> str:
        build = (await load("receipts.gateway_receipt")).build
        receipt: str = await build(
            ticket,
            network=self._parts.settings.network_name,
            request=request.canonical,
            result=result,
            tee=tee,
            cap=cap,
            settlement=settlement or {},
            keep_content=self._parts.settings.receipts == "full",
        )
        return receipt

    async def _agreed(self, call: Call, amount: int) -> None:
        """Make sure that a person agreed to a signature, where one must.

        Raises:
            ApprovalRequiredError: Nobody has; the call waits for it.
        """
        if not self._parts.needs_consent(call.tool, max_opg=amount):
            return
        consent = ConsentRequest(
            request_hash=call.request_hash,
            network=self._parts.settings.network_name,
            payer=(await self._paying.caps.get()).account,
            cap_opg=amount,
        )
        await use_approval(self._parts, call, consent)


def is_unknown_model(error: GatewayRejectedError, model: Entry) -> bool:
    """Whether a gateway refused a request because it does not know the model."""
    if error.status not in {HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND}:
        return False
    return not model.is_listed or UNKNOWN_MODEL.search(error.refusal.detail) is not None


def _rounded(amount: Decimal | None) -> str:
    if amount is None:
        return "unknown"
    return f"{amount.quantize(Decimal('1e-8'), ROUND_UP).normalize():f}"
