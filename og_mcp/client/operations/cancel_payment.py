"""The cancellation of an open payment authorization, by its owner at a terminal."""

from __future__ import annotations

from og_mcp.client.calls.context import CallContext
from og_mcp.client.calls.operation import Outcome
from og_mcp.client.chain.chain import Receipt
from og_mcp.client.operations.transaction import ChainAccess, TransactionOperation
from og_mcp.client.payments.cancellation import (
    GAS_MARGIN,
    Cancellations,
    CancelledPayment,
    request_of,
)
from og_mcp.types import CANCEL_PAYMENT, CancellationResult, Cap


class CancelPayment(TransactionOperation[CancellationResult]):
    """Makes a payment authorization void; the person at the terminal has agreed already.

    Args:
        chain: The payment chain.
        cap: The authorization, checked.
        cancellations: Reads what came of it.
        max_fee_wei: What the person agreed to; `None`: the operator's caps alone.
    """

    tool = CANCEL_PAYMENT
    result = CancellationResult
    checked_input = "the payment authorization is open"
    taken = "Permit2 takes the call"
    gas_margin = GAS_MARGIN
    consent_at = "never"
    leaves_receipt = False

    def __init__(
        self,
        chain: ChainAccess,
        cap: Cap,
        cancellations: Cancellations,
        max_fee_wei: int | None = None,
    ) -> None:
        super().__init__(chain, max_retries=5)
        self._cap, self._cancellations, self._max_fee_wei = cap, cancellations, max_fee_wei
        self.request = request_of(cap)

    async def call_data(self) -> tuple[str, bytes]:
        """Encode `invalidateUnorderedNonces(uint256,uint256)` of Permit2 (protocol.md section 7)."""
        return self._cancellations.call_data(self._cap)

    async def read_result(self, call: CallContext, mined: Receipt) -> CancelledPayment:
        """Tell what came of it."""
        return await self._cancellations.read_back(mined, self.request, call.principal)

    async def execute(self, call: CallContext) -> Outcome[CancellationResult]:
        """Make sure that the authorization pays for no further call; then send the transaction."""
        call.max_wei = self._max_fee_wei
        await self._cancellations.begin(self._cap)
        return await super().execute(call)
