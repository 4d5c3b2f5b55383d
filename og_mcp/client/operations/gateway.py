"""A call that a TEE gateway answers: what such calls share."""

from __future__ import annotations

import logging
import re
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_UP, Decimal
from functools import partial
from http import HTTPStatus
from typing import Any, Final, TypeVar

from anyio import CancelScope

from og_mcp import catalogue
from og_mcp.catalogue import CatalogueEntry
from og_mcp.client.calls.context import CallContext
from og_mcp.client.calls.operation import Operation, Outcome, Quote
from og_mcp.client.files.attachments import MAX_REQUEST
from og_mcp.client.llm.gateway_answer import OnProgress
from og_mcp.client.llm.gateway_llm import GatewayAnswer, GatewayLLM
from og_mcp.client.llm.question import Question
from og_mcp.client.payments.payments import Payments
from og_mcp.client.payments.settlement_tracker import SettlementTracker
from og_mcp.client.payments.told import (
    OPGPrice,
    cost_of,
    payment_of,
    settlement_note,
    told_beside,
    usd_of,
)
from og_mcp.client.receipts.gateway_receipt import build
from og_mcp.client.wire.lazy import Lazy
from og_mcp.client.wire.offloading import off_loop
from og_mcp.errors import (
    GatewayRejectedError,
    InputError,
    OGError,
    VerificationError,
    coins,
)
from og_mcp.networks import shown
from og_mcp.settings import Settings
from og_mcp.types import Call as CallRecord
from og_mcp.types import (
    ChatResult,
    Check,
    CompletionResult,
    Cost,
    ImageResult,
    SearchResult,
    SettlementModeName,
    Stage,
    Usage,
)

logger = logging.getLogger(__name__)

R = TypeVar("R", ChatResult, CompletionResult, ImageResult, SearchResult)

HELD: Final = "balance and Permit2 allowance cover it"
OPEN: Final = "a payment that is open covers it: nothing is signed as long as it is"

TOLERANCE: Final = Decimal("1.05")
"""A cost that is above the maximum by less than this is not an overcharge."""

UNKNOWN_MODEL: Final = re.compile(
    "(unknown|unsupported|invalid) model|model .*(unknown|not (supported|found|known)|not exist)",
    re.IGNORECASE | re.DOTALL,
)
"""How gateways say that they do not know a model."""

REASON: Final = re.compile(r"[a-z_]{1,40}")


@dataclass(frozen=True, kw_only=True)
class GatewayAccess:
    """What a gateway call needs to run."""

    settings: Settings
    today: date
    llm: Lazy[GatewayLLM]
    payments: Lazy[Payments]
    settlements: Lazy[SettlementTracker]
    opg_price: OPGPrice
    principal: str
    settlement: SettlementModeName
    """What the gateway settles beside the payment."""


class GatewayOperation(Operation[R]):
    """A call that a gateway answers. If a person has to agree, they are asked right before a signature.

    Args:
        access: What it is carried out with.
        question: What is asked.
        model: The model; `None` where none is asked.
        extra: What belongs to the request and does not travel, e.g. the size wanted of an image.
    """

    consent_at = "signature"

    def __init__(
        self,
        access: GatewayAccess,
        question: Question,
        model: CatalogueEntry | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        self._access, self._question, self._model = access, question, model
        of_model = {"inference_mode": "TEE", "provider": model.provider} if model else {}
        self.request = {
            "tool": self.tool,
            **of_model,
            "settlement_mode": question.settlement,
            # The text that the TEE hashes; whether it is streamed does not change the request.
            "body": question.asked.decode(),
            **(extra or {}),
        }

    @property
    def fields(self) -> dict[str, Any]:
        """What tells of the model."""
        return {"model": self._model.id, "note": self._model.notice} if self._model else {}

    @abstractmethod
    async def read(self, answered: GatewayAnswer, fields: Mapping[str, Any]) -> R:
        """Make the result of a verified answer.

        Args:
            answered: It.
            fields: Those that all such results have.
        """

    async def check(self) -> None:
        """Check what else a new call needs before it is paid.

        Raises:
            OGError: It cannot succeed.
        """

    on_progress: OnProgress | None = None
    """Told of progress in pieces of text, where the answer is streamed."""

    async def quote(self) -> Quote:
        """Ask what the request would cost; pays nothing."""
        access, question = self._access, self._question
        await self.check()
        llm, payments = await access.llm.get(), await access.payments.get()
        tee, amount = await llm.price(question)
        is_open = await payments.check_price(access.principal, tee.tee_id, question.path, amount)
        within = f"within {coins(access.settings.max_per_call)} a call"
        found = (
            ("request", "this process", "it can go on the wire and be verified"),
            ("registry", f"RPC {tee.source.rpc}", f"TEE {tee.tee_id} is active"),
            ("price", f"gateway {shown(tee.endpoint)}", f"it wants {coins(amount)} OPG covered"),
            ("caps", "OG_MAX_PER_CALL, OG_MAX_PER_DAY", OPEN if is_open else within),
            ("holdings", "payment chain", OPEN if is_open else HELD),
        )
        return Quote(
            max_opg=amount,
            is_signed=not is_open,
            fields={"cost": self._estimate(), "max_opg": coins(amount)},
            checks=[
                Check(name=name, result="ok", source=source, detail=detail)
                for name, source, detail in found
            ],
        )

    async def execute(self, call: CallContext) -> Outcome[R]:
        """Ask a gateway, pay it, verify its answer, and read it.

        Raises:
            PaymentError: It cannot be paid; `stage` says whether a signature left.
            GatewayError: No usable answer.
            VerificationError: The answer is not what the TEE signed; it is withheld.
        """
        await self.check()
        llm = await self._access.llm.get()
        try:
            answered = await llm.ask(self._question, call, self.on_progress)
        except GatewayRejectedError as exc:
            if self._model is not None and is_unknown_model(exc, self._model):
                exc.hint = f"{exc.hint} {_nearest(self._model, self._access.today)}"
            raise
        except VerificationError as exc:
            exc.receipt = await self._receipt(call, None, exc.evidence)
            raise
        # What was paid for is read and recorded, cancelled or not.
        with CancelScope(shield=True):
            outcome = await self._outcome(call, answered)
        return outcome  # noqa: RET504 - mypy: the scope might swallow an error

    async def _outcome(self, call: CallContext, answered: GatewayAnswer) -> Outcome[R]:
        answer, tee = answered.answer, answered.evidence.tee
        cap = call.cap = answered.cap
        self._access.opg_price.learn(answer)
        fields = {
            "call_id": call.call_id,
            "network": self._access.settings.network_name,
            "status": "done",
            **self.fields,
            **told_beside(answer),
            "payment": payment_of(cap),
            "verification": answered.evidence.proof,
            "max_opg": coins(cap.max_opg) if cap else "0",
        }
        try:
            result = await self.read(answered, fields)
        except OGError as exc:
            exc.stage = Stage.CHARGED
            exc.receipt = await self._receipt(call, None, tee)
            raise
        self._usd = usd_of(answer)
        return Outcome(
            result=result,
            # An answer that costs nothing is final at once.
            stage=Stage.CHARGED if cap else Stage.CONFIRMED,
            receipt=await self._receipt(call, result, tee, answered.settlement),
            told_opg=cost_of(answer) if cap else None,
        )

    _usd: Decimal | None = None
    """What the gateway said that it cost."""

    async def settled(self, call: CallContext) -> None:
        """Note it if a gateway claims more than the request can cost (threats.md T46)."""
        told, most = self._usd, self._max_usd
        if call.cap is None or told is None or most is None or told <= most * TOLERANCE:
            return
        words = (
            f"it told a cost of {told} USD for call {call.call_id}, which costs at most {most} USD"
        )
        with CancelScope(shield=True):
            await (await self._access.settlements.get()).overcharges.note(call.cap.pay_to, words)

    async def take_again(self, call_id: str) -> CallContext | None:
        """Send a call again that the gateway answered with an error of its own (money.md 5)."""
        return await (await self._access.payments.get()).take_again(call_id)

    def progress(self, call: CallRecord) -> dict[str, Any]:
        """Tell what pays for a call that runs."""
        return {
            "payment": payment_of(call.cap),
            "max_opg": coins(call.cap.max_opg) if call.cap else "0",
        }

    def present(self, result: R, call: CallRecord) -> R:
        """Add what is known now of its payment."""
        if call.cap is None:
            return result
        note = " ".join(filter(None, (result.note, settlement_note(call.cap))))
        return result.model_copy(update={"note": note, "payment": payment_of(call.cap)})

    async def _receipt(
        self,
        call: CallContext,
        result: R | None,
        tee: Mapping[str, Any],
        settlement: Mapping[str, str] | None = None,
    ) -> str:
        return await build(
            call,
            network=self._access.settings.network_name,
            request=self.request,
            result=result,
            tee=tee,
            cap=call.cap,
            settlement=settlement or {},
            keep_content=self._access.settings.receipts == "full",
        )

    def _estimate(self) -> Cost:
        """Estimate a cost; in OPG once a gateway has told the price of one OPG."""
        usd, rate = self._expected_usd, self._access.opg_price.usd
        opg = None if usd is None or rate is None else usd / rate
        return Cost(usd=_rounded(usd), opg=_rounded(opg), source="estimate")

    @property
    def _expected_usd(self) -> Decimal | None:
        """What it costs if the answer is as long as it may be; `None` where no price is known."""
        body, model = self._question.body, self._model
        if model is None:
            return catalogue.web_search_usd()
        if model.kind == "image":
            each = model.image_usd(body.get("resolution", ""))
            return None if each is None else each * body.get("n", 1)
        tokens = self._question.estimated_tokens
        return model.usd(input_tokens=tokens, output_tokens=body["max_tokens"])

    @property
    def _max_usd(self) -> Decimal | None:
        """Highest cost by the catalogue's prices: a byte is at most one token."""
        body, model = self._question.body, self._model
        if model is None or model.kind == "image":
            return self._expected_usd
        return model.usd(input_tokens=len(self._question.raw), output_tokens=body["max_tokens"])


async def write_question(
    path: str,
    body: Callable[[], dict[str, Any]],
    given: object,
    access: GatewayAccess,
    **rest: Any,  # noqa: ANN401 - fields of Question
) -> Question:
    """Write a question of what was given, without holding up the event loop.

    Raises:
        InputError: No gateway can be asked this.
    """
    write = partial(_write, path, body, settlement=access.settlement, **rest)
    return await off_loop(write, given)


def _write(
    path: str,
    body: Callable[[], dict[str, Any]],
    **rest: Any,  # noqa: ANN401 - as above
) -> Question:
    question = Question(path=path, body=body(), **rest)
    # Refused here rather than when it is sent: nothing is journalled for it.
    size = len(question.asked)
    if size > MAX_REQUEST:
        raise InputError(
            f"The request has {size:,} bytes, and gateways take up to {MAX_REQUEST // 2**20} MiB.",
            "Send less; nothing was sent or paid.",
        )
    return question


def is_unknown_model(error: GatewayRejectedError, model: CatalogueEntry) -> bool:
    """Whether a gateway refused a request because it does not know the model."""
    if error.status not in {HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND}:
        return False
    return not model.is_listed or UNKNOWN_MODEL.search(error.refusal.detail) is not None


def finish_reason(answer: Mapping[str, Any]) -> str:
    """Read why an answer ended; nothing vouches for it."""
    choices = answer.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else {}
    reason = first.get("finish_reason") if isinstance(first, dict) else ""
    return reason if isinstance(reason, str) and REASON.fullmatch(reason) else ""


def usage_of(answer: Mapping[str, Any]) -> Usage:
    """Read the gateway's own count; nothing vouches for it."""
    given = answer.get("usage")
    counts = given if isinstance(given, dict) else {}
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    return Usage(
        **{
            name: counts[name]
            for name in names
            if isinstance(counts.get(name), int) and 0 <= counts[name] < 2**53
        }
    )


def _nearest(model: CatalogueEntry, today: date) -> str:
    alike = catalogue.living(today, "gateway", model.kind)
    near = catalogue.nearest(model.id, (one for one in alike if one.id != model.id))
    return f"The nearest models that are known here: {', '.join(near)}."


def _rounded(amount: Decimal | None) -> str:
    if amount is None:
        return "unknown"
    return f"{amount.quantize(Decimal('1e-8'), ROUND_UP).normalize():f}"
