"""Which model a call asks: known, unknown, retired, ending, taken from the settings, or none."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from decimal import Decimal
from typing import Any, Final

import pytest
from mcp import Client

from og_mcp.catalogue import living, utc_today
from og_mcp.client import Session
from og_mcp.server import build_server
from og_mcp.settings import Settings
from tests.localnet_client import LocalNetwork
from tests.tools.calls import answer, refusal

QUESTION: Final = [{"role": "user", "content": "Who are you?"}]
LAST_DAY: Final = date(2026, 12, 11)
DAY_AFTER: Final = date(2026, 12, 12)
PIXEL: Final = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9"
    "awAAAABJRU5ErkJggg=="
)
NO_TEMPERATURE: Final = [
    one.id for one in living(DAY_AFTER, "gateway", "llm") if not one.temperature
]


@asynccontextmanager
async def server(
    network: LocalNetwork, *, today: date | None = None, **more: str
) -> AsyncIterator[Client]:
    """An MCP client of a server with further settings, and with another day."""
    settings = Settings.from_env({**network.environ, **more})
    og = Session(settings, today=utc_today if today is None else lambda: today)
    async with Client(build_server(og)) as mcp:
        yield mcp


def asked_of(network: LocalNetwork) -> int:
    """Count the requests that reached the gateway."""
    calls = network.counters("gateway")["calls"]
    return sum(count for name, count in calls.items() if "/v1/" in name)


async def sent_by(mcp: Client, call_id: str) -> dict[str, Any]:
    """Return the body that a call sent to the gateway, as its receipt keeps it."""
    (content,) = (await mcp.read_resource(f"og://receipts/{call_id}")).contents
    receipt = json.loads(content.text)  # type: ignore[union-attr]  # JSON is text
    body: dict[str, Any] = json.loads(receipt["request"]["body"])
    return body


async def test_a_model_of_this_autumn_answers_by_each_of_its_names(mcp: Client) -> None:
    for name in ("openai/gpt-6-astra", "gpt-6-astra", "GPT_6_ASTRA"):
        result = await answer(mcp, "chat", model=name, messages=QUESTION)

        assert result["model"] == "openai/gpt-6-astra"
        assert "gpt-6-astra" in result["content"]
        assert "catalogue" not in result.get("note", "")


async def test_an_unknown_model_is_asked_for_and_the_gateways_refusal_names_near_ones(
    mcp: Client, localnet: LocalNetwork
) -> None:
    localnet.reset_counters("gateway")
    text = await refusal(mcp, "chat", model="acme/new-model", messages=QUESTION)

    assert asked_of(localnet) > 0
    assert "answered 400" in text
    assert "unknown model 'new-model'" in text
    near = text.partition("The nearest models that are known here: ")[2].split(", ")
    assert len(near) == 3
    assert all("/" in name for name in near)
    told = await answer(mcp, "list_calls")
    assert told["spent_opg"] == "0"
    assert "By the network's rules nothing is charged for that" in text
    fate = f"get_call with call_id {told['calls'][0]['call_id']} tells what it did charge"
    assert text.endswith(f"{fate} (stage sent_unknown).")


async def test_an_unknown_model_carries_a_note_and_has_no_price(mcp: Client) -> None:
    priced = await answer(mcp, "chat", model="acme/new-model", messages=QUESTION, dry_run=True)

    assert priced["note"].startswith("acme/new-model is not in the catalogue of this release")
    assert priced["cost"] == {"opg": "unknown", "usd": "unknown", "source": "estimate"}


async def test_a_bare_unknown_name_is_refused_with_the_nearest_three(
    mcp: Client, localnet: LocalNetwork
) -> None:
    localnet.reset_counters("gateway")
    text = await refusal(mcp, "chat", model="gpt-6-astro", messages=QUESTION)

    assert "There is no llm model 'gpt-6-astro'. Nothing was sent or paid." in text
    near = text.partition("The nearest are ")[2].partition(";")[0].split(", ")
    assert len(near) == 3
    assert near[0] == "openai/gpt-6-astra"
    assert asked_of(localnet) == 0


@pytest.mark.parametrize("name", ["openai/claude-opus-5", "acme/GPT_5_4", "x/grok-4"])
async def test_a_model_under_another_provider_s_name_is_not_asked_for(
    mcp: Client, localnet: LocalNetwork, name: str
) -> None:
    localnet.reset_counters("gateway")

    assert "There is no llm model" in await refusal(mcp, "chat", model=name, messages=QUESTION)
    assert asked_of(localnet) == 0


async def test_a_retired_model_is_refused_with_what_replaces_it_and_why(
    mcp: Client, localnet: LocalNetwork
) -> None:
    localnet.reset_counters("gateway")
    text = await refusal(mcp, "chat", model="x-ai/grok-4", messages=QUESTION)

    assert text == (
        "x-ai/grok-4 is retired: the provider redirects it to grok-4.3 and bills that; the signed "
        "model name is not what answered. Nothing was sent or paid. Use x-ai/grok-4.3."
    )
    assert asked_of(localnet) == 0


async def test_a_model_that_ends_says_so_and_is_retired_once_its_last_day_has_passed(
    localnet: LocalNetwork,
) -> None:
    async with server(localnet, today=LAST_DAY) as mcp:
        priced = await answer(mcp, "chat", model="o3", messages=QUESTION, dry_run=True)
    async with server(localnet, today=DAY_AFTER) as mcp:
        text = await refusal(mcp, "chat", model="o3", messages=QUESTION)

    assert priced["note"] == "openai/o3 ends after 2026-12-11; then use openai/gpt-5.6-sol."
    assert text.startswith("openai/o3 is retired: it ended after 2026-12-11.")
    assert text.endswith("Use openai/gpt-5.6-sol.")


async def test_a_model_of_the_first_generation_answers_on_chain(mcp: Client) -> None:
    result = await answer(mcp, "chat", model="MISTRAL_7B_INSTRUCT_V3", messages=QUESTION)

    assert result["transaction_hash"]


@pytest.mark.sweep(quick=2)
@pytest.mark.parametrize("model", NO_TEMPERATURE)
async def test_a_model_without_temperature_answers_with_default_arguments(
    mcp: Client, model: str
) -> None:
    result = await answer(mcp, "chat", model=model, messages=QUESTION)

    assert "temperature" not in await sent_by(mcp, result["call_id"])
    checked = await answer(mcp, "verify_receipt", call_id=result["call_id"])
    assert checked["valid"] is True


async def test_a_temperature_is_sent_to_models_that_take_one_and_refused_for_others(
    mcp: Client, localnet: LocalNetwork
) -> None:
    warm = {"messages": QUESTION, "temperature": 0.5}
    result = await answer(mcp, "chat", model="openai/gpt-5.4-mini", **warm)
    localnet.reset_counters("gateway")
    text = await refusal(mcp, "chat", model="anthropic/claude-opus-5", **warm)

    assert (await sent_by(mcp, result["call_id"]))["temperature"] == 0.5
    assert text == (
        "anthropic/claude-opus-5 does not take a temperature, and 0.5 was given. Nothing was sent "
        "or paid. Leave temperature out, or use another model."
    )
    assert asked_of(localnet) == 0


async def test_calls_that_name_no_model_ask_those_of_the_settings(localnet: LocalNetwork) -> None:
    async with server(
        localnet, OG_CHAT_MODEL="gpt-5.4-nano", OG_IMAGE_MODEL="zai/glm-image"
    ) as mcp:
        chat = await answer(mcp, "chat", messages=QUESTION)
        completion = await answer(mcp, "completion", prompt="Once")
        image = await answer(mcp, "generate_image", prompt="A tree", dry_run=True)
        named = await answer(mcp, "chat", messages=QUESTION, model="tencent/hy3", dry_run=True)

    assert chat["model"] == completion["model"] == "openai/gpt-5.4-nano"
    assert image["model"] == "zai/glm-image"
    assert named["model"] == "tencent/hy3"


async def test_without_settings_a_call_that_names_no_model_is_told_the_cheapest_that_fits(
    mcp: Client,
) -> None:
    parts = [{"type": "image_url", "image_url": {"url": PIXEL}}]
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]

    chat = await refusal(mcp, "chat", messages=QUESTION)
    seeing = await refusal(mcp, "chat", messages=[{"role": "user", "content": parts}])
    with_tools = await refusal(mcp, "chat", messages=QUESTION, tools=tools)
    completion = await refusal(mcp, "completion", prompt="Once")
    image = await refusal(mcp, "generate_image", prompt="A tree")

    assert chat == completion
    assert chat == (
        "The call names no model, and OG_CHAT_MODEL is not set. Nothing was sent or paid. Name one, "
        "e.g. tencent/hy3, the cheapest that fits (0.0825 USD in, 0.33 USD out, per million tokens)"
        ", or set OG_CHAT_MODEL."
    )
    assert "e.g. google/gemini-2.5-flash-lite, the cheapest that fits" in seeing
    assert "e.g. google/gemini-2.5-flash-lite, the cheapest that fits" in with_tools
    assert "OG_IMAGE_MODEL is not set" in image
    assert "e.g. zai/glm-image, the cheapest that fits (0.015 USD an image)" in image


async def test_a_setting_that_names_no_living_model_is_told_with_its_variable(
    localnet: LocalNetwork,
) -> None:
    async with server(localnet, OG_CHAT_MODEL="grok-4", OG_IMAGE_MODEL="nothing") as mcp:
        chat = await refusal(mcp, "chat", messages=QUESTION)
        image = await refusal(mcp, "generate_image", prompt="A tree")

    assert chat.endswith("Use x-ai/grok-4.3. OG_CHAT_MODEL names it.")
    assert image.endswith("OG_IMAGE_MODEL names it.")


async def test_a_dry_run_tells_the_expected_cost_in_opg_too_once_a_gateway_told_its_price(
    mcp: Client,
) -> None:
    asking = {"model": "openai/gpt-5.4-mini", "messages": QUESTION, "max_tokens": 2000}
    first = await answer(mcp, "chat", **asking, dry_run=True)
    told = (await answer(mcp, "chat", **asking))["cost"]
    second = await answer(mcp, "chat", **asking, dry_run=True)
    image = await answer(
        mcp, "generate_image", model="openai/gpt-image-2", prompt="A tree", dry_run=True
    )

    # 12 letters are 3 tokens: 3 * 0.75 and 2000 * 4.5 millionths of a dollar.
    assert first["cost"] == {"usd": "0.00900225", "opg": "unknown", "source": "estimate"}
    assert (told["source"], second["cost"]["source"]) == ("gateway", "estimate")
    rate = Decimal(told["usd"]) / Decimal(told["opg"])
    for priced, usd in ((second, "0.00900225"), (image, "0.05")):
        assert priced["cost"]["usd"] == usd
        assert Decimal(priced["cost"]["opg"]) * rate == Decimal(usd)
        assert Decimal(priced["cost"]["opg"]) < Decimal(priced["max_opg"])


async def test_a_price_that_the_table_lacks_is_told_as_unknown(mcp: Client) -> None:
    priced = await answer(mcp, "chat", model="tencent/hy4-preview", messages=QUESTION, dry_run=True)

    assert priced["cost"] == {"usd": "unknown", "opg": "unknown", "source": "estimate"}
    assert "note" not in priced
