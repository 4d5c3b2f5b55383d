"""OPG on the payment chain: what a wallet holds, what Permit2 may take, and what was taken.

Contracts and selectors: protocol.md sections 4 and 7.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from og_mcp.client.chain.chain import Chain
from og_mcp.client.chain.rpc import RPC
from og_mcp.client.payments.ledger import Ledger, call_data, selector, view
from og_mcp.client.payments.settlements import SettlementReader
from og_mcp.client.wire.quantities import WORD, quantity
from og_mcp.errors import WrongChainError
from og_mcp.networks import PERMIT2, Network
from og_mcp.types import Account

BALANCE_OF: Final = selector("balanceOf(address)")
ALLOWANCE: Final = selector("allowance(address,address)")
APPROVE: Final = selector("approve(address,uint256)")


@dataclass(frozen=True)
class Holdings:
    """What a wallet has on the payment chain."""

    opg: int
    """Base units."""

    allowance: int
    """OPG base units that Permit2 may take."""

    coins: int
    """Wei of the payment chain's own coin, which pays for `approve`."""

    ahead_s: int
    """Seconds that this machine's clock was ahead of the chain's newest block."""


class OPG:
    """The token, for one network.

    Args:
        rpc: The payment chain's endpoint.
        chain: The same, held to its chain id.
        network: Token and chain id are the profile's, never the RPC's word (threats.md T4).
    """

    def __init__(self, rpc: RPC, chain: Chain, network: Network) -> None:
        self._rpc, self._chain, self._network = rpc, chain, network
        self.ledger = Ledger(rpc, network.opg_token)
        self.settlements = SettlementReader(self.ledger, network.settlement_depth)
        """What became of signed maxima, by this RPC."""

    async def account(self, address: str) -> Account:
        """Return whose budget is used; a local network counts by its genesis block."""
        await self._chain.check()
        network = self._network
        name = f"{network.name}:{self._chain.genesis_hash}" if network.local else network.name
        return Account(network=name, chain_id=network.base_chain_id, address=address)

    async def holdings(self, address: str) -> Holdings:
        """Read balance and allowance; one HTTP request.

        Raises:
            WrongChainError: The RPC serves another chain.
            ServiceError: No usable answer.
        """
        token = self._network.opg_token
        chain_id, newest, *amounts = await self.ledger.ask(
            ("eth_chainId", []),
            ("eth_getBlockByNumber", ["latest", False]),
            view(token, BALANCE_OF, ["address"], [address]),
            view(token, ALLOWANCE, ["address", "address"], [address, PERMIT2]),
            ("eth_getBalance", [address, "latest"]),
        )
        actual = quantity(chain_id, self._rpc.service, WORD)
        if actual != self._network.base_chain_id:
            raise WrongChainError(self._network.base_chain_id, actual, self._rpc.shown)
        opg, allowance, coins = (self.ledger.word(amount) for amount in amounts)
        ahead_s = int(time.time()) - self.ledger.block(newest).time
        return Holdings(opg=opg, allowance=allowance, coins=coins, ahead_s=ahead_s)

    def approval(self, amount: int) -> tuple[str, bytes]:
        """Return contract and call data that allow Permit2 to take an amount, base units."""
        data = call_data(APPROVE, ["address", "uint256"], [PERMIT2, amount])
        return self._network.opg_token, data
