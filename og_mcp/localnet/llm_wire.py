"""What LLM calls of the inference precompile hold and answer, as ABI bytes (protocol.md section 3).

Messages, tools and tool calls are OpenAI-shaped on the inner side, as the responder takes them; the
wire has a place for every field, so that an empty text there stands for none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from og_mcp.localnet.wire import CallRefusedError, Reader, Tail, pack, text, vector

Message = dict[str, Any]

MAX_BRACKETS: Final = 2_000
"""Of a tool's parameters; so deep can they be nested at most."""


@dataclass(frozen=True, kw_only=True)
class LLMRequest:
    """What both kinds of LLM calls ask for."""

    mode: int
    model: str
    """The whole name, `provider/name`."""

    max_tokens: int
    stop_sequence: tuple[str, ...]
    temperature: int
    """Hundredths."""

    encoded: bytes = field(repr=False)
    """The argument as it came, for the event that repeats it."""


@dataclass(frozen=True, kw_only=True)
class ChatRequest(LLMRequest):
    """The one argument of `runLLMChat`."""

    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...]
    tool_choice: str


@dataclass(frozen=True, kw_only=True)
class CompletionRequest(LLMRequest):
    """The one argument of `runLLMCompletion`."""

    prompt: str


def read_chat(arguments: bytes) -> ChatRequest:
    """Read the arguments of `runLLMChat`, i.e. call data behind the selector.

    Raises:
        CallRefusedError: They are not the ABI encoding of a request.
    """
    reader = Reader(arguments)
    request = reader.offset(0, 0)
    messages, tools = (reader.items(reader.offset(request, slot)) for slot in (2, 3))
    return ChatRequest(
        mode=_slot(reader, request, 0),
        model=_text(reader, request, 1),
        messages=tuple(_message(reader, at) for at in messages),
        tools=tuple(_tool(reader, at) for at in tools),
        tool_choice=_text(reader, request, 4),
        max_tokens=_slot(reader, request, 5),
        stop_sequence=reader.texts(reader.offset(request, 6)),
        temperature=_slot(reader, request, 7),
        encoded=arguments[request:],
    )


def read_completion(arguments: bytes) -> CompletionRequest:
    """Read the arguments of `runLLMCompletion`, i.e. call data behind the selector.

    Raises:
        CallRefusedError: They are not the ABI encoding of a request.
    """
    reader = Reader(arguments)
    request = reader.offset(0, 0)
    return CompletionRequest(
        mode=_slot(reader, request, 0),
        model=_text(reader, request, 1),
        prompt=_text(reader, request, 2),
        max_tokens=_slot(reader, request, 3),
        stop_sequence=reader.texts(reader.offset(request, 4)),
        temperature=_slot(reader, request, 5),
        encoded=arguments[request:],
    )


def encode_chat(finish_reason: str, message: Mapping[str, Any]) -> bytes:
    """Write an `LLMChatResponse` tuple."""
    calls = vector(_encode_call(call) for call in message.get("tool_calls") or ())
    parts = [text(message.get(name) or "") for name in _TEXTS]
    return pack(text(finish_reason), Tail(pack(*parts, Tail(calls))))


def encode_completion(answer: str) -> bytes:
    """Write an `LLMCompletionResponse` tuple."""
    return pack(text(answer))


_TEXTS: Final = ("role", "content", "name", "tool_call_id")
"""The members of a message that are texts, in the wire's order; `tool_calls` follow."""


def _slot(reader: Reader, base: int, slot: int) -> int:
    return reader.uint(base + 32 * slot)


def _text(reader: Reader, base: int, slot: int) -> str:
    return reader.text(reader.offset(base, slot))


def _message(reader: Reader, at: int) -> Message:
    texts = {name: _text(reader, at, slot) for slot, name in enumerate(_TEXTS)}
    calls = [_call(reader, call) for call in reader.items(reader.offset(at, len(_TEXTS)))]
    given = {name: value for name, value in texts.items() if value or name in {"role", "content"}}
    return {**given, "tool_calls": calls} if calls else given


def _call(reader: Reader, at: int) -> dict[str, Any]:
    call_id, name, arguments = (_text(reader, at, slot) for slot in range(3))
    return {
        "id": call_id,
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def _tool(reader: Reader, at: int) -> dict[str, Any]:
    description, name, parameters = (_text(reader, at, slot) for slot in range(3))
    schema: object = None
    # The JSON reader recurses, and py-evm takes Python's own guard away.
    if parameters.count("{") + parameters.count("[") <= MAX_BRACKETS:
        with suppress(ValueError):
            schema = json.loads(parameters or "{}")
    if not isinstance(schema, dict):
        raise CallRefusedError(f'the parameters of the tool "{name}" are not a JSON object')
    return {
        "type": "function",
        "function": {"name": name, "description": description, "parameters": schema},
    }


def _encode_call(call: Mapping[str, Any]) -> bytes:
    function = call["function"]
    return pack(text(call["id"]), text(function["name"]), text(function["arguments"]))
