"""Words of the Solidity contract ABI: written as parts, read with every offset and length checked.

Source: Solidity contract ABI specification.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from og_mcp.client.codec.malformed import malformed
from og_mcp.errors import ServiceReplyError, quote

WORD: Final = 32

Part = bytes | memoryview


def word(value: int) -> list[Part]:
    """Write an unsigned word."""
    return [value.to_bytes(WORD, "big")]


def string(text: str) -> list[Part]:
    """Write a string.

    Raises:
        UnicodeEncodeError: It holds half a surrogate pair.
    """
    encoded = text.encode()
    return [len(encoded).to_bytes(WORD, "big") + encoded + bytes(-len(encoded) % WORD)]


def tuple_(members: Sequence[list[Part]], *, static: Sequence[int] = ()) -> list[Part]:
    """Write members behind their offsets; those at the indices `static` go into the head itself."""
    head: list[Part] = []
    tail: list[Part] = []
    offset = WORD * len(members)
    for index, member in enumerate(members):
        if index in static:
            head += member
            continue
        head += word(offset)
        tail += member
        offset += sum(map(len, member))
    return head + tail


def array(members: Sequence[list[Part]]) -> list[Part]:
    """Write an array of members that need offsets."""
    return word(len(members)) + tuple_(members)


class WordReader:
    """Reads words at offsets; each byte of the data pays for one byte that is read.

    Honest data has no overlaps, so it never runs out; a node that lets many offsets point at the
    same large array does.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._unread = len(data)

    def take(self, start: int, size: int) -> bytes:
        """Return bytes and count them as read."""
        self.claim(start, size)
        return self._data[start : start + size]

    def claim(self, start: int, size: int) -> int:
        """Count bytes as read and return where they start."""
        if start + size > len(self._data):
            malformed(f"{size} bytes are said to be at {start} of {len(self._data)}")
        self._unread -= size
        if self._unread < 0:
            malformed("more is to be read than there is")
        return start

    def word(self, start: int) -> int:
        """Return an unsigned word."""
        return int.from_bytes(self.take(start, WORD), "big")

    def offset(self, base: int, member: int) -> int:
        """Return where a member of the tuple at `base` starts."""
        return base + self.word(base + WORD * member)

    def length(self, start: int, item_bytes: int) -> int:
        """Return the length of the array at `start`, whose items take so many bytes at least."""
        length = self.word(start)
        if length * item_bytes > self._unread:
            malformed(f"an array of {quote(length)} items is more than is left to read")
        return length

    def members(self, start: int) -> Iterator[int]:
        """Yield where each member of an array starts, for members that have offsets."""
        length = self.length(start, WORD)
        for index in range(length):
            yield self.offset(start + WORD, index)

    def string(self, start: int) -> str:
        """Return the string at `start`."""
        encoded = self.take(start + WORD, self.length(start, 1))
        try:
            return encoded.decode()
        except UnicodeDecodeError as exc:
            raise ServiceReplyError("node", "a text in the model's output is not UTF-8") from exc
