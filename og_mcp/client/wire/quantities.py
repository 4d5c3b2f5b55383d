"""The one reader of numbers that an RPC gives (threats.md T37)."""

from __future__ import annotations

import re
from typing import Final

from og_mcp.errors import ServiceReplyError, quote

COUNT: Final = 2**53 - 1
"""Largest nonce, block number or amount of gas; every JSON reader holds it exactly."""

SECONDS: Final = 2**40 - 1
"""Largest time of a block, unix seconds."""

WORD: Final = 2**256 - 1
"""Largest amount, price or chain id."""

_QUANTITY: Final = re.compile(r"0x[0-9a-fA-F]{1,64}")


def read_quantity(value: object, maximum: int = COUNT) -> int:
    """Read `0x` and 1 to 64 hexadecimal digits.

    Args:
        value: As it came.
        maximum: What it can be at most: `COUNT`, `SECONDS` or `WORD`.

    Raises:
        ValueError: It is not a quantity, or out of range.
    """
    if not isinstance(value, str) or not _QUANTITY.fullmatch(value):
        raise ValueError(f"{quote(value)} is not a hexadecimal quantity")
    number = int(value, 16)
    if number > maximum:
        raise ValueError(f"{value} is out of range")
    return number


def quantity(value: object, service: str, maximum: int = COUNT) -> int:
    """Read the same from an answer of a service.

    Raises:
        ServiceReplyError: It is not a quantity, or out of range.
    """
    try:
        return read_quantity(value, maximum)
    except ValueError as exc:
        raise ServiceReplyError(service, str(exc)) from exc
