"""The content id that IPFS gives a file when it is added as is: `Qm...`, version 0.

Chunks of 256 KiB become leaves of a tree; a node above them has up to 174 links; the id names the
root. A node that adds files in another way gives another id, so that equal ids mean equal content
and different ones mean nothing.

Source: specs.ipfs.tech, UnixFS and dag-pb; verified against ids that IPFS nodes gave.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Final, NamedTuple

CHUNK: Final = 2**18
LINKS: Final = 174

_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_SHA256: Final = b"\x12\x20"
"""What comes before a SHA-256 and its 32 bytes in an id."""

_FILE: Final = b"\x08\x02"
"""A node of kind file."""


class _Node(NamedTuple):
    digest: bytes
    content: int
    """Bytes of the file below it."""

    stored: int
    """Bytes of it and of all nodes below it."""


class IPFSHash:
    """Takes a file in pieces of any size, in order; like `hashlib`'s, with an id for a digest."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._levels: list[list[_Node]] = [[]]

    def update(self, data: bytes) -> None:
        """Take the next bytes."""
        self._rest += data
        with memoryview(self._rest) as view:
            whole = len(view) // CHUNK * CHUNK
            for start in range(0, whole, CHUNK):
                self._add(0, _leaf(view[start : start + CHUNK]))
        del self._rest[:whole]

    def cid(self) -> str:
        """Return the id of all that was taken; takes nothing after it."""
        if self._rest or not any(self._levels):
            self._add(0, _leaf(memoryview(bytes(self._rest))))
        level = 0
        while level + 1 < len(self._levels) or len(self._levels[level]) > 1:
            if self._levels[level]:
                self._close(level)
            level += 1
        (root,) = self._levels[level]
        return _base58(_SHA256 + root.digest)

    def _add(self, level: int, node: _Node) -> None:
        if level == len(self._levels):
            self._levels.append([])
        self._levels[level].append(node)
        if len(self._levels[level]) == LINKS:
            self._close(level)

    def _close(self, level: int) -> None:
        """Put the nodes of a level under one of the next."""
        node, self._levels[level] = _parent(self._levels[level]), []
        self._add(level + 1, node)


def _leaf(chunk: memoryview) -> _Node:
    size = len(chunk)
    tail = b"\x18" + _varint(size)
    held = b"\x12" + _varint(size) if size else b""
    head = _sized(0x0A, len(_FILE) + len(held) + size + len(tail)) + _FILE + held
    hashed = sha256(head)
    hashed.update(chunk)
    hashed.update(tail)
    return _Node(hashed.digest(), size, len(head) + size + len(tail))


def _parent(nodes: Sequence[_Node]) -> _Node:
    content = sum(node.content for node in nodes)
    links = (
        b"\x0a\x22" + _SHA256 + node.digest + b"\x12\x00" + b"\x18" + _varint(node.stored)
        for node in nodes
    )
    sizes = b"".join(b"\x20" + _varint(node.content) for node in nodes)
    told = _FILE + b"\x18" + _varint(content) + sizes
    block = b"".join(_sized(0x12, len(link)) + link for link in links)
    block += _sized(0x0A, len(told)) + told
    stored = len(block) + sum(node.stored for node in nodes)
    return _Node(sha256(block).digest(), content, stored)


def _sized(tag: int, size: int) -> bytes:
    return bytes([tag]) + _varint(size)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:  # noqa: PLR2004 - seven bits a byte
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _base58(data: bytes) -> str:
    """Write bytes that do not begin with zero."""
    value, text = int.from_bytes(data, "big"), ""
    while value:
        value, digit = divmod(value, len(_BASE58))
        text = _BASE58[digit] + text
    return text
