"""Tool: chat with a language model."""

from __future__ import annotations

from og_mcp.tools._arguments import (
    DryRun,
    IdempotencyKey,
    LLMModel,
    MaxRetries,
    MaxTokens,
    Messages,
    Mode,
    ResponseFormat,
    SettlementMode,
    StopSequence,
    Temperature,
    ToolChoice,
    Tools,
    WebSearch,
)
from og_mcp.tools._consent import PayingOG
from og_mcp.tools._injected import Call, Principal
from og_mcp.tools._progress import WorkCount, progress
from og_mcp.tools._tool import tool
from og_mcp.types import DEFAULT_MAX_TOKENS, ChatResult


@tool(
    title="Chat with a language model",
    toolset="llm",
    read_only=False,
    destructive=False,
    idempotent=False,
    open_world=True,
)
async def chat(  # noqa: PLR0913, PLR0917 - the signature is the contract; mcp calls it by name
    messages: Messages,
    og: PayingOG,
    call: Call,
    principal: Principal,
    model: LLMModel = "",
    inference_mode: Mode = "AUTO",
    max_tokens: MaxTokens = DEFAULT_MAX_TOKENS,
    stop_sequence: StopSequence = [],  # noqa: B006 - never changed; hosts want a typed default
    temperature: Temperature = 0.0,
    tools: Tools = [],  # noqa: B006 - as above
    tool_choice: ToolChoice = "",
    max_retries: MaxRetries = 5,
    response_format: ResponseFormat = {},  # noqa: B006 - as above
    web_search: WebSearch = False,
    settlement_mode: SettlementMode = "batch",
    idempotency_key: IdempotencyKey = "",
    dry_run: DryRun = False,
) -> ChatResult:
    """Chat with a language model inside an attested enclave and return its verified answer.

    Pays OPG for what it uses, at most payment.max_opg, which the calls of one session share; on
    chain it pays gas. The answer's signature is checked before anything is shown; verification
    says what it covers. When an answer is lost, retry with the same idempotency_key: it is never
    paid twice. search_models with kind llm lists models and prices.
    """
    tokens = WorkCount("tokens")
    async with progress(call, tokens):
        return await og.chat(
            model,
            messages,
            inference_mode,
            max_tokens=max_tokens,
            stop_sequence=stop_sequence,
            temperature=temperature,
            tools=tools,
            tool_choice=tool_choice,
            max_retries=max_retries,
            response_format=response_format,
            web_search=web_search,
            settlement_mode=settlement_mode,
            idempotency_key=idempotency_key,
            dry_run=dry_run,
            principal=principal,
            wait_s=og.settings.wait_s,
            on_progress=tokens,
        )
