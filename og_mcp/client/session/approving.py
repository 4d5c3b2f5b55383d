"""How a session sets the allowance: always agreed to by a person, journalled, sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from og_mcp.client.session.calling import Terms
from og_mcp.client.session.loading import load
from og_mcp.client.session.onchain_calling import OnchainCalling
from og_mcp.client.session.parts import Parts
from og_mcp.client.session.payment_parts import PaymentParts
from og_mcp.errors import InputError, coins, fee_text
from og_mcp.types import AllowanceResult

if TYPE_CHECKING:
    from og_mcp.client.chain.ticket import Ticket
    from og_mcp.client.chain.wallet import Transaction
    from og_mcp.client.payments.allowance import Approved

MAX_RETRIES: Final = 5
TOOL: Final = "approve_opg"
CHECKED_INPUT: Final = "the amount is finite"
TAKEN: Final = "the OPG token takes the call"


class Approving:
    """The approvals of one session.

    Args:
        parts: What a session consists of.
        paying: What speaks to the payment chain.
    """

    def __init__(self, parts: Parts, paying: PaymentParts) -> None:
        self._parts, self._paying = parts, paying

    async def approve(self, amount_opg: str, terms: Terms, *, dry_run: bool) -> AllowanceResult:
        """Set what Permit2 may take; see `Language.approve_opg`."""
        module = await load("payments.allowance")
        amount = module.base_units(amount_opg)
        network = await self._parts.network.get()
        if not network.tee_registry:
            raise InputError(
                f"Network {network.name} has no gateways: nothing there is paid in OPG, and no "
                "allowance is needed.",
                "Use OG_NETWORK=opengradient to pay gateways.",
            )
        if amount == 0 and (told := await self._revoked_already()):
            return told
        calling = OnchainCalling(self._parts, self._paying)
        if dry_run:
            fee_wei = (await self._price(amount)).max_fee
            return AllowanceResult(
                call_id="",
                network=self._parts.settings.network_name,
                status="dry_run",
                allowance_opg=coins(amount),
                fee=fee_text(fee_wei),
                fee_wei=fee_wei,
                checks=await calling.checks(
                    TOOL, fee_wei, CHECKED_INPUT, taken=TAKEN, asks=amount > 0
                ),
            )

        async def price() -> Transaction:
            return await self._price(amount)

        async def approve(ticket: Ticket) -> Approved:
            allowance = await self._paying.allowance.get()
            return await allowance.approve(ticket, amount, max_retries=MAX_RETRIES)

        request = module.request_of(amount, network)
        call = await calling.make(
            request, terms, price=price, ask=approve, max_opg=amount, asks=amount > 0
        )
        if call.status == "done" and call.result:
            return AllowanceResult.model_validate_json(call.result)
        return AllowanceResult(
            call_id=call.id,
            network=call.network,
            status=call.status,
            transaction_hash=call.transaction_hashes[-1] if call.transaction_hashes else "",
            allowance_opg=coins(amount),
            fee=fee_text(call.fee_wei),
            fee_wei=call.fee_wei,
        )

    async def _revoked_already(self) -> AllowanceResult | None:
        """Tell that there is nothing to revoke; `None` where there is."""
        address = await (await self._paying.wallet.get()).address()
        held = await (await self._paying.opg.get()).holdings(address)
        if held.allowance:
            return None
        rpc = (await self._paying.chain.get()).rpc_shown
        return AllowanceResult(
            network=self._parts.settings.network_name,
            status="done",
            allowance_opg="0",
            note=f"Nothing was sent: the allowance is 0 already, says {rpc}.",
        )

    async def _price(self, amount: int) -> Transaction:
        allowance = await self._paying.allowance.get()
        return await allowance.price(amount, max_retries=MAX_RETRIES)
