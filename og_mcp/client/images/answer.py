"""Finds the images of a gateway's answer: `data:` URIs and URLs (protocol.md section 4)."""

from __future__ import annotations

import binascii
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from og_mcp.errors import ImageRefusedError, quote

MAX_IMAGES: Final = 10
"""Number of images of one answer that are kept."""

MAX_BYTES: Final = 64 * 2**20
"""Bytes of one image's file."""

DATA: Final = "data:"

_BLANKS: Final = b" \t\r\n\f"
_ONE_ALPHABET: Final = bytes.maketrans(b"-_", b"+/")
"""From the alphabet of base64 for URLs to the common one."""

_PIECE: Final = 2**20
"""Bytes that are decoded at once: decoding blocks every other thread."""


def addresses(answer: Mapping[str, Any]) -> list[str]:
    """Find the URIs of an answer's images, each once: in its message, and beside the choices.

    An entry without an address gives an empty text.

    Raises:
        ImageRefusedError: There are none.
    """
    found = list(dict.fromkeys(_address(entry) for entry in _entries(answer)))
    if not found:
        raise ImageRefusedError(f"the answer holds none{_refusal_text(answer)}")
    return found


def is_data(address: str) -> bool:
    """Whether an address is a `data:` URI."""
    return address[: len(DATA)].lower() == DATA


def content(data_uri: str) -> bytes:
    """Return what a `data:` URI holds; the type that it declares is not looked at.

    Either alphabet of base64 will do, with or without padding, line breaks and percent-encoding:
    whether the image came whole is told by its own bytes.

    Raises:
        ImageRefusedError: It is malformed or too long.
    """
    declared, comma, body = data_uri.partition(",")
    if not comma:
        raise ImageRefusedError("its data: URI has no comma")
    if len(body) > 2 * MAX_BYTES:
        raise ImageRefusedError(f"it is longer than {MAX_BYTES} bytes")
    try:
        raw = unquote_to_bytes(body) if "%" in body else body.encode()
    except UnicodeEncodeError as exc:
        raise ImageRefusedError("its data: URI holds half a character") from exc
    parameters = (parameter.strip().lower() for parameter in declared.split(";"))
    return _bounded(_decoded(raw) if "base64" in parameters else raw)


def _decoded(raw: bytes) -> bytes:
    raw, file, left = raw.rstrip(_BLANKS + b"="), bytearray(), b""
    try:
        for start in range(0, len(raw), _PIECE):
            piece = left + raw[start : start + _PIECE].translate(_ONE_ALPHABET, _BLANKS)
            whole = len(piece) // 4 * 4
            file += binascii.a2b_base64(piece[:whole], strict_mode=True)
            left = piece[whole:]
        file += binascii.a2b_base64(left + b"=" * (-len(left) % 4), strict_mode=True)
    except binascii.Error as exc:
        raise ImageRefusedError("its data: URI is not base64") from exc
    return bytes(file)


def _bounded(file: bytes) -> bytes:
    if len(file) > MAX_BYTES:
        raise ImageRefusedError(f"it is longer than {MAX_BYTES} bytes")
    return file


def _entries(answer: Mapping[str, Any]) -> Iterator[object]:
    for holder in (_message(answer), answer):
        images = holder.get("images")
        if isinstance(images, list):
            yield from images


def _refusal_text(answer: Mapping[str, Any]) -> str:
    """Return the text of a model that did not draw, such as its reason."""
    text = _message(answer).get("content")
    return f", only the text {quote(text)}" if isinstance(text, str) and text.strip() else ""


def _message(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = answer.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    message = first.get("message") if isinstance(first, dict) else None
    return message if isinstance(message, dict) else {}


def _address(entry: object) -> str:
    """Read an entry: the URI itself, or an object with `url` or `image_url`, which may be one."""
    for name in ("image_url", "url"):
        if isinstance(entry, Mapping) and name in entry:
            entry = entry[name]
    return entry.strip() if isinstance(entry, str) else ""
