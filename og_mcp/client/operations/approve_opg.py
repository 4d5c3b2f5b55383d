"""An allowance: how much OPG chat and image services may charge in total, by way of Permit2."""

from __future__ import annotations

from typing import Any

from og_mcp.client.calls.context import CallContext
from og_mcp.client.calls.operation import Outcome
from og_mcp.client.chain.chain import Receipt
from og_mcp.client.operations.transaction import ChainAccess, TransactionOperation
from og_mcp.client.payments.allowance import GAS_MARGIN, Allowance, ApprovedAllowance, request_of
from og_mcp.client.wire.lazy import Lazy
from og_mcp.errors import coins
from og_mcp.types import AllowanceResult


class ApproveOPG(TransactionOperation[AllowanceResult]):
    """Sets the allowance; a person always agrees to more than 0 first.

    Args:
        chain: The payment chain.
        amount: OPG base units; 0 revokes.
        allowance: What Permit2 may take.
    """

    tool = "approve_opg"
    result = AllowanceResult
    checked_input = "the amount is finite"
    taken = "the OPG token takes the call"
    gas_margin = GAS_MARGIN

    def __init__(self, chain: ChainAccess, amount: int, allowance: Lazy[Allowance]) -> None:
        super().__init__(chain, max_retries=5)
        self._allowance, self.max_opg = allowance, amount
        # Revoking allows nobody anything.
        self.consent_at = "start" if amount else "never"
        self.request = request_of(amount, chain.network)

    @property
    def fields(self) -> dict[str, Any]:
        """The amount."""
        return {"allowance_opg": coins(self.max_opg)}

    async def call_data(self) -> tuple[str, bytes]:
        """Encode `approve(address,uint256)` of the token (protocol.md section 7)."""
        return (await self._allowance.get()).call_data(self.max_opg)

    async def read_result(self, call: CallContext, mined: Receipt) -> ApprovedAllowance:
        """Tell the new allowance."""
        return await (await self._allowance.get()).read_back(mined, self.request, call.principal)

    async def execute(self, call: CallContext) -> Outcome[AllowanceResult]:
        """Send the transaction, and forget the old allowance however that ended."""
        allowance = await self._allowance.get()
        before = await allowance.current()
        try:
            outcome = await super().execute(call)
        finally:
            allowance.forget()
        if self.max_opg and not before:
            await allowance.note_first()
        return outcome
