"""Decoded images made larger or smaller, a strip at a time.

On all pixels of a large image each single step would hold up every other thread for a third of a
second, and make another copy as large.
"""

from __future__ import annotations

import math
from typing import Final

from PIL import Image

Box = tuple[float, float, float, float]
"""Left, top, right, bottom; pixels, not rounded."""

_STRIP: Final = 2**20
"""About how many pixels are scaled at once."""

_SUPPORT: Final = 3
"""Pixels to each side that one is made of, where nothing becomes smaller."""


def cover_box(have: tuple[int, int], want: tuple[int, int]) -> Box:
    """Find the largest part of an image, about its centre, that has the proportions of another.

    Args:
        have: Width and height of the image.
        want: Those that its part is to be scaled to.

    Returns:
        Left, top, right, bottom in pixels of the image, not rounded.
    """
    scale = max(want[0] / have[0], want[1] / have[1])
    width, height = min(want[0] / scale, have[0]), min(want[1] / scale, have[1])
    left, top = (have[0] - width) / 2, (have[1] - height) / 2
    return left, top, left + width, top + height


def within(image: Image.Image, side: int) -> Image.Image:
    """Scale an image down until no side is longer."""
    shrink = side / max(image.size)
    if shrink >= 1:
        return many_coloured(image)
    width, height = (max(round(length * shrink), 1) for length in image.size)
    return scaled(image, (width, height), (0, 0, *image.size))


def scaled(image: Image.Image, size: tuple[int, int], box: Box) -> Image.Image:
    """Scale a part of an image; what is made is of 8 bits a channel, without a palette.

    Args:
        image: Decoded.
        size: Width and height of what is made.
        box: Left, top, right, bottom of the part, pixels.
    """
    left, top, right, bottom = box
    across, down = (right - left) / size[0], (bottom - top) / size[1]
    rows = max(int(_STRIP / max((right - left) * down, size[0])), 1)
    made: Image.Image | None = None
    for start in range(0, size[1], rows):
        end = min(start + rows, size[1])
        part = (left, top + start * down, right, top + end * down)
        around = _around(part, (across, down), image.size)
        x, y = around[:2]
        within = (part[0] - x, part[1] - y, part[2] - x, part[3] - y)
        strip = many_coloured(image.crop(around)).resize(
            (size[0], end - start), Image.Resampling.LANCZOS, box=within
        )
        made = made or Image.new(strip.mode, size)
        made.paste(strip, (0, start))
    return made or Image.new("L", size)


def many_coloured(image: Image.Image) -> Image.Image:
    """Return an image in a mode that can be scaled: of 8 bits a channel, without a palette."""
    if image.mode in {"RGB", "RGBA", "L", "LA"}:
        return image.convert("RGBA") if "transparency" in image.info else image
    if image.mode.startswith("I"):
        # 16 bits of grey; a conversion alone would cut off what is above 255.
        return image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _around(
    part: Box, scale: tuple[float, float], most: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Find the pixels from which a part is computed: a few more on each side."""
    wide, high = (math.ceil(_SUPPORT * max(ratio, 1)) + 1 for ratio in scale)
    return (
        max(math.floor(part[0]) - wide, 0),
        max(math.floor(part[1]) - high, 0),
        min(math.ceil(part[2]) + wide, most[0]),
        min(math.ceil(part[3]) + high, most[1]),
    )
