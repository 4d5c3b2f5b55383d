"""The tool generate_image through an MCP client: kept whole, shown small, paid once."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import pytest
from mcp import Client, MCPError
from mcp.types import (
    BlobResourceContents,
    CallToolResult,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)
from PIL import Image

from og_mcp.client import Session
from og_mcp.errors import ImageNotFoundError
from og_mcp.journal._opened import database_of
from og_mcp.localnet.gateway import pictures
from og_mcp.server import build_server
from og_mcp.settings import Settings
from tests.localnet_client import LocalNetwork
from tests.tools.calls import answer

MODEL: Final = "openai/gpt-image-2"
PROMPT: Final = "a lighthouse at dusk"
MOST_CHARACTERS: Final = 1_000_000
LONGEST_SIDE: Final = 1568


async def draw(mcp: Client, **more: object) -> CallToolResult:
    return await mcp.call_tool("generate_image", {"model": MODEL, "prompt": PROMPT, **more})


async def refusal(mcp: Client, **more: object) -> str:
    result = await draw(mcp, **more)
    assert result.is_error
    return text_of(result)


def text_of(result: CallToolResult) -> str:
    """Return the text block, which comes first."""
    assert isinstance(result.content[0], TextContent)
    return result.content[0].text


def image_of(result: CallToolResult) -> dict[str, Any]:
    """Return the one image of a result."""
    assert not result.is_error, text_of(result)
    assert result.structured_content is not None
    assert json.loads(text_of(result)) == result.structured_content
    (image,) = (
        result.structured_content.get("images") or result.structured_content["result"]["images"]
    )
    return dict(image)


def file_of(image: Mapping[str, Any]) -> bytes:
    """Read an image's file, which has to be what is said of it."""
    data = Path(image["path"]).read_bytes()
    assert hashlib.sha256(data).hexdigest() == image["sha256"]
    assert image["uri"] == f"og://images/{image['sha256']}"
    with Image.open(BytesIO(data)) as decoded:
        said = (image["mime_type"], image["width"], image["height"], image["size"])
        assert (Image.MIME[str(decoded.format)], *decoded.size, len(data)) == said
    return data


def remove(image: Mapping[str, Any]) -> None:
    Path(image["path"]).unlink()


def message_of(result: CallToolResult) -> str:
    """Write a result as it goes to the host."""
    told = result.model_dump(mode="json", by_alias=True)
    return json.dumps({"jsonrpc": "2.0", "id": 1, "result": told})


def size_of(block: ImageContent) -> tuple[int, int]:
    """Decode a preview; returns its width and height."""
    with Image.open(BytesIO(base64.b64decode(block.data, validate=True))) as shown:
        shown.load()
        return shown.size


def check_preview(result: CallToolResult) -> None:
    """Assert that a host can show the preview, and that the whole message fits every host."""
    assert len(message_of(result)) < MOST_CHARACTERS
    (block,) = (block for block in result.content if isinstance(block, ImageContent))
    with Image.open(BytesIO(base64.b64decode(block.data, validate=True))) as shown:
        shown.load()
        assert Image.MIME[str(shown.format)] == block.mime_type == "image/jpeg"
        assert max(shown.size) <= LONGEST_SIDE


def check_link(result: CallToolResult) -> None:
    """Assert that the result links to the whole image."""
    (link,) = (block for block in result.content if isinstance(block, ResourceLink))
    image = image_of(result)
    assert (link.uri, link.mime_type, link.size) == (
        image["uri"],
        image["mime_type"],
        image["size"],
    )


async def test_an_image_is_paid_kept_whole_and_shown_small(mcp: Client) -> None:
    result = await draw(mcp)

    check_preview(result)
    check_link(result)
    image = image_of(result)
    assert file_of(image) == pictures.draw(PROMPT, (image["width"], image["height"]))
    assert "original" not in image
    assert result.structured_content is not None
    assert result.structured_content["payment"]["max_opg"] == "0.1"
    assert "image" in " ".join(result.structured_content["verification"]["not_covered"])


@pytest.mark.slow
@pytest.mark.parametrize("how", ["large_image", "wide_image"], ids=["20 MB", "8000 x 8000"])
async def test_a_huge_image_is_kept_as_it_was_sent_and_reaches_the_host_as_a_preview(
    mcp: Client, localnet: LocalNetwork, how: str
) -> None:
    sent = pictures.large(PROMPT) if how == "large_image" else pictures.wide()
    localnet.spoil(how)

    result = await draw(mcp)

    check_preview(result)
    image = image_of(result)
    assert file_of(image) == sent
    assert len(sent) > 20_000_000 or (image["width"], image["height"]) == (8000, 8000)
    (whole,) = (await mcp.read_resource(image["uri"])).contents
    assert isinstance(whole, BlobResourceContents)
    assert base64.b64decode(whole.blob) == sent


async def test_an_image_that_is_answered_as_the_gateways_own_url_is_fetched(
    mcp: Client, localnet: LocalNetwork
) -> None:
    localnet.spoil("http_images")

    result = await draw(mcp)

    check_preview(result)
    image = image_of(result)
    assert file_of(image) == pictures.draw(PROMPT, (image["width"], image["height"]))


@pytest.mark.slow
@pytest.mark.parametrize("sides", [{}, {"width": 500, "height": 900}], ids=["own size", "cut"])
async def test_several_images_share_what_a_host_takes(
    mcp: Client, localnet: LocalNetwork, sides: dict[str, int]
) -> None:
    localnet.spoil("many_images")

    result = await draw(mcp, **sides)
    assert result.structured_content is not None
    told = await mcp.call_tool("get_call", {"call_id": result.structured_content["call_id"]})

    images = result.structured_content["images"]
    assert len({image["sha256"] for image in images}) == 8
    for one in (result, told):
        shown = [block for block in one.content if isinstance(block, ImageContent)]
        links = [block.uri for block in one.content if isinstance(block, ResourceLink)]
        assert len(message_of(one)) < MOST_CHARACTERS
        assert links == [image["uri"] for image in images]
        assert len(shown) == (8 if one is result else 0)
        assert all(max(size_of(block)) > 200 for block in shown)
    for image in images:
        file_of(image)
        file_of(image["original"] if sides else image)


async def test_one_side_alone_keeps_the_proportions(mcp: Client) -> None:
    image = image_of(await draw(mcp, height=100))

    original = image["original"]
    assert image["height"] == 100
    assert image["width"] == round(100 * original["width"] / original["height"])


async def test_another_size_is_cut_from_the_original_which_is_kept(mcp: Client) -> None:
    result = await draw(mcp, width=300, height=120)

    check_preview(result)
    check_link(result)
    image = image_of(result)
    file_of(image)
    assert (image["width"], image["height"]) == (300, 120)
    original = image["original"]
    assert file_of(original) == pictures.draw(PROMPT, (original["width"], original["height"]))


async def test_the_preview_can_be_left_out(localnet: LocalNetwork) -> None:
    session = Session.from_env({**localnet.environ, "OG_IMAGES": "omit"})
    async with Client(build_server(session)) as mcp:
        result = await draw(mcp)

    check_link(result)
    assert not any(isinstance(block, ImageContent) for block in result.content)


async def test_get_call_links_to_the_image_that_the_tool_has_shown(mcp: Client) -> None:
    drawn = await draw(mcp)
    assert drawn.structured_content is not None

    told = await mcp.call_tool("get_call", {"call_id": drawn.structured_content["call_id"]})

    assert not any(isinstance(block, ImageContent) for block in told.content)
    check_link(told)
    assert image_of(told) == image_of(drawn)


@pytest.mark.slow
async def test_get_call_shows_the_image_of_a_call_that_was_handed_back_running(
    localnet: LocalNetwork,
) -> None:
    localnet.latency(3.0, service="gateway")
    session = Session.from_env({**localnet.environ, "OG_WAIT_S": "1"})
    async with Client(build_server(session)) as mcp:
        running = await draw(mcp)
        assert running.structured_content is not None
        call_id = running.structured_content["call_id"]
        first = await mcp.call_tool("get_call", {"call_id": call_id, "wait_s": 30})
        again = await mcp.call_tool("get_call", {"call_id": call_id})

    assert running.structured_content["status"] == "running"
    check_preview(first)
    assert not any(isinstance(block, ImageContent) for block in again.content)


async def test_a_result_is_shown_though_its_file_is_gone(mcp: Client) -> None:
    drawn = await draw(mcp, idempotency_key="once")
    remove(image_of(drawn))

    again = await draw(mcp, idempotency_key="once")

    assert again.structured_content == drawn.structured_content
    assert not any(isinstance(block, ImageContent) for block in again.content)


async def test_the_resource_is_the_file_with_its_own_type(mcp: Client) -> None:
    image = image_of(await draw(mcp))

    (content,) = (await mcp.read_resource(image["uri"])).contents

    assert isinstance(content, BlobResourceContents)
    assert content.mime_type == "image/png"
    assert base64.b64decode(content.blob) == file_of(image)


async def test_t21_an_image_is_nobody_elses(localnet: LocalNetwork) -> None:
    session = Session.from_env(localnet.environ)
    over_http = Session.from_env(
        {**localnet.environ, "OG_TRANSPORT": "http", "OG_HTTP_TOKEN": "a-token-of-some-length"}
    )
    async with Client(build_server(session)) as mcp, Client(build_server(over_http)) as http:
        image = image_of(await draw(mcp))

        for one, uri in ((http, image["uri"]), (mcp, f"og://images/{'f' * 64}")):
            with pytest.raises(MCPError) as unread:
                await one.read_resource(uri)
            assert unread.value.code == -32602


async def test_pruning_leaves_the_images_that_calls_name(localnet: LocalNetwork) -> None:
    async with Session.from_env(localnet.environ) as og:
        (named,) = (await og.generate_image(MODEL, PROMPT, 64, 64)).images
        nobodys = Path(named.path).with_name(f"{'f' * 64}.png")
        nobodys.write_bytes(file_of(named.model_dump()))
        for path in (named.path, named.original.path, nobodys):
            os.utime(path, (0, 0))

        pruned = await og.prune(datetime.now(UTC))

    assert (pruned.calls, pruned.files) == (0, 1)
    assert file_of(named.model_dump())
    assert file_of(named.original.model_dump())


async def test_images_of_young_calls_stay_and_go_with_old_ones(
    localnet: LocalNetwork, tmp_path: Path
) -> None:
    settings = Settings.from_env({**localnet.environ, "OG_DATA_DIR": str(tmp_path)})
    async with Session(settings) as og:
        made = await og.generate_image(MODEL, PROMPT)
        (image,) = made.images
        localnet.settle()
        await og.get_call(made.call_id)

        young = await og.prune(datetime.now(UTC) + timedelta(days=999))
        assert (await og.image(image.sha256)).data
        _age(settings, days=2)
        os.utime(image.path, (0, 0))
        old = await og.prune(datetime.now(UTC))
        with pytest.raises(ImageNotFoundError):
            await og.image(image.sha256)

    assert ((young.calls, young.files), (old.calls, old.files)) == ((0, 0), (1, 1))


def _age(settings: Settings, *, days: int) -> None:
    """Make everything in the journal older."""
    connection, past = database_of(settings).connect(), days * 24 * 3600 * 10**6
    for sql in (
        f"UPDATE calls SET created_at = created_at - {past}, updated_at = updated_at - {past}",  # noqa: S608 - our own words
        f"UPDATE caps SET created_at = created_at - {past}, ended_at = ended_at - {past}",  # noqa: S608 - our own words
    ):
        connection.plain(sql)
    connection.close()


async def test_bytes_that_are_no_image_are_a_failure_that_is_said_to_be_paid(
    mcp: Client, localnet: LocalNetwork
) -> None:
    localnet.spoil("wrong_magic")

    text = await refusal(mcp)

    assert "first bytes are those of no PNG, JPEG, WebP or GIF" in text
    assert "charged" in text
    assert "pays again" in text
    (call,) = (await answer(mcp, "list_calls"))["calls"]
    assert (call["status"], call["stage"]) == ("failed", "charged")
    assert call["payment"]["max_opg"] == "0.1"
    # What was paid for is proven, although nothing of it can be shown.
    verified = await answer(mcp, "verify_receipt", call_id=call["call_id"])
    assert (verified["valid"], verified["level"]) == (True, "consistent")


async def test_a_model_that_writes_in_place_of_drawing_is_told_in_its_words(
    mcp: Client, localnet: LocalNetwork
) -> None:
    localnet.spoil("no_images")

    text = await refusal(mcp)

    assert "holds none, only the text 'Nothing was drawn: the model would not.'" in text
    assert "charged" in text
    assert "pays again" in text


async def test_a_gateway_without_a_price_is_told_and_nothing_drawn(
    mcp: Client, localnet: LocalNetwork
) -> None:
    # Asked for once more by itself, it has none either.
    localnet.spoil("no_price", times=2)

    text = await refusal(mcp)

    assert "503" in text
    assert "Token price unavailable" in text
    assert [session["spent"] for session in localnet.sessions() if session["open"]] == ["0"]


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("https://169.254.169.254/latest/meta-data", "no public address"),
        ("https://[::ffff:10.0.0.1]/a.png", "no public address"),
        ("file:///etc/passwd", "scheme 'file'"),
    ],
)
async def test_t28_an_answer_cannot_send_the_server_into_private_networks(
    mcp: Client, localnet: LocalNetwork, url: str, says: str
) -> None:
    localnet.spoil("http_images", body=url)

    assert says in await refusal(mcp)


async def test_a_language_model_is_told_where_it_belongs(mcp: Client) -> None:
    assert "Use it with chat" in await refusal(mcp, model="gpt-5.4")
    assert "openai/gpt-image-2" in await refusal(mcp, model="gpt-image-3")


@pytest.mark.sweep(quick=3)
@pytest.mark.parametrize("name", ["width", "height"])
@pytest.mark.parametrize("side", [-1, 8193, True, 0.5, "wide", 10**400])
async def test_a_size_out_of_bounds_is_refused_before_anything_is_paid(
    mcp: Client, localnet: LocalNetwork, name: str, side: object
) -> None:
    localnet.reset_counters("gateway")

    assert name in await refusal(mcp, **{name: side})
    assert localnet.counters("gateway")["http_requests"] == 0
    assert (await answer(mcp, "list_calls"))["calls"] == []


async def test_a_dry_run_tells_the_price_and_draws_nothing(
    mcp: Client, localnet: LocalNetwork
) -> None:
    dry = await answer(mcp, "generate_image", model=MODEL, prompt=PROMPT, dry_run=True)

    assert (dry["status"], dry["max_opg"], "images" in dry) == ("dry_run", "0.1", False)
    assert not (localnet.data_dir / "images").exists()


async def test_the_models_of_the_network_are_a_resource(mcp: Client) -> None:
    (content,) = (await mcp.read_resource("og://models")).contents

    assert isinstance(content, TextResourceContents)
    told = json.loads(content.text)
    models = {model["id"]: model for model in told["models"]}
    assert told["network"] == "local"
    assert models[MODEL]["kind"] == "image"
    assert models["anthropic/claude-haiku-4-5"]["provider"] == "anthropic"
    assert models["anthropic/claude-haiku-4-5"]["json_object"] is False
    assert {model["generation"] for model in models.values()} == {"gateway", "on_chain"}


@pytest.mark.parametrize("name", [MODEL, "gpt-image-2", "GPT_IMAGE_2"])
async def test_each_model_is_a_resource(mcp: Client, name: str) -> None:
    (content,) = (await mcp.read_resource(f"og://models/{name}")).contents

    assert isinstance(content, TextResourceContents)
    told = json.loads(content.text)
    assert (told["id"], told["provider"], told["kind"]) == (MODEL, "openai", "image")


async def test_a_model_that_there_is_none_of_is_no_resource(mcp: Client) -> None:
    with pytest.raises(MCPError, match="There is no model 'openai/gpt-6'") as unread:
        await mcp.read_resource("og://models/openai/gpt-6")

    assert unread.value.code == -32602


async def test_the_models_of_a_public_network_are_those_of_its_generation() -> None:
    for network, generation in (("opengradient", "gateway"), ("alpha-2025", "on_chain")):
        async with Client(build_server(Session.from_env({"OG_NETWORK": network}))) as mcp:
            (content,) = (await mcp.read_resource("og://models")).contents

        assert isinstance(content, TextResourceContents)
        assert {model["generation"] for model in json.loads(content.text)["models"]} == {generation}
