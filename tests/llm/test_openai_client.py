"""OpenAI's own client works against `og-mcp serve --openai` unchanged, and pays once at most."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
from pydantic import BaseModel

from tests.cli.program import inside
from tests.localnet_client import LocalNetwork
from tests.server_process import over_http

pytestmark = pytest.mark.process

MODEL = "openai/gpt-5.4-mini"
QUESTION: list[ChatCompletionMessageParam] = [{"role": "user", "content": "What is a tensor?"}]
SENTENCE = "This is the built-in responder of the local network, not gpt-5.4-mini"
WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city", "days"],
        },
    },
}


class Verdict(BaseModel):
    """A verdict on a text."""

    is_true: bool
    reason: str


def tool_with(value: bytes) -> bytes:
    """A chat whose tool holds a value that is written as given."""
    tool = b'{"type": "function", "function": {"name": "f", "parameters": {"const": %s}}}' % value
    message = b'{"role": "user", "content": "x"}'
    return b'{"model": "%s", "messages": [%s], "tools": [%s]}' % (MODEL.encode(), message, tool)


def asked_of(network: LocalNetwork) -> int:
    """Count the requests that reached the gateway."""
    calls = network.counters("gateway")["calls"]
    return sum(count for name, count in calls.items() if "/v1/chat/completions" in name)


def proof_of(answer: Any) -> dict[str, Any]:  # noqa: ANN401 - the client's own models
    found: dict[str, Any] = answer.model_extra["opengradient"]
    return found


def test_a_chat_is_answered_paid_and_verified(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=QUESTION)

    [choice] = answer.choices
    assert (choice.message.content or "").startswith(SENTENCE)
    assert choice.finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens > answer.usage.prompt_tokens > 0
    proof = proof_of(answer)
    assert proof["verification"]["status"] == "local"
    assert proof["payment"]["max_opg"] == "5"
    assert answer.id == f"chatcmpl-{proof['call_id']}"


def test_t21_a_call_is_the_http_principals_and_leaves_a_receipt(
    client: openai.OpenAI, network: LocalNetwork
) -> None:
    call_id = proof_of(client.chat.completions.create(model=MODEL, messages=QUESTION))["call_id"]

    shown = inside("calls", "show", call_id, "--json", environ=network.environ)

    call = json.loads(shown.stdout)
    assert (call["principal"], call["tool"], call["status"]) == ("http", "chat", "done")
    assert call["payment"]["max_opg"] == "5"


def test_a_stream_tells_the_same_and_its_usage(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model=MODEL, messages=QUESTION)

    chunks = list(
        client.chat.completions.create(
            model=MODEL, messages=QUESTION, stream=True, stream_options={"include_usage": True}
        )
    )

    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert len(chunks) > 3
    assert chunks[-1].usage == whole.usage


def test_t16_a_stream_begins_only_once_the_whole_answer_is_verified(
    client: openai.OpenAI, network: LocalNetwork
) -> None:
    network.spoil("wrong_signature")

    with pytest.raises(openai.APIStatusError, match="cannot be verified") as caught:
        client.chat.completions.create(model=MODEL, messages=QUESTION, stream=True)

    assert caught.value.status_code == 502
    assert SENTENCE not in str(caught.value)


def test_a_tool_is_called_and_its_result_answered(client: openai.OpenAI) -> None:
    messages = [*QUESTION]
    first = client.chat.completions.create(
        model=MODEL, messages=messages, tools=[WEATHER], tool_choice="required"
    )

    message = first.choices[0].message
    assert first.choices[0].finish_reason == "tool_calls"
    assert message.content is None
    [call] = message.tool_calls or []
    assert call.type == "function"
    arguments = json.loads(call.function.arguments)
    assert arguments.keys() == {"city", "days"}
    messages.append(message.model_dump(exclude_none=True))  # type: ignore[arg-type]  # as its documentation does
    messages.append({"role": "tool", "tool_call_id": call.id, "content": "sunny"})
    second = client.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER])

    assert (second.choices[0].message.content or "").startswith(SENTENCE)


def test_a_streamed_tool_call_is_whole(client: openai.OpenAI) -> None:
    choice: Any = {"type": "function", "function": {"name": "get_weather"}}
    with client.chat.completions.stream(
        model=MODEL, messages=QUESTION, tools=[WEATHER], tool_choice=choice
    ) as stream:
        final = stream.get_final_completion()

    [call] = final.choices[0].message.tool_calls or []
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments).keys() == {"city", "days"}


def test_a_schema_is_kept_to(client: openai.OpenAI) -> None:
    schema: dict[str, object] = {
        "type": "object",
        "properties": {"answer": {"type": "string"}},
        "required": ["answer"],
    }
    answer = client.chat.completions.create(
        model=MODEL,
        messages=QUESTION,
        response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": schema}},
    )

    assert json.loads(answer.choices[0].message.content or "").keys() == {"answer"}


def test_an_answer_is_parsed_into_the_model_that_was_asked_for(client: openai.OpenAI) -> None:
    answer = client.chat.completions.parse(
        model=MODEL, messages=QUESTION, response_format=Verdict, tools=[]
    )

    assert isinstance(answer.choices[0].message.parsed, Verdict)


async def test_the_async_client_works_too(address: str) -> None:
    async with (
        httpx2.AsyncClient(trust_env=False, timeout=60) as http,
        openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="-", http_client=http) as client,
    ):
        whole = await client.chat.completions.create(model=MODEL, messages=QUESTION)
        stream = await client.chat.completions.create(model=MODEL, messages=QUESTION, stream=True)
        pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]

    assert "".join(pieces) == whole.choices[0].message.content


def test_an_image_and_a_file_travel_in_a_message(client: openai.OpenAI) -> None:
    content: Any = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:;base64,AA"}},
    ]

    answer = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": content}]
    )

    assert (answer.choices[0].message.content or "").startswith(SENTENCE)


@pytest.mark.parametrize("stop", [" built-in", ["###", " built-in"]])
def test_a_stop_sequence_ends_the_answer(client: openai.OpenAI, stop: str | list[str]) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=QUESTION, stop=stop)

    assert answer.choices[0].message.content == "This is the"
    assert answer.choices[0].finish_reason == "stop"


def test_limits_are_passed_on(client: openai.OpenAI) -> None:
    messages: list[ChatCompletionMessageParam] = [
        {"role": "developer", "content": "Be short."},
        *QUESTION,
    ]
    answer = client.chat.completions.create(
        model=MODEL,
        messages=messages,
        max_completion_tokens=3,
        temperature=0.5,
    )

    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 3


def test_models_are_listed_and_described(client: openai.OpenAI) -> None:
    names = {model.id for model in client.models.list()}

    assert {MODEL, "anthropic/claude-haiku-4-5"} <= names
    assert not any("image" in name for name in names)
    assert client.models.retrieve("gpt-5.4-mini").id == MODEL
    with pytest.raises(openai.NotFoundError, match=r"nearest are openai/gpt-5\.4-mini"):
        client.models.retrieve("gpt-5.4-minni")
    assert "x-ai/grok-4" not in names
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("x-ai/grok-4")
    # What only a gateway may know is described as far as it is known.
    assert client.models.retrieve("acme/new-model").owned_by == "acme"


def test_a_model_that_no_release_knows_is_asked_for(
    client: openai.OpenAI, network: LocalNetwork
) -> None:
    network.reset_counters("gateway")

    with pytest.raises(openai.APIStatusError, match="unknown model 'new-model'"):
        client.chat.completions.create(model="acme/new-model", messages=QUESTION)
    assert asked_of(network) > 0
    with pytest.raises(openai.BadRequestError, match="OG_CHAT_MODEL is not set"):
        client.chat.completions.create(model="", messages=QUESTION)


def test_an_unknown_model_costs_nothing_and_names_the_nearest(
    client: openai.OpenAI, network: LocalNetwork
) -> None:
    network.reset_counters("gateway")

    with pytest.raises(openai.BadRequestError, match=r"gpt-5\.4-mini"):
        client.chat.completions.create(model="gpt-5.4-minni", messages=QUESTION)

    assert asked_of(network) == 0


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 400, "not JSON"),
        (b"{", 400, "not JSON"),
        (b'{"x": "\\ud800"}', 400, "not JSON"),
        (b"[" * 1000, 400, "not JSON"),
        (b"[]", 400, "body"),
        (b'{"model": "m"}', 400, "messages"),
        (tool_with(b"NaN"), 400, "nothing was sent"),
        (tool_with(b"1e400"), 400, "nothing was sent"),
        (tool_with(b"-0.0"), 400, "nothing was sent"),
        (tool_with(b"1" * 400), 400, "nothing was sent"),
        (tool_with(b"[" * 100 + b"]" * 100), 400, "nothing was sent"),
        (b" " * (32 * 2**20 + 1), 413, "longer than"),
    ],
    ids=lambda one: str(one)[:20],
)
def test_t19_what_cannot_be_asked_is_refused_in_openai_s_shape(
    address: str, network: LocalNetwork, body: bytes, status: int, words: str
) -> None:
    network.reset_counters("gateway")

    with httpx2.Client(trust_env=False, timeout=60) as http:
        answer = http.post(
            f"{address}/v1/chat/completions",
            content=body,
            headers={"Content-Type": "application/json; charset=utf-8"},
        )

    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (status, "invalid_request_error")
    assert error.keys() == {"message", "type", "param", "code", "stage"}
    assert words in error["message"]
    assert len(error["message"]) < 1000
    assert answer.headers["x-should-retry"] == "false"
    assert asked_of(network) == 0


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "text/plain;application/json", "application/x-www-form-urlencoded"]
)
def test_t24_what_a_page_may_send_unasked_is_refused(
    address: str, network: LocalNetwork, kind: str
) -> None:
    network.reset_counters("gateway")
    body = json.dumps({"model": MODEL, "messages": QUESTION})

    with httpx2.Client(trust_env=False, timeout=60) as http:
        answer = http.post(
            f"{address}/v1/chat/completions",
            content=body,
            headers={"Content-Type": kind} if kind else {},
        )

    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (415, "invalid_request_error")
    assert "application/json" in error["message"]
    assert answer.headers["x-should-retry"] == "false"
    assert asked_of(network) == 0


def test_no_tokens_at_all_are_refused_and_not_taken_for_the_default(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="max_tokens is 0"):
        client.chat.completions.create(model=MODEL, messages=QUESTION, max_completion_tokens=0)


def test_a_name_of_any_length_is_answered_at_once(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="model"):
        client.chat.completions.create(model="m" * 2**20, messages=QUESTION)
    with pytest.raises(openai.NotFoundError, match="nearest"):
        client.with_options(timeout=5).models.retrieve("m" * 30_000)


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"Host": "evil.example"}, 421), ({"Origin": "https://evil.example"}, 403)],
)
def test_pages_and_names_of_others_are_refused_on_these_paths_too(
    address: str, headers: dict[str, str], status: int
) -> None:
    with httpx2.Client(trust_env=False, timeout=60) as http:
        for method, path in (("POST", "chat/completions"), ("GET", "models")):
            answer = http.request(method, f"{address}/v1/{path}", headers=headers)

            assert answer.status_code == status


@pytest.mark.parametrize(
    ("parameter", "value"), [("n", 2), ("top_p", 0.5), ("logprobs", True), ("seed", 7)]
)
def test_what_would_be_dropped_in_silence_is_refused(
    client: openai.OpenAI, parameter: str, value: object
) -> None:
    with pytest.raises(openai.BadRequestError, match=parameter):
        client.chat.completions.create(
            model=MODEL, messages=QUESTION, extra_body={parameter: value}
        )


@pytest.mark.parametrize(
    "how", ["cut", "not_json", "wrong_shape", "error_frame", "wrong_signature", "huge"]
)
def test_t13_the_client_does_not_retry_what_may_have_been_charged(
    client: openai.OpenAI, network: LocalNetwork, how: str
) -> None:
    client.chat.completions.create(model=MODEL, messages=QUESTION)
    network.reset_counters("gateway")
    network.spoil(how)

    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": f"Once: {how}"}]
        )

    assert caught.value.response.headers["x-should-retry"] == "false"
    assert asked_of(network) == 1


def test_t13_a_key_names_the_call_that_is_never_paid_twice(
    client: openai.OpenAI, network: LocalNetwork
) -> None:
    key = {"Idempotency-Key": "one-question"}
    first = client.chat.completions.create(model=MODEL, messages=QUESTION, extra_headers=key)
    network.reset_counters("gateway")

    again = client.chat.completions.create(model=MODEL, messages=QUESTION, extra_headers=key)

    assert proof_of(again)["call_id"] == proof_of(first)["call_id"]
    assert asked_of(network) == 0
    with pytest.raises(openai.BadRequestError, match="was used for another request"):
        client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "Another"}], extra_headers=key
        )


@pytest.mark.slow
def test_a_client_that_hangs_up_leaves_a_call_that_its_repetition_joins(
    address: str, client: openai.OpenAI, network: LocalNetwork
) -> None:
    question: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Slowly, please"}]
    client.chat.completions.create(model=MODEL, messages=QUESTION)
    network.fault(
        "gateway POST /v1/chat/completions", "delay", service="gateway", delay_s=3.0, when="before"
    )
    network.reset_counters("gateway")
    with pytest.raises(httpx2.ReadTimeout), httpx2.Client(trust_env=False, timeout=1.5) as http:
        http.post(f"{address}/v1/chat/completions", json={"model": MODEL, "messages": question})

    answer = client.chat.completions.create(model=MODEL, messages=question)

    assert (answer.choices[0].message.content or "").startswith(SENTENCE)
    assert asked_of(network) == 1


@pytest.mark.slow
def test_a_cap_is_told_and_no_reason_to_retry(network: LocalNetwork) -> None:
    network.reset_counters("gateway")
    with (
        over_http({**network.environ, "OG_MAX_PER_CALL": "0.05"}, "http", "--openai") as strict,
        httpx2.Client(trust_env=False, timeout=60) as http,
        openai.OpenAI(base_url=f"{strict}/v1", api_key="-", http_client=http) as client,
        pytest.raises(openai.APIStatusError, match="OG_MAX_PER_CALL") as caught,
    ):
        client.chat.completions.create(model=MODEL, messages=QUESTION)

    assert caught.value.status_code == 402
    assert asked_of(network) <= 1


@pytest.mark.slow
def test_t22_where_a_person_has_to_agree_nothing_is_signed_and_the_command_is_named(
    network: LocalNetwork,
) -> None:
    before = len(network.sessions())
    environ = {**network.environ, "OG_CONFIRM_ABOVE": "0.05"}
    with (
        over_http(environ, "http", "--openai") as careful,
        httpx2.Client(trust_env=False, timeout=60) as http,
        openai.OpenAI(base_url=f"{careful}/v1", api_key="-", http_client=http) as client,
        pytest.raises(openai.PermissionDeniedError, match="og-mcp calls approve") as asked,
    ):
        client.chat.completions.create(model=MODEL, messages=QUESTION)

    headers = asked.value.response.headers
    assert (asked.value.type, headers["x-should-retry"]) == ("approval_required", "false")
    assert headers["x-og-call-id"] in str(asked.value)
    assert len(network.sessions()) == before


@pytest.mark.slow
def test_t24_a_token_is_asked_for_on_this_path_too(network: LocalNetwork) -> None:
    token = "made-up-token-of-a-test-0123456789"
    with (
        over_http({**network.environ, "OG_HTTP_TOKEN": token}, "http", "--openai") as guarded,
        httpx2.Client(trust_env=False, timeout=60) as http,
    ):
        stranger = openai.OpenAI(base_url=f"{guarded}/v1", api_key="wrong", http_client=http)
        owner = openai.OpenAI(base_url=f"{guarded}/v1", api_key=token, http_client=http)
        with pytest.raises(openai.AuthenticationError) as refused:
            stranger.models.list()
        with pytest.raises(openai.AuthenticationError):
            stranger.chat.completions.create(model=MODEL, messages=QUESTION)
        assert refused.value.response.headers["www-authenticate"] == "Bearer"
        assert owner.models.list().data


def test_many_at_once_share_one_session(client: openai.OpenAI, network: LocalNetwork) -> None:
    before = len(network.sessions())

    def ask(number: int) -> str:
        question: list[ChatCompletionMessageParam] = [{"role": "user", "content": f"No. {number}"}]
        answer = client.chat.completions.create(model=MODEL, messages=question)
        return answer.choices[0].message.content or ""

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))

    assert all(answer.startswith(SENTENCE) for answer in answers)
    assert len(network.sessions()) - before <= 1
