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

    budget holds the caps in force and what is spent, open and left of them in 24 hours: *_opg in
    OPG, *_fee_wei in wei of the network's coin, base_*_fee_wei in wei of the payment chain's coin.
    ready says whether calls can be paid; problems lists what keeps them from it, each with its
    fix. Costs nothing. Use it before a first paid call, or after one was refused.
    """
    return await og.status()
