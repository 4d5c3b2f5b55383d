"""Pictures of the local network: drawn from the prompt's hash, and saying where they come from."""

from __future__ import annotations

import hashlib
import random
from io import BytesIO
from typing import Final

from PIL import Image, ImageDraw

LABEL: Final = "og-mcp local network: drawn, not generated"

_SHAPES: Final = 24
_MAX_SHAPE: Final = 0.4
"""Share of the picture's side."""

_MARGIN: Final = 8
_LINE: Final = 14
_COLOURS: Final = 256
_SHOWN: Final = 80
"""Letters of the prompt that are written into the picture."""

_LARGE_SIDE: Final = 2_700
_NOISE_SIDE: Final = 600
_WIDE_SIDE: Final = 8_000


def draw(prompt: str, size: tuple[int, int]) -> bytes:
    """Draw a PNG of `size` (width, height) pixels; the same prompt gives the same picture."""
    chance = _chance(prompt)
    image = Image.new("RGB", size, _colour(chance))
    canvas = ImageDraw.Draw(image)
    for _ in range(_SHAPES):
        box = _box(chance, size)
        paint = canvas.ellipse if chance.random() < 0.5 else canvas.rectangle  # noqa: PLR2004 - a coin
        paint(box, fill=_colour(chance))
    canvas.rectangle((0, 0, size[0], _MARGIN + 2 * _LINE), fill="white")
    shown = prompt[:_SHOWN].encode("ascii", "replace").decode()
    canvas.text((_MARGIN, _MARGIN // 2), f"{LABEL}\n{shown}", fill="black")
    return _png(image)


def large(prompt: str) -> bytes:
    """Make a PNG of more than 20 MB: noise, which nothing compresses."""
    return _noise(prompt, _LARGE_SIDE)


def noise(prompt: str) -> bytes:
    """Make a PNG of noise, 1 MB long."""
    return _noise(prompt, _NOISE_SIDE)


def wide() -> bytes:
    """Make a PNG of 8000 x 8000 pixels in few bytes."""
    return _png(Image.new("L", (_WIDE_SIDE, _WIDE_SIDE), _COLOURS // 2), level=1)


def _noise(prompt: str, side: int) -> bytes:
    pixels = _chance(prompt).randbytes(3 * side**2)
    return _png(Image.frombytes("RGB", (side, side), pixels), level=0)


def _chance(prompt: str) -> random.Random:
    seed = hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).digest()
    return random.Random(seed)  # noqa: S311 - a picture, not a secret


def _colour(chance: random.Random) -> tuple[int, int, int]:
    return chance.randrange(_COLOURS), chance.randrange(_COLOURS), chance.randrange(_COLOURS)


def _box(chance: random.Random, size: tuple[int, int]) -> tuple[float, float, float, float]:
    width, height = size
    left, top = chance.random() * width, chance.random() * height
    wide, high = (chance.random() * _MAX_SHAPE * side for side in size)
    return left, top, left + wide, top + high


def _png(image: Image.Image, level: int = 6) -> bytes:
    file = BytesIO()
    image.save(file, "PNG", compress_level=level)
    return file.getvalue()
