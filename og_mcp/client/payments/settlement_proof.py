"""Whether a settlement is the facilitator's own word: its signature over the very transaction.

The transaction is written anew from the fields that an RPC gives. Only where its hash, its signer
and its call are those of the payment does it prove what was taken: no RPC can make one up
(threats.md T33).

Source: EIP-155, EIP-2930, EIP-1559, EIP-7702; `settle` in protocol.md section 7.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import rlp
from eth_abi import abi as eth_abi
from eth_abi.exceptions import DecodingError
from eth_utils.crypto import keccak

from og_mcp.client.chain.signature import read_signed, recover
from og_mcp.client.wire.quantities import WORD, read_quantity
from og_mcp.networks import UPTO_PROXY
from og_mcp.types import Cap

SETTLE_TYPES: Final = (
    "((address,uint256),uint256,uint256)",
    "uint256",
    "address",
    "(address,address,uint256)",
    "bytes",
)
SETTLE: Final = keccak(text=f"settle({','.join(SETTLE_TYPES)})")[:4]

_LEGACY: Final = ("nonce", "gasPrice", "gas", "to", "value", "input", "v", "r", "s")
_FEES: Final = ("maxPriorityFeePerGas", "maxFeePerGas")
_CALL: Final = ("gas", "to", "value", "input", "accessList")
_SIGNATURE: Final = ("yParity", "r", "s")
_FIELDS: Final[Mapping[int, Sequence[str]]] = {
    0: _LEGACY,
    1: ("chainId", "nonce", "gasPrice", *_CALL, *_SIGNATURE),
    2: ("chainId", "nonce", *_FEES, *_CALL, *_SIGNATURE),
    4: ("chainId", "nonce", *_FEES, *_CALL, "authorizationList", *_SIGNATURE),
}
"""Envelope type -> what is signed, in its order; the last three are the signature."""

_AUTHORIZATION: Final = ("chainId", "address", "nonce", "yParity", "r", "s")
_BYTES: Final = frozenset({"to", "input", "address"})


def proven_amount(transaction: Mapping[str, Any], transaction_hash: str, cap: Cap) -> int | None:
    """Return what a facilitator signed to take by a payment, base units; `None`: no proof of any.

    Args:
        transaction: As `eth_getTransactionByHash` gives it; may be made up.
        transaction_hash: That it goes by.
        cap: The payment, as it was signed.
    """
    try:
        found_hash, sender, chain_id = _signed(transaction)
        is_signed = found_hash == transaction_hash.lower() and chain_id == cap.account.chain_id
        if not is_signed or sender.lower() != cap.facilitator.lower():
            return None
        return _settled(transaction, cap)
    except (ValueError, KeyError, TypeError, AttributeError, DecodingError):
        return None


def _settled(transaction: Mapping[str, Any], cap: Cap) -> int | None:
    """Read what a call of the proxy takes, where all its terms are the payment's."""
    data = bytes.fromhex(transaction["input"].removeprefix("0x"))
    if transaction["to"].lower() != UPTO_PROXY.lower() or data[:4] != SETTLE:
        return None
    permit, amount, owner, witness, _ = eth_abi.decode(SETTLE_TYPES, data[4:])
    given = (*permit[0], *permit[1:], owner, *witness[:2])
    asked = (
        *(cap.asset.lower(), cap.max_opg, int(cap.nonce), cap.deadline),
        *(cap.account.address.lower(), cap.pay_to.lower(), cap.facilitator.lower()),
    )
    return int(amount) if given == asked and amount <= cap.max_opg else None


def _signed(transaction: Mapping[str, Any]) -> tuple[str, str, int]:
    """Write a transaction as it was signed; returns its hash, its signer and its chain.

    Raises:
        ValueError: It is none, or nobody can have signed it. Also KeyError, TypeError.
    """
    kind = read_quantity(transaction.get("type") or "0x0")
    fields = [_field(transaction, name) for name in _FIELDS[kind]]
    if kind == 0:
        legacy = read_signed(rlp.encode(fields))
        return legacy.transaction_hash, legacy.sender, legacy.chain_id
    envelope = bytes([kind])
    signed = keccak(envelope + rlp.encode(fields[:-3]))
    parity, r, s = (int.from_bytes(field, "big") for field in fields[-3:])
    whole = keccak(envelope + rlp.encode(fields))
    return (
        "0x" + whole.hex(),
        recover(signed, parity, r, s),
        read_quantity(transaction["chainId"], WORD),
    )


def _field(record: Mapping[str, Any], name: str) -> Any:  # noqa: ANN401 - bytes, or lists of them
    if name == "accessList":
        return [
            [_bytes(one["address"]), [_bytes(key) for key in one["storageKeys"]]]
            for one in record.get(name) or ()
        ]
    if name == "authorizationList":
        return [[_field(one, part) for part in _AUTHORIZATION] for one in record[name]]
    if name == "yParity" and name not in record:
        name = "v"
    return _bytes(record[name]) if name in _BYTES else _number(record[name])


def _bytes(text: str | None) -> bytes:
    return bytes.fromhex((text or "0x").removeprefix("0x"))


def _number(text: object) -> bytes:
    value = read_quantity(text, WORD)
    return value.to_bytes((value.bit_length() + 7) // 8, "big")
