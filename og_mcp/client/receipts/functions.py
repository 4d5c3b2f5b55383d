"""The contracts' functions in receipts: what was asked, what was answered.

The signed call data tells which function a transaction calls; no label in a receipt counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

from og_mcp.client.chain.chain import Log
from og_mcp.client.chain.inference import PRECOMPILE_TOPIC, RESULT_TOPIC, find_log
from og_mcp.client.chain.onchain_llm import find_answer
from og_mcp.client.chain.signature import SignedCall
from og_mcp.client.codec.abi import (
    RUN_SELECTOR,
    decode_event_request,
    decode_inference_event,
    decode_result,
    decode_run,
)
from og_mcp.client.codec.canonical import is_same, request_of
from og_mcp.client.codec.llm_abi import FUNCTIONS, LLMFunction
from og_mcp.client.codec.llm_shapes import LLMResponse
from og_mcp.client.codec.outputs import ModelOutput, to_json
from og_mcp.client.receipts.approval import ApproveFunction
from og_mcp.client.receipts.reading import MismatchError, NotKeptError, equal
from og_mcp.client.wire.canonical_json import canonical
from og_mcp.errors import quote
from og_mcp.networks import INFERENCE_PRECOMPILE

Answer = TypeVar("Answer")

_RUN_FIELDS: Final = ("tool", "model_cid", "model_input", "inference_mode")


class Function(Protocol[Answer]):
    """One function of a contract."""

    @property
    def selector(self) -> bytes:
        """The first bytes of its call data."""
        ...

    @property
    def tool(self) -> str:
        """The tool that calls it."""
        ...

    @property
    def has_one_request(self) -> bool:
        """Whether the signed call data holds all of the canonical request."""
        ...

    def request_of(self, signed: SignedCall) -> dict[str, Any]:
        """Read the canonical request back from what was signed.

        Raises:
            ValueError: The call data is malformed.
        """
        ...

    def compare_request(self, signed: SignedCall, request: Mapping[str, Any]) -> str:
        """Compare a request with what was signed; returns what was shown.

        Raises:
            MismatchError: They differ.
            ValueError: The call data is malformed.
        """
        ...

    def answer_in(self, logs: Sequence[Log], contract: str) -> Answer:
        """Read the answer in the events.

        Raises:
            NotKeptError: They do not hold one.
            ServiceReplyError: They are malformed.
        """
        ...

    def is_emitted(self, signed: SignedCall, logs: Sequence[Log]) -> bool:
        """Return whether the request in the events, if there is one, is the one that was signed.

        Raises:
            ValueError: The call data is malformed.
            ServiceReplyError: The event is malformed.
        """
        ...

    def response_of(self, answer: Answer) -> tuple[dict[str, Any], bool]:
        """Write an answer as receipts keep it, and return whether that is its only form."""
        ...

    def compare_answer(self, answer: Answer, response: Mapping[str, Any]) -> bool:
        """Return whether a receipt's response is the answer in the events."""
        ...


class _Run:
    """`run`: ONNX inference."""

    selector = RUN_SELECTOR
    tool = "infer"
    has_one_request = False

    def request_of(self, signed: SignedCall) -> dict[str, Any]:
        """Read the request; a tensor's file name does not travel."""
        return request_of(decode_run(signed.data), self.tool)

    def compare_request(self, signed: SignedCall, request: Mapping[str, Any]) -> str:
        """Compare tensor by tensor."""
        call = decode_run(signed.data)
        equal(sorted(_RUN_FIELDS), sorted(request), "the list of fields that were signed for")
        equal(call.model_cid, request["model_cid"], "the model that was signed for")
        equal(call.mode_name, request["inference_mode"], "the mode that was signed for")
        kept = request["model_input"]
        names = [tensor.name for tensor in call.tensors]
        equal(sorted(names), sorted(kept), "the list of tensors that were signed for")
        for tensor in call.tensors:
            if not is_same(kept[tensor.name], tensor):
                raise MismatchError(
                    f"tensor {quote(tensor.name)} is not the one that was signed for"
                )
        return "model, mode and tensors of the request are those of the signed call data"

    def answer_in(self, logs: Sequence[Log], contract: str) -> ModelOutput:
        """Read the contract's event, else the precompile's."""
        log = find_log(logs, contract, RESULT_TOPIC)
        output = decode_result(log.data) if log else ModelOutput()
        if output.is_empty:
            log = find_log(logs, INFERENCE_PRECOMPILE, PRECOMPILE_TOPIC)
            output = decode_inference_event(log.data)[1] if log else ModelOutput()
        if output.is_empty:
            raise NotKeptError(
                "the events do not hold the output: the node sent it, and nobody signs that"
            )
        return output

    def is_emitted(self, signed: SignedCall, logs: Sequence[Log]) -> bool:
        """Check the precompile's event."""
        log = find_log(logs, INFERENCE_PRECOMPILE, PRECOMPILE_TOPIC)
        return log is None or decode_event_request(log.data) == decode_run(signed.data)

    def response_of(self, answer: ModelOutput) -> tuple[dict[str, Any], bool]:
        """Write the output; on the wire texts have no shape."""
        return to_json(answer), not answer.strings

    def compare_answer(self, answer: ModelOutput, response: Mapping[str, Any]) -> bool:
        """Compare all but the shape of texts, which the wire does not carry."""
        flat = {name: _flat(response.get(name)) for name in answer.strings}
        return canonical(to_json(answer)) == canonical({**response, **flat})


class _LLM:
    """`runLLMChat` or `runLLMCompletion`."""

    has_one_request = True

    def __init__(self, tool: str, function: LLMFunction) -> None:
        self.tool, self._function, self.selector = tool, function, function.selector

    def request_of(self, signed: SignedCall) -> dict[str, Any]:
        """Read the request, which has only one form, the recorded one."""
        return self._function.decode_request(signed.data).canonical

    def compare_request(self, signed: SignedCall, request: Mapping[str, Any]) -> str:
        """Compare field by field."""
        told = self.request_of(signed)
        equal(sorted(told), sorted(request), "the list of fields that were signed for")
        for name, value in told.items():
            if canonical(value) != canonical(request[name]):
                raise MismatchError(f"{name} is not what was signed for")
        return f"{', '.join(told)} are those of the signed call data"

    def answer_in(self, logs: Sequence[Log], contract: str) -> LLMResponse:
        """Read the contract's event, else the precompile's."""
        found = find_answer(self._function, logs, contract)
        if found is None:
            raise NotKeptError("the events do not hold an answer")
        return found[0]

    def is_emitted(self, signed: SignedCall, logs: Sequence[Log]) -> bool:
        """Check the precompile's event."""
        function = self._function
        log = find_log(logs, INFERENCE_PRECOMPILE, function.event_topic)
        if log is None:
            return True
        return function.decode_event_request(log.data) == function.decode_request(signed.data)

    def response_of(self, answer: LLMResponse) -> tuple[dict[str, Any], bool]:
        """Write the answer, which has only one form."""
        return answer.shown, True

    def compare_answer(self, answer: LLMResponse, response: Mapping[str, Any]) -> bool:
        """Compare both in canonical form."""
        return canonical(answer.shown) == canonical(dict(response))


_FUNCTIONS: Final[tuple[Function[Any], ...]] = (
    _Run(),
    *(_LLM(tool, function) for tool, function in FUNCTIONS.items()),
    ApproveFunction(),
)


def function_of(data: bytes) -> Function[Any]:
    """Return the function that call data calls.

    Raises:
        ValueError: No tool calls that function.
    """
    for function in _FUNCTIONS:
        if data.startswith(function.selector):
            return function
    raise ValueError("it calls no function that a tool of og-mcp calls")


def _flat(value: object) -> list[Any]:
    if not isinstance(value, list):
        return [value]
    return [one for member in value for one in _flat(member)]
