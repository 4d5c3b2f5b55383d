"""Gives native coins of a local chain to any address, and OPG on the payment chain."""

from __future__ import annotations

from typing import Final

from eth_abi.abi import encode

from og_mcp.localnet.genesis import OPG_TOKEN
from og_mcp.localnet.wallet import Wallet, to_address

_TRANSFER: Final = bytes.fromhex("a9059cbb")
"""Selector of `transfer(address,uint256)`."""

_TRANSFER_GAS: Final = 21_000
_TOKEN_GAS: Final = 100_000


class Faucet(Wallet):
    """An account that signs transfers on request; its verbs run on the chain's thread.

    A transfer waits while blocks are held.
    """

    def fund(self, address: str, wei: int) -> str:
        """Send `wei` to an address and return the transaction hash.

        Raises:
            ValueError: The address is not 20 bytes of 0x-hex.
        """
        return self.send(to_address(address), gas=_TRANSFER_GAS, value=wei)

    def fund_opg(self, address: str, amount: int) -> str:
        """Send OPG (base units) to an address and return the transaction hash.

        Raises:
            ValueError: The address is not 20 bytes of 0x-hex.
        """
        data = _TRANSFER + encode(["address", "uint256"], [to_address(address), amount])
        return self.send(to_address(OPG_TOKEN), gas=_TOKEN_GAS, data=data)
