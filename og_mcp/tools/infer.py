"""Tool: run a model on chain."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from og_mcp.tools._arguments import DryRun, IdempotencyKey, MaxRetries, ModelCid, ModelInput
from og_mcp.tools._consent import PayingOG
from og_mcp.tools._injected import Call, Principal
from og_mcp.tools._progress import progress
from og_mcp.tools._tool import tool
from og_mcp.types import InferenceMode, InferenceModeName, InferenceResult

Mode = Annotated[
    InferenceModeName,
    Field(
        description="How the node proves its work: VANILLA re-execution, ZKML proof, TEE attestation."
    ),
]


@tool(
    title="Run a model on chain",
    toolset="models",
    read_only=False,
    destructive=False,
    idempotent=False,
    open_world=True,
)
async def infer(  # noqa: PLR0913, PLR0917 - the signature is the contract; mcp calls it by name
    model_cid: ModelCid,
    model_input: ModelInput,
    og: PayingOG,
    call: Call,
    principal: Principal,
    inference_mode: Mode = "VANILLA",
    max_retries: MaxRetries = 5,
    idempotency_key: IdempotencyKey = "",
    dry_run: DryRun = False,
) -> InferenceResult:
    """Run an ONNX model on chain and return its outputs with the transaction that holds them.

    Sends one transaction and pays its gas in the network's coin; dry_run tells the highest fee.
    Wrong input is refused before anything is sent. When an answer is lost, retry with the same
    idempotency_key: it is not paid twice. If the status is running, use get_call.
    get_model shows tensor names and shapes.
    """
    async with progress(call):
        return await og.infer(
            model_cid,
            model_input,
            InferenceMode[inference_mode],
            max_retries=max_retries,
            idempotency_key=idempotency_key,
            dry_run=dry_run,
            principal=principal,
            wait_s=og.settings.wait_s,
        )
