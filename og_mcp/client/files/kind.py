"""The type of an image by its first bytes, whatever it was declared to be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Kind:
    """A type of image."""

    format: str
    """Its name in Pillow."""

    mime_type: str
    suffix: str
    """The ending of file names."""


PNG: Final = Kind("PNG", "image/png", ".png")
JPEG: Final = Kind("JPEG", "image/jpeg", ".jpg")
WEBP: Final = Kind("WEBP", "image/webp", ".webp")
GIF: Final = Kind("GIF", "image/gif", ".gif")
KINDS: Final = (PNG, JPEG, WEBP, GIF)

_MAGIC: Final = (
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"\xff\xd8\xff", JPEG),
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
)


def kind_of(head: bytes) -> Kind | None:
    """Return the type of an image by its first 12 bytes; `None` if it is not a known one."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return WEBP
    return next((kind for magic, kind in _MAGIC if head.startswith(magic)), None)
