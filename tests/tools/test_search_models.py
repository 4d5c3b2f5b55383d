"""Tool search_models: pages of the hub, and the catalogue."""

from __future__ import annotations

from datetime import date
from uuid import uuid4

import pytest
from mcp import Client

from og_mcp.catalogue import find, living, utc_today
from og_mcp.client import Session
from og_mcp.server import build_server
from og_mcp.settings import Settings
from tests.localnet_client import LocalNetwork
from tests.tools.calls import answer, refusal


async def test_the_hub_s_models_are_found_by_words_a_page_at_a_time(
    mcp: Client, localnet: LocalNetwork
) -> None:
    name = f"model-{uuid4().hex}"
    for letter in "abc":
        await answer(mcp, "create_model", model_name=f"{name}-{letter}", model_desc="Weather.")
    first = await answer(mcp, "search_models", query=f"weather {name}", kind="onnx", limit=2)
    second = await answer(
        mcp, "search_models", query=f"weather {name}", kind="onnx", limit=2, page=1
    )

    author = localnet.ready["sample_models"][0]["author"]
    assert first == {
        "network": "local",
        "models": [
            {
                "name": f"{name}-{letter}",
                "author": author,
                "kind": "onnx",
                "description": "Weather.",
            }
            for letter in "ab"
        ],
        "next_page": 1,
        "complete": True,
    }
    assert [model["name"] for model in second["models"]] == [f"{name}-c"]
    assert second["next_page"] == 0


async def test_language_and_image_models_come_from_the_catalogue(mcp: Client) -> None:
    language = await answer(mcp, "search_models", query="claude opus", kind="llm", limit=100)
    images = await answer(mcp, "search_models", kind="image", author="google", limit=100)

    assert "anthropic/claude-opus-4-8" in {model["name"] for model in language["models"]}
    assert {model["kind"] for model in language["models"]} == {"llm"}
    assert {model["author"] for model in images["models"]} == {"google"}


@pytest.mark.parametrize("kind", ["llm", "image"])
async def test_every_page_of_a_kind_comes_once_and_then_no_more(mcp: Client, kind: str) -> None:
    wanted = {entry.id for entry in living(utc_today()) if entry.kind == kind}
    names, page, pages = [], 0, 0
    while pages == 0 or page:
        found = await answer(mcp, "search_models", kind=kind, page=page, limit=6)
        assert len(found["models"]) <= 6
        names += [model["name"] for model in found["models"]]
        page, pages = found["next_page"], pages + 1
    beyond = await answer(mcp, "search_models", kind=kind, page=pages, limit=6)

    assert len(names) == len(wanted)
    assert set(names) == wanted
    assert pages == -(-len(wanted) // 6)
    assert (beyond["models"], beyond["next_page"], beyond["complete"]) == ([], 0, True)


async def test_a_full_last_page_is_the_last(mcp: Client) -> None:
    found = await answer(mcp, "search_models", kind="image", limit=12)

    assert (len(found["models"]), found["next_page"]) == (12, 0)


async def test_what_models_can_do_is_told_and_found(mcp: Client) -> None:
    found = await answer(mcp, "search_models", query="opus IMAGE input", kind="llm", limit=100)

    assert {model["author"] for model in found["models"]} == {"anthropic"}
    assert all("not json_object" in model["description"] for model in found["models"])


@pytest.mark.parametrize("query", ["vision", "the cheapest model that reads images"])
async def test_the_cheapest_model_that_reads_images_is_the_first_that_a_search_finds(
    mcp: Client, query: str
) -> None:
    found = await answer(mcp, "search_models", query=query, kind="llm", limit=100)

    assert found["models"][0] == {
        "name": "google/gemini-2.5-flash-lite",
        "author": "google",
        "kind": "llm",
        "description": "Answers in a TEE; reads images (vision, image input); takes tools, "
        "json_object.",
        "price": "0.1 USD in, 0.4 USD out, per million tokens",
    }
    entries = [find(model["name"]) for model in found["models"]]
    prices = [one.price_rank for one in entries if one is not None]
    assert len(prices) == len(found["models"]) > 20
    assert prices == sorted(prices)
    assert all(one is not None and one.image_input for one in entries)


async def test_images_come_cheapest_first_and_unknown_prices_last(mcp: Client) -> None:
    found = (await answer(mcp, "search_models", kind="image", limit=100))["models"]

    assert (found[0]["name"], found[0]["price"]) == ("zai/glm-image", "0.015 USD an image")
    assert [model["price"] for model in found[-2:]] == ["unknown", "unknown"]


async def test_retired_models_are_not_found_and_those_that_end_say_so(
    localnet: LocalNetwork,
) -> None:
    async def found(query: str, today: date) -> dict[str, str]:
        og = Session(Settings.from_env(localnet.environ), today=lambda: today)
        async with Client(build_server(og)) as mcp:
            listed = await answer(mcp, "search_models", query=query, kind="llm", limit=100)
        return {model["name"]: model["description"] for model in listed.get("models", ())}

    last = await found("gpt-5-mini", date(2026, 12, 11))

    assert last["openai/gpt-5-mini"].endswith(
        "openai/gpt-5-mini ends after 2026-12-11; then use openai/gpt-5.4-mini."
    )
    assert await found("gpt-5-mini", date(2026, 12, 12)) == {}
    assert await found("x-ai/grok-4-fast", date(2026, 12, 1)) == {}


async def test_the_catalogue_needs_no_hub(mcp: Client, localnet: LocalNetwork) -> None:
    localnet.close_service("hub_read")

    assert (await answer(mcp, "search_models", kind="llm"))["models"]


async def test_nothing_found_is_an_empty_page(mcp: Client) -> None:
    found = await answer(mcp, "search_models", query=uuid4().hex)

    assert (found["models"], found["next_page"]) == ([], 0)


async def test_a_kind_there_is_none_of_is_refused(mcp: Client) -> None:
    text = await refusal(mcp, "search_models", kind="sound")

    assert "Argument kind must be one of onnx, llm, image or left out" in text
