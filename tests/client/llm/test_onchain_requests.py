"""What the contract can be asked, and what is refused before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from og_mcp.client.codec.llm_shapes import FunctionCall, FunctionSpec, LLMMode, Message
from og_mcp.client.llm.onchain_requests import chat_request, completion_request
from og_mcp.errors import InputError

LLAMA = "meta-llama/Llama-3.1-70B-Instruct"
MISTRAL = "mistralai/Mistral-7B-Instruct-v0.3"
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
HELLO = [{"role": "user", "content": "Hello"}]


def test_a_chat_is_taken_as_openai_shapes_it() -> None:
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'},
    }
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is"},
                {"type": "text", "text": "the weather?"},
            ],
        },
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "rain", "tool_call_id": "call_1"},
    ]

    request = chat_request(
        LLAMA, messages, LLMMode.TEE, tools=[WEATHER], stop_sequence=["\n"], temperature=0.7
    )

    assert request.messages == (
        Message("system", "Be brief."),
        Message("user", "What is\nthe weather?"),
        Message(
            "assistant", "", "", "", (FunctionCall("call_1", "get_weather", '{"city": "Oslo"}'),)
        ),
        Message("tool", "rain", "", "call_1"),
    )
    assert request.tools == (
        FunctionSpec(
            "Tells the weather",
            "get_weather",
            '{"properties":{"city":{"type":"string"}},"type":"object"}',
        ),
    )
    assert (request.mode, request.tool_choice) == (1, "auto")
    assert (request.temperature, request.max_tokens) == (70, 1024)
    assert request.canonical["messages"][2] == {**messages[2], "content": ""}
    assert request.canonical["temperature"] == 0.7


@pytest.mark.parametrize("name", [MISTRAL, "Mistral-7B-Instruct-v0.3", "MISTRAL_7B_INSTRUCT_V3"])
def test_a_model_may_be_named_in_any_of_its_ways(name: str) -> None:
    assert completion_request(name, "Hi", LLMMode.VANILLA).model == MISTRAL


@given(st.integers(0, 100))
def test_every_hundredth_travels_as_itself(hundredths: int) -> None:
    request = completion_request(LLAMA, "Hi", LLMMode.VANILLA, temperature=hundredths / 100)

    assert request.temperature == hundredths


def test_a_choice_without_tools_travels_as_none() -> None:
    for choice in ("", "auto", "none"):
        assert chat_request(LLAMA, HELLO, LLMMode.VANILLA, tool_choice=choice).tool_choice == ""


CHATS: dict[str, tuple[dict[str, Any], str]] = {
    "no messages": ({"messages": []}, "no messages"),
    "an unknown model": (
        {"model": "Llama-3.1-70B"},
        r"'Llama-3.1-70B' is not an LLM on chain. .*nearest are \S+, meta-llama/Llama-3.1-70B-Instruct, \S+\.$",
    ),
    "a gateway's model": ({"model": "openai/gpt-5.4"}, "'openai/gpt-5.4' is answered by gateways"),
    "a model that is in no TEE": (
        {"model": MISTRAL, "mode": LLMMode.TEE},
        f"{MISTRAL} does not run in a TEE on chain. Use {LLAMA}.",
    ),
    "too warm": ({"temperature": 1.01}, r"The temperature is 1.01, and on-chain calls take 0 to 1"),
    "below zero": ({"temperature": -0.01}, "The temperature is -0.01"),
    "not a number": ({"temperature": float("nan")}, "The temperature is nan"),
    "three decimals": ({"temperature": 0.125}, "0.125 has more than two decimals.* Give 0.12"),
    "no tokens": ({"max_tokens": 0}, "max_tokens is 0"),
    "too many tokens": ({"max_tokens": 2**32}, "max_tokens is 4294967296"),
    "an image": (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
        "Message 0 has a part that is not a text",
    ),
    "a number for content": (
        {"messages": [{"role": "user", "content": 5}]},
        "content that is not a text",
    ),
    "an unknown role": ({"messages": [{"role": "bot", "content": ""}]}, "has the role 'bot'"),
    "an unknown field": (
        {"messages": [{"role": "user", "content": "", "audio": {}}]},
        "has the field 'audio'",
    ),
    "a message that is none": ({"messages": ["Hello"]}, "Message 0 is not an object"),
    "a name that is not a text": (
        {"messages": [{"role": "user", "content": "", "name": 5}]},
        "Message 0 has a name that is not a text",
    ),
    "a tool call without a function": (
        {"messages": [{"role": "assistant", "tool_calls": [{"id": "1", "name": "f"}]}]},
        "Message 0 has a tool call without a function",
    ),
    "tool calls that are not a list": (
        {"messages": [{"role": "assistant", "tool_calls": 5}]},
        "Message 0 has tool_calls that are not a list",
    ),
    "a tool without a name": (
        {"tools": [{"type": "function", "function": {}}]},
        "Tool 0 is not a function",
    ),
    "a tool that is none": ({"tools": ["f"]}, "Tool 0 is not a function"),
    "parameters that are not a schema": (
        {"tools": [{"function": {"name": "f", "parameters": "{}"}}]},
        "parameters that are not a JSON schema",
    ),
    "parameters that JSON does not know": (
        {"tools": [{"function": {"name": "f", "parameters": {"minimum": float("inf")}}}]},
        "Tool 0 has parameters that are not JSON",
    ),
    "a choice of no tool": (
        {"tools": [WEATHER], "tool_choice": "get_time"},
        "tool_choice 'get_time' names no tool .* Use auto, none, required, 'get_weather'",
    ),
    "a required tool without tools": ({"tool_choice": "required"}, "there are no tools"),
}


@pytest.mark.parametrize("name", CHATS)
def test_a_chat_that_the_contract_cannot_be_asked_is_refused(name: str) -> None:
    given_, words = CHATS[name]
    arguments = {"model": LLAMA, "messages": HELLO, "mode": LLMMode.VANILLA, **given_}

    with pytest.raises(InputError, match=words):
        chat_request(**arguments)
