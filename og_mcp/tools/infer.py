"""Tool: run a model on chain."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from og_mcp.tools._arguments import MaxRetries, ModelCid, ModelInput
from og_mcp.tools._progress import with_progress
from og_mcp.tools._tool import OG, Call, tool
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
    og: OG,
    call: Call,
    inference_mode: Mode = "VANILLA",
    max_retries: MaxRetries = 5,
) -> InferenceResult:
    """Run an ONNX model on chain and return its outputs with the transaction that holds them.

    Sends one transaction and pays its gas in the network's coin (fee_wei tells how much); wrong
    input is refused before anything is sent. Use get_model first when the tensor names and
    shapes are not known, and status when a wallet or funds may be missing.
    """
    mode = InferenceMode[inference_mode]
    return await with_progress(
        call, og.infer(model_cid, model_input, mode, max_retries=max_retries)
    )
