"""Tool: set how much OPG may be taken to pay gateways."""

from __future__ import annotations

from og_mcp.tools._arguments import AmountOPG, DryRun, IdempotencyKey
from og_mcp.tools._consent import PayingOG
from og_mcp.tools._injected import Call, Principal
from og_mcp.tools._progress import progress
from og_mcp.tools._tool import tool
from og_mcp.types import AllowanceResult


@tool(
    title="Set the OPG allowance",
    toolset="wallet",
    read_only=False,
    destructive=True,
    idempotent=True,
    open_world=True,
)
async def approve_opg(  # noqa: PLR0913, PLR0917 - the signature is the contract; mcp calls it by name
    amount_opg: AmountOPG,
    og: PayingOG,
    call: Call,
    principal: Principal,
    idempotency_key: IdempotencyKey = "",
    dry_run: DryRun = False,
) -> AllowanceResult:
    """Set how much OPG chat, completion, web_search and generate_image may charge in all.

    Needed once before them; replaces the earlier allowance of the contract Permit2. Sends one
    transaction on the payment chain and pays its gas. A person is always asked, except to revoke.
    """
    async with progress(call):
        return await og.approve_opg(
            amount_opg,
            idempotency_key=idempotency_key,
            dry_run=dry_run,
            principal=principal,
            wait_s=og.settings.wait_s,
        )
