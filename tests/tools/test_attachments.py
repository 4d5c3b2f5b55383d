"""Pictures and PDFs in chats: read by path, known by content, told; nothing else leaves."""

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
from tests.tools.calls import answer, refusal

MODEL: Final = "openai/gpt-5.4-mini"
PDF: Final = b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog >>\nendobj\ntrailer\n<< /Root 1 0 R >>\n%%EOF\n"
KEY: Final = "0x" + "11" * 32


def png(side: int = 2) -> bytes:
    file = BytesIO()
    Image.new("RGB", (side, side), "red").save(file, "PNG")
    return file.getvalue()


def picture(path: object) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"file": str(path)}}


def document(path: object) -> dict[str, Any]:
    return {"type": "file", "file": {"file": str(path)}}


def asking(*parts: dict[str, Any], **more: object) -> dict[str, Any]:
    content = [{"type": "text", "text": "What is this?"}, *parts]
    return {"model": MODEL, "messages": [{"role": "user", "content": content}], **more}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The one folder that files may be read from, with a picture and a PDF."""
    (tmp_path / "cat.png").write_bytes(png())
    (tmp_path / "report.pdf").write_bytes(PDF)
    return tmp_path


@pytest.fixture
def environ(localnet: LocalNetwork, folder: Path) -> dict[str, str]:
    localnet.reset_counters("gateway")
    return {**localnet.environ, "OG_UPLOAD_ROOTS": str(folder)}


async def refused(environ: dict[str, str], localnet: LocalNetwork, *parts: dict[str, Any]) -> str:
    """Ask with parts that must be refused, with nothing sent; returns the words."""
    async with Client(build_server(Session.from_env(environ))) as mcp:
        text = await refusal(mcp, "chat", **asking(*parts))
        assert (await answer(mcp, "list_calls"))["calls"] == []

    assert localnet.counters("gateway")["http_requests"] == 0
    assert "othing was sent" in text
    return text


@pytest.mark.parametrize("how", ["", "parts_as_text"], ids=["newest gateways", "public gateway"])
async def test_a_pdf_and_a_png_by_path_reach_the_gateway_and_are_signed_for(
    environ: dict[str, str], folder: Path, localnet: LocalNetwork, how: str
) -> None:
    files = {"cat.png": png(), "report.pdf": PDF}
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    if how:
        localnet.spoil(how)

    async with Client(build_server(Session.from_env(environ))) as mcp:
        parts = (picture(folder / "cat.png"), document(folder / "report.pdf"))
        result = await answer(mcp, "chat", **asking(*parts))
        kept = await mcp.read_resource(f"og://receipts/{result['call_id']}")
        checked = await answer(mcp, "verify_receipt", call_id=result["call_id"])

    for name, kind in (("cat.png", "image/png"), ("report.pdf", "application/pdf")):
        came = f"With it came {kind} of {len(files[name])} bytes with SHA-256 {digests[name]}."
        assert came in result["content"]
    told = [{"name": n, "size": len(files[n]), "sha256": digests[n]} for n in files]
    assert result["attachments"] == told
    receipt = json.loads(kept.contents[0].text)  # type: ignore[union-attr]  # a text
    assert receipt["request"]["attachments"] == told
    content = json.loads(receipt["request"]["body"])["messages"][0]["content"]
    assert base64.b64decode(content[1]["image_url"]["url"].partition(",")[2]) == png()
    assert content[2]["file"]["filename"] == "report.pdf"
    assert base64.b64decode(content[2]["file"]["file_data"].partition(",")[2]) == PDF
    signed = receipt["tee"]["canonical_request"]
    assert "report.pdf" in signed
    assert (base64.b64encode(PDF).decode() in signed) == bool(how)
    left_out = "the bytes and addresses of the messages' images and files"
    assert (left_out in result["verification"]["not_covered"]) == (not how)
    assert checked["valid"], checked["checks"]


async def test_a_dry_run_tells_what_would_be_sent(environ: dict[str, str], folder: Path) -> None:
    async with Client(build_server(Session.from_env(environ))) as mcp:
        dry = await answer(mcp, "chat", **asking(picture(folder / "cat.png"), dry_run=True))

    assert [one["name"] for one in dry["attachments"]] == ["cat.png"]


async def test_the_type_is_that_of_the_content_whatever_the_name_says(
    environ: dict[str, str], folder: Path, localnet: LocalNetwork
) -> None:
    (folder / "wrong.pdf").write_bytes(png())
    (folder / "none.pdf").write_bytes(b"PDF-1.4, it says")
    (folder / "wrong.png").write_bytes(PDF)

    text = await refused(environ, localnet, document(folder / "wrong.pdf"))
    assert "'wrong.pdf' was not read: by its content it is a PNG, and PDF belongs here" in text
    text = await refused(environ, localnet, document(folder / "none.pdf"))
    assert "by its content it is something else, and PDF belongs here" in text
    text = await refused(environ, localnet, picture(folder / "wrong.png"))
    assert "by its content it is a PDF, and PNG or JPEG or WEBP or GIF belongs here" in text


async def test_files_beyond_what_a_gateway_takes_are_refused_before_they_are_read(
    environ: dict[str, str], folder: Path, localnet: LocalNetwork
) -> None:
    with (folder / "huge.png").open("wb") as file:
        file.write(png())
        file.truncate(2**40)
    (folder / "half.png").write_bytes(png() + bytes(8 * 2**20))

    text = await refused(environ, localnet, picture(folder / "huge.png"))
    assert "huge.png' was not read: it has 1,099,511,627,776 bytes" in text
    assert "fit a request of 20 MiB" in text
    half = picture(folder / "half.png")
    text = await refused(environ, localnet, half, half)
    assert "half.png' was not read: it has 8,388,6" in text
    assert "are left of the 15,728,640 that fit a request of 20 MiB" in text
    filling = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 2**23}}
    text = await refused(environ, localnet, half, filling, filling)
    assert "gateways take up to 20 MiB" in text


ADDRESSES: Final = [
    *("/etc/passwd", "etc/passwd", "~/cat.png", "file:///etc/passwd", "FILE:/etc/passwd"),
    *(r"\\server\share\cat.png", "C:\\cat.png", "C:/cat.png", "//server/cat.png"),
    *("%2e%2e/cat.png", "http://example.com/cat.png", "https:cat.png", "https:///etc/passwd"),
    *(" data:,x", "data:x", "https://exa\nmple.com/a", "https://\\etc\\passwd", "cat.png"),
    *("og://images/x", "ftp://example.com/cat.png", "javascript:1", "https://", "blob:https://x"),
]


async def test_t45_a_path_in_an_address_is_refused_and_nothing_is_sent(
    environ: dict[str, str], localnet: LocalNetwork
) -> None:
    async with Client(build_server(Session.from_env(environ))) as mcp:
        for path in ADDRESSES:
            for part in (
                {"type": "image_url", "image_url": {"url": path}},
                {"type": "image_url", "image_url": path},
                {"type": "file", "file": {"filename": "x.pdf", "file_data": path}},
            ):
                text = await refusal(mcp, "chat", **asking(part))

                assert "othing was sent" in text
                assert f"is {path!r}, and only data: and https: addresses are taken" in text
                assert '{"file": "/path"}' in text
        assert (await answer(mcp, "list_calls"))["calls"] == []

    assert localnet.counters("gateway")["http_requests"] == 0


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ({"type": "file", "file": {"file_id": "/etc/passwd"}}, "unknown key 'file_id'"),
        ({"type": "image_url", "image_url": {"file": "a.png", "url": "data:,x"}}, "both file and"),
        (
            {"type": "file", "file": {"file": "a", "file_data": "data:,x"}},
            "both file and file_data",
        ),
        ({"type": "image_url", "image_url": {"file": 7}}, "image_url.file is '7', no text"),
        ({"type": "file", "file": {}}, "file.file_data is 'None', no text"),
    ],
)
async def test_a_part_that_names_a_file_in_another_way_is_refused(
    environ: dict[str, str], part: dict[str, Any], says: str
) -> None:
    async with Client(build_server(Session.from_env(environ))) as mcp:
        assert says in await refusal(mcp, "chat", **asking(part))


async def test_t51_only_guarded_files_are_attached(
    environ: dict[str, str],
    folder: Path,
    localnet: LocalNetwork,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "cat.png"
    outside.write_bytes(png())
    (folder / "link.png").symlink_to(outside)
    (folder / ".hidden.png").write_bytes(png())
    (folder / "id_rsa").write_bytes(png())
    data = folder / "data"
    (data / "images").mkdir(parents=True)
    (data / "images" / "cat.png").write_bytes(png())
    environ |= {"OG_DATA_DIR": str(data)}

    for path, reason in (
        (outside, "outside the folders"),
        (folder / "link.png", "it is a link"),
        (folder / ".hidden.png", "it is hidden"),
        (folder / "id_rsa", "looks like a key"),
        (data / "images" / "cat.png", "og-mcp's own data"),
        (folder / "none.png", "no such file"),
        (folder / ".." / "cat.png", "'..'"),
        (folder, "it is a folder"),
    ):
        assert reason in await refused(environ, localnet, picture(path))
    over_http = {
        **localnet.environ,
        "OG_TRANSPORT": "http",
        "OG_HTTP_TOKEN": "a-token-of-some-length",
    }
    text = await refused(over_http, localnet, picture(folder / "cat.png"))
    assert "no folder is open to tools" in text


async def test_t51_a_real_network_fetches_addresses_only_where_the_operator_lets_it() -> None:
    address = "https://example.com/cat.png?told=everything"
    for part in (
        {"type": "image_url", "image_url": {"url": address}},
        {"type": "file", "file": {"filename": "x.pdf", "file_data": address}},
    ):
        async with Session.from_env({"OG_PRIVATE_KEY": KEY}) as og:
            with pytest.raises(InputError, match="OG_ALLOW_IMAGE_URLS=1") as no:
                await og.chat(MODEL, asking(part)["messages"])
        assert f"the web address {address!r}" in str(no.value)
        assert str(no.value).endswith("Nothing was sent or paid.")


async def test_an_address_that_may_be_fetched_is_passed_on(environ: dict[str, str]) -> None:
    url = {"url": "https://example.com/cat.png", "detail": "low"}
    async with Client(build_server(Session.from_env(environ))) as mcp:
        result = await answer(mcp, "chat", **asking({"type": "image_url", "image_url": url}))

    assert "an address that was not fetched" in result["content"]
    assert "attachments" not in result


async def test_a_plain_text_is_one_user_message(mcp: Client) -> None:
    told = await answer(mcp, "chat", model=MODEL, messages="Who are you?")
    spelled = await answer(
        mcp, "chat", model=MODEL, messages=[{"role": "user", "content": "Who are you?"}]
    )

    assert told["content"] == spelled["content"]
    assert "messages" in await refusal(mcp, "chat", model=MODEL, messages="")
