"""Verifies and settles payments on the payment chain, by the x402 package's own facilitator."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from eth_keys.datatypes import PrivateKey
from x402.schemas import SettleResponse

from og_mcp.localnet.chain import Chain
from og_mcp.localnet.payments.payment import Payment
from og_mcp.localnet.wallet import Wallet

if TYPE_CHECKING:
    from x402.mechanisms.evm.upto.facilitator import UptoEvmScheme


class Facilitator:
    """One facilitator with a key of its own, which pays the gas.

    Args:
        chain: The payment chain.
        key: What signs settlements; its account needs native coins.
    """

    def __init__(self, chain: Chain, key: PrivateKey) -> None:
        self._chain = chain
        self._wallet = Wallet(chain, key)
        self._loading: asyncio.Task[UptoEvmScheme] | None = None
        self.address = self._wallet.address

    def load(self) -> asyncio.Task[UptoEvmScheme]:
        """Begin to import what verifies and settles; a second of work, in a thread, once.

        Begun with the first challenge, it goes on while the client imports and signs.
        """
        if self._loading is None:
            imported = asyncio.to_thread(_import_scheme, self._chain, self._wallet)
            self._loading = asyncio.create_task(imported)
        return self._loading

    async def verify(self, payment: Payment) -> str:
        """Check a payment, up to a simulated settlement of the whole cap.

        Returns:
            Why it is not valid, in the package's words; empty when it is.
        """
        scheme = await asyncio.shield(self.load())
        said = await self._chain.in_order(scheme.verify, payment.payload, payment.requirement)
        return "" if said.is_valid else said.invalid_reason or "invalid"

    async def settle(self, payment: Payment, amount: int) -> SettleResponse:
        """Take `amount` base units of a payment; 0 sends no transaction.

        Where blocks are held back, the answer is the reason `settlement_pending` with the hash.
        """
        scheme = await asyncio.shield(self.load())
        used = payment.requirement.model_copy(update={"amount": str(amount)})
        return await self._chain.in_order(scheme.settle, payment.payload, used)

    async def close(self) -> None:
        """Wait for an import that was begun."""
        if self._loading is not None:
            await asyncio.wait([self._loading])


def _import_scheme(chain: Chain, wallet: Wallet) -> UptoEvmScheme:
    from og_mcp.localnet.payments.signer import scheme  # noqa: PLC0415 - takes a second

    return scheme(chain, wallet)
