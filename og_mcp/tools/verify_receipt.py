"""Tool: check what a call left as proof."""

from __future__ import annotations

from og_mcp.tools._arguments import Online, OptionalCallId, ReceiptDocument
from og_mcp.tools._injected import OG, Principal
from og_mcp.tools._tool import tool
from og_mcp.types import Verification


@tool(
    title="Verify receipt",
    toolset="calls",
    read_only=True,
    destructive=False,
    idempotent=True,
    open_world=True,
)
async def verify_receipt(
    og: OG,
    principal: Principal,
    call_id: OptionalCallId = "",
    receipt: ReceiptDocument = {},  # noqa: B006 - pydantic copies it
    online: Online = False,
) -> Verification:
    """Check a receipt: each check, its result, and who vouches for it.

    Takes the call_id of a call made here, or a receipt. Calls that pay or go on chain leave one.
    consistent: what it keeps belongs together; confirmed, with online: chain or registry have it
    too. No level covers what is not_checked, as the bytes of images. Free.
    """
    return await og.verify_receipt(
        receipt or None, call_id=call_id, online=online, principal=principal
    )
