"""Tool: wait for a call, or look at its end."""

from __future__ import annotations

from og_mcp.tools._arguments import CallId, WaitS
from og_mcp.tools._illustrated import illustrated_call
from og_mcp.tools._injected import OG, Call, Principal
from og_mcp.tools._progress import progress
from og_mcp.tools._tool import tool
from og_mcp.types import CallInfo


@tool(
    title="Get call",
    toolset="calls",
    read_only=True,
    destructive=False,
    idempotent=True,
    open_world=True,
)
async def get_call(
    call_id: CallId, og: OG, call: Call, principal: Principal, wait_s: WaitS = 20.0
) -> CallInfo:
    """Return how far a call has come: its status, stage, fee, and its result or its error.

    Use it after a tool answered status running, and for a call that failed at stage
    sent_unknown, before it is repeated. A failed call is a result here, not an error. Free; list_calls finds the ids.
    """
    seen = await og.is_delivered(call_id, principal=principal)
    async with progress(call):
        info = await og.get_call(call_id, wait_s, principal=principal)
    return await illustrated_call(info, og, principal, previews=not seen)
