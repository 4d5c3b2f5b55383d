"""Where the images of a gateway's answer are: `data:` URIs and URLs (protocol.md section 4)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from og_mcp.errors import ImageRefusedError

MOST_IMAGES: Final = 8
"""Of one answer."""

MOST_BYTES: Final = 64 * 2**20
"""Of one image's file."""

DATA: Final = "data:"

_BLANKS: Final = str.maketrans("", "", " \t\r\n")


def addresses(answer: Mapping[str, Any]) -> list[str]:
    """Find the URIs of an answer's images, each once: in its message, and beside the choices.

    Raises:
        ImageRefusedError: There are none, too many, or something else in their place.
    """
    found = list(dict.fromkeys(_address(entry) for entry in _entries(answer)))
    if not found:
        raise ImageRefusedError("the answer holds none")
    if len(found) > MOST_IMAGES:
        raise ImageRefusedError(f"the answer holds {len(found)}, and {MOST_IMAGES} are the most")
    return found


def is_data(address: str) -> bool:
    """Whether an address is a `data:` URI."""
    return address[: len(DATA)].lower() == DATA


def content(data_uri: str) -> bytes:
    """Return what a `data:` URI holds; the type that it declares is not looked at.

    Raises:
        ImageRefusedError: It is malformed or too long.
    """
    declared, comma, body = data_uri.partition(",")
    if not comma:
        raise ImageRefusedError("its data: URI has no comma")
    if len(body) > 2 * MOST_BYTES:
        raise ImageRefusedError(f"it is longer than {MOST_BYTES} bytes")
    if not declared.lower().rstrip().endswith(";base64"):
        return _bounded(unquote_to_bytes(body))
    try:
        return _bounded(base64.b64decode(body.translate(_BLANKS), validate=True))
    except (binascii.Error, ValueError) as exc:
        raise ImageRefusedError("its data: URI is not base64") from exc


def _bounded(file: bytes) -> bytes:
    if len(file) > MOST_BYTES:
        raise ImageRefusedError(f"it is longer than {MOST_BYTES} bytes")
    return file


def _entries(answer: Mapping[str, Any]) -> Iterator[object]:
    choices = answer.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    message = first.get("message") if isinstance(first, dict) else None
    for holder in (message, answer):
        images = holder.get("images") if isinstance(holder, Mapping) else None
        if isinstance(images, list):
            yield from images


def _address(entry: object) -> str:
    """Read an entry: the URI itself, or an object with `url` or `image_url`, which may be one."""
    for name in ("image_url", "url"):
        if isinstance(entry, Mapping) and name in entry:
            entry = entry[name]
    if not isinstance(entry, str):
        raise ImageRefusedError("its place in the answer holds no address")
    return entry
