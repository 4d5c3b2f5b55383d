"""Gateways of every generation are asked and verified; what they lie about is withheld."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from og_mcp.client import Session, Timeouts
from og_mcp.client.calls.context import CallContext
from og_mcp.client.hub.known import KnownGraphs
from og_mcp.client.llm.gateway_answer import OnProgress
from og_mcp.client.llm.gateway_llm import GatewayLLM
from og_mcp.client.llm.question import CHAT, Question
from og_mcp.client.resources import Resources
from og_mcp.client.tee.registry import FRESH_S, USABLE_S, Registry
from og_mcp.errors import AnswerLostError, InputError, VerificationError
from og_mcp.settings import Settings
from og_mcp.types import CallRequest, ChatResult, LLMModeName, Stage
from tests.client.tls_server import issue, serving
from tests.localnet_client import LocalNetwork

MODEL = "openai/gpt-5.4-mini"
SENTENCE = "This is the built-in responder of the local network, not gpt-5.4-mini"
GATEWAY = "gateway POST /v1/chat/completions"
LLAMA = "META_LLAMA_3_1_70B_INSTRUCT"
TOOL = {"type": "function", "function": {"name": "sum", "parameters": {"type": "object"}}}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
PARTS = [{"type": "text", "text": "What's this? ü \U0001f600"}, PICTURE]


def settings(localnet: LocalNetwork, folder: Path) -> Settings:
    return Settings.from_env({**localnet.environ, "OG_DATA_DIR": str(folder)})


@pytest.fixture
async def og(localnet: LocalNetwork, tmp_path: Path) -> AsyncIterator[Session]:
    async with Session(settings(localnet, tmp_path)) as session:
        yield session


async def _ignore(_count: int) -> None:
    """Hear progress: the answer is streamed then."""


async def chat(og: Session, content: object = "Who are you?", **more: Any) -> ChatResult:  # noqa: ANN401 - as Session.chat
    return await og.chat(MODEL, [{"role": "user", "content": content}], **more)


# What gateways differ in


@pytest.mark.parametrize("how", ["message_frames", "no_done"])
async def test_a_stream_of_either_generation_is_verified(
    og: Session, localnet: LocalNetwork, how: str
) -> None:
    localnet.spoil(how)

    result = await chat(og, on_progress=_ignore)

    assert result.content.startswith(SENTENCE)
    assert result.finish_reason == "stop"
    assert result.usage.total_tokens > 0
    assert result.verification.status == "local"


async def test_t16_progress_is_a_count_of_pieces_and_tells_nothing_of_them(og: Session) -> None:
    told: list[object] = []

    async def hear(count: int) -> None:
        told.append(count)

    result = await chat(og, on_progress=hear)

    assert told
    assert told == sorted({one for one in told if type(one) is int and one <= len(result.content)})


async def test_a_stream_and_an_answer_at_once_are_one_request(
    og: Session, localnet: LocalNetwork
) -> None:
    streamed = await chat(og, on_progress=_ignore, idempotency_key="once")
    localnet.reset_counters("gateway")

    whole = await chat(og, idempotency_key="once")

    assert whole.call_id == streamed.call_id
    assert localnet.counters("gateway")["calls"] == {}
    assert (await og.verify_receipt(call_id=whole.call_id)).level == "consistent"


@pytest.mark.parametrize(
    ("how", "covers_search"), [("other_finish_reason", True), ("web_search_uncovered", False)]
)
async def test_a_wish_to_search_is_covered_or_said_not_to_be(
    og: Session, localnet: LocalNetwork, how: str, covers_search: bool
) -> None:
    localnet.spoil(how)

    proof = (await chat(og, web_search=True)).verification

    assert proof.status == "local"
    assert ("web_search" in proof.covers[0]) is covers_search
    assert ("the request's web_search" in proof.not_covered) is not covers_search


async def test_the_public_gateway_s_own_way_to_hash_parts_is_verified(
    og: Session, localnet: LocalNetwork
) -> None:
    localnet.spoil("parts_as_text")
    messages: list[dict[str, Any]] = [
        {"role": "developer", "content": "Be short."},
        {"role": "user", "content": PARTS},
    ]

    public = await og.chat(MODEL, messages)
    newer = await chat(og, PARTS)

    assert public.verification.status == newer.verification.status == "local"
    left_out = "the bytes and addresses of the messages' images and files"
    assert left_out not in public.verification.not_covered
    assert left_out in newer.verification.not_covered


async def test_a_completion_under_its_older_name_is_read(
    og: Session, localnet: LocalNetwork
) -> None:
    localnet.spoil("completion_field", "/v1/completions")

    result = await og.completion(MODEL, "Once upon a time")

    assert "built-in responder" in result.text
    assert result.verification.status == "local"


async def test_tool_calls_are_not_asked_for_in_a_stream(
    og: Session, localnet: LocalNetwork
) -> None:
    localnet.spoil("tools_left_out")

    result = await chat(og, tools=[TOOL], on_progress=_ignore)

    (call,) = result.tool_calls
    assert call.function.name == "sum"


async def test_a_stop_sequence_ends_the_text_though_the_gateway_went_on(og: Session) -> None:
    result = await chat(og, stop_sequence=["###", " built-in"])
    completed = await og.completion(MODEL, "Once", stop_sequence=[" built-in"])
    told = [await og.verify_receipt(call_id=one.call_id) for one in (result, completed)]

    assert (result.content, result.finish_reason) == ("This is the", "stop")
    assert completed.text == "This is the"
    assert "shown up to the first stop sequence" in result.verification.covers[1]
    assert [one.level for one in told] == ["consistent", "consistent"]


async def test_a_dry_run_shows_no_gateway_what_would_be_asked(
    og: Session, localnet: LocalNetwork
) -> None:
    server = issue("gateway")
    answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
    async with serving(server.context(), answer) as served:
        localnet.change_tee(endpoint=served.url, tls_certificate="0x" + server.der.hex())
        with anyio.fail_after(10):
            dry = await chat(og, "my secret", dry_run=True)
            await served.has_closed(1)

    assert (dry.status, dry.max_opg) == ("dry_run", "0")
    assert b'{"model":"gpt-5.4-mini"}' in served.received
    assert b"secret" not in served.received


# What they lie about


@pytest.mark.parametrize("streams", [True, False])
async def test_t17_a_label_that_nothing_covers_is_told_as_such(
    og: Session, localnet: LocalNetwork, streams: bool
) -> None:
    localnet.spoil("other_finish_reason")

    result = await chat(og, on_progress=_ignore if streams else None)

    assert (result.content[:20], result.finish_reason) == (SENTENCE[:20], "content_filter")
    assert any("finish_reason" in one for one in result.verification.not_covered)


async def test_t17_tool_calls_under_another_label_are_withheld(
    og: Session, localnet: LocalNetwork
) -> None:
    localnet.spoil("other_finish_reason")

    with pytest.raises(VerificationError, match="finish_reason is not tool_calls"):
        await chat(og, tools=[TOOL], tool_choice="sum")


async def test_t17_a_text_beside_tool_calls_is_dropped(og: Session, localnet: LocalNetwork) -> None:
    localnet.spoil("text_beside_tools")

    result = await chat(og, tools=[TOOL], tool_choice="required")

    assert (result.content, len(result.tool_calls)) == ("", 1)
    assert "the text beside the tool calls, which is left out" in result.verification.not_covered


async def test_t18_the_answer_to_another_request_is_withheld_and_to_the_same_one_it_passes(
    og: Session, localnet: LocalNetwork
) -> None:
    first = await chat(og, "the same")
    localnet.spoil("replay")
    again = await chat(og, "the same")
    localnet.spoil("replay")
    with pytest.raises(VerificationError, match="request hash"):
        await chat(og, "another")

    assert again.call_id != first.call_id
    assert again.verification.timestamp == first.verification.timestamp
    assert any("no nonce" in one for one in again.verification.not_covered)


@pytest.mark.parametrize("how", ["future_timestamp", "old_timestamp"])
async def test_t18_another_time_is_withheld_in_a_stream_too(
    og: Session, localnet: LocalNetwork, how: str
) -> None:
    localnet.spoil(how)

    with pytest.raises(VerificationError, match="clock"):
        await chat(og, on_progress=_ignore)


async def test_half_a_character_is_a_lost_answer(og: Session, localnet: LocalNetwork) -> None:
    localnet.spoil("surrogate")

    with pytest.raises(AnswerLostError) as failed:
        await chat(og)

    assert failed.value.stage is Stage.SENT_UNKNOWN


@pytest.mark.parametrize("on_progress", [None, _ignore])
async def test_t36_an_answer_without_any_signed_field_is_withheld(
    og: Session, localnet: LocalNetwork, on_progress: OnProgress | None
) -> None:
    localnet.spoil("unsigned")

    with pytest.raises(VerificationError, match="signed nothing, and OG_ALLOW_UNSIGNED") as failed:
        await chat(og, on_progress=on_progress)
    receipt = await og.receipt(failed.value.call_id)

    assert failed.value.stage is Stage.CHARGED
    assert SENTENCE not in str(failed.value)
    assert SENTENCE in receipt["tee"]["answer"]
    assert "response" not in receipt
    assert not (await og.verify_receipt(receipt)).valid


async def test_t36_the_operator_may_have_it_shown_as_unsigned(
    localnet: LocalNetwork, tmp_path: Path
) -> None:
    environ = {**localnet.environ, "OG_DATA_DIR": str(tmp_path), "OG_ALLOW_UNSIGNED": "1"}
    async with Session.from_env(environ) as og:
        localnet.spoil("unsigned")
        result = await chat(og)
        told = await og.verify_receipt(call_id=result.call_id)

    assert result.content.startswith(SENTENCE)
    assert (result.verification.status, result.verification.covers) == ("unsigned", [])
    assert (told.valid, told.level) == (False, "none")
    assert "failed" not in {check.result for check in told.checks}


async def test_the_receipt_of_a_lie_keeps_what_came_and_does_not_hold(
    og: Session, localnet: LocalNetwork
) -> None:
    localnet.spoil("other_text")

    with pytest.raises(VerificationError) as failed:
        await chat(og)
    receipt = await og.receipt(failed.value.call_id)

    answer = json.loads(receipt["tee"]["answer"])
    assert "Send all your coins" in answer["choices"][0]["message"]["content"]
    assert "response" not in receipt
    assert not (await og.verify_receipt(receipt)).valid


def nested(depth: int) -> object:
    return [nested(depth - 1)] if depth else 0


# T19: what JSON does not carry alike never leaves


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), -0.0, "\ud800", 2**2000, nested(65)],
)
async def test_t19_is_refused_before_anything_is_journalled_or_sent(
    og: Session, localnet: LocalNetwork, value: object
) -> None:
    localnet.reset_counters("gateway")
    schema = {"type": "object", "properties": {"x": {"const": value}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}

    named = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}

    for more in ({"tools": [tool]}, {"response_format": named}):
        with pytest.raises(InputError, match="nothing was sent"):
            await chat(og, **more)

    assert (await og.list_calls()).calls == []
    assert localnet.counters("gateway")["calls"] == {}


async def test_t19_texts_that_are_no_unicode_are_refused_on_both_routes(og: Session) -> None:
    routes: list[tuple[str, LLMModeName]] = [(MODEL, "AUTO"), (LLAMA, "VANILLA")]
    for model, mode in routes:
        with pytest.raises(InputError, match="surrogate"):
            await og.chat(model, [{"role": "user", "content": "\ud800"}], mode)
        with pytest.raises(InputError, match="surrogate"):
            await og.completion(model, "\udfff", mode)
        with pytest.raises(InputError, match="surrogate"):
            await og.completion(model, "x", mode, stop_sequence=["\udfff"])


# The registry still has to list the TEE once its answer is there


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def asking(
    localnet: LocalNetwork, folder: Path, clock: Clock
) -> AsyncIterator[tuple[GatewayLLM, Registry, CallContext]]:
    """Open what asks gateways, its registry by another clock, and a call to ask for."""
    parts = Resources(settings(localnet, folder), Timeouts(), KnownGraphs())
    try:
        registry = Registry(
            [(await parts.own.chain.get()).rpc],
            await parts.network.get(),
            parts.settings,
            await parts.tasks.get(),
            clock=clock,
        )
        request = CallRequest(
            tool="chat",
            principal="local",
            network="local",
            request_hash="00" * 32,
            request="{}",
            idempotency_key="",
            max_opg=0,
        )
        opened = await (await parts.journal.get()).open_call(request)
        call = CallContext(opened.call.id, created_at=opened.call.created_at.isoformat())
        llm = GatewayLLM(
            registry, await parts.gateways.get(), await parts.payments.get(), local=True
        )
        yield llm, registry, call
    finally:
        await parts.aclose()


BODY = {"model": "gpt-5.4-mini", "messages": [{"role": "user", "content": "Hello"}]}
QUESTION = Question(path=CHAT, body=BODY, streams=True)


async def test_an_answer_of_a_tee_that_the_registry_has_dropped_is_withheld(
    localnet: LocalNetwork, tmp_path: Path
) -> None:
    clock = Clock()
    began = clock.now

    async def dropped(_count: int) -> None:
        """While the answer comes."""
        localnet.change_tee(enabled=False)
        clock.now = began + FRESH_S + 1

    async with asking(localnet, tmp_path, clock) as (llm, registry, order):
        await registry.active()

        with pytest.raises(VerificationError, match="not list its TEE as active") as caught:
            await llm.ask(QUESTION, order, dropped)

    assert caught.value.stage is Stage.CHARGED
    assert SENTENCE in caught.value.evidence["content"]


@pytest.mark.parametrize("age_s", [FRESH_S + 1, USABLE_S + 1])
async def test_where_the_registry_cannot_be_read_a_reading_of_ten_minutes_vouches_and_no_older_one(
    localnet: LocalNetwork, tmp_path: Path, age_s: float
) -> None:
    clock = Clock()
    began = clock.now

    async def outage(_count: int) -> None:
        """While the answer comes."""
        localnet.close_service("rpc")
        clock.now = began + age_s

    async with asking(localnet, tmp_path, clock) as (llm, registry, order):
        await registry.active()
        try:
            if age_s < USABLE_S:
                answered = await llm.ask(QUESTION, order, outage)
                assert answered.evidence.text.startswith(SENTENCE)
                return
            with pytest.raises(VerificationError, match="registry cannot be read") as caught:
                await llm.ask(QUESTION, order, outage)
        finally:
            localnet.open_service("rpc")

    assert caught.value.stage is Stage.CHARGED
    assert SENTENCE in caught.value.evidence["content"]


# Which gateway is asked next


async def test_a_gateway_whose_answer_was_withheld_is_not_the_next_to_be_asked(
    og: Session, localnet: LocalNetwork
) -> None:
    localnet.add_tee()
    services = {tee["tee_id"]: tee["service"] for tee in localnet.tees()}
    first = await chat(og, "first")
    localnet.spoil("wrong_signature", service=services[first.verification.tee_id])

    with pytest.raises(VerificationError):
        await chat(og, "second")
    third = await chat(og, "third")

    assert third.verification.tee_id != first.verification.tee_id


@pytest.mark.slow
async def test_t9_a_gateway_that_hangs_before_anything_was_paid_is_passed_over(
    localnet: LocalNetwork, tmp_path: Path
) -> None:
    localnet.add_tee()
    localnet.fault(GATEWAY, "hang", service="gateway", limit_s=8.0)

    with anyio.fail_after(60):
        number = 0
        # Which one is asked first is chance.
        while localnet.pending_faults("gateway"):
            number += 1
            async with Session(
                settings(localnet, tmp_path / str(number)), timeouts=Timeouts(gateway_s=3.0)
            ) as og:
                assert (await chat(og)).status == "done"

    assert number > 0
