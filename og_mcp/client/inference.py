"""ONNX inference on chain: call the contract, read the output (protocol.md section 3)."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

import anyio
import httpx
from anyio import to_thread

from og_mcp.client._abi import decode_inference_event, decode_result, encode_run
from og_mcp.client._http import fetch_json
from og_mcp.client._tensors import Inputs, ModelOutput, node_output
from og_mcp.client.chain import Log, Receipt
from og_mcp.client.lane import Lane
from og_mcp.errors import (
    OutputMissingError,
    ServiceError,
    ServiceRejectedError,
    ServiceReplyError,
)
from og_mcp.networks import INFERENCE_PRECOMPILE, Network
from og_mcp.types import InferenceMode

RESULT_TOPIC: Final = "0xc1396ff68bc2d8630100df29ce5561fa99078c602e8676ab72a53e37095d7168"
"""`InferenceResult(ModelOutput output)` of the inference contract."""

PRECOMPILE_TOPIC: Final = "0x1b283af3452f3718585ce100f80d9aa81fc60924db4a582a36db6aae3b109d87"
"""`ModelInferenceEvent(string inferenceID, request, ModelOutput response)` of the precompile."""

NODE_API: Final = "node API"
NODE_API_TRIES: Final = 4


@dataclass(frozen=True)
class Inferred:
    """An output and where it was read."""

    receipt: Receipt
    output: ModelOutput
    source: str
    """`event`, `precompile_event` or `node_api`."""


class Inference:
    """Runs models through the inference contract.

    Args:
        network: Whose contract.
        lane: Sends the transactions.
        http: For the node's API.
    """

    def __init__(self, network: Network, lane: Lane, http: httpx.AsyncClient) -> None:
        self._network, self._lane, self._http = network, lane, http

    async def run(
        self, model_cid: str, inputs: Inputs, mode: InferenceMode, *, max_retries: int
    ) -> Inferred:
        """Run one model in one transaction and read its output.

        Raises:
            ChainError: As `Lane.send`; `OutputMissingError` where the gas is paid and no output
                can be found.
            ServiceError: The node cannot be used; nothing was sent.

        Source: `run(string,uint8,tuple)` in `abi/inference.json`.
        """
        data = await to_thread.run_sync(encode_run, model_cid, int(mode), inputs)
        contract = self._network.inference_contract
        receipt = await self._lane.send(contract, data, max_retries=max_retries)
        try:
            return await self._read(receipt, mode)
        except ServiceError as exc:
            raise OutputMissingError(receipt.transaction_hash, str(exc)) from exc

    async def _read(self, receipt: Receipt, mode: InferenceMode) -> Inferred:
        """Read the output: the contract's event, else the precompile's, else the node's API."""
        log = _find(receipt.logs, self._network.inference_contract, RESULT_TOPIC)
        if log is not None:
            output = await to_thread.run_sync(decode_result, log.data)
            if not output.is_empty:
                return Inferred(receipt, output, "event")
        log = _find(receipt.logs, INFERENCE_PRECOMPILE, PRECOMPILE_TOPIC)
        if log is None:
            raise OutputMissingError(receipt.transaction_hash, "its receipt holds no output event")
        inference_id, output = await to_thread.run_sync(decode_inference_event, log.data)
        if not output.is_empty:
            return Inferred(receipt, output, "precompile_event")
        return Inferred(receipt, await self._ask_node(inference_id, mode), "node_api")

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


RESULT_PATHS: Final = {
    InferenceMode.VANILLA: ("VanillaResult", "model_output"),
    InferenceMode.ZKML: ("ZkmlResult", "model_output"),
    InferenceMode.TEE: ("TeeNodeResult", "Response", "VanillaResponse", "model_output"),
}
"""Where a node's result holds the output, by mode (protocol.md section 3.3)."""


def _read_node_result(encoded: object, mode: InferenceMode) -> ModelOutput:
    try:
        value = json.loads(base64.b64decode(str(encoded)))["InferenceResult"]
        for key in RESULT_PATHS[mode]:
            value = value[key]
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        raise ServiceReplyError(NODE_API, f"it holds no {mode.name} result") from exc
    return node_output(value)


def _find(logs: Sequence[Log], address: str, topic: str) -> Log | None:
    """Return the last event of that kind from that address; others may emit alike ones."""
    for log in reversed(logs):
        if log.address == address.lower() and log.topics[:1] == (topic,):
            return log
    return None
