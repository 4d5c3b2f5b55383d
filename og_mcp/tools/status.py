"""Tool: the wallet, and what is missing."""

from __future__ import annotations

from og_mcp.tools._injected import OG
from og_mcp.tools._tool import tool
from og_mcp.types import Status


@tool(
    title="Wallet and network status",
    toolset="wallet",
    read_only=True,
    destructive=False,
    idempotent=True,
    open_world=True,
)
async def status(og: OG) -> Status:
    """Return the network in use, the wallet's address and balances, and the budget.

    ready says whether calls can be paid; problems lists what prevents that, each with its
    fix. Free. Use it before a first paid call, or after one was refused.
    """
    return await og.status()
