"""The wallet's key, and the one place where transactions are signed.

Every guard that must not be passed by accident stands here, right before the signature: the
endpoint's safety (threats.md T5, T30) and the fee caps (T1).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from anyio import Lock, to_thread
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address

from og_mcp.client.chain.keystore import read_key
from og_mcp.client.chain.signature import read_fields
from og_mcp.errors import (
    ConfigurationError,
    FeeCapError,
    InputError,
    SettingProblem,
    UnsafeEndpointError,
)
from og_mcp.networks import Network, is_loopback, shown
from og_mcp.redaction import hide
from og_mcp.settings import WalletSource, decoded
from og_mcp.types import SignedTransaction

FEE_CAP_VARIABLE: Final = "OG_MAX_FEE_PER_CALL"

TRANSFER_GAS: Final = 21_000
"""Gas of a transaction that only takes its nonce."""


@dataclass(frozen=True)
class Transaction:
    """A legacy transaction before its signature (the network prices gas the legacy way)."""

    chain_id: int
    nonce: int
    to: str
    data: bytes
    gas_limit: int
    gas_price: int
    """Wei for one gas unit."""

    l1_fee: int = 0
    """Wei that the chain may take beside the gas, as quoted; no signature bounds it (T32)."""

    @property
    def max_fee(self) -> int:
        """The most that it can cost, wei: no value travels with it."""
        return self.gas_limit * self.gas_price + self.l1_fee

    def under(self, nonce: int, *, min_price: int = 0) -> Transaction:
        """Return the same call under a nonce, at a price that is no lower than what stands there."""
        return replace(self, nonce=nonce, gas_price=max(self.gas_price, min_price))

    def replaced(self, gas_price: int) -> Transaction:
        """Return the same transaction at another price."""
        return replace(self, gas_price=gas_price)

    def cancelled(self, gas_price: int, sender: str) -> Transaction:
        """Return a transaction that cancels it: nothing, sent to oneself, under the same nonce."""
        return replace(self, gas_price=gas_price, to=sender, data=b"", gas_limit=TRANSFER_GAS)


@dataclass(frozen=True)
class Signed:
    """A signed transaction; its hash is known before anything is sent."""

    raw: bytes
    """Empty where it is settled and OG_RECEIPTS=hashes keeps no requests."""

    transaction_hash: str
    nonce: int
    max_fee: int
    """The most that it can cost, wei, as it was set aside."""

    call_id: str = ""
    """The call that it was signed for."""

    @cached_property
    def transaction(self) -> Transaction:
        """What was signed."""
        read = read_transaction(self.raw)
        return replace(read, l1_fee=max(self.max_fee - read.max_fee, 0))

    @classmethod
    def recorded(cls, one: SignedTransaction) -> Signed:
        """Read it back from the journal."""
        raw = bytes.fromhex(one.raw_transaction[2:])
        return cls(raw, one.transaction_hash, one.nonce, one.max_fee_wei, one.call_id)


@dataclass(frozen=True)
class FeeGuard:
    """Limits the cost of one signature and where it may go."""

    network: Network
    max_fee_per_call: int
    """Wei, for each signature: those of one call share one nonce, so that one of them is mined."""

    max_fee_per_day: int
    """Wei; the sum over 24 hours, which the journal keeps."""

    allow_insecure: bool

    def check_endpoint(self) -> None:
        """Refuse an endpoint that is not fit for this network's signatures.

        Raises:
            UnsafeEndpointError: A loopback RPC (T5), or plain HTTP without OG_ALLOW_INSECURE (T30).
        """
        check_endpoint(self.network, allow_insecure=self.allow_insecure)

    def check(self, transaction: Transaction) -> None:
        """Refuse a signature that could cost too much or go astray.

        Raises:
            FeeCapError: It could cost more than the cap of one call.
            UnsafeEndpointError: The endpoint is not fit for this network's signatures.
        """
        self.check_endpoint()
        if transaction.max_fee > self.max_fee_per_call:
            raise FeeCapError(FEE_CAP_VARIABLE, transaction.max_fee, self.max_fee_per_call)


def check_endpoint(network: Network, *, allow_insecure: bool) -> None:
    """Refuse endpoints that a real network's signature must not go to.

    Raises:
        UnsafeEndpointError: A loopback RPC (T5), or plain HTTP without OG_ALLOW_INSECURE (T30).
    """
    if network.local:
        return
    origin = shown(network.rpc_url)
    if is_loopback(network.rpc_url):
        raise UnsafeEndpointError(
            f"Network {network.name} does not sign for the loopback RPC {origin}.",
            "Use OG_NETWORK=local for a local network, or the network's own RPC.",
        )
    if urlsplit(network.rpc_url).scheme != "https" and not allow_insecure:
        raise UnsafeEndpointError(
            f"The RPC {origin} of network {network.name} is plain HTTP: nobody vouches for it.",
            "Set OG_ALLOW_INSECURE=1 to sign for it all the same.",
        )


class Wallet:
    """One key; decrypted when first needed, once.

    Args:
        source: Where the key comes from; its form is checked by the settings already.
    """

    def __init__(self, source: WalletSource) -> None:
        self._source = source
        self._account: LocalAccount | None = None
        self._opening = Lock()

    def __repr__(self) -> str:
        """Name the kind of source, nothing that leads to the key."""
        return f"<Wallet from {self._source.variable}>"

    async def address(self) -> str:
        """Return the EIP-55 address.

        Raises:
            ConfigurationError: The key cannot be read or decrypted.
        """
        return str((await self._open()).address)

    async def account(self) -> LocalAccount:
        """Return the key, for a signer that guards it by itself (`payer`).

        Raises:
            ConfigurationError: The key cannot be read or decrypted.
        """
        return await self._open()

    async def sign(self, transaction: Transaction, guard: FeeGuard, call_id: str = "") -> Signed:
        """Sign one transaction, after the guard let it pass.

        Raises:
            FeeCapError: It could cost more than allowed.
            UnsafeEndpointError: It must not go to this network's RPC.
            ConfigurationError: The key cannot be read or decrypted.
        """
        guard.check(transaction)
        account = await self._open()
        # Pure-Python secp256k1 takes over 10 ms.
        signed = await to_thread.run_sync(account.sign_transaction, _fields(transaction))
        return Signed(
            bytes(signed.raw_transaction),
            signed.hash.to_0x_hex(),
            transaction.nonce,
            transaction.max_fee,
            call_id,
        )

    async def _open(self) -> LocalAccount:
        async with self._opening:
            if self._account is None:
                # A keystore's scrypt takes seconds on purpose.
                self._account = await to_thread.run_sync(_load, self._source)
        return self._account


def read_transaction(raw: bytes) -> Transaction:
    """Read back what was signed.

    Raises:
        ValueError: It is not a signed legacy transaction that calls something.
    """
    fields = read_fields(raw)
    return Transaction(
        chain_id=fields.chain_id,
        nonce=fields.nonce,
        to=to_checksum_address(fields.to),
        data=fields.data,
        gas_limit=fields.gas_limit,
        gas_price=fields.gas_price,
    )


def _fields(transaction: Transaction) -> dict[str, Any]:
    return {
        "chainId": transaction.chain_id,
        "nonce": transaction.nonce,
        "to": to_checksum_address(transaction.to),
        "value": 0,
        "data": transaction.data,
        "gas": transaction.gas_limit,
        "gasPrice": transaction.gas_price,
    }


_LIBRARY_ERRORS: Final = (
    *(OSError, ValueError, TypeError, LookupError, AttributeError),
    *(ArithmeticError, AssertionError, RuntimeError, MemoryError),
)
"""What reading, decrypting and making a key may raise."""


def _load(source: WalletSource) -> LocalAccount:
    try:
        account = _read(source)
    except (InputError, *_LIBRARY_ERRORS):
        pass
    else:
        hide("0x" + bytes(account.key).hex())
        return account
    # Without cause and context: the library's message may quote the key.
    raise ConfigurationError([SettingProblem(source.variable, _UNREADABLE[source.kind])])


def _read(source: WalletSource) -> LocalAccount:
    secret = source.secret.get_secret_value()
    if source.kind == "key":
        return read_key(secret)
    text = decoded(Path(secret).read_bytes())
    if source.kind == "key_file":
        return read_key(text)
    password = source.password.get_secret_value() if source.password else ""
    account: LocalAccount = Account.from_key(Account.decrypt(json.loads(text), password))
    return account


_UNREADABLE: Final = {
    "key": "it is not a private key: 64 hexadecimal digits in the range of secp256k1",
    "key_file": "the file cannot be read or holds no private key of 64 hexadecimal digits",
    "keystore": "the file cannot be read, is not a version 3 keystore, or OG_KEYSTORE_PASSWORD is wrong",
}
