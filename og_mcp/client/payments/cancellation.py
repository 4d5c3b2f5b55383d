"""Cancelling a payment authorization: its owner uses its nonce up, so that nobody can take it.

The authorization counts in full all the same until its deadline is long past: that it was cancelled
is an RPC's word, which frees nothing (threats.md T33).

Source: protocol.md section 7, `invalidateUnorderedNonces(uint256,uint256)` of Permit2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from og_mcp.calls import Journal
from og_mcp.client.calls.states import counts_until
from og_mcp.client.chain.chain import Receipt
from og_mcp.client.payments.ledger import call_data, selector
from og_mcp.client.payments.opg import OPG
from og_mcp.client.payments.settlement_tracker import SettlementTracker
from og_mcp.client.payments.told import payment_of
from og_mcp.errors import CallStateError, coins, fee_text, in_opg
from og_mcp.networks import PERMIT2, Network
from og_mcp.types import CANCEL_PAYMENT, Call, CancellationResult, Cap

INVALIDATE: Final = selector("invalidateUnorderedNonces(uint256,uint256)")
GAS_MARGIN: Final = 1.5
STEP: Final = "be cancelled"
NOTHING_SENT: Final = "Nothing was sent or paid for this."


@dataclass(frozen=True)
class CancelledPayment:
    """A cancellation that is on chain."""

    receipt: Receipt
    cap: Cap | None
    """What the journal says of the payment since; `None` where the request is not kept."""

    @property
    def response(self) -> dict[str, Any]:
        """What the call gave."""
        return {}

    def result(
        self, call_id: str, network: Network, request: Mapping[str, Any]
    ) -> CancellationResult:
        """Put together what the command tells."""
        del request
        return CancellationResult(
            call_id=call_id,
            network=network.name,
            status="done",
            transaction_hash=self.receipt.transaction_hash,
            payment=payment_of(self.cap),
            note=self._note(),
            fee=fee_text(self.receipt.fee_wei),
            fee_wei=self.receipt.fee_wei,
        )

    def _note(self) -> str:
        cap = self.cap
        if cap is not None and cap.status == "settled":
            return f"It had settled before for {in_opg(cap.amount_opg)}; that much is paid."
        note = "The payment authorization can no longer be taken, says the payment chain's RPC."
        if cap is None or cap.status != "open":
            return note
        return (
            f"{note} It counts against your day's cap until {counts_until(cap.deadline):%H:%M} UTC."
        )


class Cancellations:
    """Cancels open payment authorizations of one wallet.

    Args:
        opg: What tells whether they were taken.
        caps: Follows what was signed.
        journal: Remembers what is cancelled before anything is sent.
    """

    def __init__(self, opg: OPG, caps: SettlementTracker, journal: Journal) -> None:
        self._opg, self._caps, self._journal = opg, caps, journal

    async def check(self, call: Call) -> Cap:
        """Return the open payment authorization of a call, once the chain was asked.

        Raises:
            CallStateError: It has none, another wallet signed it, or it can no longer be taken.
            ServiceError: The chain cannot be asked; nothing was sent.
        """
        if call.cap is None:
            raise CallStateError(call.id, STEP, "nothing was signed that pays for it", NOTHING_SENT)
        account, mine = call.cap.account, self._caps.account
        if account.key != mine.key:
            why = (
                f"{account.address} pays for it, on chain {account.chain_id} of {account.network}, "
                f"and the wallet in use is {mine.address}, of {mine.network}"
            )
            raise CallStateError(call.id, STEP, why, f"{NOTHING_SENT} Use that wallet's key.")
        if call.cap.status == "open":
            await self._caps.look()
        cap = await self._journal.cap(call.cap.id)
        if cap.status == "settled":
            why = f"its payment settled for {in_opg(cap.amount_opg)}, by {cap.transaction_hash}"
            raise CallStateError(call.id, STEP, why, NOTHING_SENT)
        if cap.status == "void":
            why = "its payment authorization cannot be taken any more"
            raise CallStateError(call.id, STEP, why, NOTHING_SENT)
        if not await self._opg.settlements.unspent([cap]):
            until = f"it counts against your day's cap until {counts_until(cap.deadline):%H:%M} UTC"
            why = f"its payment authorization is used up, says the payment chain's RPC; {until}"
            raise CallStateError(call.id, STEP, why, NOTHING_SENT)
        return cap

    @staticmethod
    def call_data(cap: Cap) -> tuple[str, bytes]:
        """Return contract and call data that use the nonce of a payment authorization up."""
        nonce = int(cap.nonce)
        words = [nonce >> 8, 1 << (nonce & 0xFF)]
        return PERMIT2, call_data(INVALIDATE, ["uint256", "uint256"], words)

    async def begin(self, cap: Cap) -> None:
        """Let no process pay another call by what is about to be void.

        Raises:
            CallStateError: It has ended meanwhile; nothing was sent.
        """
        await self._journal.cancel_cap(cap.id)

    async def read_back(
        self, mined: Receipt, request: Mapping[str, Any], _principal: str
    ) -> CancelledPayment:
        """Tell what a mined cancellation gave."""
        return await self._cancelled(mined, request.get("cap_id", ""))

    async def _cancelled(self, mined: Receipt, cap_id: str) -> CancelledPayment:
        # Who takes it may have been faster.
        await self._caps.look()
        return CancelledPayment(mined, await self._journal.cap(cap_id) if cap_id else None)


def request_of(cap: Cap) -> dict[str, Any]:
    """Write a cancellation as the journal holds it."""
    return {
        "tool": CANCEL_PAYMENT,
        "cap_id": cap.id,
        "amount_opg": coins(cap.max_opg),
        "spender": PERMIT2,
        "nonce": cap.nonce,
    }
