"""Tool: the calls there were, and what they cost."""

from __future__ import annotations

from og_mcp.tools._arguments import Limit, Page, Since, StatusFilter, ToolFilter
from og_mcp.tools._injected import OG, Principal
from og_mcp.tools._tool import tool
from og_mcp.types import CallList


@tool(
    title="List calls",
    toolset="calls",
    read_only=True,
    destructive=False,
    idempotent=True,
    open_world=False,
)
async def list_calls(  # noqa: PLR0913, PLR0917 - the signature is the contract; mcp calls it by name
    og: OG,
    principal: Principal,
    limit: Limit = 20,
    status: StatusFilter = "",
    tool: ToolFilter = "",
    since: Since = "",
    page: Page = 0,
) -> CallList:
    """Return the calls that could cost something, newest first, and what all of them cost.

    Each with time, model and first words; get_call has its result. Open amounts are signed and
    not yet settled. Free.
    """
    return await og.list_calls(
        limit, status or None, tool, since=since, page=page, principal=principal
    )
