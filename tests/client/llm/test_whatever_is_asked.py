"""Whatever stands in a chat is taken or refused in words, by both routes and OpenAI's API."""

from __future__ import annotations

from typing import Any

import pytest

from og_mcp.client.codec.llm_shapes import LLMMode
from og_mcp.client.files.attachments import Attachments
from og_mcp.client.files.roots import FileRoots
from og_mcp.client.llm import messages as check
from og_mcp.client.llm.onchain_requests import chat_request
from og_mcp.client.tee.canonical_request import chat_forms, encode_body
from og_mcp.errors import InputError
from og_mcp.llm._request import read
from tests.client.whatever import changed

CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
PARTS = [
    {"type": "text", "text": "x"},
    {"type": "image_url", "image_url": {"url": "data:,u"}},
    {"type": "file", "file": {"filename": "f", "file_data": "data:,f"}, "filename": "g"},
]
CHAT: dict[str, Any] = {
    "model": "meta-llama/Llama-3.1-70B-Instruct",
    "messages": [
        {"role": "system", "content": "s", "name": "n"},
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "1", "content": "x"},
    ],
    "tools": [
        {
            "type": "function",
            "function": {"name": "f", "description": "d", "parameters": {"type": "object"}},
        }
    ],
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "a", "schema": {"type": "object"}},
    },
    "stop": ["x"],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "stream_options": {"include_usage": True},
    "max_tokens": 3,
    "temperature": 0.5,
}
PICTURED = {**CHAT, "messages": [{"role": "user", "content": PARTS}]}


def ask_gateway(chat: dict[str, Any]) -> None:
    if isinstance(chat["messages"], list) and isinstance(chat["tools"], list):
        body: dict[str, Any] = {
            "model": "m",
            "messages": check.messages(
                chat["messages"], Attachments(FileRoots([]), takes_urls=True)
            ),
            "tools": check.tools(chat["tools"]),
        }
        if isinstance(chat["response_format"], dict):
            format_ = check.response_format(chat["response_format"], model="m", json_object=True)
            body["response_format"] = format_
        assert list(chat_forms(encode_body(body)))


def ask_chain(chat: dict[str, Any]) -> None:
    if isinstance(chat["messages"], list) and isinstance(chat["tools"], list):
        chat_request(CHAT["model"], chat["messages"], LLMMode.TEE, tools=chat["tools"])


@pytest.mark.parametrize("ask", [ask_gateway, ask_chain, read])
@pytest.mark.parametrize("chat", [CHAT, PICTURED], ids=["texts", "parts"])
def test_whatever_stands_in_a_chat_is_taken_or_refused_in_words(
    ask: Any,  # noqa: ANN401 - each of the three takes a chat
    chat: dict[str, Any],
) -> None:
    taken, words = 0, []
    for other in changed(chat):
        try:
            ask(other)
            taken += 1
        except InputError as exc:
            words.append(str(exc))

    assert words
    assert max(map(len, words)) < 1500
    assert taken or ask is ask_chain
