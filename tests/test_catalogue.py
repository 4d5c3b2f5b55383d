"""The catalogue holds the models of protocol.md section 1, each under every name it has."""

from __future__ import annotations

import pytest

from og_mcp import catalogue
from og_mcp.catalogue import MODELS, find, nearest


def test_every_name_leads_to_one_model() -> None:
    names = [name for entry in MODELS for name in {each.casefold() for each in entry.names}]

    assert len(names) == len(set(names))


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
