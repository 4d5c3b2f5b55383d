"""A signed legacy transaction, taken apart: what was called, for which chain, and who signed it.

Read strictly, since the bytes may come from anyone: one list of nine byte strings, each in its
shortest form, with an EIP-155 signature of the lower of its two values (EIP-2).

Source: Ethereum Yellow Paper, appendices B (RLP) and F; EIP-2, EIP-155.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import rlp
from eth_keys.datatypes import Signature
from eth_keys.exceptions import BadSignature
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError

from og_mcp.client.wire import quantities

FIELDS: Final = 9
ADDRESS_BYTES: Final = 20
WORD: Final = 32
HALF_ORDER: Final = 0x7FFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_5D576E73_57A4501D_DFE92F46_681B20A0
"""Half of the order of secp256k1: the greatest s that chains take."""

_SHORT_STRING: Final = 0x80
_LONG_STRING: Final = 0xB7
_SHORT_LIST: Final = 0xC0
_LONG_LIST: Final = 0xF7
_SHORT: Final = 55
"""Bytes up to which RLP writes a length into the prefix itself."""


@dataclass(frozen=True)
class SignedCall:
    """A call of a contract that somebody signed."""

    transaction_hash: str
    chain_id: int
    sender: str
    """EIP-55 address, recovered from the signature."""

    to: str
    """Address in small letters; empty where the transaction makes a contract."""

    data: bytes
    value: int = 0
    """Wei that are sent along."""


@dataclass(frozen=True)
class Legacy:
    """The fields of a signed legacy transaction."""

    nonce: int
    gas_price: int
    """Wei for one gas unit."""

    gas_limit: int
    to: str
    """As in `SignedCall`."""

    data: bytes
    value: int
    """Wei that are sent along."""

    chain_id: int
    signed_hash: bytes
    """What was signed: the hash of all that stands before the signature."""

    signature: tuple[int, int, int]
    """Parity, r and s."""


def read_signed(raw: bytes) -> SignedCall:
    """Take a signed legacy transaction apart, and find out who signed it.

    Raises:
        ValueError: It is none, or nobody can have signed it.

    Source: EIP-155.
    """
    fields = read_fields(raw)
    return SignedCall(
        transaction_hash="0x" + keccak(raw).hex(),
        chain_id=fields.chain_id,
        sender=recover(fields.signed_hash, *fields.signature),
        to=fields.to,
        data=fields.data,
        value=fields.value,
    )


def read_fields(raw: bytes) -> Legacy:
    """Take a signed legacy transaction apart, without finding out who signed it.

    Raises:
        ValueError: It is none.

    Source: EIP-155.
    """
    fields = _strings(raw)
    if len(fields) != FIELDS:
        raise ValueError(f"it has {len(fields)} fields, not the {FIELDS} of a legacy transaction")
    to, data = fields[3], fields[5]
    numbers = [_number(field) for index, field in enumerate(fields) if index not in {3, 5}]
    if len(to) not in {0, ADDRESS_BYTES}:
        raise ValueError("the address that it calls is malformed")
    nonce, gas_price, gas_limit, value, v, r, s = numbers
    chain_id, parity = divmod(v - 35, 2)
    if chain_id < 1:
        raise ValueError("its signature names no chain (EIP-155)")
    payload = [*fields[:6], chain_id.to_bytes((chain_id.bit_length() + 7) // 8, "big"), b"", b""]
    return Legacy(
        nonce=nonce,
        gas_price=gas_price,
        gas_limit=gas_limit,
        to="0x" + to.hex() if to else "",
        data=data,
        value=value,
        chain_id=chain_id,
        signed_hash=keccak(rlp.encode(payload)),
        signature=(parity, r, s),
    )


def raw_of(record: Mapping[str, Any]) -> bytes:
    """Write a legacy transaction as it was signed, from an RPC's record of it.

    Raises:
        ValueError: The record is malformed.

    Source: `eth_getTransactionByHash` of the Ethereum JSON-RPC specification.
    """
    try:
        fields = [_bytes_of(record[name], is_number=name not in _TEXTS) for name in _NAMES]
    except (KeyError, TypeError, AttributeError) as exc:
        raise ValueError("a field is missing or no text") from exc
    raw: bytes = rlp.encode(fields)
    return raw


_NAMES: Final = ("nonce", "gasPrice", "gas", "to", "value", "input", "v", "r", "s")
_TEXTS: Final = frozenset({"to", "input"})


def _bytes_of(text: str | None, *, is_number: bool) -> bytes:
    digits = (text or "0x").removeprefix("0x")
    if is_number:
        number = quantities.read_quantity(text, quantities.WORD)
        return number.to_bytes((number.bit_length() + 7) // 8, "big")
    return bytes.fromhex(digits)


def recover(message_hash: bytes, parity: int, r: int, s: int) -> str:
    """Return who signed a hash, as EIP-55 address.

    Raises:
        ValueError: Nobody can have, or not in the form that chains take.
    """
    if s > HALF_ORDER:
        raise ValueError("its signature is not in the form that chains take (EIP-2)")
    try:
        signature = Signature(vrs=(parity, r, s))
        key = signature.recover_public_key_from_msg_hash(message_hash)
    except (BadSignature, ValidationError) as exc:
        raise ValueError("its signature is none") from exc
    return str(key.to_checksum_address())


def _number(field: bytes) -> int:
    if len(field) > WORD or field[:1] == b"\0":
        raise ValueError("one of its numbers is malformed")
    return int.from_bytes(field, "big")


def _strings(raw: bytes) -> list[bytes]:
    """Read an RLP list of byte strings; no list within it, and nothing after it."""
    if not raw or raw[0] < _SHORT_LIST:
        raise ValueError("it is not a legacy transaction")
    place, end = _span(raw, 0, _SHORT_LIST, _LONG_LIST)
    if end != len(raw):
        raise ValueError("its length is wrong")
    strings: list[bytes] = []
    while place < end and len(strings) <= FIELDS:
        if raw[place] < _SHORT_STRING:
            strings.append(raw[place : place + 1])
            place += 1
            continue
        if raw[place] >= _SHORT_LIST:
            raise ValueError("a list stands for one of its fields")
        start, place = _span(raw, place, _SHORT_STRING, _LONG_STRING)
        if place > end:
            raise ValueError("a field reaches beyond its end")
        strings.append(raw[start:place])
        if place - start == 1 and raw[start] < _SHORT_STRING:
            raise ValueError("a field is not in its shortest form")
    return strings


def _span(raw: bytes, place: int, short: int, long: int) -> tuple[int, int]:
    """Return where the content of the item at `place` starts and ends."""
    prefix = raw[place]
    if prefix <= long:
        return place + 1, place + 1 + prefix - short
    start = place + 1 + prefix - long
    encoded = raw[place + 1 : start]
    length = int.from_bytes(encoded, "big")
    if encoded[:1] == b"\0" or length <= _SHORT:
        raise ValueError("a length is not in its shortest form")
    return start, start + length
