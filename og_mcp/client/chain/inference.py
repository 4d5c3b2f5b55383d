"""ONNX inference on chain: call the contract, read the output (protocol.md section 3)."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

import anyio
import httpx
from anyio import to_thread
from pydantic_core import from_json

from og_mcp.client.chain.chain import Log, Receipt
from og_mcp.client.codec.abi import decode_inference_event, decode_result
from og_mcp.client.codec.tensors import ModelOutput, node_output, to_json
from og_mcp.client.files.output_files import OutputFiles
from og_mcp.client.wire.http import fetch_json
from og_mcp.errors import (
    OutputMissingError,
    OutputUnreadableError,
    ServiceError,
    ServiceRejectedError,
    ServiceReplyError,
    fee_text,
)
from og_mcp.networks import INFERENCE_PRECOMPILE, Network
from og_mcp.types import InferenceMode, InferenceResult, TensorSpec

RESULT_TOPIC: Final = "0xc1396ff68bc2d8630100df29ce5561fa99078c602e8676ab72a53e37095d7168"
"""`InferenceResult(ModelOutput output)` of the inference contract."""

PRECOMPILE_TOPIC: Final = "0x1b283af3452f3718585ce100f80d9aa81fc60924db4a582a36db6aae3b109d87"
"""`ModelInferenceEvent(string inferenceID, request, ModelOutput response)` of the precompile."""

NODE_API: Final = "node API"
NODE_API_TRIES: Final = 4


@dataclass(frozen=True)
class InferenceOutput:
    """An output and where it was read."""

    receipt: Receipt
    output: ModelOutput
    source: str
    """`event`, `precompile_event` or `node_api`."""

    values: dict[str, Any]
    """The output as JSON values, whole."""

    shown: dict[str, Any]
    """The output as results show it: large tensors are kept in files."""

    @property
    def response(self) -> dict[str, Any]:
        """The output as receipts keep it."""
        return self.values

    def result(self, call_id: str, network: Network, request: Mapping[str, Any]) -> InferenceResult:
        """Put together what the tool returns.

        Args:
            call_id: The call.
            network: Where it was made.
            request: Its canonical request.
        """
        mined = self.receipt
        return InferenceResult(
            call_id=call_id,
            network=network.name,
            status="done",
            transaction_hash=mined.transaction_hash,
            model_output=self.shown,
            note=self.output.note,
            inference_mode=InferenceMode[request["inference_mode"]].word,
            model_cid=request["model_cid"],
            is_simulation_result=self.output.is_simulation_result,
            source=self.source,
            vouched_by=mined.vouched_by,
            block_number=mined.block_number,
            gas_used=mined.gas_used,
            fee=fee_text(mined.fee_wei),
            fee_wei=mined.fee_wei,
            explorer_url=network.explorer_tx_url.format(hash=mined.transaction_hash),
        )


class Inference:
    """Reads what the inference contract gave for a model.

    Args:
        network: Whose contract.
        http: For the node's API.
        files: Keeps large outputs.
    """

    def __init__(self, network: Network, http: httpx.AsyncClient, files: OutputFiles) -> None:
        self._network, self._http, self._files = network, http, files

    async def read(
        self,
        receipt: Receipt,
        mode: InferenceMode,
        principal: str,
        outputs: Sequence[TensorSpec] = (),
    ) -> InferenceOutput:
        """Read the output: the contract's event, else the precompile's, else the node's API.

        Raises:
            OutputMissingError: None of them has it; the gas is paid.
        """
        try:
            output, source = await self._read(receipt, mode)
            values = await to_thread.run_sync(to_json, output, outputs)
            shown = await to_thread.run_sync(self._files.present, output, values, principal)
        except ServiceError as exc:
            raise OutputMissingError(receipt.transaction_hash, str(exc), receipt.fee_wei) from exc
        return InferenceOutput(receipt, output, source, values, shown)

    async def read_back(
        self, mined: Receipt, request: Mapping[str, Any], principal: str
    ) -> InferenceOutput:
        """Read the output of an earlier call by its canonical request; else as `read`."""
        return await self.read(mined, InferenceMode[request["inference_mode"]], principal)

    async def _read(self, receipt: Receipt, mode: InferenceMode) -> tuple[ModelOutput, str]:
        log = find_log(receipt.logs, self._network.inference_contract, RESULT_TOPIC)
        if log is not None:
            output = await to_thread.run_sync(decode_result, log.data)
            if not output.is_empty:
                return output, "event"
        log = find_log(receipt.logs, INFERENCE_PRECOMPILE, PRECOMPILE_TOPIC)
        if log is None:
            why = "its receipt holds no output event"
            raise OutputMissingError(receipt.transaction_hash, why, receipt.fee_wei)
        inference_id, output = await to_thread.run_sync(decode_inference_event, log.data)
        if not output.is_empty:
            return output, "precompile_event"
        return await self._ask_node(inference_id, mode), "node_api"

    async def _ask_node(self, inference_id: str, mode: InferenceMode) -> ModelOutput:
        path = f"/artela-network/artela-rollkit/inference/tx/{quote(inference_id, safe='')}"
        url = self._network.node_api_url.rstrip("/") + path
        for again in range(NODE_API_TRIES):
            if again:
                # The node may publish the result after the block.
                await anyio.sleep(0.5 * 2**again)
            results = await self._get_results(url)
            if results:
                return await to_thread.run_sync(_read_node_result, results[0], mode)
        raise ServiceReplyError(NODE_API, "it has no result for this inference")

    async def _get_results(self, url: str) -> list[Any]:
        try:
            answer = await fetch_json(self._http, NODE_API, url)
        except ServiceRejectedError as exc:
            if exc.status == HTTPStatus.NOT_FOUND:
                return []
            raise
        results = answer.get("inference_results") if isinstance(answer, dict) else None
        return results if isinstance(results, list) else []


async def check_readable(data: bytes) -> None:
    """Check that the answer of a simulated call can be read, before it is paid for.

    Raises:
        OutputUnreadableError: It cannot be read.
    """
    try:
        output = await to_thread.run_sync(decode_result, data)
        await to_thread.run_sync(to_json, output)
    except ServiceReplyError as exc:
        raise OutputUnreadableError(exc.what) from exc


RESULT_PATHS: Final = {
    InferenceMode.VANILLA: ("VanillaResult", "model_output"),
    InferenceMode.ZKML: ("ZkmlResult", "model_output"),
    InferenceMode.TEE: ("TeeNodeResult", "Response", "VanillaResponse", "model_output"),
}
"""Where a node's result holds the output, by mode (protocol.md section 3.3)."""


def _read_node_result(encoded: object, mode: InferenceMode) -> ModelOutput:
    try:
        value = from_json(base64.b64decode(str(encoded)))["InferenceResult"]
        for key in RESULT_PATHS[mode]:
            value = value[key]
    except (ValueError, LookupError, TypeError) as exc:
        raise ServiceReplyError(NODE_API, f"it holds no {mode.name} result") from exc
    return node_output(value)


def find_log(logs: Sequence[Log], address: str, topic: str) -> Log | None:
    """Return the last event of this kind from this address; other contracts may emit the same kind."""
    for log in reversed(logs):
        if log.address == address.lower() and log.topics[:1] == (topic,):
            return log
    return None
