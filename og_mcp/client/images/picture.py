"""Image files: what type they are by their own bytes, read whole, cut to a size, made small.

Blocks and takes memory, so all of it belongs in a thread.
"""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import BinaryIO, Final

from PIL import ExifTags, Image, ImageFile
from PIL.Image import Transpose

from og_mcp.client.files.kind import GIF, JPEG, PNG, WEBP, Kind, kind_of
from og_mcp.client.images.scaling import cover_box, many_coloured, scaled, within
from og_mcp.errors import ImageRefusedError

MAX_PIXELS: Final = 8192 * 8192
"""Pixels of the largest image that is accepted; 256 MiB once decoded.

Below Pillow's own bound, which is left as it is: it holds for the whole process.
"""

PREVIEW_SIDE: Final = 1568
"""Longest side of a preview, pixels: models are shown no larger ones."""

MAX_SCANS: Final = 32
"""Of a JPEG of the most pixels; a smaller one may have more. Each one costs a pass over all pixels
and can be a hundred bytes long."""

MAX_PROFILES: Final = 8
"""Of a PNG, which has at most one: opening it unpacks each, a megabyte from a thousand bytes."""

_PROFILE: Final = b"iCCP"

_LEAST_COUNTED: Final = 2**16
"""Fewest pixels that a scan counts for."""

_START_OF_SCAN: Final = b"\xff\xda"

_TURNS: Final = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
"""EXIF orientation -> the turn that makes the image upright."""

_ON_ITS_SIDE: Final = frozenset({5, 6, 7, 8})
"""Orientations that exchange width and height."""

_QUALITIES: Final = (85, 70, 50)
_SMALLEST_SIDE: Final = 32
_GOOD: Final = 95
"""JPEG and WebP quality of an image that was cut."""

_HEAD: Final = 32
"""Bytes from which type and a WebP file's size can be told."""

_WHITE: Final = 255
_OPAQUE: Final = 255


_UNREADABLE: Final = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError),
    *(AssertionError, AttributeError, struct.error, zlib.error, RuntimeError),
)
"""Errors that Pillow raises for damaged files; they differ by type and version."""


def read(file: BinaryIO) -> tuple[Image.Image, Kind]:
    """Decode an image; the first frame of an animation.

    Raises:
        ImageRefusedError: It is of no known type, too large, cut off or damaged.
    """
    kind, image = _opened(file)
    try:
        image.load()
        _check_end(file, kind)
    except _UNREADABLE as exc:
        raise _damaged(kind) from exc
    return image, kind


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return an image's width and height as it is shown: a file can say that it has to be turned."""
    width, height = image.size
    return (height, width) if _orientation(image) in _ON_ITS_SIDE else (width, height)


def cut(image: Image.Image, kind: Kind, size: tuple[int, int]) -> tuple[bytes, Kind]:
    """Scale an image until it covers a size, cut it there at the centre, and write it as a file.

    Args:
        image: Decoded.
        kind: Its type, which is kept; of a GIF a PNG is made, since more colours come up.
        size: Width and height as they are looked at, pixels.
    """
    orientation = _orientation(image)
    lying = (size[1], size[0]) if orientation in _ON_ITS_SIDE else size
    # Turned once it is small; no file that is written here says that it is to be turned.
    fitted = _turned(scaled(image, lying, cover_box(image.size, lying)), orientation)
    kept = PNG if kind is GIF else kind
    return _written(fitted, kept), kept


def encoded(image: Image.Image, kind: Kind) -> bytes:
    """Write an image anew, upright, as a file of a type; in a JPEG what is transparent is white.

    Args:
        image: Decoded.
        kind: PNG, JPEG or WEBP.
    """
    upright = _turned(many_coloured(image), _orientation(image))
    return _written(_without_alpha(upright) if kind is JPEG else upright, kind)


def preview(file: BinaryIO, max_bytes: int) -> tuple[bytes, Kind]:
    """Make a small, upright image of at most `PREVIEW_SIDE` pixels a side and `max_bytes`.

    A JPEG, or a PNG where something is transparent and it fits; in a JPEG that becomes white.
    Empty if none fits.

    Raises:
        ImageRefusedError: As `read`.
    """
    kind, image = _opened(file)
    try:
        if kind is JPEG:
            # Decodes at a half, a quarter or an eighth of the size.
            image.draft("RGB", (PREVIEW_SIDE, PREVIEW_SIDE))
        image.load()
    except _UNREADABLE as exc:
        raise _damaged(kind) from exc
    shown, side = _turned(within(image, PREVIEW_SIDE), _orientation(image)), PREVIEW_SIDE
    while side >= _SMALLEST_SIDE:
        small, made = _smallest(shown, max_bytes)
        if small:
            return small, made
        side = side * 3 // 4
        shown = within(shown, side)
    return b"", JPEG


def _smallest(image: Image.Image, max_bytes: int) -> tuple[bytes, Kind]:
    """Write an image as the best file that fits; empty if none does."""
    if _is_see_through(image):
        png = BytesIO()
        image.save(png, "PNG")
        if png.tell() <= max_bytes:
            return png.getvalue(), PNG
    flat = _without_alpha(image)
    for quality in _QUALITIES:
        jpeg = BytesIO()
        flat.save(jpeg, "JPEG", quality=quality)
        if jpeg.tell() <= max_bytes:
            return jpeg.getvalue(), JPEG
    return b"", JPEG


def _written(image: Image.Image, kind: Kind) -> bytes:
    file = BytesIO()
    if kind is PNG:
        # The fastest compression: 8192 x 8192 pixels take 4 s by it, and 8 s by the usual one.
        image.save(file, "PNG", compress_level=1)
    else:
        image.save(file, kind.format, quality=_GOOD)
    return file.getvalue()


def _opened(file: BinaryIO) -> tuple[Kind, ImageFile.ImageFile]:
    file.seek(0)
    head = file.read(_HEAD)
    file.seek(0)
    kind = kind_of(head)
    if kind is None:
        raise ImageRefusedError("its first bytes are those of no PNG, JPEG, WebP or GIF")
    if kind is WEBP:
        # Opening one already makes room for all its pixels.
        _check_pixels(_webp_size(head))
    if kind is PNG:
        _check_profiles(file)
    try:
        image = Image.open(file, formats=[kind.format])
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
        raise ImageRefusedError(f"it has more than {MAX_PIXELS} pixels") from exc
    except _UNREADABLE as exc:
        raise _damaged(kind) from exc
    _check_pixels(image.size)
    if kind is JPEG:
        _check_scans(file, image.size)
    return kind, image


def _webp_size(head: bytes) -> tuple[int, int]:
    """Read width and height of a WebP file (RFC 9649, sections 2.5 to 2.7); 0 x 0 if damaged."""
    form, rest = head[12:16], head[20:]
    if form == b"VP8X":
        return 1 + int.from_bytes(rest[4:7], "little"), 1 + int.from_bytes(rest[7:10], "little")
    if form == b"VP8L":
        bits = int.from_bytes(rest[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if form == b"VP8 ":
        sides = (int.from_bytes(rest[at : at + 2], "little") & 0x3FFF for at in (6, 8))
        return next(sides), next(sides)
    return 0, 0


def _check_pixels(size: tuple[int, int]) -> None:
    width, height = size
    if not 0 < width * height <= MAX_PIXELS:
        raise ImageRefusedError(f"it has {width} x {height} pixels; {MAX_PIXELS} are the most")


def _check_profiles(file: BinaryIO) -> None:
    profiles = file.read().count(_PROFILE)
    file.seek(0)
    if profiles > MAX_PROFILES:
        raise ImageRefusedError(f"it holds {profiles} colour profiles")


def _check_scans(file: BinaryIO, size: tuple[int, int]) -> None:
    place = file.tell()
    file.seek(0)
    scans = file.read().count(_START_OF_SCAN)
    file.seek(place)
    if scans * max(size[0] * size[1], _LEAST_COUNTED) > MAX_SCANS * MAX_PIXELS:
        raise ImageRefusedError(f"it is drawn in {scans} passes over its pixels, too many")


def _check_end(file: BinaryIO, kind: Kind) -> None:
    """Find the end of a PNG, which Pillow does without once it has the pixels.

    Raises:
        ValueError: There is none.
    """
    if kind is PNG:
        file.seek(0)
        if b"IEND\xaeB`\x82" not in file.read():
            raise ValueError("no end")


def _orientation(image: Image.Image) -> int:
    """Read the EXIF orientation; 1 (not turned) without a usable one."""
    try:
        said = image.getexif().get(ExifTags.Base.Orientation)
    except _UNREADABLE:
        return 1
    return said if isinstance(said, int) and said in _TURNS else 1


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def _is_see_through(image: Image.Image) -> bool:
    if image.mode not in {"RGBA", "LA"}:
        return False
    return image.getchannel("A").getextrema() != (_OPAQUE, _OPAQUE)


def _without_alpha(image: Image.Image) -> Image.Image:
    if image.mode not in {"RGBA", "LA"}:
        return image
    coloured = image.convert("RGBA")
    paper = Image.new("RGB", image.size, (_WHITE, _WHITE, _WHITE))
    paper.paste(coloured, mask=coloured.getchannel("A"))
    return paper


def _damaged(kind: Kind) -> ImageRefusedError:
    return ImageRefusedError(f"it begins like a {kind.format} file, and is cut off or damaged")
