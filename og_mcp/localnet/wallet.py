"""A key of the local network itself: it sends what the faucet gives and the facilitator settles."""

from __future__ import annotations

from typing import Final

from eth.vm.forks.cancun import CancunVM
from eth_keys.datatypes import PrivateKey
from eth_typing import Address

from og_mcp.localnet.chain import Chain
from og_mcp.localnet.genesis import GenesisAccount

RESERVE: Final = 10**9 * 10**18
"""Wei at the start: enough for whatever a run sends."""


class Wallet:
    """An account of the network itself; its verb runs on the chain's thread."""

    def __init__(self, chain: Chain, key: PrivateKey) -> None:
        self._chain = chain
        self._key = key
        self.raw_address = Address(key.public_key.to_canonical_address())
        """20 bytes."""

        self.address = str(key.public_key.to_checksum_address())
        """0x-hex with checksum."""

    @staticmethod
    def account(key: PrivateKey) -> GenesisAccount:
        """Return what has to stand in the chain's genesis."""
        return GenesisAccount(address=key.public_key.to_checksum_address(), balance=RESERVE)

    def send(self, to: Address, *, gas: int, value: int = 0, data: bytes = b"") -> str:
        """Send a transaction and return its hash as 0x-hex; it waits while blocks are held.

        Raises:
            NodeError: The chain does not take it.
        """
        transaction = CancunVM.get_transaction_builder().create_unsigned_transaction(
            nonce=self._chain.pending_nonce(self.raw_address),
            gas_price=max(self._chain.gas_price, self._chain.least_gas_price),
            gas=gas,
            to=to,
            value=value,
            data=data,
        )
        signed = transaction.as_signed_transaction(self._key, chain_id=self._chain.chain_id)
        return "0x" + self._chain.send_raw(signed.encode()).hex()


def to_address(text: str) -> Address:
    """Read an address.

    Raises:
        ValueError: It is not 20 bytes of 0x-hex.
    """
    raw = bytes.fromhex(text.removeprefix("0x"))
    if len(raw) != 20:  # noqa: PLR2004 - what an address is
        raise ValueError(f"{text!r} is not an address")
    return Address(raw)
