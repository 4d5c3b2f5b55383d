"""LLM calls on chain: call the contract, read the answer (protocol.md section 3).

Only the first generation of networks has them; later ones have gateways.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, assert_never

from anyio import to_thread

from og_mcp.client.chain.chain import Log, Receipt
from og_mcp.client.chain.inference import find_log
from og_mcp.client.codec.llm_abi import FUNCTIONS, LLMFunction
from og_mcp.client.codec.llm_shapes import (
    ChatResponse,
    CompletionResponse,
    LLMResponse,
    note_of_end,
)
from og_mcp.errors import OutputMissingError, ServiceError, fee_text
from og_mcp.networks import INFERENCE_PRECOMPILE, Network
from og_mcp.types import ChatResult, CompletionResult, Proof

GAS_MARGIN: Final = 1.5
"""Gas limit over estimate, as the network's own client has it for LLM calls."""

PROOF: Final = Proof(
    status="chain",
    covers=["request", "answer"],
    not_covered=["that the model named in the request made the answer"],
)
"""What the chain's receipt vouches for: what was asked and what was answered, not by whom."""


@dataclass(frozen=True)
class OnchainAnswer:
    """An answer and where it was read."""

    receipt: Receipt
    answer: LLMResponse
    source: str
    """`event` or `precompile_event`."""

    @property
    def response(self) -> dict[str, Any]:
        """The answer in JSON, as receipts keep it."""
        return self.answer.shown

    def result(
        self, call_id: str, network: Network, request: Mapping[str, Any]
    ) -> ChatResult | CompletionResult:
        """Put together what the tool returns.

        Args:
            call_id: The call.
            network: Where it was made.
            request: Its canonical request.
        """
        mined, answer = self.receipt, self.answer
        shared: dict[str, Any] = {
            "call_id": call_id,
            "network": network.name,
            "status": "done",
            "model": request["model"],
            "transaction_hash": mined.transaction_hash,
            "verification": PROOF,
            "fee": fee_text(mined.fee_wei),
            "fee_wei": mined.fee_wei,
            "explorer_url": network.explorer_tx_url.format(hash=mined.transaction_hash),
        }
        match answer:
            case ChatResponse():
                return ChatResult(**shared, **answer.shown, note=note_of_end(answer.finish_reason))
            case CompletionResponse():
                return CompletionResult(**shared, **answer.shown)
        assert_never(answer)


class OnchainLLM:
    """Reads what the inference contract answered to chats and completions.

    Args:
        network: Whose contract.
    """

    def __init__(self, network: Network) -> None:
        self._network = network

    async def read_back(
        self, mined: Receipt, request: Mapping[str, Any], _principal: str
    ) -> OnchainAnswer:
        """Read the answer: in the contract's event, else in the precompile's.

        Args:
            mined: The chain's receipt.
            request: The canonical request.

        Raises:
            OutputMissingError: Neither has it; the gas is paid.
        """
        function, contract = FUNCTIONS[request["tool"]], self._network.inference_contract
        try:
            found = await to_thread.run_sync(find_answer, function, mined.logs, contract)
        except ServiceError as exc:
            raise OutputMissingError(mined.transaction_hash, str(exc), mined.fee_wei) from exc
        if found is None:
            why = "its receipt holds no event with an answer"
            raise OutputMissingError(mined.transaction_hash, why, mined.fee_wei)
        return OnchainAnswer(mined, *found)


def find_answer(
    function: LLMFunction, logs: Sequence[Log], contract: str
) -> tuple[LLMResponse, str] | None:
    """Find the answer of a call in its events; also returns which event has it.

    Raises:
        ServiceReplyError: An event is malformed.
    """
    log = find_log(logs, contract, function.result_topic)
    answer = function.decode_result(log.data) if log is not None else None
    if answer is not None and not answer.is_empty:
        return answer, "event"
    log = find_log(logs, INFERENCE_PRECOMPILE, function.event_topic)
    answer = function.decode_event(log.data) if log is not None else None
    if answer is not None and not answer.is_empty:
        return answer, "precompile_event"
    return None
