"""Asking TEE gateways: chosen by the registry, paid, and verified before anything is shown.

Another gateway is tried only while nothing was paid and nothing of a payment was sent (threats.md
T9). Source: protocol.md section 4.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import anyio
import httpx

from og_mcp.client.calls.context import CallContext
from og_mcp.client.llm import gateway_answer
from og_mcp.client.llm.gateway_answer import OnProgress
from og_mcp.client.llm.question import CHAT, COMPLETION, SEARCH, Question
from og_mcp.client.payments.payments import REPETITIONS, Payments
from og_mcp.client.tee.evidence import (
    Evidence,
    encode_body,
    verify_chat,
    verify_completion,
    verify_search,
)
from og_mcp.client.tee.gateways import Gateway, Gateways
from og_mcp.client.tee.registry import TEE, Registry
from og_mcp.client.wire.offloading import is_short, off_loop
from og_mcp.errors import (
    AnswerLostError,
    GatewayRejectedError,
    NoGatewayError,
    OGError,
    PaymentRejectedError,
    RepetitionError,
    ServiceError,
    ServiceReplyError,
    ServiceTimeoutError,
    ServiceUnreachableError,
    VerificationError,
)
from og_mcp.types import Cap, Stage

logger = logging.getLogger(__name__)

MAX_GATEWAYS: Final = 3
"""Gateways that are tried before a call is given up."""

BY_ITSELF: Final = 2
"""Repetitions by og-mcp itself if the gateway answers with an error of its own."""

PAUSE_S: Final = 1.0
"""Seconds between these."""

SETTLEMENT_HEADERS: Final[Mapping[str, str]] = {
    "x-processing-hash": "processing_hash",
    "x-settlement-tx-hash": "data_transaction_hash",
    "x-settlement-walrus-blob-id": "data_blob_id",
}
"""Response header -> what receipts call it."""

LEFT_AFTER_S: Final = 0.005
"""Seconds after which a request has surely left, so that other work does not delay it."""

SERVICE: Final = "gateway"
"""What errors call it."""

WITHHELD_FREE: Final = "The content is withheld. Nothing was paid for it: repeat the call later."

VERIFY: Final = {CHAT: verify_chat, COMPLETION: verify_completion, SEARCH: verify_search}
"""Path -> what verifies an answer from there."""

_NO_ANSWER: Final = (ServiceUnreachableError, ServiceTimeoutError, ServiceReplyError)
_TOKEN: Final = re.compile(r"[\w.:-]{1,128}")


@dataclass(frozen=True, kw_only=True)
class GatewayAnswer:
    """A verified answer."""

    answer: Mapping[str, Any]
    """The document as it came; only what `evidence` names is covered by the signature."""

    evidence: Evidence
    tee: TEE
    cap: Cap | None
    """What it was paid by; `None` where the gateway asked for nothing."""

    settlement: Mapping[str, str]
    """What the gateway said about settling hashes; nobody vouches for it."""


class GatewayLLM:
    """Questions to the gateways of one network.

    Args:
        registry: Which gateways there are, and whether they still are.
        gateways: Connections to them.
        payments: Pays them.
        local: Whether signatures prove nothing here.
        allow_unsigned: Whether answers that nobody signed are shown (threats.md T36).
    """

    def __init__(
        self,
        registry: Registry,
        gateways: Gateways,
        payments: Payments,
        *,
        local: bool,
        allow_unsigned: bool = False,
    ) -> None:
        self._registry, self._gateways, self._payments = registry, gateways, payments
        self._local, self._allow_unsigned = local, allow_unsigned

    async def price(self, question: Question) -> tuple[TEE, int]:
        """Return which TEE would be asked, and the cap it wants signed, base units; pays nothing.

        Raises:
            NoGatewayError: None can be reached.
            PaymentRefusedError: It asks for something that is never signed.
        """
        tried: dict[str, OGError] = {}
        prefer = await self._payments.preferred(question.path)
        while True:
            gateway = await self._next(tried, prefer)
            with self._trying(gateway, tried):
                known = await self._payments.price(gateway, question.path)
                if known is None:
                    # The question stays here: only a price is wanted.
                    bare = encode_body({"model": question.body.get("model", "")})
                    known = await self._payments.ask_price(
                        gateway, question.path, bare, question.headers
                    )
                return gateway.tee, known

    async def ask(
        self, question: Question, call: CallContext, on_progress: OnProgress | None = None
    ) -> GatewayAnswer:
        """Ask a gateway, pay it, and verify what it answers.

        Args:
            question: What is asked.
            call: For whom, and on what terms it is paid.
            on_progress: Told of progress, in pieces of text.

        Raises:
            NoGatewayError: None can be reached; nothing was paid.
            PaymentError: It cannot be paid.
            GatewayError: No usable answer; `stage` says whether it was paid. After an error that the
                gateway itself answered, the call may be sent again under the same payment.
            VerificationError: The answer is not what the TEE signed; its content is withheld.
        """
        self._payments.prefetch()
        most = min(call.attempts + BY_ITSELF, REPETITIONS)
        while True:
            try:
                return await self._ask(question, call, on_progress)
            except GatewayRejectedError as exc:
                is_own = exc.refusal.is_own and call.sent is not None
                in_time = time.monotonic() + PAUSE_S < call.until
                if not (is_own and exc.retryable and in_time and call.attempts < most):
                    if is_own:
                        exc.counted(call.attempts, REPETITIONS)
                        self._payments.allow_repetition(call)
                    raise
                logger.info("call %s is sent again: %s", call.call_id, exc.args[0])
            except RepetitionError:
                # Its payment decides whether it may go again.
                self._payments.allow_repetition(call)
                raise
            except ServiceError as exc:
                if not call.repeats or call.left is None:
                    raise
                self._payments.allow_repetition(call)
                why = exc.args[0].rstrip(".")
                raise RepetitionError(call.left.resource, call.left.id, why) from exc
            call.repeats = True
            await anyio.sleep(PAUSE_S)

    async def _ask(
        self, question: Question, call: CallContext, on_progress: OnProgress | None
    ) -> GatewayAnswer:
        """Ask the preferred gateway, or another one as long as nothing has left."""
        path, tried = question.path, dict[str, OGError]()
        prefer = call.sent.tee_id if call.repeats and call.sent else ""
        prefer = prefer or await self._payments.preferred(path)
        while True:
            gateway = await self._next(tried, prefer)
            with self._trying(gateway, tried):
                with _prepared(question):
                    async with self._payments.post(
                        gateway, path, question.raw, question.headers, call
                    ) as response:
                        answer = await gateway_answer.read(
                            response,
                            cap_id=call.cap.id if call.cap else "",
                            max_bytes=question.max_bytes,
                            on_progress=on_progress,
                        )
                        settlement = _settlement(response)
                try:
                    evidence = await self._verified(question, answer, gateway.tee)
                except VerificationError as exc:
                    if call.cap is None:
                        exc.stage, exc.hint = Stage.NOT_SENT, WITHHELD_FREE
                    raise
                self._gateways.answered(gateway.tee.tee_id)
                return GatewayAnswer(
                    answer=answer,
                    evidence=evidence,
                    tee=gateway.tee,
                    cap=call.cap,
                    settlement=settlement,
                )

    async def _next(self, tried: Mapping[str, OGError], prefer: str) -> Gateway:
        """Choose the gateway to try next.

        Raises:
            OGError: There is no other; what the last one said tells more than that.
        """
        try:
            return await self._gateways.pick(but=tuple(tried), prefer=prefer)
        except NoGatewayError:
            if tried:
                raise list(tried.values())[-1] from None
            raise

    @contextmanager
    def _trying(self, gateway: Gateway, tried: dict[str, OGError]) -> Iterator[None]:
        """Note an error after which another gateway may be tried; raise every other error."""
        tee_id = gateway.tee.tee_id
        try:
            yield
        except (AnswerLostError, PaymentRejectedError):
            # It may have been paid for nothing: the next call should try another gateway.
            self._gateways.failed(tee_id)
            raise
        except (ServiceError, GatewayRejectedError) as exc:
            if not _is_passing(exc):
                raise
            logger.info("gateway %s: %s", gateway.tee.endpoint, exc)
            self._gateways.failed(tee_id)
            tried[tee_id] = exc
            if len(tried) >= MAX_GATEWAYS:
                raise

    async def _verified(self, question: Question, answer: Mapping[str, Any], tee: TEE) -> Evidence:
        verify = VERIFY[question.path]

        def check() -> Evidence:
            return verify(
                question.hashed,
                answer,
                tee,
                now=time.time(),
                local=self._local,
                allow_unsigned=self._allow_unsigned,
            )

        try:
            evidence = await off_loop(check, question.raw, answer)
        except VerificationError:
            self._gateways.failed(tee.tee_id)
            raise
        try:
            is_active = await self._registry.is_active(tee.tee_id)
        except VerificationError as exc:
            exc.evidence = dict(evidence.tee)
            raise
        if not is_active:
            raise VerificationError(
                "the registry does not list its TEE as active any more",
                tee.tee_id,
                evidence=evidence.tee,
            )
        return evidence


@contextmanager
def _prepared(question: Question) -> Iterator[None]:
    """Hash a request while waiting for its answer."""
    if not is_short(question.raw):
        yield
        return
    timer = asyncio.get_running_loop().call_later(LEFT_AFTER_S, question.hashed.prepare)
    try:
        yield
    finally:
        timer.cancel()


def _is_passing(error: OGError) -> bool:
    """Tell whether another gateway may be tried: nothing was paid."""
    if error.stage is not Stage.NOT_SENT:
        return False
    if isinstance(error, GatewayRejectedError):
        return error.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    # The payment chain is asked on the way, too.
    return isinstance(error, _NO_ANSWER) and error.service == SERVICE


def _settlement(response: httpx.Response) -> dict[str, str]:
    given = {name: response.headers.get(header, "") for header, name in SETTLEMENT_HEADERS.items()}
    return {name: value for name, value in given.items() if _TOKEN.fullmatch(value)}
