"""Images and PDFs that a request carries: read through the guarded files, known by their content.

A path goes in `file` alone; every other address is `data:` or `https:` (threats.md T45, T51).
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import sys
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Final

from og_mcp.client.files.kind import KINDS, Kind, kind_of
from og_mcp.client.files.roots import FileRoots
from og_mcp.errors import FileRefusedError, InputError, quote
from og_mcp.types import Attachment

MAX_REQUEST: Final = 20 * 2**20
"""Bytes of a request that gateways take; they answer 413 to more."""

MAX_BYTES: Final = MAX_REQUEST // 4 * 3
"""Bytes of all files of one request: base64 makes four of three."""

PICTURES: Final = KINDS
PDF: Final = Kind("PDF", "application/pdf", ".pdf")

NOTHING_SENT: Final = "Nothing was sent or paid."
SWITCH: Final = "OG_ALLOW_IMAGE_URLS"

_HEAD: Final = 16
_DATA: Final = re.compile(r"data:[^,]*,", re.IGNORECASE)
_HTTPS: Final = re.compile(r"https://[^/?#\\\s][^\s\x00-\x1f\x7f\\]*", re.IGNORECASE)


@dataclass(frozen=True)
class Attached:
    """A file as it is sent."""

    name: str
    uri: str
    """`data:` URI of its whole content."""


class Attachments:
    """The files of one request, counted against one bound.

    Args:
        files: Opens them.
        takes_urls: Whether gateways may fetch https addresses that a request names.
    """

    def __init__(self, files: FileRoots, *, takes_urls: bool) -> None:
        self._files, self._takes_urls = files, takes_urls
        self._left = MAX_BYTES
        self.told: list[Attachment] = []
        """What was attached, in order."""

    @property
    def in_request(self) -> dict[str, Any]:
        """Tell the files in the request: a gateway's TEE may hash no more of them than their names."""
        told = [one.model_dump() for one in self.told]
        return {"attachments": told} if told else {}

    def read(self, path: str, kinds: Collection[Kind]) -> Attached:
        """Read a file that a request is to carry. Blocks, so it belongs in a thread.

        Args:
            path: As `FileRoots.open` takes it.
            kinds: The types that fit the place; told by the bytes, not by the name.

        Raises:
            FileRefusedError: It may not be read, is of another type, or is too large.
        """
        return self.add(PurePath(path).name, self._content(path), kinds)

    def add(self, name: str, data: bytes, kinds: Collection[Kind]) -> Attached:
        """Take content that was read already.

        Raises:
            FileRefusedError: As `read`.
        """
        kind = PDF if data.startswith(b"%PDF-") else kind_of(data[:_HEAD])
        if kind is None or kind not in kinds:
            wanted = " or ".join(one.format for one in kinds)
            has = f"a {kind.format}" if kind else "something else"
            raise FileRefusedError(
                name,
                f"by its content it is {has}, and {wanted} belongs here",
                f"PDF files go in parts of type file, pictures in image_url. {NOTHING_SENT}",
            )
        self._check_size(name, len(data))
        self._left -= len(data)
        digest = hashlib.sha256(data).hexdigest()
        self.told.append(Attachment(name=name, size=len(data), sha256=digest))
        return Attached(name, f"data:{kind.mime_type};base64,{base64.b64encode(data).decode()}")

    def check_address(self, address: str, where: str) -> None:
        """Allow `data:` URIs and, where gateways may fetch them, https addresses.

        Args:
            address: As it would be sent.
            where: Names the place in errors.

        Raises:
            InputError: It is anything else, such as a path.
        """
        if _DATA.match(address):
            return
        if not _HTTPS.fullmatch(address):
            raise InputError(
                f"{where} is {quote(address)}, and only data: and https: addresses are taken.",
                f'To attach a file, put its path in {{"file": "/path"}}. {NOTHING_SENT}',
            )
        if not self._takes_urls:
            raise InputError(
                f"{where} is the web address {quote(address)}, which would be fetched from outside "
                "and can carry data away.",
                f'Attach a file by {{"file": "/path"}}; the operator can set {SWITCH}=1. '
                f"{NOTHING_SENT}",
            )

    def _content(self, path: str) -> bytes:
        try:
            opened = self._files.open(path, max_bytes=sys.maxsize)
        except FileRefusedError as exc:
            exc.hint = f"{exc.hint} {NOTHING_SENT}"
            raise
        with closing(opened) as file:
            # Check the size first: a file can be larger than the memory.
            self._check_size(path, os.fstat(file.fileno()).st_size)
            try:
                return file.read(self._left + 1)
            except OSError as exc:
                raise FileRefusedError(path, quote(exc.strerror), NOTHING_SENT) from exc

    def _check_size(self, name: str, size: int) -> None:
        if size > self._left:
            raise FileRefusedError(
                name,
                f"it has {size:,} bytes, and {self._left:,} are left of the {MAX_BYTES:,} that fit "
                f"a request of {MAX_REQUEST // 2**20} MiB",
                f"Attach smaller or fewer files. {NOTHING_SENT}",
            )
