"""Chats and completions of the networks' first generation: each is one transaction.

All but the wire format is in this file, so that one commit can remove it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from og_mcp.client.calls.context import CallContext
from og_mcp.client.chain.chain import Receipt
from og_mcp.client.chain.onchain_llm import GAS_MARGIN, OnchainAnswer, OnchainLLM
from og_mcp.client.codec.llm_abi import encode_request
from og_mcp.client.codec.llm_shapes import LLMMode, LLMRequest
from og_mcp.client.llm.onchain_requests import chat_request, completion_request
from og_mcp.client.operations.options import ChatOptions, SamplingOptions
from og_mcp.client.operations.transaction import ChainAccess, TransactionOperation
from og_mcp.client.wire.lazy import Lazy
from og_mcp.errors import InputError
from og_mcp.types import ChatResult, CompletionResult, SettlementModeName

R = TypeVar("R", ChatResult, CompletionResult)


class OnchainCall(TransactionOperation[R]):
    """A chat or a completion through the inference contract."""

    checked_input = "model, mode and texts can go on the wire"
    gas_margin = GAS_MARGIN

    def __init__(
        self,
        chain: ChainAccess,
        asked: LLMRequest,
        llm: Lazy[OnchainLLM],
        *,
        max_retries: int,
    ) -> None:
        super().__init__(chain, max_retries=max_retries)
        self._asked, self._llm = asked, llm
        self.tool, self.request = asked.tool, asked.canonical

    @property
    def fields(self) -> dict[str, Any]:
        """The model."""
        return {"model": self._asked.model}

    async def call_data(self) -> tuple[str, bytes]:
        """Encode it; source: `runLLMChat` and `runLLMCompletion` (protocol.md section 3)."""
        return self._chain.network.inference_contract, encode_request(self._asked)

    async def read_result(self, call: CallContext, mined: Receipt) -> OnchainAnswer:
        """Read the answer."""
        return await (await self._llm.get()).read_back(mined, self.request, call.principal)


class OnchainChat(OnchainCall[ChatResult]):
    """A chat."""

    result = ChatResult


class OnchainCompletion(OnchainCall[CompletionResult]):
    """A completion."""

    result = CompletionResult


def onchain_chat(  # noqa: PLR0913, PLR0917 - what is asked, and how
    model: str,
    messages: Sequence[Mapping[str, Any]],
    mode: str,
    sampling: SamplingOptions,
    options: ChatOptions,
    settlement: SettlementModeName,
) -> LLMRequest:
    """Check a chat that goes on chain.

    Raises:
        InputError: The contract cannot be asked this.
    """
    _refuse_private(settlement)
    if options.response_format or options.web_search:
        raise InputError(
            "On-chain chats take neither response_format nor web_search.",
            "Leave them out, or use a model that gateways answer.",
        )
    return chat_request(
        model,
        messages,
        LLMMode[mode],
        max_tokens=sampling.max_tokens,
        stop_sequence=sampling.stop_sequence,
        temperature=sampling.temperature,
        tools=options.tools,
        tool_choice=options.tool_choice,
    )


def onchain_completion(
    model: str, prompt: str, mode: str, sampling: SamplingOptions, settlement: SettlementModeName
) -> LLMRequest:
    """Check a completion that goes on chain; as `onchain_chat`."""
    _refuse_private(settlement)
    return completion_request(
        model,
        prompt,
        LLMMode[mode],
        max_tokens=sampling.max_tokens,
        stop_sequence=sampling.stop_sequence,
        temperature=sampling.temperature,
    )


def _refuse_private(settlement: SettlementModeName) -> None:
    """Refuse options that ask for privacy: on chain everything is public.

    Raises:
        InputError: It is to be.
    """
    if settlement == "private":
        raise InputError(
            "On-chain calls publish request and answer, and settlement_mode is 'private'.",
            "Use batch, or a model that gateways answer.",
        )
