"""Gives native coins of a local chain to any address."""

from __future__ import annotations

from typing import Final

from eth.vm.forks.cancun import CancunVM
from eth_keys.datatypes import PrivateKey
from eth_typing import Address

from og_mcp.localnet.chain import Chain
from og_mcp.localnet.genesis import GenesisAccount

RESERVE: Final = 10**9 * 10**18
"""Wei a faucet has at the start."""

_TRANSFER_GAS: Final = 21_000


class Faucet:
    """An account that signs transfers on request; it is in nobody's hands."""

    def __init__(self, chain: Chain, key: PrivateKey) -> None:
        self._chain = chain
        self._key = key

    @staticmethod
    def account(key: PrivateKey) -> GenesisAccount:
        """Return what has to stand in the chain's genesis."""
        return GenesisAccount(address=key.public_key.to_checksum_address(), balance=RESERVE)

    def fund(self, address: str, wei: int) -> str:
        """Send `wei` to an address and return the transaction hash; a verb of the chain's thread.

        The transfer waits while blocks are held.

        Raises:
            ValueError: The address is not 20 bytes of 0x-hex.
        """
        to = bytes.fromhex(address.removeprefix("0x"))
        if len(to) != 20:  # noqa: PLR2004 - what an address is
            raise ValueError(f"{address!r} is no address")
        transaction = CancunVM.get_transaction_builder().create_unsigned_transaction(
            nonce=self._chain.pending_nonce(Address(self._key.public_key.to_canonical_address())),
            gas_price=max(self._chain.gas_price, self._chain.least_gas_price),
            gas=_TRANSFER_GAS,
            to=Address(to),
            value=wei,
            data=b"",
        )
        signed = transaction.as_signed_transaction(self._key, chain_id=self._chain.chain_id)
        return "0x" + self._chain.send_raw(signed.encode()).hex()
