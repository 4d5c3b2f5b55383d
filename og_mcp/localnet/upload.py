"""One uploaded file, from a multipart body to disk, in constant memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from og_mcp.localnet.store import Incoming

if TYPE_CHECKING:
    # The package defines this type for type checkers alone.
    from python_multipart.multipart import MultipartCallbacks

FIELD: Final = b"file"
"""Name of the multipart field that carries the file."""

_BATCH: Final = 1 << 20
"""Bytes gathered before a thread writes and hashes them."""


class UploadError(Exception):
    """The body is not a multipart upload of one file."""


async def receive(body: AsyncIterator[bytes], content_type: str, incoming: Incoming) -> str:
    """Write the part named `file` to `incoming` and return its file name.

    Raises:
        UploadError: No multipart body, no such part, or an end before the last boundary.
    """
    part = _FilePart()
    parser = MultipartParser(_boundary(content_type), part.callbacks())
    try:
        async for chunk in body:
            parser.write(chunk)
            if len(part.pending) >= _BATCH:
                await asyncio.to_thread(incoming.write, part.take())
    except FormParserError as error:
        raise UploadError("The body is not valid multipart data") from error
    if not part.complete:
        raise UploadError("The body ends before its last boundary")
    if part.file_name is None:
        raise UploadError("The body has no part named 'file' with a file name")
    await asyncio.to_thread(incoming.write, part.take())
    return part.file_name


def _boundary(content_type: str) -> bytes:
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data" or b"boundary" not in options:
        raise UploadError("An upload is multipart/form-data with a boundary")
    return options[b"boundary"]


class _FilePart:
    """Gathers the bytes of the first part named `file`; other parts are passed over."""

    def __init__(self) -> None:
        self.pending = bytearray()
        self.file_name: str | None = None
        self.complete = False
        self._wanted = False
        self._header = b""
        self._value = b""
        self._disposition = b""

    def callbacks(self) -> MultipartCallbacks:
        """Name the methods as the parser calls them."""
        return {
            "on_header_begin": self._begin_header,
            "on_header_field": self._add_header,
            "on_header_value": self._add_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._begin_content,
            "on_part_data": self._add_content,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    def take(self) -> bytes:
        """Hand over what was gathered."""
        taken = bytes(self.pending)
        self.pending.clear()
        return taken

    def _begin_header(self) -> None:
        self._header = self._value = b""

    def _add_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value

    def _begin_content(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._disposition = b""
        self._wanted = (
            self.file_name is None and options.get(b"name") == FIELD and b"filename" in options
        )
        if self._wanted:
            self.file_name = options[b"filename"].decode("utf-8", "replace")

    def _add_content(self, data: bytes, start: int, end: int) -> None:
        if self._wanted:
            self.pending += memoryview(data)[start:end]

    def _end_part(self) -> None:
        self._wanted = False

    def _end(self) -> None:
        self.complete = True
