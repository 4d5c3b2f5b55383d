"""Reads the parameters of JSON-RPC calls; errors use geth's words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from eth_typing import Address

from og_mcp.localnet.node_errors import INVALID_PARAMS, NodeError

ADDRESS_BYTES: Final = 20
HASH_BYTES: Final = 32
_QUANTITY: Final = re.compile(r"0[xX][0-9a-fA-F]{1,64}")


def invalid(index: int, why: str) -> NodeError:
    """Describe a parameter that cannot be used."""
    return NodeError(f"invalid argument {index}: {why}", INVALID_PARAMS)


class Params:
    """The parameters of one call, by position."""

    def __init__(self, values: list[Any]) -> None:
        self._values = values

    def at_most(self, count: int) -> None:
        """Refuse more parameters than a method has."""
        if len(self._values) > count:
            raise NodeError(f"too many arguments, want at most {count}", INVALID_PARAMS)

    def get(self, index: int) -> Any:  # noqa: ANN401 - any JSON value
        """Return a parameter as it came; null where it was left out."""
        return self._values[index] if index < len(self._values) else None

    def need(self, index: int) -> Any:  # noqa: ANN401 - any JSON value
        """Return a parameter that cannot be left out."""
        value = self.get(index)
        if value is None:
            raise NodeError(f"missing value for required argument {index}", INVALID_PARAMS)
        return value

    def data(self, index: int) -> bytes:
        """Return bytes of any length."""
        return read_data(self.need(index), index)

    def address(self, index: int) -> Address:
        """Return an address."""
        return Address(read_data(self.need(index), index, ADDRESS_BYTES))

    def hash(self, index: int) -> bytes:
        """Return the hash of a block or transaction."""
        return read_data(self.need(index), index, HASH_BYTES)

    def quantity(self, index: int) -> int:
        """Return a number."""
        return read_quantity(self.need(index), index)

    def flag(self, index: int) -> bool:
        """Return a boolean; false where it was left out."""
        value = self.get(index)
        if value not in {None, True, False}:
            raise invalid(index, "not a boolean")
        return bool(value)

    def fields(self, index: int) -> Mapping[str, Any]:
        """Return an object."""
        value = self.need(index)
        if not isinstance(value, dict):
            raise invalid(index, "not an object")
        return value


def read_data(value: object, index: int, size: int | None = None) -> bytes:
    """Read 0x-hex into bytes, of `size` bytes if given."""
    if not isinstance(value, str) or not value.startswith(("0x", "0X")):
        raise invalid(index, "hex string without 0x prefix")
    try:
        raw = bytes.fromhex(value[2:])
    except ValueError:
        raise invalid(index, "invalid hex string") from None
    if size is not None and len(raw) != size:
        raise invalid(index, f"hex string has length {len(value) - 2}, want {2 * size}")
    return raw


def read_quantity(value: object, index: int) -> int:
    """Read a 0x-hex number below 2**256."""
    if not isinstance(value, str) or not _QUANTITY.fullmatch(value):
        raise invalid(index, "not a hex number with 0x prefix, of at most 256 bits")
    return int(value, 0)
