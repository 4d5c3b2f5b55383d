"""Tool: set how much OPG may be taken to pay gateways."""

from __future__ import annotations

from og_mcp.tools._arguments import AmountOPG, DryRun, IdempotencyKey
from og_mcp.tools._consent import PayingOG
from og_mcp.tools._injected import Call, Principal
from og_mcp.tools._progress import with_progress
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
    """Set how much OPG the contract Permit2 may take from the wallet to pay gateways.

    Needed once before chat, completion and generate_image; replaces the earlier allowance. Sends
    one transaction on the payment chain and pays its gas in that chain's coin. A person is always
    asked, but to revoke. The caps of the operator hold whatever the allowance is; status shows it.
    """
    work = og.approve_opg(
        amount_opg,
        idempotency_key=idempotency_key,
        dry_run=dry_run,
        principal=principal,
        wait_s=og.settings.wait_s,
    )
    return await with_progress(call, work)
