"""Numbers of the protocol buffers wire format."""

from __future__ import annotations

from typing import Final

VARINT, EIGHT_BYTES, SIZED, FOUR_BYTES = 0, 1, 2, 5
"""Kinds of fields; the two others, groups, are not in ONNX."""

_MASK: Final = (1 << 64) - 1


def varint(data: bytes | bytearray, at: int) -> tuple[int, int] | None:
    """Read a number of up to 64 bits; returns it and where it ends.

    `None` where the bytes end first.

    Raises:
        ValueError: It has more than ten bytes.
    """
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            return None
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the highest bit says that more follow
            return value & _MASK, at
    raise ValueError("a number does not end")
