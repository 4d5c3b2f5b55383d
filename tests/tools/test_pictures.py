"""What generate_image takes beside a prompt: ratio, resolution, count, pictures to start from, a name."""

from __future__ import annotations

import base64
import hashlib
import json
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import pytest
from mcp import Client
from PIL import Image

from og_mcp.client import Session
from og_mcp.errors import InputError
from og_mcp.server import build_server
from tests.localnet_client import LocalNetwork
from tests.tools.calls import answer

MODEL: Final = "openai/gpt-image-2"
TIERED: Final = "bytedance/seedream-5.0-lite"
PROMPT: Final = "a lighthouse at dusk"


def png(colour: str = "red") -> bytes:
    file = BytesIO()
    Image.new("RGB", (2, 2), colour).save(file, "PNG")
    return file.getvalue()


def data_uri(content: bytes) -> str:
    # The type that is declared does not count.
    return "data:text/plain;base64," + base64.b64encode(content).decode()


async def draw(mcp: Client, **more: object) -> dict[str, Any]:
    (text, *_), content = await drawn(mcp, **more)
    assert content is not None, text
    return content


async def drawn(mcp: Client, **more: object) -> tuple[list[str], dict[str, Any] | None]:
    result = await mcp.call_tool("generate_image", {"model": MODEL, "prompt": PROMPT, **more})
    texts = [block.text for block in result.content if block.type == "text"]
    return texts, None if result.is_error else result.structured_content


async def refused(mcp: Client, localnet: LocalNetwork, **more: object) -> str:
    """Ask for what must be refused, with nothing sent; returns the words."""
    localnet.reset_counters("gateway")
    (text, *_), content = await drawn(mcp, **more)

    assert content is None
    assert localnet.counters("gateway")["http_requests"] == 0
    return text


def file_of(image: dict[str, Any]) -> bytes:
    return Path(image["path"]).read_bytes()


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


async def receipt_of(mcp: Client, result: dict[str, Any]) -> dict[str, Any]:
    """Read the receipt of a drawing, which has to verify."""
    checked = await answer(mcp, "verify_receipt", call_id=result["call_id"])
    assert checked["valid"], checked["checks"]
    kept = await mcp.read_resource(f"og://receipts/{result['call_id']}")
    receipt: dict[str, Any] = json.loads(kept.contents[0].text)  # type: ignore[union-attr]  # a text
    return receipt


async def test_several_pictures_come_in_the_ratio_and_resolution_that_were_asked(
    mcp: Client,
) -> None:
    result = await draw(mcp, model=TIERED, aspect_ratio="16:9", resolution="1.5k", count=3)

    images = result["images"]
    assert len({image["sha256"] for image in images}) == 3
    for image in images:
        assert image["width"] * 9 == image["height"] * 16
        assert 0.95 < image["width"] * image["height"] / 1536**2 <= 1
        assert hashlib.sha256(file_of(image)).hexdigest() == image["sha256"]
    body = json.loads((await receipt_of(mcp, result))["request"]["body"])
    assert (body["n"], body["aspect_ratio"], body["resolution"]) == (3, "16:9", "1.5K")
    assert any("aspect_ratio" in one for one in result["verification"]["not_covered"])


async def test_ten_pictures_are_the_most_and_all_come(mcp: Client) -> None:
    result = await draw(mcp, count=10, width=32, height=32)

    assert len({image["sha256"] for image in result["images"]}) == 10


async def test_pictures_that_did_not_come_are_told(mcp: Client, localnet: LocalNetwork) -> None:
    localnet.spoil("many_images", size=1)

    result = await draw(mcp, count=3)

    assert len(result["images"]) == 1
    assert result["refused"] == ["2 of 3 images: the gateway sent no more"]


async def test_pictures_to_start_from_reach_the_gateway(
    localnet: LocalNetwork, tmp_path: Path
) -> None:
    (tmp_path / "cat.png").write_bytes(png())
    environ = {**localnet.environ, "OG_UPLOAD_ROOTS": str(tmp_path)}
    async with Client(build_server(Session.from_env(environ))) as mcp:
        (earlier,) = (await draw(mcp))["images"]
        given = [{"file": str(tmp_path / "cat.png")}, data_uri(png("blue")), earlier["uri"]]
        result = await draw(mcp, images=given)
        named = await draw(mcp, images=[{"uri": earlier["uri"]}], dry_run=True)
        receipt = await receipt_of(mcp, result)

    files = [png(), png("blue"), file_of(earlier)]
    digests = [hashlib.sha256(file).hexdigest() for file in files]
    for file, digest in zip(files, digests, strict=True):
        assert f"image/png of {len(file)} bytes with SHA-256 {digest}" in receipt["tee"]["content"]
    names = ["cat.png", "images[1]", earlier["uri"]]
    told = [
        {"name": name, "size": len(file), "sha256": digest}
        for name, file, digest in zip(names, files, digests, strict=True)
    ]
    assert result["attachments"] == receipt["request"]["attachments"] == told
    assert [one["sha256"] for one in named["attachments"]] == digests[2:]
    assert result["images"][0]["sha256"] != earlier["sha256"]


@pytest.mark.sweep(quick=3)
@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"count": 0}, "count must be a whole number from 1 to 10, not 0"),
        ({"count": 11}, "count must be a whole number from 1 to 10, not 11"),
        ({"count": True}, "count must be a whole number from 1 to 10"),
        (
            {"images": [data_uri(png())] * 11},
            "images must be an array of 0 to 10 items, not an array of 11",
        ),
        (
            {"aspect_ratio": "7:5"},
            f"{MODEL} does not take the aspect_ratio '7:5'. It takes 1:1, 3:2",
        ),
        ({"aspect_ratio": "wide"}, "aspect_ratio 'wide'"),
        ({"resolution": "2K"}, f"{MODEL} does not take the resolution '2K'. Leave resolution out"),
        ({"model": TIERED, "resolution": "8K"}, "resolution '8K'. It takes 1.5K, 2K"),
        (
            {"model": "zai/glm-image", "images": [data_uri(png())]},
            "does not take pictures to start from. Leave images out, or use one of openai/gpt-image-2",
        ),
        ({"images": [data_uri(b"%PDF-1.4")]}, "by its content it is a PDF, and PNG or JPEG"),
        ({"images": ["data:image/png;base64,A"]}, "images[0] cannot be read"),
        ({"images": ["/etc/passwd"]}, "images[0] is '/etc/passwd', and only og://images/"),
        ({"images": ["https://example.com/cat.png"]}, "only og://images/... and data: URIs"),
        ({"images": [{"path": "cat.png"}]}, "images[0] is \"{'path': 'cat.png'}\", which names no"),
        ({"images": [{"file": "a.png", "uri": "data:,x"}]}, "which names no picture"),
        ({"images": ["og://images/" + "f" * 64]}, "There is no image"),
        ({"images": [{"file": "/etc/passwd"}]}, "outside the folders that tools may read"),
    ],
)
async def test_what_a_model_does_not_take_is_refused_before_anything_is_paid(
    mcp: Client, localnet: LocalNetwork, more: dict[str, Any], says: str
) -> None:
    text = await refused(mcp, localnet, **more)

    assert says in text
    assert (await answer(mcp, "list_calls"))["calls"] == []


async def test_a_model_beyond_the_catalogue_judges_by_itself_what_it_takes(mcp: Client) -> None:
    (text, *_), content = await drawn(mcp, model="acme/paint", aspect_ratio="7:5", resolution="4K")
    assert content is None
    assert "aspect_ratio" not in text
    assert "paint" in text
    (text, *_), content = await drawn(mcp, model="acme/paint", aspect_ratio="wide")
    assert content is None
    assert "acme/paint does not take the aspect_ratio 'wide'" in text


async def test_a_dry_run_prices_every_picture(mcp: Client) -> None:
    one, three = [
        await draw(mcp, model=TIERED, resolution="2K", count=count, dry_run=True)
        for count in (1, 3)
    ]

    assert (one["cost"]["usd"], three["cost"]["usd"]) == ("0.09", "0.27")


async def test_t21_nobody_starts_from_anothers_picture(localnet: LocalNetwork) -> None:
    over_http = {
        **localnet.environ,
        "OG_TRANSPORT": "http",
        "OG_HTTP_TOKEN": "a-token-of-some-length",
    }
    async with Client(build_server(Session.from_env(localnet.environ))) as mcp:
        (mine,) = (await draw(mcp))["images"]
        async with Client(build_server(Session.from_env(over_http))) as http:
            assert "There is no image" in await refused(http, localnet, images=[mine["uri"]])


async def test_a_library_is_held_to_the_same_bounds(localnet: LocalNetwork) -> None:
    async with Session.from_env(localnet.environ) as og:
        for count in (0, 11):
            with pytest.raises(
                InputError, match=f"count is {count}. Use 1 to 10. Nothing was sent"
            ):
                await og.generate_image(MODEL, PROMPT, count=count)
        with pytest.raises(InputError, match="images has 11 pictures to start from"):
            await og.generate_image(MODEL, PROMPT, images=[data_uri(png())] * 11)


# Copies under a name


def saved(localnet: LocalNetwork) -> Path:
    return localnet.data_dir / "saved"


@pytest.mark.parametrize(
    ("name", "kind"),
    [("cat.png", "PNG"), ("cat.jpg", "JPEG"), ("Кот 2.JPEG", "JPEG"), ("cat.webp", "WEBP")],
)
async def test_a_copy_is_written_as_its_name_says(
    mcp: Client, localnet: LocalNetwork, name: str, kind: str
) -> None:
    (image,) = (await draw(mcp, save_as=name, width=40, height=30))["images"]

    path = Path(image["saved"])
    assert path == saved(localnet) / name
    assert (mode_of(path), mode_of(saved(localnet))) == (0o600, 0o700)
    with Image.open(path) as copy:
        copy.load()
        assert (copy.format, copy.size) == (kind, (40, 30))


async def test_several_copies_are_numbered_and_one_key_saves_once(
    mcp: Client, localnet: LocalNetwork
) -> None:
    asked = {"count": 3, "width": 16, "save_as": "cat.png", "idempotency_key": "once"}
    first = await draw(mcp, **asked)
    again = await draw(mcp, **asked)

    assert again == first
    names = [Path(image["saved"]).name for image in first["images"]]
    assert names == ["cat.png", "cat-2.png", "cat-3.png"]
    assert sorted(path.name for path in saved(localnet).iterdir()) == sorted(names)
    receipt = await receipt_of(mcp, first)
    assert receipt["request"]["save_as"] == "cat.png"
    assert str(localnet.data_dir) not in json.dumps(receipt)


@pytest.mark.sweep(quick=3)
@pytest.mark.parametrize(
    "name",
    [
        *(
            "../cat.png",
            "/cat.png",
            "a/cat.png",
            "a\\cat.png",
            ".cat.png",
            "..png",
            "C:cat.png",
        ),
        *(
            "cat.svg",
            "cat",
            "cat.png.exe",
            "cat.png ",
            "cat.png\n",
            "cat\0.png",
            "con.png",
            "~.png",
        ),
        *(" cat.png", "-cat.png", "cat.gif", "c" * 96 + ".png"),
    ],
)
async def test_t50_only_a_bare_name_of_an_image_is_taken(
    mcp: Client, localnet: LocalNetwork, name: str
) -> None:
    text = await refused(mcp, localnet, save_as=name)

    assert f"save_as is {name!r}, and a bare file name" in text or "100 characters" in text
    assert not saved(localnet).exists()


async def test_t50_nothing_that_is_there_is_written_to_and_no_link_is_followed(
    mcp: Client, localnet: LocalNetwork, tmp_path: Path
) -> None:
    await draw(mcp, save_as="cat.png", width=16)
    there = (saved(localnet) / "cat.png").read_bytes()
    (saved(localnet) / "dog-2.png").write_bytes(b"mine")
    (saved(localnet) / "link.png").symlink_to(tmp_path / "elsewhere.png")

    for more in (
        {"save_as": "cat.png"},
        {"save_as": "dog.png", "count": 2},
        {"save_as": "link.png"},
    ):
        for dry_run in (True, False):
            before = localnet.counters("gateway")["calls"]
            (text, *_), content = await drawn(mcp, **more, dry_run=dry_run)
            assert content is None
            assert "there is a file of that name already" in text
            assert "nothing was sent or paid" in text
            assert localnet.counters("gateway")["calls"] == before

    assert (saved(localnet) / "cat.png").read_bytes() == there
    assert not (tmp_path / "elsewhere.png").exists()
    # Nor is the folder itself followed elsewhere.
    saved(localnet).rename(tmp_path / "moved")
    saved(localnet).symlink_to(tmp_path / "moved")
    (text, *_), content = await drawn(mcp, save_as="new.png")
    assert content is None
    assert "that is a link or a file, not a folder" in text
    assert not (tmp_path / "moved" / "new.png").exists()


async def test_t50_over_http_nothing_is_saved(localnet: LocalNetwork) -> None:
    environ = {
        **localnet.environ,
        "OG_TRANSPORT": "http",
        "OG_HTTP_TOKEN": "a-token-of-some-length",
    }
    async with Client(build_server(Session.from_env(environ))) as mcp:
        text = await refused(mcp, localnet, save_as="cat.png")

    assert "which calls over HTTP may not" in text
