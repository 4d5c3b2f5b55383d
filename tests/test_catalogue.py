"""The catalogue holds the models of protocol.md section 1, each under every name it has."""

from __future__ import annotations

import pytest

from og_mcp import catalogue
from og_mcp.catalogue import MODELS, find, nearest


def test_every_name_leads_to_one_model() -> None:
    names = [name for entry in MODELS for name in {each.casefold() for each in entry.names}]

    assert len(names) == len(set(names))


NAMES = {
    "openai": "gpt-4.1-2025-04-14 gpt-4.1-mini gpt-4.1-nano o3 o4-mini gpt-5 gpt-5-mini gpt-5.2 "
    "gpt-5.4 gpt-5.4-mini gpt-5.4-nano gpt-5.5 gpt-image-2",
    "anthropic": "claude-sonnet-4-5 claude-sonnet-4-6 claude-haiku-4-5 claude-opus-4-5 "
    "claude-opus-4-6 claude-opus-4-7 claude-opus-4-8",
    "google": "gemini-2.5-flash gemini-2.5-pro gemini-2.5-flash-lite gemini-3-flash-preview "
    "gemini-3.1-pro-preview gemini-3.1-flash-lite-preview gemini-3.5-flash gemini-2.5-flash-image "
    "gemini-3.1-flash-image",
    "x-ai": "grok-4 grok-4-fast grok-4-1-fast grok-4-1-fast-non-reasoning grok-4.20-reasoning "
    "grok-4.20-non-reasoning grok-code-fast-1 grok-2-image",
    "bytedance": "seed-1.6 seed-1.8 seed-2.0-lite deepseek-v4-flash deepseek-v4-pro seedream-4.0 "
    "seedance-4.5",
    "nous": "hermes-4-405b hermes-4-70b",
    "zai": "glm-5.2 glm-image",
    "NousResearch": "Hermes-3-Llama-3.1-70B",
    "meta-llama": "Llama-3.2-3B-Instruct Llama-3.1-70B-Instruct Meta-Llama-3-8B-Instruct",
    "mistralai": "Mistral-7B-Instruct-v0.3",
}
"""Provider -> names, as protocol.md section 1 lists them."""


def test_every_name_of_the_protocol_is_there_and_no_other_one() -> None:
    have = {
        provider: {entry.name for entry in MODELS if entry.provider == provider}
        for provider in (entry.provider for entry in MODELS)
    }

    assert have == {provider: set(names.split()) for provider, names in NAMES.items()}


@pytest.mark.parametrize(
    ("model", "abilities"),
    [
        ("gpt-5", "Answers in a TEE; takes tools, image input, json_object, web_search."),
        (
            "claude-haiku-4-5",
            "Answers in a TEE; takes tools, image input, web_search; not json_object.",
        ),
        (
            "grok-code-fast-1",
            "Answers in a TEE; takes tools, json_object, web_search; not image input.",
        ),
        ("hermes-4-70b", "Answers in a TEE."),
        ("glm-image", "Draws images."),
        ("META_LLAMA_3_1_70B_INSTRUCT", "Answers on chain, inference_mode VANILLA or TEE."),
        ("Mistral-7B-Instruct-v0.3", "Answers on chain, inference_mode VANILLA."),
    ],
)
def test_what_a_model_can_do_is_told_as_far_as_it_is_known(model: str, abilities: str) -> None:
    found = find(model)

    assert found is not None
    assert found.abilities == abilities


def test_both_generations_are_there() -> None:
    images = {entry.name for entry in MODELS if entry.kind == "image"}

    assert len([entry for entry in MODELS if entry.generation == "gateway"]) == 48
    assert len([entry for entry in MODELS if entry.generation == "on_chain"]) == 5
    assert images == {
        *("gpt-image-2", "gemini-2.5-flash-image", "gemini-3.1-flash-image", "grok-2-image"),
        *("seedream-4.0", "seedance-4.5", "glm-image"),
    }


@pytest.mark.parametrize(
    "text", ["openai/gpt-5-mini", "gpt-5-mini", "GPT_5_MINI", " GPT-5-Mini ", "gpt_5_mini"]
)
def test_a_model_is_found_by_id_name_or_member(text: str) -> None:
    found = find(text)

    assert found is not None
    assert found.id == "openai/gpt-5-mini"
    assert found.wire_name == "gpt-5-mini"


def test_on_chain_the_wire_carries_the_whole_id() -> None:
    found = find("Hermes-3-Llama-3.1-70B")

    assert found is not None
    assert found.wire_name == "NousResearch/Hermes-3-Llama-3.1-70B"
    assert find("Hermes-3-Llama-3.1-70B", "gateway") is None


def test_an_unknown_name_has_three_near_ones() -> None:
    assert find("gpt-5-minni") is None
    assert nearest("gpt-5-minni")[0] == "openai/gpt-5-mini"
    assert len(set(nearest("???"))) == 3
    assert nearest("Llama-3.2", "on_chain", 1) == ("meta-llama/Llama-3.2-3B-Instruct",)


def test_one_model_alone_may_be_called_on_chain_in_tee_mode() -> None:
    on_chain = [entry for entry in MODELS if entry.generation == "on_chain"]

    assert [e.member for e in on_chain if e.in_tee] == ["META_LLAMA_3_1_70B_INSTRUCT"]


def test_anthropic_has_no_json_object() -> None:
    lacking = {entry.provider for entry in MODELS if entry.json_object is False}

    assert lacking == {"anthropic"}
    assert catalogue.find("grok-4") is not None
