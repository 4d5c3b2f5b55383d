"""The allowance: how much OPG Permit2 may take from the wallet, set by a transaction.

Source: protocol.md sections 4 and 7: `approve(address,uint256)` of the token, on the payment chain.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from og_mcp.calls import Journal
from og_mcp.client.chain.chain import Receipt
from og_mcp.client.payments.funds import Funds
from og_mcp.client.payments.opg import OPG
from og_mcp.client.payments.payment_signer import first_approval
from og_mcp.errors import InputError, coins, fee_text, quote
from og_mcp.networks import PERMIT2, Network
from og_mcp.types import Account, AllowanceResult

GAS_MARGIN: Final = 1.5
AMOUNT: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,18})?")
"""Below a thousand million OPG: an approval has a bound that somebody meant."""


REVOKED: Final = (
    "Payments that were signed before and have not settled yet fail now, an honest service's too."
)


@dataclass(frozen=True)
class ApprovedAllowance:
    """An approval that is on chain."""

    receipt: Receipt
    amount: int
    """OPG base units that Permit2 may take from here on."""

    @property
    def response(self) -> dict[str, Any]:
        """What the call gave, as receipts keep it."""
        return {"allowance_opg": coins(self.amount)}

    def result(self, call_id: str, network: Network, request: Mapping[str, Any]) -> AllowanceResult:
        """Put together what the tool returns."""
        del request
        return AllowanceResult(
            call_id=call_id,
            network=network.name,
            status="done",
            transaction_hash=self.receipt.transaction_hash,
            allowance_opg=coins(self.amount),
            note="" if self.amount else REVOKED,
            fee=fee_text(self.receipt.fee_wei),
            fee_wei=self.receipt.fee_wei,
        )


class Allowance:
    """Sets the allowance of one wallet.

    Args:
        opg: The token.
        funds: Knows what the allowance was.
        journal: Remembers that it made the first approval (threats.md T34).
        account: The payer's, on the payment chain.
    """

    def __init__(self, opg: OPG, funds: Funds, journal: Journal, account: Account) -> None:
        self._opg, self._funds = opg, funds
        self._journal, self._account = journal, account

    def call_data(self, amount: int) -> tuple[str, bytes]:
        """Return contract and call data that let Permit2 take an amount, base units; 0 revokes."""
        return self._opg.approval(amount)

    async def current(self) -> int:
        """Ask what Permit2 may take now, base units."""
        return (await self._funds.holdings(anew=True)).allowance

    def forget(self) -> None:
        """Ask anew from here on: nothing is signed on an allowance that may be revoked."""
        self._funds.forget()

    async def note_first(self) -> None:
        """Note that nobody could be paid from this wallet so far, by no journal (threats.md T34)."""
        await self._journal.remember(first_approval(self._account), "made")

    @staticmethod
    async def read_back(
        mined: Receipt, request: Mapping[str, Any], _principal: str
    ) -> ApprovedAllowance:
        """Tell what a mined approval gave: what was asked, since it did not revert."""
        return ApprovedAllowance(mined, base_units(request["amount_opg"]))


def request_of(amount: int, network: Network) -> dict[str, Any]:
    """Write an approval as journal and receipt hold it."""
    return {
        "tool": "approve_opg",
        "amount_opg": coins(amount),
        "asset": network.opg_token,
        "spender": PERMIT2,
    }


def base_units(amount_opg: str) -> int:
    """Read an amount of OPG, decimal text.

    Raises:
        InputError: It is none, or of more than nine digits before the point.
    """
    if not AMOUNT.fullmatch(amount_opg):
        raise InputError(
            f"amount_opg is {quote(amount_opg)}.",
            'Use a decimal amount below 10^9 with at most 18 places, e.g. "5"; "0" revokes.',
        )
    return int(Decimal(amount_opg).scaleb(18))
