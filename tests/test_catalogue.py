"""The catalogue: every model under each of its names, with prices, abilities and what is retired."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from og_mcp.catalogue import CatalogueEntry, find, living, models, nearest, unlisted, web_search_usd

LAST_DAY = date(2026, 12, 11)
DAY_AFTER = date(2026, 12, 12)
LLAMA = "meta-llama/Llama-3.1-70B-Instruct"


def named(text: str) -> CatalogueEntry:
    found = find(text)
    assert found is not None
    return found


def test_every_name_leads_to_its_one_model() -> None:
    for entry in models():
        for name in entry.names:
            assert find(name) == entry
            assert entry.is_named(name)


def test_both_generations_and_kinds_are_there() -> None:
    kinds = [(entry.generation, entry.kind) for entry in models()]

    assert kinds.count(("gateway", "llm")) == 59
    assert kinds.count(("gateway", "image")) == 12
    assert kinds.count(("on_chain", "llm")) == 5


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("openai/gpt-5.4-mini", "openai/gpt-5.4-mini"),
        (" GPT-5.4-Mini ", "openai/gpt-5.4-mini"),
        ("GPT_5_4_MINI", "openai/gpt-5.4-mini"),
        ("GEMINI_3_FLASH", "google/gemini-3-flash-preview"),
        ("gpt-4.1", "openai/gpt-4.1-2025-04-14"),
        ("openai/gpt-5.6", "openai/gpt-5.6-sol"),
        ("claude-fable-5.1", "anthropic/claude-fable-5-1"),
        ("grok-imagine-image", "x-ai/grok-2-image"),
        ("META_LLAMA_3_1_70B_INSTRUCT", LLAMA),
        ("MISTRAL_7B_INSTRUCT_V3", "mistralai/Mistral-7B-Instruct-v0.3"),
    ],
)
def test_a_model_is_found_by_id_name_alias_or_the_sdk_s_member(text: str, model: str) -> None:
    assert named(text).id == model


def test_the_wire_carries_the_bare_name_to_gateways_and_the_whole_id_on_chain() -> None:
    assert named("openai/gpt-5.4-mini").wire_name == "gpt-5.4-mini"
    assert named(LLAMA).wire_name == LLAMA
    assert find(LLAMA, "gateway") is None


@pytest.mark.parametrize(
    ("model", "abilities", "price"),
    [
        (
            "gpt-5.4-nano",
            "Answers in a TEE; reads images (vision, image input); takes tools, json_object.",
            "0.2 USD in, 1.25 USD out, per million tokens",
        ),
        (
            "claude-opus-5",
            "Answers in a TEE; reads images (vision, image input); takes tools; not json_object, temperature.",
            "5 USD in, 25 USD out, per million tokens",
        ),
        ("hy4-preview", "Answers in a TEE.", "unknown"),
        ("glm-image", "Draws images; takes aspect_ratio.", "0.015 USD an image"),
        (
            "seedream-5.0-lite",
            "Draws images; takes aspect_ratio, resolution 1.5K or 2K, pictures to start from.",
            "0.045 USD at 1.5K, 0.09 USD at 2K an image",
        ),
        (
            "gemini-2.5-flash-image",
            "Draws images; takes aspect_ratio.",
            "about 0.039 USD an image",
        ),
        (LLAMA, "Answers on chain, inference_mode VANILLA or TEE.", "gas"),
        ("Mistral-7B-Instruct-v0.3", "Answers on chain, inference_mode VANILLA.", "gas"),
    ],
)
def test_abilities_and_price_are_told_as_far_as_they_are_known(
    model: str, abilities: str, price: str
) -> None:
    assert named(model).abilities == abilities
    assert named(model).price == price


def test_requests_and_images_are_priced_by_the_table() -> None:
    mini, lite = named("gpt-5.4-mini"), named("seedream-5.0-lite")

    assert mini.usd(input_tokens=2_000_000, output_tokens=1000) == Decimal("1.5045")
    assert named("hy4-preview").usd(input_tokens=1, output_tokens=1) is None
    assert [lite.image_usd(one) for one in ("", "1.5K", "2K")] == [
        Decimal(usd) for usd in ("0.045", "0.045", "0.09")
    ]
    assert named("gpt-image-2.5-flare").image_usd() is None
    assert web_search_usd() == Decimal("0.015")


def test_the_cheapest_come_first_and_unknown_prices_last() -> None:
    ranked = sorted(living(DAY_AFTER, "gateway", "llm"), key=lambda entry: entry.price_rank)

    assert ranked[0].id == "tencent/hy3"
    assert ranked[-1].id == "tencent/hy4-preview"
    assert next(one.id for one in ranked if one.image_input) == "google/gemini-2.5-flash-lite"


def test_models_that_end_are_retired_once_their_last_day_has_passed() -> None:
    def retired(today: date) -> set[str]:
        return {entry.id for entry in models() if entry.is_retired(today)}

    assert retired(DAY_AFTER) - retired(LAST_DAY) == {
        *("openai/gpt-5", "openai/gpt-5-mini", "openai/o3")
    }
    assert "x-ai/grok-4" in retired(date.min)
    assert not retired(DAY_AFTER) & {entry.id for entry in living(DAY_AFTER)}


def test_what_replaces_a_retired_model_lives_and_is_of_its_kind() -> None:
    for entry in models():
        if entry.status == "retired" or entry.until:
            successor = named(entry.replaced_by)
            assert not successor.is_retired(DAY_AFTER)
            assert successor.kind == entry.kind


@pytest.mark.parametrize("text", ["acme/new-model", " Acme-2/gpt-7:beta "])
def test_a_name_that_is_not_there_may_be_asked_for_with_its_provider(text: str) -> None:
    entry = unlisted(text)

    assert entry is not None
    assert (entry.id, entry.is_listed) == (text.strip(), False)


@pytest.mark.parametrize(
    "text",
    ["new-model", "acme/", "/x", "a/b/c", "acme/new model", "openai/claude-opus-5", "x/GPT_5"],
)
def test_what_is_no_id_or_another_provider_s_model_is_not_asked_for(text: str) -> None:
    assert unlisted(text) is None


def test_an_unknown_name_has_three_near_ones() -> None:
    assert find("gpt-5.4-minni") is None
    assert nearest("gpt-5.4-minni", models())[0] == "openai/gpt-5.4-mini"
    assert len(set(nearest("???", models()))) == 3
    assert nearest("Llama-3.2", [one for one in models() if one.generation == "on_chain"], 1) == (
        "meta-llama/Llama-3.2-3B-Instruct",
    )


def test_one_model_alone_may_be_called_on_chain_in_tee_mode() -> None:
    on_chain = [entry for entry in models() if entry.generation == "on_chain"]

    assert [entry.id for entry in on_chain if entry.in_tee] == [LLAMA]


def test_anthropic_has_no_json_object() -> None:
    assert {one.provider for one in models() if one.json_object is False} == {"anthropic"}
