"""The gateway answers as protocol.md section 4 has it, and says so truthfully until asked not to."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

import httpx
import jsonschema
import pytest
from cryptography.exceptions import InvalidSignature

from og_mcp import catalogue
from tests.localnet.gateway_client import (
    CHAT,
    COMPLETION,
    SEARCH,
    GatewayClient,
    gateway_client,
    problems,
)
from tests.localnet_client import LocalNetwork

QUESTION: Final = [{"role": "user", "content": "What is an option?"}]
COVERED: Final = {"model": "gpt-5.4-mini", "messages": QUESTION, "temperature": 0.0}
TOOL: Final = {
    "type": "function",
    "function": {
        "name": "book_room",
        "description": "Books a room.",
        "parameters": {
            "type": "object",
            "properties": {
                "guest": {
                    "type": "object",
                    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
                    "required": ["name", "age"],
                },
                "beds": {"type": "array", "items": {"enum": ["single", "double"]}, "minItems": 2},
                "nights": {"type": "integer", "minimum": 3},
                "price": {"type": "number", "exclusiveMinimum": 0, "maximum": 0.5},
                "smoker": {"type": "boolean", "default": False},
                "note": {"type": "string"},
            },
            "required": ["guest", "beds", "nights", "price"],
            "additionalProperties": False,
        },
    },
}
OTHER_TOOL: Final = {"type": "function", "function": {"name": "get_time"}}


@pytest.fixture(scope="module")
def _client(_one_localnet: LocalNetwork) -> Iterator[GatewayClient]:
    with gateway_client(_one_localnet) as client:
        yield client


@pytest.fixture
def gateway(_client: GatewayClient, _one_localnet: LocalNetwork) -> Iterator[GatewayClient]:
    """One client for the whole file, so that it pays once; spoils end with each test."""
    yield _client
    _one_localnet.clear_faults("gateway")


@pytest.fixture
def net(_one_localnet: LocalNetwork) -> LocalNetwork:
    """The network without a reset after the test, which would end the client's sessions."""
    return _one_localnet


def refused(text: str, *, retryable: bool = False) -> dict[str, Any]:
    """Write what the gateway says where it refuses by itself."""
    return {
        "error": text,
        "exception_type": "GatewayError",
        "source": "gateway",
        "provider_status": None,
        "retryable": retryable,
    }


def _choice(answer: dict[str, Any]) -> dict[str, Any]:
    choice: dict[str, Any] = answer["choices"][0]
    return choice


def _content(answer: dict[str, Any]) -> str:
    return str(_choice(answer)["message"]["content"])


def _image(uri: str) -> bytes:
    return base64.b64decode(uri.removeprefix("data:image/png;base64,"))


def _size(png: bytes) -> tuple[int, ...]:
    return struct.unpack(">II", png[16:24])


def _spent(net: LocalNetwork) -> int:
    """Sum up what chats have cost so far."""
    return sum(int(each["spent"]) for each in net.sessions() if each["path"] == CHAT)


def test_a_chat_is_answered_and_signed(gateway: GatewayClient) -> None:
    answer = gateway.chat()

    assert "built-in responder of the local network" in _content(answer)
    assert answer["model"] == "gpt-5.4-mini"
    assert _choice(answer)["finish_reason"] == "stop"
    assert problems(gateway.tee, answer, COVERED, _content(answer)) == []


def test_the_same_question_has_the_same_answer_and_another_one_another(
    gateway: GatewayClient,
) -> None:
    first, again, other = (_content(gateway.chat(text)) for text in ("one", "one", "two"))

    assert first == again != other


def test_all_that_is_signed_is_signed_as_protocol_md_says(gateway: GatewayClient) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "developer", "content": "Be brief. \u20ac"},
        {"role": "user", "content": "Book.", "name": "left out"},
        {"role": "assistant", "content": None, "tool_calls": [{**call, "index": 0}]},
        {"role": "tool", "content": "done", "tool_call_id": "c1"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "And this?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:,x"}},
            ],
        },
    ]
    rest: dict[str, Any] = {"max_tokens": 50, "stop": ["x"], "tools": [TOOL], "web_search": True}
    answer = gateway.chat(messages=messages, temperature=1, tool_choice="none", top_p=0.5, **rest)
    covered = {
        "model": "gpt-5.4-mini",
        "messages": [
            {"role": "system", "content": "Be brief. \u20ac"},
            {"role": "user", "content": "Book."},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": "done", "tool_call_id": "c1"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "And this?"},
                    {"type": "image_url"},
                    {"type": "file", "filename": "a.pdf"},
                ],
            },
        ],
        "temperature": 1.0,
        **rest,
    }

    assert problems(gateway.tee, answer, covered, _content(answer)) == []


def test_a_completion_is_answered_and_signed(gateway: GatewayClient) -> None:
    body = {"model": "claude-opus-4-8", "prompt": "Once", "max_tokens": 6, "stop": "."}
    answer = gateway.post(COMPLETION, body).raise_for_status().json()
    covered = {**body, "temperature": 0.0}

    assert _choice(answer)["text"] == "This is the built-in"
    assert _choice(answer)["finish_reason"] == "length"
    assert answer["usage"] == {"prompt_tokens": 1, "completion_tokens": 6, "total_tokens": 7}
    assert problems(gateway.tee, answer, covered, "This is the built-in") == []


@pytest.mark.sweep(quick=5)
@pytest.mark.parametrize(
    "entry",
    list(catalogue.living(catalogue.utc_today(), "gateway", "llm")),
    ids=lambda entry: str(entry.name),
)
def test_every_model_of_the_catalogue_answers(
    gateway: GatewayClient, entry: catalogue.CatalogueEntry
) -> None:
    assert entry.name in _content(gateway.chat(model=entry.name))


def test_a_stream_has_the_same_text_and_the_evidence_in_its_last_frame(
    gateway: GatewayClient,
) -> None:
    whole = _content(gateway.chat())
    frames, done = gateway.frames(CHAT, {"model": "gpt-5.4-mini", "messages": QUESTION})
    text = "".join(_choice(frame)["delta"].get("content", "") for frame in frames)

    assert done
    assert len(frames) > 10
    assert text == whole
    assert all(_choice(frame)["finish_reason"] is None for frame in frames[:-1])
    assert [frame for frame in frames if "usage" in frame] == frames[-1:]
    assert _choice(frames[-1])["finish_reason"] == "stop"
    assert problems(gateway.tee, frames[-1], COVERED, text) == []


def test_a_completion_streams_too(gateway: GatewayClient) -> None:
    body = {"model": "gpt-5.5", "prompt": "Once"}
    frames, done = gateway.frames(COMPLETION, body)
    text = "".join(_choice(frame)["text"] for frame in frames)

    assert done
    assert problems(gateway.tee, frames[-1], {**body, "temperature": 0.0}, text) == []


@pytest.mark.parametrize(
    "choice", ["book_room", {"type": "function", "function": {"name": "book_room"}}]
)
def test_the_tool_that_was_chosen_is_called_with_valid_arguments(
    gateway: GatewayClient, choice: object
) -> None:
    tools = [OTHER_TOOL, TOOL]
    answer = gateway.chat(tools=tools, tool_choice=choice)
    (call,) = _choice(answer)["message"]["tool_calls"]
    arguments = json.loads(call["function"]["arguments"])
    signed = json.dumps([call], sort_keys=True)

    assert call["function"]["name"] == "book_room"
    jsonschema.validate(arguments, TOOL["function"]["parameters"])  # type: ignore[index] # an object
    assert arguments["smoker"] is False
    assert _choice(answer)["finish_reason"] == "tool_calls"
    assert _choice(answer)["message"]["content"] is None
    assert problems(gateway.tee, answer, {**COVERED, "tools": tools}, signed) == []


@pytest.mark.parametrize(
    ("choice", "text", "called"),
    [
        ("required", "hello", "get_time"),
        ("auto", "hello", "get_time"),
        ("auto", "please book_room", "book_room"),
        ("none", "hello", None),
    ],
)
def test_a_choice_that_names_no_tool_is_made_by_the_question(
    gateway: GatewayClient, choice: str, text: str, called: str | None
) -> None:
    answer = gateway.chat(text, tools=[OTHER_TOOL, TOOL], tool_choice=choice)
    calls = _choice(answer)["message"].get("tool_calls", [])

    assert [call["function"]["name"] for call in calls] == ([called] if called else [])


def test_what_a_tool_gave_is_answered_by_a_text(gateway: GatewayClient) -> None:
    messages = [*QUESTION, {"role": "tool", "content": "noon", "tool_call_id": "c"}]
    answer = gateway.chat(messages=messages, tools=[OTHER_TOOL])

    assert _choice(answer)["finish_reason"] == "stop"


def test_a_stream_carries_tool_calls_unless_asked_not_to(
    gateway: GatewayClient, net: LocalNetwork
) -> None:
    body = {"model": "gpt-5.4", "messages": QUESTION, "tools": [OTHER_TOOL]}
    frames, _ = gateway.frames(CHAT, body)
    net.spoil("tools_left_out")
    fewer, _ = gateway.frames(CHAT, body)

    assert sum("tool_calls" in _choice(frame)["delta"] for frame in frames) == 1
    assert not any("tool_calls" in _choice(frame)["delta"] for frame in fewer)
    assert _choice(fewer[-1])["finish_reason"] == "tool_calls"


def test_a_structured_answer_follows_its_schema(gateway: GatewayClient) -> None:
    schema = {
        "type": "object",
        "properties": {
            "day": {"type": "string", "format": "date"},
            "tree": {"$ref": "#/$defs/node"},
            "either": {"anyOf": [{"type": "integer", "multipleOf": 5, "minimum": 7}]},
        },
        "required": ["day", "tree", "either"],
        "$defs": {
            "node": {
                "type": "object",
                "properties": {
                    "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                },
                "required": ["children"],
            }
        },
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    answer = gateway.chat(response_format=wanted)

    jsonschema.validate(json.loads(_content(answer)), schema)
    assert json.loads(_content(gateway.chat(response_format={"type": "json_object"}))) == {}
    assert (
        problems(gateway.tee, answer, {**COVERED, "response_format": wanted}, _content(answer))
        == []
    )


NODE: Final = {
    "type": "object",
    "properties": {
        "value": {"type": "integer"},
        "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
        "left": {"oneOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
    },
    "required": ["value", "next", "left"],
    "additionalProperties": False,
}
ADDRESS: Final = {"type": "string", "pattern": "^0x[0-9a-fA-F]{40}$"}
SCHEMAS: Final[dict[str, dict[str, Any]]] = {
    "pattern": {"type": "string", "pattern": r"^\d{3}-[A-Z]{2,}(?:\.(com|org))?$"},
    "pattern with bounds": {"pattern": "^[a-c]+$", "minLength": 12, "maxLength": 12},
    "pattern within": {"type": "string", "pattern": "b", "minLength": 4},
    "pattern of whole words": {"type": "string", "pattern": r"\bto be\b"},
    "pattern that looks ahead": {"type": "string", "pattern": "^(?!b)[abc]{3}$"},
    "pattern that excludes": {"type": "string", "pattern": "^[^a-zA-Z0-9]$"},
    "address": ADDRESS,
    "unique choices": {
        "type": "array",
        "items": {"enum": ["x", "y", "z"]},
        "minItems": 3,
        "uniqueItems": True,
    },
    "unique texts": {
        "type": "array",
        "items": {"type": "string", "maxLength": 2},
        "minItems": 9,
        "uniqueItems": True,
    },
    "unique numbers": {
        "type": "array",
        "items": {"type": "integer", "minimum": -3, "exclusiveMaximum": 3},
        "minItems": 3,
        "uniqueItems": True,
    },
    "unique objects": {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {"to": {"type": "string"}},
            "required": ["to"],
        },
        "minItems": 2,
        "uniqueItems": True,
    },
    "tree that must not end in itself": {"$ref": "#/$defs/node"},
    "reference beside a bound": {"$ref": "#/$defs/count", "minimum": 7},
    "reference to a reference": {"$ref": "#/$defs/again"},
    "any of what is impossible first": {"anyOf": [False, {"type": "boolean"}]},
    "any of keys": {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "integer"}},
        "anyOf": [{"required": ["b"]}, {"required": ["a"]}],
    },
    "any of twice": {
        "anyOf": [{"anyOf": [{"type": "integer"}, {"type": "null"}]}, {"type": "string"}],
        "minimum": 5,
    },
    "all of": {
        "allOf": [
            {"properties": {"n": {"type": "integer", "minimum": 2}}, "required": ["n"]},
            {"properties": {"n": {"minimum": 5, "maximum": 9}}, "type": "object"},
        ]
    },
    "all of choices": {"allOf": [{"enum": ["a", "b"]}, {"enum": ["b", "c"]}]},
    "at least two keys": {
        "type": "object",
        "minProperties": 2,
        "additionalProperties": {"type": "number"},
    },
    "tuple": {"type": "array", "prefixItems": [{"type": "string"}, {"const": 7}], "minItems": 2},
    "nullable": {"type": ["null", "string"], "minLength": 9},
    "steps": {"type": "number", "minimum": 0.3, "multipleOf": 0.25},
    "below": {"type": "integer", "exclusiveMaximum": -4},
    "between": {"type": "number", "exclusiveMinimum": 0.1, "exclusiveMaximum": 0.2},
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_arguments_follow_whatever_schema_they_have(gateway: GatewayClient, name: str) -> None:
    parameters = {
        "type": "object",
        "properties": {"it": SCHEMAS[name]},
        "required": ["it"],
        "$defs": {
            "node": NODE,
            "count": {"type": "integer", "minimum": 3},
            "again": {"$ref": "#/$defs/count"},
        },
    }
    tools = [{"type": "function", "function": {"name": "f", "parameters": parameters}}]
    answer = gateway.chat(tools=tools, tool_choice="required")
    (call,) = _choice(answer)["message"]["tool_calls"]

    jsonschema.validate(json.loads(call["function"]["arguments"]), parameters)


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"$ref": "#"}, "nested more than 32 deep"),
        ({"type": "string", "pattern": "^(?=b)a$"}, "no text was found"),
        ({"type": "string", "pattern": "^((a+)+)+(?=b)$", "minLength": 40}, "no text was found"),
        ({"type": "string", "pattern": "("}, "a group without an end"),
        ({"type": "string", "pattern": "(a{999}){999}"}, "too long a text"),
        ({"type": "string", "pattern": "a", "minLength": 10**9}, "more than 10000"),
        ({"$ref": "https://example.invalid/"}, "leads out of the schema"),
        ({"anyOf": [False]}, "not a JSON schema"),
        ({"enum": 7}, "cannot be filled in"),
        (
            {"items": {"items": {"minItems": 9999}, "minItems": 9999}, "minItems": 9999},
            "more than 20000 parts",
        ),
    ],
)
def test_a_schema_that_nothing_follows_is_a_bad_request(
    gateway: GatewayClient, schema: dict[str, Any], says: str
) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    body = {"model": "gpt-5.4", "messages": QUESTION, "response_format": wanted}
    if schema.get("$ref") == "#":
        wanted["json_schema"] = {
            "name": "x",
            "schema": {"properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        }
    answer = gateway.post(CHAT, body)

    assert answer.status_code == 400
    assert says in answer.json()["error"]


def test_an_image_model_draws_the_prompt_in_the_size_asked_for(gateway: GatewayClient) -> None:
    ask = {"model": "gpt-image-2", "max_tokens": 9, "size": "320x200"}
    answer, again = gateway.chat("a cat", **ask), gateway.chat("a cat", **ask)
    other = gateway.chat("a dog", model="gpt-image-2", size="320x200")
    (image,) = _choice(answer)["message"]["images"]
    covered = {
        "model": "gpt-image-2",
        "messages": [{"role": "user", "content": "a cat"}],
        "temperature": 0.0,
        "max_tokens": 9,
    }

    assert image.startswith("data:image/png;base64,")
    assert _size(_image(image)) == (320, 200)
    assert _choice(again)["message"]["images"] == [image]
    assert _choice(other)["message"]["images"] != [image]
    assert problems(gateway.tee, answer, covered, _content(answer)) == []


def test_an_image_stands_in_the_last_frame_of_a_stream(gateway: GatewayClient) -> None:
    body = {"model": "glm-image", "messages": QUESTION, "size": "64x64"}
    frames, _ = gateway.frames(CHAT, body)

    assert [len(frame.get("images", [])) for frame in frames] == [0] * (len(frames) - 1) + [1]


def test_answers_cost_by_token_and_by_image(gateway: GatewayClient, net: LocalNetwork) -> None:
    # A session of its own: what would overshoot its cap goes uncharged.
    gateway.pay(CHAT)
    before = _spent(net)
    chat = gateway.chat()["opengradient"]
    after = _spent(net)
    image = gateway.chat(model="grok-2-image", size="8x8")["opengradient"]
    drawn = _spent(net)
    frames, _ = gateway.frames(CHAT, {"model": "gpt-5.4", "messages": QUESTION})

    assert after - before == int(chat["cost_opg"]) > 0
    assert drawn - after == int(image["cost_opg"]) > int(chat["cost_opg"])
    assert [frame.get("opengradient") for frame in frames[:-1]] == [None] * (len(frames) - 1)
    assert _spent(net) - drawn == int(frames[-1]["opengradient"]["cost_opg"])
    usd, price = Decimal(image["cost_usd"]), Decimal(image["opg_price_usd"])
    assert Decimal(image["cost_opg"]).scaleb(-18) * price == usd


@pytest.mark.parametrize("headers", [{}, {"Authorization": ""}])
@pytest.mark.parametrize("path", [CHAT, COMPLETION])
def test_without_authorization_nothing_is_asked_or_answered(
    gateway: GatewayClient, path: str, headers: dict[str, str]
) -> None:
    with httpx.Client(verify=False, trust_env=False) as stranger:  # noqa: S501 - nothing is sent
        answer = stranger.post(gateway.tee.endpoint + path, json={}, headers=headers)

    assert answer.status_code == 401
    assert "payment-required" not in answer.headers


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"model": "gpt-6", "messages": QUESTION}, "unknown model 'gpt-6'"),
        ({"model": "grok-4", "messages": QUESTION}, "unknown model 'grok-4'"),
        (
            {"model": "claude-opus-5", "messages": QUESTION, "temperature": 0.5},
            "claude-opus-5 takes no temperature",
        ),
        ({"model": "openai/gpt-5.4", "messages": QUESTION}, "unknown model 'openai/gpt-5.4'"),
        ({"model": "gpt-5.4"}, "messages is a list that is not empty"),
        (
            {"model": "gpt-5.4", "messages": [{"role": "poet", "content": "x"}]},
            "unknown role 'poet'",
        ),
        ({"model": "gpt-5.4", "messages": QUESTION, "temperature": "hot"}, "temperature is 0 to 2"),
        (
            {"model": "gpt-5.4", "messages": QUESTION, "max_tokens": -1},
            "max_tokens is a whole number",
        ),
        ({"model": "gpt-5.4", "messages": QUESTION, "tools": [{}]}, "a tool has a function"),
        (
            {"model": "gpt-5.4", "messages": QUESTION, "tool_choice": "dance"},
            "there is no tool 'dance' to choose",
        ),
        (
            {
                "model": "claude-haiku-4-5",
                "messages": QUESTION,
                "response_format": {"type": "json_object"},
            },
            "claude-haiku-4-5 has no json_object",
        ),
        (
            {"model": "gpt-image-2", "messages": QUESTION, "size": "9000x1"},
            "size is WxH, each 1 to 4096",
        ),
        ([], "the body is not a JSON object"),
    ],
)
def test_a_request_that_cannot_be_answered_is_told_so(
    gateway: GatewayClient, body: object, said: str
) -> None:
    answer = gateway.post(CHAT, body)

    assert (answer.status_code, answer.json()) == (400, refused(said))


def test_what_is_nested_too_deep_is_no_json(gateway: GatewayClient) -> None:
    session = {"X-Upto-Session": gateway.session(CHAT)}
    answer = gateway.http.post(CHAT, content=b"[" * 100_000, headers=session)

    assert (answer.status_code, answer.json()) == (400, refused("the body is not JSON"))


def test_the_settlement_type_is_one_of_three(gateway: GatewayClient) -> None:
    ask = {"model": "gpt-5.4", "messages": QUESTION}
    answers = {
        mode: gateway.post(CHAT, ask, **{"X-SETTLEMENT-TYPE": mode})
        for mode in ("private", "batch", "individual", "cash")
    }

    assert [each.status_code for each in answers.values()] == [200, 200, 200, 400]
    assert "x-processing-hash" in answers["batch"].headers
    assert "x-processing-hash" not in answers["private"].headers


def test_the_free_paths_tell_what_is_there(gateway: GatewayClient) -> None:
    models = gateway.http.get("/v1/models").json()["data"]
    key = gateway.http.get("/signing-key").json()

    offers = {"web_search_enabled": True, "moderation_enabled": False}
    assert gateway.http.get("/health").json() == {"status": "ok", **offers}
    assert {"gpt-5.4-mini", "glm-image"} <= {each["id"] for each in models}
    assert key["tee_id"] == gateway.tee.id
    assert gateway.http.get("/enclave/attestation?nonce=1").status_code == 501


# Faults: each shows itself once, and the next answer is right again.


@pytest.mark.parametrize(
    ("how", "wrong"),
    [
        ("wrong_request_hash", ["request"]),
        ("wrong_output_hash", ["output"]),
        ("other_text", ["output"]),
        ("wrong_tee_id", ["tee_id"]),
    ],
)
def test_what_was_signed_is_not_what_was_asked_or_shown(
    gateway: GatewayClient, net: LocalNetwork, how: str, wrong: list[str]
) -> None:
    net.spoil(how)
    spoiled, right = gateway.chat(), gateway.chat()

    assert problems(gateway.tee, spoiled, COVERED, _content(spoiled)) == wrong
    assert problems(gateway.tee, right, COVERED, _content(right)) == []


@pytest.mark.parametrize("how", ["wrong_signature", "other_tee"])
def test_the_signature_is_not_the_tees(gateway: GatewayClient, net: LocalNetwork, how: str) -> None:
    net.spoil(how)
    spoiled = gateway.chat()

    with pytest.raises(InvalidSignature):
        problems(gateway.tee, spoiled, COVERED, _content(spoiled))


@pytest.mark.parametrize(("how", "sign"), [("old_timestamp", -1), ("future_timestamp", 1)])
def test_the_time_is_not_now(
    gateway: GatewayClient, net: LocalNetwork, how: str, sign: int
) -> None:
    net.spoil(how)
    spoiled, right = gateway.chat(), gateway.chat()

    assert (spoiled["tee_timestamp"] - right["tee_timestamp"]) * sign > 300 * 24 * 3600
    assert problems(gateway.tee, spoiled, COVERED, _content(spoiled)) == []


def test_an_unsigned_answer_has_no_evidence(gateway: GatewayClient, net: LocalNetwork) -> None:
    net.spoil("unsigned")

    assert not [name for name in gateway.chat() if name.startswith("tee_")]


def test_an_answer_is_replayed(gateway: GatewayClient, net: LocalNetwork) -> None:
    first = gateway.chat("one")
    net.spoil("replay")

    assert gateway.chat("two") == first


def test_labels_that_nothing_covers_change(gateway: GatewayClient, net: LocalNetwork) -> None:
    net.spoil("other_finish_reason")
    spoiled = gateway.chat()
    net.spoil("text_beside_tools")
    beside = gateway.chat(tools=[OTHER_TOOL])
    signed = json.dumps(_choice(beside)["message"]["tool_calls"], sort_keys=True)

    assert _choice(spoiled)["finish_reason"] == "content_filter"
    assert problems(gateway.tee, spoiled, COVERED, _content(spoiled)) == []
    assert _content(beside)
    assert problems(gateway.tee, beside, {**COVERED, "tools": [OTHER_TOOL]}, signed) == []


def test_the_public_gateways_ways_to_hash_can_be_asked_for(
    gateway: GatewayClient, net: LocalNetwork
) -> None:
    parts = [{"type": "text", "text": "x"}, {"type": "file", "name": None}]
    net.spoil("parts_as_text")
    listed = gateway.chat(messages=[{"role": "user", "content": parts}])
    net.spoil("web_search_uncovered")
    searched = gateway.chat(web_search=True)
    as_text = {**COVERED, "messages": [{"role": "user", "content": str(parts)}]}
    net.spoil("parts_as_text")
    developer = {"model": "gpt-5.4", "messages": [{"role": "developer", "content": "x"}]}

    assert problems(gateway.tee, listed, as_text, _content(listed)) == []
    assert problems(gateway.tee, searched, COVERED, _content(searched)) == []
    assert gateway.post(CHAT, developer).status_code == 400


def test_a_stream_says_message_in_place_of_delta(gateway: GatewayClient, net: LocalNetwork) -> None:
    net.spoil("message_frames")
    frames, _ = gateway.frames(CHAT, {"model": "gpt-5.4", "messages": QUESTION})

    assert all("message" in _choice(frame) and "delta" not in _choice(frame) for frame in frames)


def test_a_completion_says_completion_in_place_of_text(
    gateway: GatewayClient, net: LocalNetwork
) -> None:
    net.spoil("completion_field", COMPLETION)
    answer = gateway.post(COMPLETION, {"model": "gpt-5.5", "prompt": "Once"}).json()

    assert "text" not in _choice(answer)
    assert answer["completion"]


def test_a_stream_ends_without_done(gateway: GatewayClient, net: LocalNetwork) -> None:
    net.spoil("no_done")
    frames, done = gateway.frames(CHAT, {"model": "gpt-5.4", "messages": QUESTION})

    assert not done
    assert "usage" in frames[-1]


def test_a_slow_stream_arrives_frame_by_frame(gateway: GatewayClient, net: LocalNetwork) -> None:
    net.spoil("slow_frames", delay_s=0.01)
    frames, done = gateway.frames(CHAT, {"model": "gpt-5.4", "messages": QUESTION})

    assert done
    assert "usage" in frames[-1]


def test_the_first_frame_does_not_wait_for_the_last(
    gateway: GatewayClient, net: LocalNetwork
) -> None:
    net.spoil("slow_frames", delay_s=600)
    ask = {"model": "gpt-5.4", "messages": QUESTION, "stream": True}
    with gateway.opened(CHAT, ask) as answer:
        first = next(answer.iter_lines())

    assert first.startswith("data: {")


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_cut_off(gateway: GatewayClient, net: LocalNetwork, stream: bool) -> None:
    net.spoil("cut")

    with pytest.raises(httpx.RemoteProtocolError):
        gateway.post(CHAT, {"model": "gpt-5.4", "messages": QUESTION, "stream": stream})


def test_an_error_stands_in_the_middle_of_a_stream(
    gateway: GatewayClient, net: LocalNetwork
) -> None:
    net.spoil("error_frame")
    frames, done = gateway.frames(CHAT, {"model": "gpt-5.4", "messages": QUESTION})
    net.spoil("error_frame")

    spent = _spent(net)

    assert not done
    assert len(frames) > 2
    assert "error" in frames[-1]
    assert list(gateway.chat()) == ["error"]
    assert _spent(net) == spent


def test_garbage_comes_with_status_200(gateway: GatewayClient, net: LocalNetwork) -> None:
    ask = {"model": "gpt-5.4", "messages": QUESTION}
    net.spoil("not_json")
    page = gateway.post(CHAT, ask)
    net.spoil("wrong_shape")
    shape = gateway.post(CHAT, ask)

    assert page.status_code == shape.status_code == 200
    assert page.text.startswith("<html>")
    assert isinstance(shape.json()["choices"], dict)


def test_a_redirect_leads_where_it_was_told_to(gateway: GatewayClient, net: LocalNetwork) -> None:
    net.spoil("redirect", body="http://example.invalid/")
    answer = gateway.post(CHAT, {"model": "gpt-5.4", "messages": QUESTION})

    assert answer.status_code == 307
    assert answer.headers["location"] == "http://example.invalid/"


def test_a_body_is_as_huge_as_was_asked(gateway: GatewayClient, net: LocalNetwork) -> None:
    net.spoil("huge", size=3_000_000)
    answer = gateway.post(CHAT, {"model": "gpt-5.4", "messages": QUESTION})

    assert len(answer.content) > 2_900_000


def test_a_text_holds_half_a_character(gateway: GatewayClient, net: LocalNetwork) -> None:
    net.spoil("surrogate")

    assert _content(gateway.chat()).endswith("\ud800")


def test_images_come_as_urls_of_the_gateway_or_of_anywhere(
    gateway: GatewayClient, net: LocalNetwork
) -> None:
    ask = {"model": "seedream-4.0", "size": "16x8"}
    net.spoil("http_images")
    (own,) = _choice(gateway.chat(**ask))["message"]["images"]
    net.spoil("http_images", body="http://169.254.169.254/latest")
    (other,) = _choice(gateway.chat(**ask))["message"]["images"]

    assert own.startswith(gateway.tee.endpoint + "/images/")
    assert _size(gateway.http.get(own).content) == (16, 8)
    assert other == "http://169.254.169.254/latest"


@pytest.mark.slow
def test_images_are_too_large_too_wide_or_none(gateway: GatewayClient, net: LocalNetwork) -> None:
    def image(how: str) -> bytes:
        # One session does not cover three images.
        gateway.pay(CHAT)
        net.spoil(how)
        (uri,) = _choice(gateway.chat(model="gpt-image-2"))["message"]["images"]
        return _image(uri)

    assert len(image("large_image")) > 20_000_000
    assert _size(image("wide_image")) == (8000, 8000)
    assert not image("wrong_magic").startswith(b"\x89PNG")


def test_faults_of_plain_services_work_here_too(gateway: GatewayClient, net: LocalNetwork) -> None:
    ask = {"model": "gpt-5.4", "messages": QUESTION}
    net.fault("gateway POST *", "status", service="gateway", status=503, body="no token price")
    unavailable = gateway.post(CHAT, ask)
    net.fault("gateway POST *", "drop", service="gateway", when="after")

    assert unavailable.status_code == 503
    with pytest.raises(httpx.RemoteProtocolError):
        gateway.post(CHAT, ask)
    assert gateway.post(CHAT, ask).status_code == 200


def test_while_there_is_no_price_a_paid_request_is_refused_and_not_charged(
    gateway: GatewayClient, net: LocalNetwork
) -> None:
    before = _spent(net)
    net.spoil("no_price")
    answer = gateway.post(CHAT, {"model": "gpt-5.4", "messages": QUESTION})

    said = refused("Token price unavailable", retryable=True)
    assert (answer.status_code, answer.json()) == (503, said)
    assert _spent(net) == before


@pytest.mark.parametrize("retryable", [True, False])
@pytest.mark.parametrize("status", [400, 404, 413, 451, 500, 502, 503, 504])
def test_an_error_has_one_shape_as_a_body_and_as_the_last_frame_and_costs_nothing(
    gateway: GatewayClient, net: LocalNetwork, status: int, *, retryable: bool
) -> None:
    before, ask = _spent(net), {"model": "gpt-5.4", "messages": QUESTION}
    net.spoil("refuse", status=status, retryable=retryable)
    body = gateway.post(CHAT, ask)
    net.spoil("refuse_midway", status=status, retryable=retryable)
    frames, done = gateway.frames(CHAT, ask)

    assert body.status_code == status
    assert body.json() == frames[-1]
    assert len(frames) > 2
    assert not done
    assert frames[-1]["retryable"] is retryable
    assert frames[-1]["source"] == ("gateway" if status in {413, 451, 500} else "provider")
    assert (frames[-1].get("code") == "moderation_blocked") is (status == 451)
    assert _spent(net) == before


def test_a_body_over_20_mib_is_refused_before_any_payment(gateway: GatewayClient) -> None:
    answer = gateway.http.post(CHAT, content=b" " * (20 * 2**20 + 1))
    fits = gateway.http.post(CHAT, content=b" " * 20 * 2**20)

    assert (answer.status_code, fits.status_code) == (413, 402)
    assert answer.json()["source"] == "gateway"
    assert "payment-required" not in answer.headers


def test_a_search_says_that_it_is_local_is_signed_and_costs_what_it_tells(
    gateway: GatewayClient,
) -> None:
    body = {"query": "What is an option?", "num_results": 3}
    answer = gateway.post(SEARCH, body).raise_for_status().json()

    assert (answer["object"], answer["query"]) == ("web_search", body["query"])
    assert "local network, which searches nothing" in answer["content"]
    assert len(answer["citations"]) == 3
    assert answer["opengradient"]["cost_usd"] == "0.015"
    assert problems(gateway.tee, answer, body, answer["content"]) == []


@pytest.mark.parametrize("body", [{}, {"query": " "}, {"query": "x", "num_results": "3"}])
def test_a_search_for_nothing_is_refused(gateway: GatewayClient, body: dict[str, Any]) -> None:
    assert gateway.post(SEARCH, body).status_code == 400


def test_images_are_many_or_none_and_a_text(gateway: GatewayClient, net: LocalNetwork) -> None:
    net.spoil("many_images", size=3)
    many = _choice(gateway.chat(model="gpt-image-2"))["message"]["images"]
    net.spoil("no_images")
    none = gateway.chat(model="gpt-image-2")
    covered = {**COVERED, "model": "gpt-image-2"}

    assert len(set(many)) == 3
    assert {_size(_image(each)) for each in many} == {(600, 600)}
    assert "images" not in _choice(none)["message"]
    assert problems(gateway.tee, none, covered, "Nothing was drawn: the model would not.") == []


def test_requests_are_counted_by_path(gateway: GatewayClient, net: LocalNetwork) -> None:
    net.reset_counters("gateway")
    gateway.chat()
    gateway.http.get("/health")

    counted = net.counters("gateway")
    assert counted["http_requests"] == 2
    assert counted["calls"] == {f"gateway POST {CHAT}": 1, "gateway GET /health": 1}
