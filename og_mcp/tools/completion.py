"""Tool: have a language model continue a text."""

from __future__ import annotations

from og_mcp.tools._arguments import (
    DryRun,
    IdempotencyKey,
    LLMModel,
    MaxRetries,
    MaxTokens,
    Mode,
    Prompt,
    SettlementMode,
    StopSequence,
    Temperature,
)
from og_mcp.tools._consent import PayingOG
from og_mcp.tools._injected import Call, Principal
from og_mcp.tools._progress import progress
from og_mcp.tools._tool import tool
from og_mcp.types import DEFAULT_MAX_TOKENS, CompletionResult


@tool(
    title="Complete a text",
    toolset="llm",
    read_only=False,
    destructive=False,
    idempotent=False,
    open_world=True,
)
async def completion(  # noqa: PLR0913, PLR0917 - the signature is the contract; mcp calls it by name
    prompt: Prompt,
    og: PayingOG,
    call: Call,
    principal: Principal,
    model: LLMModel = "",
    inference_mode: Mode = "AUTO",
    max_tokens: MaxTokens = DEFAULT_MAX_TOKENS,
    stop_sequence: StopSequence = [],  # noqa: B006 - never changed; hosts want a typed default
    temperature: Temperature = 0.0,
    max_retries: MaxRetries = 5,
    settlement_mode: SettlementMode = "batch",
    idempotency_key: IdempotencyKey = "",
    dry_run: DryRun = False,
) -> CompletionResult:
    """Have a language model continue a text and return the verified continuation.

    Cost, checks and retries are those of chat, which suits conversations and tools better.
    """
    async with progress(call):
        return await og.completion(
            model,
            prompt,
            inference_mode,
            max_tokens=max_tokens,
            stop_sequence=stop_sequence,
            temperature=temperature,
            max_retries=max_retries,
            settlement_mode=settlement_mode,
            idempotency_key=idempotency_key,
            dry_run=dry_run,
            principal=principal,
            wait_s=og.settings.wait_s,
        )
