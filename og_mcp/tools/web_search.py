"""Tool: search the web."""

from __future__ import annotations

from og_mcp.tools._arguments import (
    DryRun,
    IdempotencyKey,
    NumResults,
    RecencyDays,
    SearchQuery,
)
from og_mcp.tools._consent import PayingOG
from og_mcp.tools._injected import Call, Principal
from og_mcp.tools._progress import progress
from og_mcp.tools._tool import tool
from og_mcp.types import SearchResult


@tool(
    title="Search the web",
    toolset="llm",
    read_only=False,
    destructive=False,
    idempotent=False,
    open_world=True,
)
async def web_search(  # noqa: PLR0913, PLR0917 - the signature is the contract; mcp calls it by name
    query: SearchQuery,
    og: PayingOG,
    call: Call,
    principal: Principal,
    num_results: NumResults = 0,
    recency_days: RecencyDays = 0,
    idempotency_key: IdempotencyKey = "",
    dry_run: DryRun = False,
) -> SearchResult:
    """Search the web through an attested enclave and return the verified text, with its sources.

    Each search costs a flat price in OPG; checks and retries are those of chat.
    """
    async with progress(call):
        return await og.web_search(
            query,
            num_results,
            recency_days,
            idempotency_key=idempotency_key,
            dry_run=dry_run,
            principal=principal,
            wait_s=og.settings.wait_s,
        )
