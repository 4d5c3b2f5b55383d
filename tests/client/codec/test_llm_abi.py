"""Call data and event data of LLM calls, against eth_abi and web3 with the interface's JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from eth_abi import abi as eth_abi
from hypothesis import given
from hypothesis import strategies as st
from web3 import Web3

from og_mcp.client.codec.llm_abi import CHAT, COMPLETION, FUNCTIONS, encode_request
from og_mcp.client.codec.llm_shapes import (
    ChatRequest,
    ChatResponse,
    CompletionRequest,
    CompletionResponse,
    FunctionCall,
    FunctionSpec,
    LLMRequest,
    Message,
)
from og_mcp.errors import InputError, ServiceReplyError
from tests.localnet.llm_calls import (
    CHAT_EVENT,
    CHAT_REQUEST,
    CHAT_RESPONSE,
    CHAT_RESULT,
    COMPLETION_EVENT,
    COMPLETION_REQUEST,
    COMPLETION_RESPONSE,
    COMPLETION_RESULT,
    RUN_CHAT,
    RUN_COMPLETION,
)

UINT32 = st.integers(0, 2**32 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=70)
CALLS = st.builds(FunctionCall, TEXTS, TEXTS, TEXTS)
MESSAGES = st.builds(Message, TEXTS, TEXTS, TEXTS, TEXTS, st.lists(CALLS, max_size=2).map(tuple))
STOPS = st.lists(TEXTS, max_size=3).map(tuple)
CHATS = st.builds(
    ChatRequest,
    mode=st.integers(0, 255),
    model=TEXTS,
    messages=st.lists(MESSAGES, max_size=3).map(tuple),
    tools=st.lists(st.builds(FunctionSpec, TEXTS, TEXTS, TEXTS), max_size=2).map(tuple),
    tool_choice=TEXTS,
    max_tokens=UINT32,
    stop_sequence=STOPS,
    temperature=UINT32,
)
COMPLETIONS = st.builds(
    CompletionRequest,
    mode=st.integers(0, 255),
    model=TEXTS,
    prompt=TEXTS,
    max_tokens=UINT32,
    stop_sequence=STOPS,
    temperature=UINT32,
)

CHAT_EXAMPLE = ChatRequest(
    mode=1,
    model="meta-llama/Llama-3.1-70B-Instruct",
    messages=(
        Message("system", "Be brief."),
        Message("user", "Wie wird das Wetter in Köln? 🌧"),
        Message("assistant", "", "", "", (FunctionCall("call_1", "weather", '{"city":"Köln"}'),)),
        Message("tool", "rain", "weather", "call_1"),
    ),
    tools=(FunctionSpec("Tells the weather", "weather", '{"type":"object"}'),),
    tool_choice="auto",
    max_tokens=100,
    stop_sequence=("\n\n", "END"),
    temperature=70,
)
COMPLETION_EXAMPLE = CompletionRequest(
    mode=0,
    model="mistralai/Mistral-7B-Instruct-v0.3",
    prompt="Es war einmal",
    max_tokens=2**32 - 1,
    stop_sequence=(".",),
    temperature=100,
)


def calls_of(message: Message) -> list[tuple[str, str, str]]:
    return [(call.id, call.name, call.arguments) for call in message.tool_calls]


def message_values(message: Message) -> tuple[Any, ...]:
    texts = (message.role, message.content, message.name, message.tool_call_id)
    return (*texts, calls_of(message))


def chat_values(request: ChatRequest) -> tuple[Any, ...]:
    return (
        request.mode,
        request.model,
        [message_values(message) for message in request.messages],
        [(spec.description, spec.name, spec.parameters) for spec in request.tools],
        request.tool_choice,
        request.max_tokens,
        request.stop_sequence,
        request.temperature,
    )


def completion_values(request: CompletionRequest) -> tuple[Any, ...]:
    return (
        request.mode,
        request.model,
        request.prompt,
        request.max_tokens,
        request.stop_sequence,
        request.temperature,
    )


def response_values(response: ChatResponse) -> tuple[Any, ...]:
    return (response.finish_reason, message_values(response.message))


def contract(name: str) -> Any:  # noqa: ANN401 - web3 makes its type at run time
    file = Path(__file__).parent / "abi" / f"{name}.json"
    return Web3().eth.contract(abi=json.loads(file.read_text(encoding="utf-8")))


@given(CHATS)
def test_a_chats_call_data_is_what_eth_abi_makes_and_reads_back(request: ChatRequest) -> None:
    data = encode_request(request)

    assert data == RUN_CHAT + eth_abi.encode([CHAT_REQUEST], [chat_values(request)])
    assert CHAT.decode_request(data) == request


@given(COMPLETIONS)
def test_a_completions_call_data_is_what_eth_abi_makes_and_reads_back(
    request: CompletionRequest,
) -> None:
    data = encode_request(request)

    values = completion_values(request)
    assert data == RUN_COMPLETION + eth_abi.encode([COMPLETION_REQUEST], [values])
    assert COMPLETION.decode_request(data) == request


def test_call_data_is_what_web3_makes_of_the_interface() -> None:
    for name in ("inference", "precompile"):
        functions = contract(name)
        chat = functions.encode_abi("runLLMChat", [chat_values(CHAT_EXAMPLE)])
        completion = functions.encode_abi(
            "runLLMCompletion", [completion_values(COMPLETION_EXAMPLE)]
        )

        assert chat == "0x" + encode_request(CHAT_EXAMPLE).hex()
        assert completion == "0x" + encode_request(COMPLETION_EXAMPLE).hex()


def test_the_functions_have_the_networks_selectors_and_topics() -> None:
    assert (CHAT.selector, COMPLETION.selector) == (RUN_CHAT, RUN_COMPLETION)
    assert CHAT.result_topic == "0x" + CHAT_RESULT.hex()
    assert CHAT.event_topic == "0x" + CHAT_EVENT.hex()
    assert COMPLETION.result_topic == "0x" + COMPLETION_RESULT.hex()
    assert COMPLETION.event_topic == "0x" + COMPLETION_EVENT.hex()
    assert dict(FUNCTIONS) == {"chat": CHAT, "completion": COMPLETION}


@given(TEXTS, TEXTS, CHATS, MESSAGES)
def test_chat_events_are_read_as_eth_abi_wrote_them(
    inference_id: str, reason: str, request: ChatRequest, message: Message
) -> None:
    response = ChatResponse(reason, message)
    values = response_values(response)
    result = eth_abi.encode([CHAT_RESPONSE], [values])
    event = eth_abi.encode(
        ["string", CHAT_REQUEST, CHAT_RESPONSE], [inference_id, chat_values(request), values]
    )

    assert CHAT.decode_result(result) == response
    assert CHAT.decode_event(event) == response


@given(TEXTS, COMPLETIONS, TEXTS)
def test_completion_events_are_read_as_eth_abi_wrote_them(
    inference_id: str, request: CompletionRequest, answer: str
) -> None:
    result = eth_abi.encode([COMPLETION_RESPONSE], [(answer,)])
    event = eth_abi.encode(
        ["string", COMPLETION_REQUEST, COMPLETION_RESPONSE],
        [inference_id, completion_values(request), (answer,)],
    )

    assert COMPLETION.decode_result(result) == CompletionResponse(answer)
    assert COMPLETION.decode_event(event) == CompletionResponse(answer)


@given(st.one_of(CHATS, COMPLETIONS).filter(lambda request: request.mode < 2))
def test_a_request_has_one_form_in_json(request: LLMRequest) -> None:
    again = FUNCTIONS[request.tool].decode_request(encode_request(request))

    assert again.canonical == request.canonical
    assert json.loads(json.dumps(request.canonical)) == request.canonical


def test_a_mode_without_a_name_has_no_form_in_json() -> None:
    with pytest.raises(ValueError, match="2 is not a valid LLMMode"):
        _ = CompletionRequest(mode=2, model="m", prompt="p", max_tokens=1).canonical


@given(st.binary(max_size=700))
def test_bytes_that_are_no_call_are_refused_with_a_value_error(data: bytes) -> None:
    for function in FUNCTIONS.values():
        for call_data in (data, function.selector + data):
            with pytest.raises(ValueError, match=r"arguments|does not call"):
                function.decode_request(call_data)


@pytest.mark.parametrize("request_", [CHAT_EXAMPLE, COMPLETION_EXAMPLE])
def test_a_call_in_another_spelling_than_the_standard_one_is_refused(
    request_: LLMRequest,
) -> None:
    function, data = FUNCTIONS[request_.tool], encode_request(request_)
    gap = data[:4] + (64).to_bytes(32, "big") + bytes(32) + data[36:]
    padded = data[:-1] + b"\1"
    large = data[:36] + (2**8).to_bytes(32, "big") + data[68:]

    for other in (data + bytes(32), data + b"\0", gap, padded, large):
        with pytest.raises(ValueError, match=r"standard encoding|malformed"):
            function.decode_request(other)
    assert function.decode_request(data) == request_


RESULT = eth_abi.encode([CHAT_RESPONSE], [("tool_calls", message_values(CHAT_EXAMPLE.messages[2]))])
EVENT = eth_abi.encode(
    ["string", CHAT_REQUEST, CHAT_RESPONSE],
    ["id", chat_values(CHAT_EXAMPLE), ("stop", message_values(Message("assistant", "é" * 40)))],
)


def survive(decode: Callable[[bytes], object], data: bytes) -> None:
    """Decode what a lying node sent: an answer or the one error, nothing else."""
    with suppress(ServiceReplyError):
        decode(data)


@given(
    st.sampled_from([RESULT, EVENT]),
    st.lists(
        st.tuples(
            st.integers(0, len(RESULT) // 32 - 1),
            st.integers(0, 3) | st.integers(0, len(EVENT)) | st.integers(0, 2**256 - 1),
        ),
        max_size=4,
    ),
    st.integers(0, len(RESULT)),
)
def test_changed_words_and_cut_ends_give_an_answer_or_the_one_error(
    whole: bytes, changes: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(whole)
    for word, value in changes:
        data[word * 32 : word * 32 + 32] = value.to_bytes(32, "big")

    for function in FUNCTIONS.values():
        survive(function.decode_result, bytes(data[: len(data) - cut]))
        survive(function.decode_event, bytes(data))


def words(*values: int) -> bytes:
    return b"".join(value.to_bytes(32, "big") for value in values)


def test_many_calls_on_the_same_bytes_are_refused_before_they_cost_memory() -> None:
    call = eth_abi.encode(["string", "string", "string"], ["x" * 10_000, "", ""])
    calls = words(500, *[32 * 500] * 500) + call
    message = words(160, 160, 160, 160, 192, 0) + calls
    data = words(32, 64, 96, 0) + message

    with pytest.raises(ServiceReplyError, match="left to read"):
        CHAT.decode_result(data)


def test_a_text_that_is_no_utf_8_is_refused() -> None:
    data = eth_abi.encode([COMPLETION_RESPONSE], [("é",)]).replace("é".encode(), b"\xc3\x28")

    with pytest.raises(ServiceReplyError, match="UTF-8"):
        COMPLETION.decode_result(data)


@pytest.mark.parametrize(
    "request_",
    [
        CompletionRequest(mode=0, model="m", prompt="\ud800", max_tokens=1),
        ChatRequest(mode=0, model="m", messages=(Message("user", "\udfff"),), max_tokens=1),
    ],
)
def test_half_a_surrogate_pair_is_refused_as_input(request_: LLMRequest) -> None:
    with pytest.raises(InputError, match="half a surrogate pair"):
        encode_request(request_)
