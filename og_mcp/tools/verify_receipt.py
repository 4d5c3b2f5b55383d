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
    """Return whether a receipt holds: each check, its result, and who vouches for it.

    Takes the call_id of a call made here, or a receipt from elsewhere, not both. Calls that pay or
    go on chain leave one, failed ones too if they were charged or their answer was withheld; hub
    calls leave none. By itself a receipt is at most consistent: what it keeps belongs together.
    With online it is confirmed if the chain or the registry has it, too. none: a check failed, or
    nothing signed speaks for it. No level covers what is not_checked, as the bytes of images.
    Costs nothing.
    """
    return await og.verify_receipt(
        receipt or None, call_id=call_id, online=online, principal=principal
    )
