"""Call data and event data of on-chain LLM calls (protocol.md sections 3.1 to 3.3).

What is read comes from a node that may lie: the reader checks every offset and length and counts no
byte twice.

Source: the interfaces of inference contract and precompile (protocol.md section 3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from og_mcp.client.codec.abi_words import WORD, Part, WordReader, array, string, tuple_, word
from og_mcp.client.codec.llm_shapes import (
    UINT32_LIMIT,
    ChatRequest,
    ChatResponse,
    CompletionRequest,
    CompletionResponse,
    FunctionCall,
    FunctionSpec,
    LLMRequest,
    LLMResponse,
    Message,
)
from og_mcp.errors import InputError, ServiceReplyError

CHAT_SELECTOR: Final = bytes.fromhex("e39aa7e7")
"""`runLLMChat(LLMChatRequest)`."""

COMPLETION_SELECTOR: Final = bytes.fromhex("14800c61")
"""`runLLMCompletion(LLMCompletionRequest)`."""


def encode_request(request: LLMRequest) -> bytes:
    """Write the call data of `runLLMChat` or `runLLMCompletion`.

    Raises:
        InputError: A text is not Unicode.
    """
    try:
        return _write(request)
    except UnicodeEncodeError as exc:
        raise InputError(
            f"The {request.tool} holds half a surrogate pair, which is not Unicode.",
            "Give texts that can be written in UTF-8.",
        ) from exc


@dataclass(frozen=True)
class LLMFunction:
    """One of the contract's two functions, with its events."""

    signature: str
    selector: bytes
    result_topic: str
    """Of the contract's event, which holds the response."""

    event_topic: str
    """Of the precompile's event: inference id, request, response."""

    read_request: Callable[[WordReader, int], LLMRequest]
    read_response: Callable[[WordReader, int], LLMResponse]

    def decode_request(self, data: bytes) -> LLMRequest:
        """Read call data.

        Raises:
            ValueError: It is not exactly what `encode_request` writes for any request.
        """
        if data[: len(self.selector)] != self.selector:
            raise ValueError(f"it does not call {self.signature}")
        reader = WordReader(data[len(self.selector) :])
        try:
            request = self.read_request(reader, reader.offset(0, 0))
        except ServiceReplyError as exc:
            raise ValueError("its arguments are malformed") from exc
        # Exactly one encoding: nothing may hide in gaps, behind the end, or in another spelling.
        if _write(request) != data:
            raise ValueError("its arguments are not in the ABI's standard encoding")
        return request

    def decode_result(self, data: bytes) -> LLMResponse:
        """Read the data of the contract's event; the function's return data is the same.

        Raises:
            ServiceReplyError: It is malformed.
        """
        reader = WordReader(data)
        return self.read_response(reader, reader.offset(0, 0))

    def decode_event_request(self, data: bytes) -> LLMRequest:
        """Read the request in the data of the precompile's event.

        Raises:
            ServiceReplyError: It is malformed.
        """
        reader = WordReader(data)
        return self.read_request(reader, reader.offset(0, 1))

    def decode_event(self, data: bytes) -> LLMResponse:
        """Read the response in the data of the precompile's event.

        Raises:
            ServiceReplyError: It is malformed.
        """
        reader = WordReader(data)
        return self.read_response(reader, reader.offset(0, 2))


def _write(request: LLMRequest) -> bytes:
    if isinstance(request, ChatRequest):
        return b"".join([CHAT_SELECTOR, *tuple_([_chat(request)])])
    if isinstance(request, CompletionRequest):
        return b"".join([COMPLETION_SELECTOR, *tuple_([_completion(request)])])
    raise AssertionError(f"no such request: {type(request)}")


def _chat(request: ChatRequest) -> list[Part]:
    tools = [
        tuple_([string(spec.description), string(spec.name), string(spec.parameters)])
        for spec in request.tools
    ]
    members = [
        word(request.mode),
        string(request.model),
        array([_message(message) for message in request.messages]),
        array(tools),
        string(request.tool_choice),
        word(request.max_tokens),
        array([string(stop) for stop in request.stop_sequence]),
        word(request.temperature),
    ]
    return tuple_(members, static=(0, 5, 7))


def _completion(request: CompletionRequest) -> list[Part]:
    members = [
        word(request.mode),
        string(request.model),
        string(request.prompt),
        word(request.max_tokens),
        array([string(stop) for stop in request.stop_sequence]),
        word(request.temperature),
    ]
    return tuple_(members, static=(0, 3, 5))


def _message(message: Message) -> list[Part]:
    texts = (message.role, message.content, message.name, message.tool_call_id)
    calls = [
        tuple_([string(call.id), string(call.name), string(call.arguments)])
        for call in message.tool_calls
    ]
    return tuple_([*map(string, texts), array(calls)])


def _read_chat(reader: WordReader, start: int) -> ChatRequest:
    tools = reader.members(reader.offset(start, 3))
    return ChatRequest(
        mode=_uint(reader, start, 0, 2**8),
        model=_text(reader, start, 1),
        messages=tuple(_read_message(reader, at) for at in reader.members(reader.offset(start, 2))),
        tools=tuple(FunctionSpec(*_texts(reader, at, 3)) for at in tools),
        tool_choice=_text(reader, start, 4),
        max_tokens=_uint(reader, start, 5, UINT32_LIMIT),
        stop_sequence=_stops(reader, start, 6),
        temperature=_uint(reader, start, 7, UINT32_LIMIT),
    )


def _read_completion(reader: WordReader, start: int) -> CompletionRequest:
    return CompletionRequest(
        mode=_uint(reader, start, 0, 2**8),
        model=_text(reader, start, 1),
        prompt=_text(reader, start, 2),
        max_tokens=_uint(reader, start, 3, UINT32_LIMIT),
        stop_sequence=_stops(reader, start, 4),
        temperature=_uint(reader, start, 5, UINT32_LIMIT),
    )


def _read_message(reader: WordReader, start: int) -> Message:
    role, content, name, tool_call_id = _texts(reader, start, 4)
    calls = reader.members(reader.offset(start, 4))
    tool_calls = tuple(FunctionCall(*_texts(reader, at, 3)) for at in calls)
    return Message(role, content, name, tool_call_id, tool_calls)


def _read_chat_response(reader: WordReader, start: int) -> ChatResponse:
    return ChatResponse(_text(reader, start, 0), _read_message(reader, reader.offset(start, 1)))


def _read_completion_response(reader: WordReader, start: int) -> CompletionResponse:
    return CompletionResponse(_text(reader, start, 0))


def _text(reader: WordReader, start: int, member: int) -> str:
    return reader.string(reader.offset(start, member))


def _texts(reader: WordReader, start: int, count: int) -> list[str]:
    return [_text(reader, start, member) for member in range(count)]


def _stops(reader: WordReader, start: int, member: int) -> tuple[str, ...]:
    return tuple(map(reader.string, reader.members(reader.offset(start, member))))


def _uint(reader: WordReader, start: int, member: int, limit: int) -> int:
    value = reader.word(start + WORD * member)
    if value >= limit:
        raise ServiceReplyError("node", f"a number of an LLM call is not below {limit}")
    return value


CHAT: Final = LLMFunction(
    signature="runLLMChat(LLMChatRequest)",
    selector=CHAT_SELECTOR,
    result_topic="0x53fcd580be8545626a896d86eb76e16597d793de715dda5d21df71d303d1ff96",
    event_topic="0x4c92d3df7819fcd1c9f9663332f0a599a65eefdad2eaf9193cffb9dbf1919c3b",
    read_request=_read_chat,
    read_response=_read_chat_response,
)
COMPLETION: Final = LLMFunction(
    signature="runLLMCompletion(LLMCompletionRequest)",
    selector=COMPLETION_SELECTOR,
    result_topic="0xe522a1a92cb132ca102e36a004efceb8c83284b64164e0d128ddce12e86cab7b",
    event_topic="0x51fe69d513d73ecde3fa3bf17584f7d2acfd5f0b13d367e898d6e11e742127a3",
    read_request=_read_completion,
    read_response=_read_completion_response,
)

FUNCTIONS: Final[Mapping[str, LLMFunction]] = MappingProxyType(
    {ChatRequest.tool: CHAT, CompletionRequest.tool: COMPLETION}
)
"""By the tool that calls it."""
