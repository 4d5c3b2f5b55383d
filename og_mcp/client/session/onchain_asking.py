"""How a session chats and completes on chain: priced, journalled, carried out, recorded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from og_mcp.client.codec.llm_shapes import ChatRequest, CompletionRequest, LLMRequest
from og_mcp.client.session.calling import Terms
from og_mcp.client.session.onchain_calling import OnchainCalling, check_retries
from og_mcp.client.session.parts import Parts
from og_mcp.errors import fee_text
from og_mcp.types import Call, ChatResult, CompletionResult

if TYPE_CHECKING:
    from og_mcp.client.chain.onchain_llm import Answered
    from og_mcp.client.chain.ticket import Ticket
    from og_mcp.client.chain.wallet import Transaction

CHECKED_INPUT: Final = "model, mode and texts can go on the wire"


class OnchainAsking:
    """The on-chain LLM calls of one session.

    Args:
        parts: What they are carried out with.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def price_chat(self, request: ChatRequest, *, max_retries: int) -> ChatResult:
        """Check and price a chat against the chain; sends nothing.

        Raises:
            ChainError: It would be refused.
            ServiceError: The chain cannot be asked.
        """
        return ChatResult(**await self._priced(request, max_retries))

    async def price_completion(
        self, request: CompletionRequest, *, max_retries: int
    ) -> CompletionResult:
        """Check and price a completion; else as `price_chat`."""
        return CompletionResult(**await self._priced(request, max_retries))

    async def chat(self, request: ChatRequest, terms: Terms, *, max_retries: int) -> ChatResult:
        """Journal a chat, carry it out or join it, and return its end.

        Raises:
            ApprovalRequiredError: A person has to agree first.
            OGError: It failed.
        """

        async def ask(ticket: Ticket) -> Answered:
            llm = await self._parts.onchain_llm.get()
            return await llm.chat(ticket, request, max_retries=max_retries)

        call = await self._make(request, terms, ask, max_retries)
        if call.status == "done" and call.result:
            return ChatResult.model_validate_json(call.result)
        return ChatResult(**_so_far(call, request))

    async def completion(
        self, request: CompletionRequest, terms: Terms, *, max_retries: int
    ) -> CompletionResult:
        """Journal a completion, carry it out or join it, and return its end; else as `chat`."""

        async def ask(ticket: Ticket) -> Answered:
            llm = await self._parts.onchain_llm.get()
            return await llm.completion(ticket, request, max_retries=max_retries)

        call = await self._make(request, terms, ask, max_retries)
        if call.status == "done" and call.result:
            return CompletionResult.model_validate_json(call.result)
        return CompletionResult(**_so_far(call, request))

    async def _make(
        self,
        request: LLMRequest,
        terms: Terms,
        ask: Callable[[Ticket], Awaitable[Answered]],
        max_retries: int,
    ) -> Call:
        check_retries(max_retries)

        async def price() -> Transaction:
            llm = await self._parts.onchain_llm.get()
            return await llm.price(request, max_retries=max_retries)

        calling = OnchainCalling(self._parts)
        return await calling.make(request.canonical, terms, price=price, ask=ask)

    async def _priced(self, request: LLMRequest, max_retries: int) -> dict[str, Any]:
        check_retries(max_retries)
        llm = await self._parts.onchain_llm.get()
        transaction = await llm.price(request, max_retries=max_retries)
        return {
            "call_id": "",
            "network": self._parts.settings.network_name,
            "status": "dry_run",
            "model": request.model,
            "fee": fee_text(transaction.max_fee),
            "fee_wei": transaction.max_fee,
            "checks": await OnchainCalling(self._parts).checks(
                request.tool, transaction.max_fee, CHECKED_INPUT
            ),
        }


def _so_far(call: Call, request: LLMRequest) -> dict[str, Any]:
    """Tell of a call that runs."""
    return {
        "call_id": call.id,
        "network": call.network,
        "status": call.status,
        "model": request.model,
        "transaction_hash": call.transaction_hashes[-1] if call.transaction_hashes else "",
        "fee": fee_text(call.fee_wei),
        "fee_wei": call.fee_wei,
    }
