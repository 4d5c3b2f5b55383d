"""Images of gateways' answers: told by their bytes, bounded, kept as they came, cut to a size."""

from __future__ import annotations

import base64
import hashlib
import os
import stat
import struct
import sys
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
import pytest
from PIL import ExifTags, Image, ImageChops

from og_mcp.client.files.kind import kind_of
from og_mcp.client.images.answer import MAX_BYTES
from og_mcp.client.images.images import Images
from og_mcp.client.images.picture import MAX_PIXELS, PREVIEW_SIDE, preview, read
from og_mcp.client.images.scaling import cover_box, scaled
from og_mcp.errors import ImageNotFoundError, ImageRefusedError
from og_mcp.types import Image as KeptImage
from og_mcp.types import StoredImage

FORMATS = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "GIF": "image/gif"}
RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def drawn(
    format_: str = "PNG", size: tuple[int, int] = (40, 30), mode: str = "RGB", **how: bool
) -> bytes:
    """Write an image: noise, so that cutting a byte off cuts off some of it."""
    file = BytesIO()
    grey = Image.effect_noise(size, 80)
    grey.convert(mode).save(file, format_, **how)
    return file.getvalue()


def data_uri(file: bytes, declared: str = "image/png") -> str:
    return f"data:{declared};base64,{base64.b64encode(file).decode()}"


def answering(*images: object) -> dict[str, Any]:
    return {"choices": [{"message": {"content": "", "images": list(images)}}]}


async def keep(
    images: Images, answer: Mapping[str, Any], principal: str, **sides: int
) -> list[KeptImage]:
    """Keep the images of an answer of which every one can be used."""
    width, height = sides.get("width", 0), sides.get("height", 0)
    found = await images.keep(answer, principal, width=width, height=height)
    assert found.refused == []
    return found.images


def oriented(format_: str, orientation: int) -> bytes:
    """Write an image 60 wide and 40 high whose upper left corner is white as it is stored."""
    picture, file = Image.new("RGB", (60, 40)), BytesIO()
    picture.paste(WHITE, (0, 0, 30, 20))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    picture.save(file, format_, exif=exif)
    return file.getvalue()


def white_corners(file: bytes) -> set[str]:
    """Name the corners of an image that are white, as a program sees it that does not turn it."""
    with Image.open(BytesIO(file)) as made:
        grey, right, bottom = made.convert("L"), made.width - 3, made.height - 3
    corners = {
        "upper left": (2, 2),
        "upper right": (right, 2),
        "lower left": (2, bottom),
        "lower right": (right, bottom),
    }
    return {name for name, at in corners.items() if int(str(grey.getpixel(at))) > 128}


def on_disk(image: StoredImage) -> bytes:
    return Path(image.path).read_bytes()


def overwrite(image: StoredImage, file: bytes) -> None:
    Path(image.path).write_bytes(file)


def files_beside(image: StoredImage) -> set[Path]:
    return set(Path(image.path).parent.iterdir())


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_of(width: int, height: int) -> bytes:
    """Write a PNG that says it is so large, in few bytes."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(bytes(1000))), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def webp_of(form: bytes, body: bytes) -> bytes:
    part = form + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", 4 + len(part)) + b"WEBP" + part


@pytest.fixture
def images(tmp_path: Path) -> Images:
    return Images(tmp_path / "images", local=True)


def refusal(file: bytes) -> str:
    with pytest.raises(ImageRefusedError) as caught:
        read(BytesIO(file))
    return str(caught.value)


@pytest.mark.parametrize("format_", FORMATS)
async def test_the_bytes_decide_the_type_and_not_what_was_declared(
    images: Images, format_: str
) -> None:
    file = drawn(format_)

    (kept,) = await keep(images, answering(data_uri(file, "text/html")), "local")

    assert kept.mime_type == FORMATS[format_]
    assert (kept.width, kept.height, kept.size) == (40, 30, len(file))
    assert kept.original.uri == ""
    assert kept.sha256 == hashlib.sha256(file).hexdigest()
    assert kept.uri == f"og://images/{kept.sha256}"
    assert on_disk(kept) == file
    read_back = await images.read(kept.sha256, "local")
    assert (read_back.data, read_back.mime_type) == (file, FORMATS[format_])


@pytest.mark.skipif(sys.platform == "win32", reason="modes of POSIX")
async def test_an_image_is_its_owners_alone_and_nothing_is_left_beside_it(images: Images) -> None:
    (kept,) = await keep(images, answering(data_uri(drawn())), "local")

    path = Path(kept.path)
    assert [mode_of(one) for one in (path, path.parent, path.parent.parent)] == [
        *(0o600, 0o700, 0o700)
    ]
    assert files_beside(kept) == {path}


async def test_every_place_and_form_of_an_image_is_found_once(images: Images) -> None:
    files = [drawn(size=(8 + n, 8)) for n in range(4)]
    first, second, third, fourth = map(data_uri, files)
    answer = answering(first, {"url": second}, {"image_url": {"url": third}})
    answer["images"] = [{"type": "image_url", "image_url": fourth}, first]

    kept = await keep(images, answer, "local")

    assert [image.sha256 for image in kept] == [hashlib.sha256(one).hexdigest() for one in files]


async def test_a_data_uri_may_be_percent_encoded_or_broken_into_lines(images: Images) -> None:
    file = drawn()
    lines = base64.encodebytes(file).decode()
    percent = "".join(f"%{byte:02x}" for byte in file)

    for uri in (f"DATA:image/png;charset=x;base64,{lines}", f"data:,{percent}"):
        (kept,) = await keep(images, answering(uri), "local")
        assert on_disk(kept) == file


@pytest.mark.parametrize(
    "declared",
    ["", ";", "image/png", "x" * 999, "IMAGE/PNG; charset=utf-8 ", 'a/b;c="d";e', "\u20ac"],
)
@pytest.mark.parametrize("flag", [";base64", "; BASE64 ", ";base64;charset=utf-8"])
async def test_no_media_type_is_too_odd(images: Images, declared: str, flag: str) -> None:
    file = drawn(size=(8, 8))
    encoded = base64.b64encode(file).decode()

    (kept,) = await keep(images, answering(f" data:{declared}{flag},{encoded}\n"), "local")

    assert on_disk(kept) == file


@pytest.mark.slow
@pytest.mark.parametrize("length", [0, 1, 2])
@pytest.mark.parametrize("how", ["urlsafe", "unpadded", "overpadded", "percent", "spaced"])
async def test_every_way_to_write_base64_is_read(images: Images, how: str, length: int) -> None:
    # What stands behind its end does not belong to a PNG, and fixes the padding.
    file = drawn(size=(400, 300))
    file += bytes((length - len(file)) % 3)
    plain = base64.b64encode(file).decode()
    written = {
        "urlsafe": base64.urlsafe_b64encode(file).decode(),
        "unpadded": plain.rstrip("="),
        "overpadded": plain + "==",
        "percent": quote(plain, safe=""),
        "spaced": " ".join(plain[at : at + 61] for at in range(0, len(plain), 61)),
    }
    assert len(file) % 3 == length
    assert {"+", "/"} <= set(plain)

    (kept,) = await keep(images, answering(f"data:image/png;base64,{written[how]}"), "local")

    assert on_disk(kept) == file


async def test_what_a_model_said_that_did_not_draw_is_told_quoted_and_cut(images: Images) -> None:
    refusal_ = "I will not\ndraw that. " + "x" * 500
    answer = {"choices": [{"message": {"content": refusal_}}]}

    with pytest.raises(ImageRefusedError) as caught:
        await images.keep(answer, "local")

    assert "holds none, only the text 'I will not\\ndraw that. xxx" in caught.value.what
    assert len(caught.value.what) < 260


async def test_one_bad_image_does_not_take_the_others_along(images: Images) -> None:
    first, second = drawn(size=(8, 8)), drawn(size=(9, 9))
    answer = answering(data_uri(first), 7, "file:///etc/passwd", data_uri(b"<svg/>"))
    answer["images"] = [data_uri(second)]

    found = await images.keep(answer, "local")

    assert [on_disk(image) for image in found.images] == [first, second]
    said = "; ".join(found.refused)
    assert len(found.refused) == 3
    assert "no address" in said
    assert "scheme 'file'" in said
    assert "first bytes" in said


async def test_of_very_many_images_the_first_are_kept_and_the_rest_is_told(images: Images) -> None:
    files = [drawn(size=(8 + n, 8)) for n in range(11)]

    found = await images.keep(answering(*map(data_uri, files)), "local")

    assert [on_disk(image) for image in found.images] == files[:10]
    assert found.refused == ["the answer holds 11 images, and 10 are the most"]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({}, "holds none"),
        ({"choices": []}, "holds none"),
        ({"choices": [{"message": None}], "images": "x"}, "holds none"),
        (answering(), "holds none"),
        (answering(7), "holds no address"),
        (answering({"b64": "x"}), "holds no address"),
        (answering({"image_url": {"url": None}}), "holds no address"),
        (answering(" "), "holds no address"),
        (answering("data:image/png;base64"), "has no comma"),
        (answering("data:image/png;base64,!!!!"), "is not base64"),
        (answering("data:image/png;base64,iVBORw0KG"), "is not base64"),
        (answering("data:image/png;base64,iVBO=Rw0K"), "is not base64"),
        (answering("data:image/png;base64,iVBORw0\u212a"), "is not base64"),
        (answering("data:image/png;base64,iVBORw0\ud800"), "half a character"),
        (answering("data:image/png;base64,"), "first bytes"),
        (answering(f"data:,{'x' * (MAX_BYTES + 1)}"), "is longer than"),
        (answering("file:///etc/passwd"), "of scheme 'file'"),
        (answering("/etc/passwd"), "of scheme ''"),
    ],
)
async def test_an_answer_without_a_usable_image_is_refused(
    images: Images, answer: dict[str, Any], says: str
) -> None:
    with pytest.raises(ImageRefusedError, match=says) as caught:
        await keep(images, answer, "local")

    assert caught.value.stage == "charged"
    assert "pays again" in str(caught.value)


@pytest.mark.parametrize(
    "file",
    [b"", b"no image at all", b"<svg/>", b"BM" + bytes(60), b"%PDF-1.7", b"II*\0" + bytes(9)],
)
def test_what_is_of_no_known_type_is_refused(file: bytes) -> None:
    assert kind_of(file) is None
    assert "first bytes are those of no PNG, JPEG, WebP or GIF" in refusal(file)


@pytest.mark.parametrize("format_", FORMATS)
def test_a_file_that_is_cut_off_anywhere_is_refused(format_: str) -> None:
    file = drawn(format_, (24, 16), lossless=True)
    # A GIF's last bytes say that no other frame follows, a JPEG's that nothing does.
    whole = len(file) - {"GIF": 3, "JPEG": 2}.get(format_, 1)

    for length in range(12, whole):
        assert refusal(file[:length])


@pytest.mark.parametrize("format_", FORMATS)
def test_damaged_files_are_refused_or_read_and_never_raise_anything_else(format_: str) -> None:
    file = drawn(format_, (24, 16))

    for place in range(4, len(file), 3):
        damaged = bytearray(file)
        damaged[place] ^= 0xFF
        try:
            image, _ = read(BytesIO(damaged))
        except ImageRefusedError:
            continue
        assert image.width * image.height <= MAX_PIXELS


@pytest.mark.parametrize(
    "file",
    [
        png_of(8192, 8193),
        png_of(10_000, 10_000),
        png_of(60_000, 60_000),
        drawn("GIF", (16, 16)).replace(
            struct.pack("<HH", 16, 16), struct.pack("<HH", 65_535, 65_535)
        ),
        webp_of(b"VP8X", bytes(4) + (16_383).to_bytes(3, "little") * 2),
        webp_of(b"VP8L", b"\x2f" + (2**28 - 1).to_bytes(4, "little") + bytes(20)),
        webp_of(b"VP8 ", bytes(3) + b"\x9d\x01\x2a" + struct.pack("<HH", 16_383, 16_383)),
        drawn("JPEG", (16, 16)).replace(
            struct.pack(">BHH", 8, 16, 16), struct.pack(">BHH", 8, 65_000, 65_000)
        ),
    ],
    ids=["8193", "10k", "60k", "gif", "webp", "webp lossless", "webp lossy", "jpeg"],
)
def test_a_bomb_is_refused_by_what_it_says_of_its_size(file: bytes) -> None:
    assert "pixels" in refusal(file)


def test_a_png_of_many_profiles_is_refused_before_they_are_unpacked() -> None:
    profile = chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(2**20 - 10), 9))
    plain = drawn()
    head = plain.index(b"IDAT") - 4

    for times in (1, 9):
        file = plain[:head] + times * profile + plain[head:]
        if times == 1:
            assert read(BytesIO(file))[0].size == (40, 30)
        else:
            assert "9 colour profiles" in refusal(file)


def test_a_jpeg_of_many_passes_is_refused_before_they_are_made() -> None:
    file = BytesIO()
    Image.new("L", (2000, 2000), 128).save(file, "JPEG", progressive=True)
    whole = file.getvalue()
    last = whole[whole.rindex(b"\xff\xda") : -2]

    for times, refused in ((100, False), (1000, True)):
        more = whole[:-2] + times * last + whole[-2:]
        assert len(more) < 100_000
        if refused:
            assert "1006 passes over its pixels, too many" in refusal(more)
        else:
            assert read(BytesIO(more))[0].size == (2000, 2000)


@pytest.mark.slow
def test_8000_by_8000_pixels_pass() -> None:
    file = BytesIO()
    Image.new("L", (8000, 8000), 7).save(file, "PNG", compress_level=1)

    image, _ = read(file)
    small, _ = preview(file, 100_000)

    assert image.size == (8000, 8000)
    assert Image.open(BytesIO(small)).size == (PREVIEW_SIDE, PREVIEW_SIDE)


@pytest.mark.parametrize(
    ("have", "want", "box"),
    [
        ((100, 100), (50, 50), (0, 0, 100, 100)),
        ((200, 100), (50, 50), (50, 0, 150, 100)),
        ((100, 200), (50, 50), (0, 50, 100, 150)),
        ((100, 100), (400, 100), (0, 37.5, 100, 62.5)),
        ((3, 3), (2, 3), (0.5, 0, 2.5, 3)),
    ],
)
def test_the_largest_part_about_the_centre_is_taken(
    have: tuple[int, int], want: tuple[int, int], box: tuple[float, ...]
) -> None:
    assert cover_box(have, want) == pytest.approx(box)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
@pytest.mark.parametrize("size", [(700, 300), (301, 1999), (2500, 2400)])
def test_scaled_in_strips_an_image_is_what_it_is_scaled_at_once(
    mode: str, size: tuple[int, int]
) -> None:
    picture = Image.effect_noise((1700, 1300), 80).convert("RGB")
    picture.paste(RED, (300, 300, 900, 1000))
    picture = picture.convert(mode)
    plain = picture.convert("RGB") if mode == "P" else picture
    box = cover_box(picture.size, size)

    made = scaled(picture, size, box)

    whole = plain.resize(size, Image.Resampling.LANCZOS, box=box)
    apart = [band.histogram() for band in ImageChops.difference(made, whole).split()]
    assert (made.mode, made.size) == (whole.mode, size)
    # Where a strip begins is a fraction, which is rounded on its way.
    assert not any(sum(band[3:]) for band in apart)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "height", "size"),
    [
        (20, 20, (20, 20)),
        (300, 120, (300, 120)),
        (20, 0, (20, 15)),
        (0, 60, (80, 60)),
        (1, 0, (1, 1)),
        (0, 8192, (8192, 8192)),
    ],
)
async def test_another_size_is_made_and_the_original_kept(
    images: Images, width: int, height: int, size: tuple[int, int]
) -> None:
    file = drawn("GIF" if height == 60 else "JPEG")

    (kept,) = await keep(images, answering(data_uri(file)), "local", width=width, height=height)

    assert (kept.width, kept.height) == size
    made = (await images.read(kept.sha256, "local")).data
    assert Image.open(BytesIO(made)).size == size
    assert hashlib.sha256(made).hexdigest() == kept.sha256
    assert kept.original.sha256 == hashlib.sha256(file).hexdigest()
    assert (await images.read(kept.original.sha256, "local")).data == file


async def test_the_models_own_size_makes_no_second_file(images: Images) -> None:
    for width, height in ((40, 30), (40, 0), (0, 30)):
        (kept,) = await keep(
            images, answering(data_uri(drawn())), "local", width=width, height=height
        )
        assert kept.original.uri == ""


async def test_the_centre_stays_where_the_sides_are_cut(images: Images) -> None:
    picture, file = Image.new("RGB", (300, 100), RED), BytesIO()
    picture.paste(BLUE, (100, 0, 200, 100))
    picture.save(file, "PNG")

    (kept,) = await keep(images, answering(data_uri(file.getvalue())), "local", width=50, height=50)

    with Image.open(kept.path) as made:
        assert made.getpixel((25, 25)) == made.getpixel((3, 3)) == BLUE


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
async def test_every_kind_of_pixel_can_be_scaled_and_shown(images: Images, mode: str) -> None:
    file = BytesIO()
    grey = Image.linear_gradient("L")
    if mode == "I;16":
        picture = Image.frombytes(
            "I;16", grey.size, bytes(b for v in grey.tobytes() for b in (0, v))
        )
    else:
        picture = grey.convert(mode)
    picture.save(file, "PNG")

    (kept,) = await keep(images, answering(data_uri(file.getvalue())), "local", width=64, height=64)
    small = await images.preview(kept.original.sha256, "local", 100_000)

    with Image.open(kept.path) as made, Image.open(BytesIO(small.data)) as shown:
        for one in (made, shown):
            top, bottom = (one.convert("L").getpixel((9, y)) for y in (4, one.height - 5))
            assert isinstance(top, int)
            assert isinstance(bottom, int)
            assert top < 40
            assert bottom > 215


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_stays_so_in_a_preview_or_becomes_white(mode: str) -> None:
    picture, file = Image.effect_noise((300, 300), 80).convert(mode), BytesIO()
    picture.putalpha(0)
    picture.save(file, "PNG")

    large, kind = preview(file, 500_000)
    small, other = preview(file, len(large) - 1)

    assert (kind.mime_type, other.mime_type) == ("image/png", "image/jpeg")
    with Image.open(BytesIO(large)) as shown:
        assert (shown.format, shown.getchannel("A").getextrema()) == ("PNG", (0, 0))
    with Image.open(BytesIO(small)) as shown:
        assert (shown.format, shown.convert("RGB").getpixel((4, 4))) == ("JPEG", WHITE)


def test_a_preview_of_what_could_be_transparent_and_is_not_is_a_jpeg() -> None:
    assert preview(BytesIO(drawn(mode="RGBA")), 10_000)[1].mime_type == "image/jpeg"


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    ("orientation", "size", "corner"),
    [
        (1, (60, 40), "upper left"),
        (2, (60, 40), "upper right"),
        (3, (60, 40), "lower right"),
        (4, (60, 40), "lower left"),
        (5, (40, 60), "upper left"),
        (6, (40, 60), "upper right"),
        (7, (40, 60), "lower right"),
        (8, (40, 60), "lower left"),
        (9, (60, 40), "upper left"),
    ],
)
async def test_an_image_is_shown_and_cut_the_way_its_file_says_it_is_turned(
    images: Images, format_: str, orientation: int, size: tuple[int, int], corner: str
) -> None:
    file = oriented(format_, orientation)
    (own,) = await keep(images, answering(data_uri(file)), "local")
    (smaller,) = await keep(images, answering(data_uri(file)), "local", width=20)
    small = await images.preview(own.sha256, "local", 100_000)

    assert (own.width, own.height) == size
    assert on_disk(own) == file
    assert (smaller.width, smaller.height) == (20, 20 * size[1] // size[0])
    for made, sides in ((on_disk(smaller), (smaller.width, smaller.height)), (small.data, size)):
        assert white_corners(made) == {corner}
        with Image.open(BytesIO(made)) as image:
            assert image.size == sides
            assert image.getexif().get(ExifTags.Base.Orientation) is None


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize(
    "value", [b"Exif\0\0II*\0", b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0?"]
)
async def test_damaged_exif_turns_nothing(images: Images, value: bytes) -> None:
    file = BytesIO()
    Image.new("RGB", (60, 40)).save(file, "JPEG", exif=value)

    (kept,) = await keep(images, answering(data_uri(file.getvalue())), "local", width=30)

    assert (kept.width, kept.height) == (30, 20)


async def test_a_photo_in_printing_colours_is_cut_and_shown_in_those_of_screens(
    images: Images,
) -> None:
    file = BytesIO()
    Image.new("RGB", (64, 64), RED).convert("CMYK").save(file, "JPEG", quality=95)

    (kept,) = await keep(images, answering(data_uri(file.getvalue())), "local", width=32)
    small = await images.preview(kept.original.sha256, "local", 100_000)

    for made in (on_disk(kept), small.data):
        with Image.open(BytesIO(made)) as shown:
            assert (shown.format, shown.mode) == ("JPEG", "RGB")
            red, green, blue = map(int, str(shown.getpixel((9, 9))).strip("()").split(","))
            assert red > 230
            assert max(green, blue) < 30


@pytest.mark.parametrize("format_", ["GIF", "WEBP", "PNG"])
async def test_of_an_image_that_moves_the_first_frame_is_shown_and_all_of_it_kept(
    images: Images, format_: str
) -> None:
    first, second = (Image.new("RGB", (64, 48), colour) for colour in (RED, BLUE))
    file = BytesIO()
    first.save(file, format_, save_all=True, append_images=[second], lossless=True)

    (kept,) = await keep(images, answering(data_uri(file.getvalue())), "local", width=32)
    small = await images.preview(kept.original.sha256, "local", 100_000)

    assert on_disk(kept.original) == file.getvalue()
    for made in (on_disk(kept), small.data):
        with Image.open(BytesIO(made)) as shown:
            red, _, blue = map(
                int, str(shown.convert("RGB").getpixel((9, 9))).strip("()").split(",")
            )
            assert getattr(shown, "n_frames", 1) == 1
            assert red > 230 > blue


@pytest.mark.slow
async def test_the_loop_turns_while_a_large_image_is_worked_on(images: Images) -> None:
    uri, turns = data_uri(drawn(size=(1600, 1600))), 0

    async def turn() -> None:
        nonlocal turns
        while True:
            await anyio.sleep(0.001)
            turns += 1

    async with anyio.create_task_group() as beside:
        beside.start_soon(turn)
        (kept,) = await keep(images, answering(uri), "local", width=1000, height=2000)
        await images.preview(kept.original.sha256, "local", 100_000)
        beside.cancel_scope.cancel()

    # Worked on in the loop itself, it would turn as often as there are steps.
    assert turns > 20


@pytest.mark.sweep(quick=1)
@pytest.mark.parametrize("max_bytes", [700_000, 40_000, 2_000])
def test_a_preview_fits_whatever_the_image_is(max_bytes: int) -> None:
    noise = os.urandom(3 * 1800 * 900)
    file = BytesIO()
    Image.frombytes("RGB", (1800, 900), noise).save(file, "PNG", compress_level=0)
    file.seek(0)

    small, _ = preview(file, max_bytes)

    assert len(small) <= max_bytes
    with Image.open(BytesIO(small)) as shown:
        shown.load()
        assert shown.width == pytest.approx(2 * shown.height, abs=1)
        assert max(shown.size) <= PREVIEW_SIDE


def test_no_preview_is_made_where_none_can_fit() -> None:
    assert preview(BytesIO(drawn()), 10)[0] == b""


async def test_t21_an_image_is_known_to_its_principal_alone(images: Images) -> None:
    (kept,) = await keep(images, answering(data_uri(drawn())), "local")
    (theirs,) = await keep(images, answering(data_uri(drawn(size=(9, 9)))), "../Somebody else")

    for principal, sha256 in (
        ("http", kept.sha256),
        ("../local", kept.sha256),
        ("", kept.sha256),
        ("local", theirs.sha256),
        ("local", "f" * 64),
        ("local", f"../local/{kept.sha256}"),
        ("local", kept.sha256.upper()),
        ("local", "*" * 64),
    ):
        with pytest.raises(ImageNotFoundError):
            await images.read(sha256, principal)
        with pytest.raises(ImageNotFoundError):
            await images.preview(sha256, principal, 10_000)
    assert (await images.read(theirs.sha256, "../Somebody else")).data


async def test_a_file_that_was_changed_is_no_longer_what_its_name_says(images: Images) -> None:
    (kept,) = await keep(images, answering(data_uri(drawn())), "local")
    overwrite(kept, drawn(size=(9, 9)))

    with pytest.raises(ImageNotFoundError):
        await images.read(kept.sha256, "local")
    with pytest.raises(ImageNotFoundError):
        await images.preview(kept.sha256, "local", 100_000)


async def test_pruning_leaves_what_is_named_or_new(images: Images) -> None:
    kept = [
        (await keep(images, answering(data_uri(drawn(size=(n, 9)))), "local"))[0] for n in (5, 6, 7)
    ]
    now = datetime.now(UTC)
    for image, days in zip(kept, (9, 9, 0), strict=True):
        then = (now - timedelta(days=days)).timestamp()
        os.utime(image.path, (then, then))
    named, _, new = kept

    assert await images.prune({named.sha256}, now - timedelta(days=20)) == 0
    assert await images.prune({named.sha256}, now) == 1
    assert files_beside(named) == {Path(named.path), Path(new.path)}


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK"])
async def test_every_kind_of_pixel_can_be_saved_under_every_ending(
    images: Images, mode: str
) -> None:
    format_ = "JPEG" if mode == "CMYK" else "PNG"
    for ending, made in (("png", "PNG"), ("jpg", "JPEG"), ("webp", "WEBP")):
        (kept,) = await keep(images, answering(data_uri(drawn(format_, mode=mode))), "local")

        assert await images.save([kept], "local", f"{ending}.{ending}") == []

        with Image.open(kept.saved) as copy:
            copy.load()
            assert (copy.format, copy.size) == (made, (40, 30))


async def test_a_copy_stands_upright(images: Images) -> None:
    (kept,) = await keep(images, answering(data_uri(oriented("JPEG", 6))), "local")

    assert await images.save([kept], "local", "up.png") == []

    assert white_corners(on_disk(StoredImage(path=kept.saved))) == {"upper right"}


async def test_t50_a_name_that_was_taken_meanwhile_costs_no_picture(images: Images) -> None:
    kept = await keep(images, answering(data_uri(drawn()), data_uri(drawn("GIF"))), "local")
    folder = Path(kept[0].path).parents[2] / "saved"
    folder.mkdir()
    (folder / "cat.png").write_bytes(b"mine")

    (told,) = await images.save(kept, "local", "cat.png")

    assert "cat.png': there is a file of that name already." in told
    assert (folder / "cat.png").read_bytes() == b"mine"
    assert (kept[0].saved, kept[1].saved) == ("", str(folder / "cat-2.png"))
