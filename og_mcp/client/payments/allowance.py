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
from og_mcp.client.chain.sender import Sender
from og_mcp.client.chain.ticket import Ticket
from og_mcp.client.chain.wallet import Transaction
from og_mcp.client.payments.opg import OPG
from og_mcp.client.payments.purse import Purse
from og_mcp.client.payments.signing import first_approval
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
class Approved:
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
        sender: Sends transactions on the payment chain.
        purse: Knows what the allowance was.
        journal: Remembers that it made the first approval (threats.md T34).
        account: The payer's, on the payment chain.
    """

    def __init__(
        self, opg: OPG, sender: Sender, purse: Purse, journal: Journal, account: Account
    ) -> None:
        self._opg, self._sender, self._purse = opg, sender, purse
        self._journal, self._account = journal, account

    async def price(self, amount: int, *, max_retries: int) -> Transaction:
        """Simulate an approval and return what would be signed for it, but for its nonce.

        Raises:
            ChainError: As `Sender.offer`.
            ServiceError: The node cannot be used.
        """
        contract, data = self._opg.approval(amount)
        _, transaction = await self._sender.offer(
            contract, data, max_retries=max_retries, gas_margin=GAS_MARGIN
        )
        return transaction

    async def approve(self, ticket: Ticket, amount: int, *, max_retries: int) -> Approved:
        """Let Permit2 take an amount, base units, in place of what it may take now; 0 revokes.

        Raises:
            ChainError: As `Sender.send`.
            ServiceError: The node cannot be used; nothing was sent.
        """
        contract, data = self._opg.approval(amount)
        before = (await self._purse.holdings(anew=True)).allowance
        try:
            mined = await self._sender.send(
                ticket, contract, data, max_retries=max_retries, gas_margin=GAS_MARGIN
            )
        finally:
            # Whatever came of it: nothing is signed on an allowance that may be revoked.
            self._purse.forget()
        if amount and not before:
            # Nobody could be paid from this wallet so far, by no journal.
            await self._journal.remember(first_approval(self._account), "made")
        return Approved(mined, amount)

    @staticmethod
    async def read_back(mined: Receipt, request: Mapping[str, Any], _principal: str) -> Approved:
        """Tell what a mined approval gave: what was asked, since it did not revert."""
        return Approved(mined, base_units(request["amount_opg"]))


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
