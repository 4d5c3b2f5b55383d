"""The inference precompile: what answers inside the EVM at 0x..F4 (protocol.md section 3.3).

A call runs the model, or asks the built-in responder in place of an LLM, logs an event with request
and answer, and returns the answer. A call that cannot run reverts with `Error(string)`, so that
clients read `execution reverted: REASON`.
"""

from __future__ import annotations

import base64
import itertools
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, cast, get_args

from eth.abc import ComputationAPI
from eth.exceptions import Revert
from eth_typing import Address

from og_mcp.localnet import fixed_point
from og_mcp.localnet.evm import LocalState
from og_mcp.localnet.llm import answer_chat, answer_completion
from og_mcp.localnet.llm_wire import (
    encode_chat,
    encode_completion,
    read_chat,
    read_completion,
)
from og_mcp.localnet.models import Models, ModelSource
from og_mcp.localnet.wire import (
    CallRefusedError,
    ModelOutput,
    NumberTensor,
    Tail,
    pack,
    read_request,
    text,
)
from og_mcp.networks import INFERENCE_PRECOMPILE
from og_mcp.types import InferenceMode

ADDRESS: Final = Address(bytes.fromhex(INFERENCE_PRECOMPILE.removeprefix("0x")))

RUN_MODEL_INFERENCE: Final = bytes.fromhex("7289e9c2")
RUN_LLM_CHAT: Final = bytes.fromhex("e39aa7e7")
RUN_LLM_COMPLETION: Final = bytes.fromhex("14800c61")
ERROR_STRING: Final = bytes.fromhex("08c379a0")
"""Selector of Solidity's `Error(string)`."""

MODEL_INFERENCE_EVENT: Final = 0x1B283AF3452F3718585CE100F80D9AA81FC60924DB4A582A36DB6AAE3B109D87
LLM_CHAT_EVENT: Final = 0x4C92D3DF7819FCD1C9F9663332F0A599A65EEFDAD2EAF9193CFFB9DBF1919C3B
LLM_COMPLETION_EVENT: Final = 0x51FE69D513D73ECDE3FA3BF17584F7D2ACFD5F0B13D367E898D6E11E742127A3

GAS_BASE: Final = 20_000
GAS_PER_WORD: Final = 8
"""For each 32 bytes of request and answer."""

RESULTS_KEPT: Final = 1_000

Where = Literal["full", "empty", "missing"]


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Where the result of an inference appears; public nodes were seen to leave places out."""

    contract_event: Where = "full"
    """The contract's own event, and what the call returns."""

    precompile_event: Where = "full"
    """The precompile's event."""

    node_api: Literal["full", "missing"] = "full"
    """What the node tells of a model's output; it tells nothing of LLM calls."""

    @classmethod
    def from_json(cls, value: object) -> Answers:
        """Read the switches from an object with any of the fields.

        Raises:
            ValueError: A field or its value is unknown.
        """
        if not isinstance(value, Mapping) or not set(value) <= set(asdict(cls())):
            raise ValueError(f"answers are an object with some of {', '.join(asdict(cls()))}")
        for name, where in value.items():
            if where not in get_args(Where) or (name, where) == ("node_api", "empty"):
                raise ValueError(f"{name} cannot be {where!r}")
        return cls(**value)

    def as_json(self) -> dict[str, str]:
        """Write the switches as the object `from_json` reads."""
        return asdict(self)


@dataclass(frozen=True)
class _Result:
    mode: InferenceMode
    output: ModelOutput


@dataclass(frozen=True)
class _Exchange:
    """A request and its answer, as they go into events."""

    topic: int
    request: bytes
    answer: bytes
    empty: bytes
    """What replaces the answer if it is left out."""


class InferencePrecompile:
    """Answers calls of the EVM; py-evm takes it as a precompile function.

    Only one thread may use it.
    """

    answers: Answers
    """Read at every call; assign another to switch."""

    runs: int
    """How often a model ran, simulations included."""

    def __init__(self, models: ModelSource) -> None:
        self.answers = Answers()
        self.runs = 0
        self._models = Models(models)
        self._results: OrderedDict[str, _Result] = OrderedDict()
        self._ids = itertools.count(1)

    def __call__(self, computation: ComputationAPI) -> None:
        """Answer one call.

        Raises:
            Revert: The call is refused; the computation's output says why.
        """
        data = bytes(computation.msg.data)
        try:
            self._dispatch(computation, data[:4], data[4:])
        except CallRefusedError as exc:
            computation.output = ERROR_STRING + pack(text(str(exc)))
            raise Revert(computation.output) from exc

    def _dispatch(self, computation: ComputationAPI, selector: bytes, arguments: bytes) -> None:
        run = {
            RUN_MODEL_INFERENCE: self._run_model_inference,
            RUN_LLM_CHAT: self._run_llm_chat,
            RUN_LLM_COMPLETION: self._run_llm_completion,
        }.get(selector)
        if run is None:
            raise CallRefusedError(f"the precompile has no function 0x{selector.hex()}")
        if computation.msg.is_static:
            raise CallRefusedError("an inference leaves a log, which a static call may not")
        _charge(computation, GAS_BASE + GAS_PER_WORD * (len(arguments) // 32))
        run(computation, arguments)

    def _run_model_inference(self, computation: ComputationAPI, arguments: bytes) -> None:
        request = read_request(arguments)
        mode = _mode(request.mode)
        output = self._models.get(request.model_cid).infer(request.numbers, request.strings)
        self.runs += 1
        exchange = _Exchange(
            MODEL_INFERENCE_EVENT, request.encoded, output.encode(), ModelOutput().encode()
        )
        inference_id = self._announce(computation, exchange)
        # What is only simulated leaves nothing behind, on the node as on the chain.
        if not cast(LocalState, computation.state).simulated:
            self._keep(inference_id, _Result(mode, output))

    def _run_llm_chat(self, computation: ComputationAPI, arguments: bytes) -> None:
        request = read_chat(arguments)
        answer, empty = answer_chat(request), encode_chat("", {})
        self._announce(computation, _Exchange(LLM_CHAT_EVENT, request.encoded, answer, empty))

    def _run_llm_completion(self, computation: ComputationAPI, arguments: bytes) -> None:
        request = read_completion(arguments)
        answer, empty = answer_completion(request), encode_completion("")
        self._announce(computation, _Exchange(LLM_COMPLETION_EVENT, request.encoded, answer, empty))

    def _announce(self, computation: ComputationAPI, exchange: _Exchange) -> str:
        """Log and return an answer; returns the inference's id."""
        _charge(computation, GAS_PER_WORD * (len(exchange.answer) // 32))
        # Slashes: ids must be quoted in the node's URL, and a client that forgets shall notice.
        inference_id = f"local/{computation.state.block_number}/{next(self._ids)}"
        shown = {"full": exchange.answer, "empty": exchange.empty}
        if self.answers.precompile_event != "missing":
            response = shown[self.answers.precompile_event]
            event = pack(text(inference_id), Tail(exchange.request), Tail(response))
            computation.add_log_entry(ADDRESS, (exchange.topic,), event)
        if self.answers.contract_event != "missing":
            computation.output = pack(Tail(shown[self.answers.contract_event]))
        return inference_id

    def _keep(self, inference_id: str, result: _Result) -> None:
        self._results[inference_id] = result
        if len(self._results) > RESULTS_KEPT:
            self._results.popitem(last=False)

    def node_result(self, inference_id: str) -> dict[str, Any] | None:
        """Return what the node API says of an inference, or None of one it does not know.

        The shape is that of protocol.md section 3.3: `{"inference_results": [base64(JSON)]}`, with
        no results while `answers.node_api` is "missing".
        """
        result = self._results.get(inference_id)
        if result is None:
            return None
        if self.answers.node_api == "missing":
            return {"inference_results": []}
        told = _by_mode(result.mode, _as_json(result.output))
        document = json.dumps({"InferenceResult": told})
        return {"inference_results": [base64.b64encode(document.encode()).decode()]}


def _charge(computation: ComputationAPI, gas: int) -> None:
    computation.consume_gas(gas, reason="inference precompile")


def _mode(number: int) -> InferenceMode:
    try:
        return InferenceMode(number)
    except ValueError:
        raise CallRefusedError(f"the inference mode {number} is unknown") from None


def _as_json(output: ModelOutput) -> dict[str, Any]:
    return {
        "numbers": [_numbers_as_json(tensor) for tensor in output.numbers],
        "strings": [asdict(tensor) for tensor in output.strings],
        "jsons": [asdict(scalar) for scalar in output.jsons],
        "is_simulation_result": True,
    }


def _numbers_as_json(tensor: NumberTensor) -> dict[str, Any]:
    # Text, because JSON readers lose digits of an int128.
    values = [
        {"value": str(value), "decimals": str(decimals)}
        for value, decimals in fixed_point.numbers(tensor.words)
    ]
    return {"name": tensor.name, "values": values, "shape": list(tensor.shape)}


def _by_mode(mode: InferenceMode, output: dict[str, Any]) -> dict[str, Any]:
    held = {"model_output": output}
    match mode:
        case InferenceMode.VANILLA:
            return {"VanillaResult": held}
        case InferenceMode.ZKML:
            return {"ZkmlResult": held}
        case InferenceMode.TEE:
            return {"TeeNodeResult": {"Response": {"VanillaResponse": held}}}
