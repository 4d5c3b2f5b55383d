"""How requests of OpenAI's API are read, and answers and refusals written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, cast

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette

from og_mcp.client import Session
from og_mcp.errors import (
    AnswerLostError,
    AnswerNotKeptError,
    ApprovalRequiredError,
    BudgetExceededError,
    CallNotFoundError,
    FeeCapError,
    GatewayRefusal,
    GatewayRejectedError,
    InputError,
    LocalnetError,
    NoWalletError,
    OGError,
    ServiceUnreachableError,
    SimulationRevertedError,
    TransactionPendingError,
    UnsafeEndpointError,
    VerificationError,
)
from og_mcp.llm import openai_routes
from og_mcp.llm._errors import refusal
from og_mcp.llm._request import MAX_TOKENS, OpenAIRequest, read
from og_mcp.llm._response import DONE, completion, events
from og_mcp.types import (
    HTTP_PRINCIPAL,
    CalledFunction,
    ChatResult,
    Payment,
    Stage,
    ToolCall,
    Usage,
)
from tests.localnet_client import LocalNetwork

MESSAGES = [{"role": "user", "content": "Hello"}]


def asked(**more: object) -> OpenAIRequest:
    return read({"model": "m", "messages": MESSAGES, **more})


def result(**more: Any) -> ChatResult:  # noqa: ANN401 - fields of the result
    fields: dict[str, Any] = {
        "call_id": "c" * 32,
        "network": "local",
        "status": "done",
        "model": "openai/gpt-5.4-mini",
        "content": "An answer.",
        "finish_reason": "stop",
        "usage": Usage(prompt_tokens=3, completion_tokens=4, total_tokens=7),
        "payment": Payment(max_opg="0.1"),
    }
    return ChatResult(**{**fields, **more})


def a_call() -> ToolCall:
    return ToolCall(
        id="call_1", type="function", function=CalledFunction(name="f", arguments='{"x": 1}')
    )


def read_events(result: ChatResult, *, include_usage: bool = False) -> list[dict[str, Any]]:
    """Read a stream as clients do."""
    *parts, last = list(events(result, 1, include_usage=include_usage))
    assert last == DONE
    assert all(part.startswith("data: ") and part.endswith("\n\n") for part in parts)
    return [json.loads(part.removeprefix("data: ")) for part in parts]


def test_the_least_request_has_the_gateways_own_defaults() -> None:
    got = asked()

    assert (got.model, got.messages, got.stream) == ("m", MESSAGES, False)
    assert (got.max_tokens, got.temperature, got.stop_sequence) == (MAX_TOKENS, 0.0, [])


@pytest.mark.parametrize(
    ("given", "field", "read"),
    [
        ({"max_tokens": 5}, "max_tokens", 5),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens", 6),
        ({"max_tokens": None}, "max_tokens", MAX_TOKENS),
        ({"max_tokens": 5, "max_completion_tokens": 0}, "max_tokens", 0),
        ({"stop": "###"}, "stop_sequence", ["###"]),
        ({"stop": ["a", "b"]}, "stop_sequence", ["a", "b"]),
        ({"tool_choice": "required"}, "tool_choice", "required"),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice", "f"),
        ({"stream": True, "stream_options": {"include_usage": True}}, "include_usage", True),
        ({"temperature": None}, "temperature", 0.0),
        ({"settlement_mode": "private"}, "settlement_mode", "private"),
    ],
)
def test_what_is_honoured_is_read(given: Mapping[str, object], field: str, read: object) -> None:
    assert getattr(asked(**given), field) == read


@pytest.mark.parametrize(
    "given",
    [
        {"n": 1, "top_p": 1.0, "presence_penalty": 0, "frequency_penalty": 0.0, "logit_bias": {}},
        {"user": "somebody", "metadata": {"a": "b"}, "store": False, "service_tier": "auto"},
        {"seed": None, "logprobs": None, "parallel_tool_calls": True},
    ],
)
def test_what_asks_for_nothing_is_let_through(given: Mapping[str, object]) -> None:
    assert asked(**given) == asked()


@pytest.mark.parametrize(
    "given",
    [
        {"n": 2},
        {"seed": 1},
        {"top_p": 0.9},
        {"functions": []},
        {"audio": {"voice": "a"}},
        {"max_tokens": "5"},
        {"max_tokens": 1.5},
        {"stream": 1},
        {"settlement_mode": "free"},
        {"tool_choice": {"type": "function"}},
        {"messages": "Hello"},
        {"model": None},
        {"model": "m" * 201},
    ],
)
def test_what_would_be_dropped_or_cannot_be_read_is_refused_by_name(
    given: Mapping[str, object],
) -> None:
    with pytest.raises(InputError, match=next(iter(given))):
        asked(**given)


@pytest.mark.slow
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_whatever_is_no_request_is_refused(document: object) -> None:
    with pytest.raises(InputError):
        read(document)


def test_what_clients_send_back_of_an_answer_is_left_out() -> None:
    back: dict[str, object] = {
        "role": "assistant",
        "content": "Hi",
        "refusal": None,
        "annotations": [],
        "audio": None,
    }

    assert asked(messages=[*MESSAGES, back]).messages[1] == {"role": "assistant", "content": "Hi"}


def test_an_answer_is_one_completion_with_its_proof() -> None:
    written = completion(result(), 7)

    assert written["object"] == "chat.completion"
    assert (written["id"], written["created"]) == (f"chatcmpl-{'c' * 32}", 7)
    assert written["choices"][0]["message"] == {"role": "assistant", "content": "An answer."}
    assert written["usage"]["total_tokens"] == 7
    assert written["opengradient"]["payment"]["max_opg"] == "0.1"


def test_a_tool_call_comes_without_a_text() -> None:
    message = completion(result(content="", tool_calls=[a_call()], finish_reason="tool_calls"), 7)[
        "choices"
    ][0]["message"]

    assert message["content"] is None
    assert message["tool_calls"] == [
        {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
    ]


@given(st.text(max_size=300))
def test_the_pieces_of_a_stream_are_the_whole_text(text: str) -> None:
    text = text.encode("utf-8", "replace").decode()

    chunks = read_events(result(content=text))

    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert "".join(delta.get("content", "") for delta in deltas) == text
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks][-1] == "stop"
    assert "opengradient" in chunks[-1]
    assert all("usage" not in chunk for chunk in chunks)


def test_a_stream_ends_with_the_usage_where_it_was_asked_for() -> None:
    last = read_events(result(), include_usage=True)[-1]

    assert (last["choices"], last["usage"]["total_tokens"]) == ([], 7)


def test_a_streamed_tool_call_has_its_index() -> None:
    chunks = read_events(result(content="", tool_calls=[a_call(), a_call()]))

    calls = [
        call for chunk in chunks for call in chunk["choices"][0]["delta"].get("tool_calls", [])
    ]
    assert [call["index"] for call in calls] == [0, 1]


def refused(error: OGError) -> tuple[int, str, dict[str, Any]]:
    response = refusal(error)
    body: dict[str, Any] = json.loads(bytes(response.body))
    return response.status_code, response.headers["x-should-retry"], body["error"]


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (InputError("Wrong.", "Mend it."), 400, "invalid_request_error"),
        (
            ApprovalRequiredError("c" * 32, "may cost 1 OPG", "og-mcp calls approve c"),
            403,
            "approval_required",
        ),
        (NoWalletError("chat", "opengradient"), 503, "configuration"),
        (BudgetExceededError("OG_MAX_PER_DAY", cap=1, spent=1, open_=0, asked=1), 402, "payment"),
        (VerificationError("a hash is wrong", "0x1"), 502, "verification"),
        (AnswerLostError("https://gateway", "it broke off"), 502, "gateway"),
        (SimulationRevertedError("no such model"), 400, "invalid_request_error"),
        (TransactionPendingError("0x1", 1.0), 502, "chain"),
        (FeeCapError("OG_MAX_FEE_PER_CALL", 2, 1), 402, "payment"),
        (UnsafeEndpointError("http://rpc", "Use https."), 503, "configuration"),
        (AnswerNotKeptError("0" * 32, Stage.CHARGED), 410, "invalid_request_error"),
        (LocalnetError("It did not start.", "Try again."), 503, "service"),
        (ServiceUnreachableError("RPC", "https://rpc"), 503, "service"),
    ],
)
def test_each_kind_of_failure_has_its_status(error: OGError, status: int, kind: str) -> None:
    got, _, body = refused(error)

    assert (got, body["type"], body["code"]) == (status, kind, type(error).__name__)
    assert body["message"] == str(error)
    assert error.hint in body["message"]


def test_t13_only_what_nobody_has_seen_may_be_repeated() -> None:
    unreached = ServiceUnreachableError("RPC", "https://rpc")
    in_doubt = ServiceUnreachableError("RPC", "https://rpc")
    in_doubt.stage = Stage.SENT_UNKNOWN

    limited = GatewayRefusal(status=503, source="provider", retryable=True, is_own=True)
    blocked = replace(limited, status=451, retryable=False)
    older = replace(limited, is_own=False)
    gateway = partial(GatewayRejectedError, "https://gateway", stage=Stage.SENT_UNKNOWN)

    assert refused(unreached)[1] == "true"
    # Again it goes under the same payment, or not at all.
    assert [refused(gateway(one))[1] for one in (limited, blocked, older)] == [
        "true",
        "false",
        "false",
    ]
    assert refused(in_doubt)[1] == "false"
    assert refused(InputError("Wrong.", "Mend it."))[1] == "false"
    assert refused(VerificationError("a hash is wrong", "0x1"))[1] == "false"


async def test_t21_a_chat_is_the_http_principals(localnet: LocalNetwork) -> None:
    body = {"model": "openai/gpt-5.4-mini", "messages": MESSAGES}
    async with Session.from_env(localnet.environ) as og:
        app = Starlette(routes=openai_routes(og))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as http:
            answer = await http.post("/v1/chat/completions", json=body)
        call_id = answer.headers["x-og-call-id"]
        with pytest.raises(CallNotFoundError):
            await og.get_call(call_id)
        assert (await og.get_call(call_id, principal=HTTP_PRINCIPAL)).status == "done"


async def test_t13_a_mistake_of_ours_is_not_repeated_either_and_its_text_is_for_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = Starlette(routes=openai_routes(cast(Session, object())))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as http:
        answer = await http.post("/v1/chat/completions", json={"model": "m", "messages": MESSAGES})

    error = answer.json()["error"]
    assert (answer.status_code, answer.headers["x-should-retry"]) == (500, "false")
    assert (error["type"], error["stage"]) == ("server_error", "sent_unknown")
    assert "AttributeError" in caplog.text
    assert "AttributeError" not in answer.text
