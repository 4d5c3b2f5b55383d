"""Tool: the calls there were, and what they cost."""

from __future__ import annotations

from og_mcp.tools._arguments import Limit, StatusFilter, ToolFilter
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
async def list_calls(
    og: OG,
    principal: Principal,
    limit: Limit = 20,
    status: StatusFilter = "",
    tool: ToolFilter = "",
) -> CallList:
    """Return the calls that could cost something, newest first, and what they cost in all.

    Amounts are OPG and, for fees, wei of the network's coin; open ones are signed and not yet
    settled. Use get_call for the result of one call, and this one to find a call whose answer
    was lost. Costs nothing.
    """
    return await og.list_calls(limit, status or None, tool, principal=principal)
