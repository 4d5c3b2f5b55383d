"""LLM calls on chain: answered the same way every time, by a responder that says what it is."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

import pytest
from eth_abi.abi import decode
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from og_mcp.localnet.chain import Chain
from og_mcp.localnet.evm import Call
from og_mcp.localnet.genesis import INFERENCE_CONTRACT
from og_mcp.localnet.node_errors import NodeError
from og_mcp.localnet.precompile import ADDRESS, Answers
from tests.localnet.calls import CONTRACT, raw_address, sign
from tests.localnet.conftest import CHAIN_ID
from tests.localnet.graphs import Folder
from tests.localnet.llm_calls import (
    CHAT_EVENT,
    CHAT_REQUEST,
    CHAT_RESPONSE,
    CHAT_RESULT,
    COMPLETION_EVENT,
    COMPLETION_REQUEST,
    COMPLETION_RESPONSE,
    COMPLETION_RESULT,
    LLAMA,
    MISTRAL,
    RUN_CHAT,
    RUN_COMPLETION,
    ask,
    chat_data,
    completion_data,
    user,
)

WEATHER = (
    "Tells the weather",
    "get_weather",
    json.dumps(
        {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
            "required": ["city", "days"],
        }
    ),
)
TIME = ("Tells the time", "get_time", '{"type":"object","properties":{}}')


@pytest.mark.parametrize(
    ("signature", "digest"),
    [
        (f"runLLMChat({CHAT_REQUEST})", RUN_CHAT),
        (f"runLLMCompletion({COMPLETION_REQUEST})", RUN_COMPLETION),
        (f"LLMChatResult({CHAT_RESPONSE})", CHAT_RESULT),
        (f"LLMCompletionResult({COMPLETION_RESPONSE})", COMPLETION_RESULT),
        (f"LLMChat(string,{CHAT_REQUEST},{CHAT_RESPONSE})", CHAT_EVENT),
        (
            f"LLMCompletionEvent(string,{COMPLETION_REQUEST},{COMPLETION_RESPONSE})",
            COMPLETION_EVENT,
        ),
    ],
)
def test_the_signatures_hash_to_the_networks_selectors_and_topics(
    signature: str, digest: bytes
) -> None:
    assert keccak(text=signature)[: len(digest)] == digest


def test_a_chat_is_answered_by_a_responder_that_says_so(chain: Chain) -> None:
    reason, (role, content, name, tool_call_id, calls) = ask(chain, chat_data([user("Hello")]))

    assert (reason, role, name, tool_call_id, calls) == ("stop", "assistant", "", "", ())
    assert "built-in responder of the local network, not Llama-3.1-70B-Instruct" in content


def test_a_completion_is_answered_by_a_responder_that_says_so(chain: Chain) -> None:
    (answer,) = ask(chain, completion_data("Once upon a time"))

    assert "built-in responder of the local network" in answer


def test_answers_are_the_same_for_the_same_request_and_differ_for_others(chain: Chain) -> None:
    first, again = (ask(chain, chat_data([user("Hello")])) for _ in range(2))

    assert first == again
    assert first != ask(chain, chat_data([user("Goodbye")]))


@pytest.mark.parametrize(
    ("choice", "question", "expected"),
    [
        ("get_time", "What is the weather?", "get_time"),
        ("required", "Call get_time now", "get_time"),
        ("required", "Anything", "get_weather"),
        ("auto", "Anything", "get_weather"),
        ("", "Anything", "get_weather"),
    ],
)
def test_a_request_with_tools_is_answered_by_a_valid_call(
    chain: Chain, choice: str, question: str, expected: str
) -> None:
    data = chat_data([user(question)], tools=[WEATHER, TIME], tool_choice=choice)

    reason, (role, content, _, _, calls) = ask(chain, data)

    ((call_id, name, arguments),) = calls
    assert (reason, role, content, name) == ("tool_calls", "assistant", "", expected)
    assert call_id.startswith("call_")
    told = json.loads(arguments)
    assert set(told) == ({"city", "days"} if name == "get_weather" else set())
    if told:
        assert isinstance(told["city"], str)
        assert told["days"] >= 1


@pytest.mark.parametrize("choice", ["none", "auto"])
def test_after_a_tools_result_or_without_a_choice_the_answer_is_text(
    chain: Chain, choice: str
) -> None:
    call = ("call_1", "get_weather", '{"city": "Oslo", "days": 1}')
    messages = [
        user("What is the weather?"),
        ("assistant", "", "", "", [call]),
        ("tool", "rain", "", "call_1", ()),
    ]

    reason, message = ask(chain, chat_data(messages, tools=[WEATHER], tool_choice=choice))

    assert reason == "stop"
    assert message[1]
    assert not message[4]


def test_stop_sequences_and_max_tokens_end_an_answer(chain: Chain) -> None:
    stopped = ask(chain, chat_data([user("Hello")], stop=["responder"]))
    short = ask(chain, chat_data([user("Hello")], max_tokens=3))

    assert (stopped[0], stopped[1][1]) == ("stop", "This is the built-in ")
    assert (short[0], short[1][1]) == ("length", "This is the")


@pytest.mark.parametrize("mode", [0, 1])
def test_the_model_of_the_tee_list_answers_in_both_modes(chain: Chain, mode: int) -> None:
    assert ask(chain, chat_data([user("Hello")], model=LLAMA, mode=mode))[0] == "stop"
    assert ask(chain, completion_data("Hello", model=LLAMA, mode=mode))


REFUSALS: dict[str, tuple[bytes, str]] = {
    "unknown model": (
        chat_data([user("Hi")], model="gpt-5"),
        'there is no LLM "gpt-5" on chain',
    ),
    "unknown model of a completion": (
        completion_data("Hi", model="Llama-3.1-70B-Instruct"),
        'there is no LLM "Llama-3.1-70B-Instruct" on chain',
    ),
    "a model that is in no TEE": (
        chat_data([user("Hi")], model=MISTRAL, mode=1),
        f'the LLM "{MISTRAL}" does not run in a TEE',
    ),
    "unknown mode": (
        completion_data("Hi", mode=2),
        "the LLM inference mode 2 is unknown",
    ),
    "too warm": (
        chat_data([user("Hi")], temperature=101),
        "the temperature 101 is above 100",
    ),
    "a tool that is not there": (
        chat_data([user("Hi")], tools=[TIME], tool_choice="get_weather"),
        'the tool choice "get_weather" names no tool of the request',
    ),
    "a required tool without tools": (
        chat_data([user("Hi")], tool_choice="required"),
        "a tool call is required and there are no tools",
    ),
    "no messages": (chat_data([]), "the chat has no messages"),
    "parameters that are not JSON": (
        chat_data([user("Hi")], tools=[("", "f", "{")]),
        'the parameters of the tool "f" are not a JSON object',
    ),
    "parameters nested beyond reading": (
        chat_data([user("Hi")], tools=[("", "f", "[" * 100_000)]),
        'the parameters of the tool "f" are not a JSON object',
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_call_that_cannot_be_answered_reverts_with_the_reason(chain: Chain, name: str) -> None:
    data, reason = REFUSALS[name]

    with pytest.raises(NodeError) as caught:
        ask(chain, data)

    assert (caught.value.code, caught.value.message) == (3, f"execution reverted: {reason}")


def test_parameters_that_no_value_fits_revert_with_the_reason(chain: Chain) -> None:
    endless = '{"type":"object","required":["a"],"properties":{"a":{"$ref":"#"}}}'

    with pytest.raises(NodeError, match='parameters of the tool "f" cannot be filled in'):
        ask(chain, chat_data([user("Hi")], tools=[("", "f", endless)]))


def test_an_empty_request_reverts(chain: Chain) -> None:
    # Offsets of an empty request are all zero, which its decoder on chain accepts.
    for selector in (RUN_CHAT, RUN_COMPLETION):
        with pytest.raises(NodeError) as caught:
            ask(chain, selector + (32).to_bytes(32, "big") + bytes(8 * 32))

        assert caught.value.code == 3


@pytest.fixture(scope="module")
def chain_for_any_data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    models = Folder(tmp_path_factory.mktemp("models"))
    chain = Chain(chain_id=CHAIN_ID, accounts=["0x" + "11" * 20], models=models)
    yield chain
    chain.close()


@given(data=st.data())
def test_call_data_with_any_word_changed_is_answered_or_reverts(
    chain_for_any_data: Chain, data: st.DataObject
) -> None:
    chat = chat_data([user("Hi"), ("assistant", "", "", "", [("1", "f", "{}")])], tools=[TIME])
    call = bytearray(data.draw(st.sampled_from([chat, completion_data("Hi", stop=["x"])])))
    at = 4 + 32 * data.draw(st.integers(0, (len(call) - 4) // 32 - 1))
    call[at : at + 32] = data.draw(
        st.integers(0, 2**256 - 1) | st.integers(0, 700) | st.integers(2**256 - 40, 2**256 - 1)
    ).to_bytes(32, "big")

    with contextlib.suppress(NodeError):
        ask(chain_for_any_data, bytes(call))


def _mined(chain: Chain, wallet: LocalAccount, data: bytes) -> dict[bytes, bytes]:
    """Send a call and return the data of its logs by topic."""
    nonce = chain.nonce(raw_address(wallet.address))
    chain.send_raw(sign(wallet, CHAIN_ID, nonce=nonce, to=INFERENCE_CONTRACT, gas=10**6, data=data))
    transaction = chain.records.head.transactions[0]
    assert transaction.succeeded
    return {log.topics[0]: bytes(log.data) for log in transaction.logs}


def test_a_mined_chat_leaves_both_events_with_request_and_answer(
    chain: Chain, wallet: LocalAccount
) -> None:
    data = chat_data([user("Hello")], tools=[WEATHER], tool_choice="none", stop=["\n"])
    (request,) = decode([CHAT_REQUEST], data[4:])
    answer = ask(chain, data)

    logs = _mined(chain, wallet, data)

    assert set(logs) == {CHAT_EVENT, CHAT_RESULT}
    assert decode([CHAT_RESPONSE], logs[CHAT_RESULT]) == (answer,)
    inference_id, *told = decode(["string", CHAT_REQUEST, CHAT_RESPONSE], logs[CHAT_EVENT])
    assert inference_id
    assert told == [request, answer]


def test_a_mined_completion_leaves_both_events_with_request_and_answer(
    chain: Chain, wallet: LocalAccount
) -> None:
    data = completion_data("Once upon a time", stop=["\n"], temperature=70)
    (request,) = decode([COMPLETION_REQUEST], data[4:])
    answer = ask(chain, data)

    logs = _mined(chain, wallet, data)

    assert set(logs) == {COMPLETION_EVENT, COMPLETION_RESULT}
    assert decode([COMPLETION_RESPONSE], logs[COMPLETION_RESULT]) == (answer,)
    _, *told = decode(["string", COMPLETION_REQUEST, COMPLETION_RESPONSE], logs[COMPLETION_EVENT])
    assert told == [request, answer]


def test_answers_can_be_left_out_of_either_event(chain: Chain, wallet: LocalAccount) -> None:
    data = chat_data([user("Hello")])
    chain.answers = Answers(contract_event="missing")
    without_result = _mined(chain, wallet, data)
    chain.answers = Answers(contract_event="empty", precompile_event="missing")
    without_event = _mined(chain, wallet, data)

    assert set(without_result) == {CHAT_EVENT}
    assert without_event.keys() == {CHAT_RESULT}
    empty = ("", ("", "", "", "", ()))
    assert decode([CHAT_RESPONSE], without_event[CHAT_RESULT]) == (empty,)


def test_the_precompile_answers_whoever_calls_it(chain: Chain) -> None:
    call = Call(sender=CONTRACT, to=ADDRESS, gas=10**8, data=completion_data("Hello"))

    (answer,) = decode([COMPLETION_RESPONSE], chain.call(call))

    assert "built-in responder" in answer[0]
