"""Tool chat: one full result, then prices, progress, consent and each error the model can meet."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any, Final

import anyio
import pytest
from mcp import Client

from og_mcp.client import Session
from og_mcp.server import build_server
from tests.localnet_client import LocalNetwork
from tests.tools.calls import answer, refusal
from tests.tools.person import Person

MODEL: Final = "openai/gpt-5.4-mini"
SENTENCE: Final = "This is the built-in responder of the local network, not gpt-5.4-mini"
WEATHER: Final = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


def asking(text: str = "Who are you?", **more: object) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], **more}


def asked_of(localnet: LocalNetwork) -> int:
    """Count the chats that reached the gateway."""
    calls = localnet.counters("gateway")["calls"]
    return sum(count for name, count in calls.items() if "/v1/chat/completions" in name)


async def test_a_chat_is_paid_answered_and_verified(mcp: Client, localnet: LocalNetwork) -> None:
    result = await answer(mcp, "chat", **asking())

    assert len(result["call_id"]) == 32
    assert (result["network"], result["status"], result["model"]) == ("local", "done", MODEL)
    assert result["content"].startswith(SENTENCE)
    assert result["finish_reason"] == "stop"
    assert not {"tool_calls", "transaction_hash"} & set(result)
    assert result["note"].startswith(
        "Paid from an authorization of at most 0.1 OPG, which settles "
    )
    usage = result["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 0
    payment = result["payment"]
    assert (payment["scheme"], payment["max_opg"]) == ("upto", "0.1")
    assert payment["network"] == f"eip155:{localnet.ready['base_chain_id']}"
    assert payment["asset"].lower() == localnet.ready["opg_token"].lower()
    proof = result["verification"]
    assert proof["status"] == "local"
    assert proof["tee_id"] in {tee["tee_id"] for tee in localnet.tees()}
    assert proof["registry"]["block_number"] > 0
    assert proof["covers"]
    assert any("finish_reason" in one for one in proof["not_covered"])


async def test_what_a_session_cost_is_told_once_the_chain_says_so(
    mcp: Client, localnet: LocalNetwork
) -> None:
    first = await answer(mcp, "chat", **asking("first"))
    second = await answer(mcp, "chat", **asking("second"))
    assert first["payment"]["cap_id"] == second["payment"]["cap_id"]
    assert (await answer(mcp, "list_calls"))["open_opg"] == "0.1"

    localnet.settle()
    told = [await answer(mcp, "get_call", call_id=one["call_id"]) for one in (first, second)]
    listed = await answer(mcp, "list_calls")

    assert {one["stage"] for one in told} == {"confirmed"}
    assert told[0]["payment"] == told[1]["payment"]
    assert listed["spent_opg"] == told[0]["payment"]["amount_opg"] != ""
    assert listed["open_opg"] == "0"


async def test_a_dry_run_tells_the_most_it_may_cost_and_asks_for_no_answer(
    mcp: Client, localnet: LocalNetwork
) -> None:
    before = len(localnet.sessions())

    dry = await answer(mcp, "chat", **asking(dry_run=True))

    assert dry["status"] == "dry_run"
    assert not {"call_id", "content"} & set(dry)
    assert dry["max_opg"] == "0.1"
    assert {check["result"] for check in dry["checks"]} <= {"ok", "not_checked"}
    assert len(localnet.sessions()) == before
    assert (await answer(mcp, "list_calls"))["calls"] == []


async def test_one_idempotency_key_is_one_request_to_the_gateway(
    mcp: Client, localnet: LocalNetwork
) -> None:
    first = await answer(mcp, "chat", **asking(idempotency_key="question-1"))
    before = asked_of(localnet)

    again = await answer(mcp, "chat", **asking(idempotency_key="question-1"))
    text = await refusal(mcp, "chat", **asking("Another", idempotency_key="question-1"))

    assert again["call_id"] == first["call_id"]
    assert again["content"] == first["content"]
    assert "'question-1'" in text
    assert asked_of(localnet) == before


async def test_a_tool_is_called_and_its_result_answered(mcp: Client) -> None:
    first = await answer(mcp, "chat", **asking(tools=[WEATHER], tool_choice="get_weather"))

    assert ("content" in first, first["finish_reason"]) == (False, "tool_calls")
    (call,) = first["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    assert json.loads(call["function"]["arguments"]).keys() == {"city"}
    messages = [
        *asking()["messages"],
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": "sunny"},
    ]
    second = await answer(mcp, "chat", model=MODEL, messages=messages, tools=[WEATHER])
    assert second["content"].startswith(SENTENCE)


async def test_an_answer_that_is_cut_off_says_so_and_what_to_raise(mcp: Client) -> None:
    result = await answer(mcp, "chat", **asking(max_tokens=3))

    assert list(result)[:3] == ["content", "finish_reason", "note"]
    assert (result["finish_reason"], "max_tokens" in result["note"]) == ("length", True)


async def test_an_answer_has_the_structure_that_was_asked_for(mcp: Client) -> None:
    schema = {
        "type": "object",
        "properties": {"answer": {"type": "string"}},
        "required": ["answer"],
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}

    result = await answer(mcp, "chat", **asking(response_format=wanted))

    assert json.loads(result["content"]).keys() == {"answer"}


async def test_json_object_is_refused_where_the_provider_lacks_it(mcp: Client) -> None:
    text = await refusal(
        mcp,
        "chat",
        **asking(model="anthropic/claude-haiku-4-5", response_format={"type": "json_object"}),
    )

    assert "json_object" in text


async def test_an_unknown_model_is_refused_with_the_nearest_three(
    mcp: Client, localnet: LocalNetwork
) -> None:
    before = asked_of(localnet)

    text = await refusal(mcp, "chat", **asking(model="gpt-5.4-minni"))

    assert "'gpt-5.4-minni'" in text
    assert MODEL in text
    assert text.count("openai/") == 3
    assert asked_of(localnet) == before


async def test_a_model_of_images_is_refused_before_anything_is_asked(
    mcp: Client, localnet: LocalNetwork
) -> None:
    before = asked_of(localnet)

    text = await refusal(mcp, "chat", **asking(model="openai/gpt-image-2"))

    assert "generate_image" in text
    assert asked_of(localnet) == before


@pytest.mark.parametrize("mode", ["VANILLA", "TEE"])
async def test_a_model_of_the_first_generation_is_asked_on_chain(
    mcp: Client, localnet: LocalNetwork, mode: str
) -> None:
    result = await answer(
        mcp, "chat", **asking(model="meta-llama/Llama-3.1-70B-Instruct", inference_mode=mode)
    )

    mined = localnet.rpc("eth_getTransactionReceipt", result["transaction_hash"])
    assert mined["status"] == "0x1"
    assert result["verification"]["status"] == "chain"
    assert "payment" not in result
    assert "built-in responder" in result["content"]


@pytest.mark.slow
async def test_t16_progress_counts_tokens_and_says_nothing_of_the_answer(
    mcp: Client, localnet: LocalNetwork
) -> None:
    localnet.spoil("slow_frames", delay_s=0.25)
    told: list[tuple[float, str]] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        assert total is None
        told.append((progress, message or ""))

    result = await mcp.call_tool("chat", asking(max_tokens=200), progress_callback=hear)

    assert not result.is_error
    assert result.structured_content is not None
    words = {word for word in result.structured_content["content"].split() if len(word) > 3}
    assert told
    assert [progress for progress, _ in told] == sorted({progress for progress, _ in told})
    for progress, message in told:
        count, rest = message.split(" ", 1)
        assert int(count) == int(progress)
        assert rest.startswith("tokens, ")
        assert not words & set(rest.split())
    assert told[-1][0] >= 1


@pytest.mark.slow
async def test_a_call_that_takes_longer_than_the_wait_is_handed_back_and_waited_for(
    localnet: LocalNetwork,
) -> None:
    environ = {**localnet.environ, "OG_WAIT_S": "1"}
    async with Client(build_server(Session.from_env(environ))) as mcp:
        await answer(mcp, "chat", **asking("to open a session"))
        localnet.fault(
            *("gateway POST /v1/chat/completions", "delay"),
            service="gateway",
            delay_s=3.0,
            when="before",
        )
        before = asked_of(localnet)

        running = await answer(mcp, "chat", **asking("slowly"))
        with anyio.fail_after(30):
            told = await answer(mcp, "get_call", call_id=running["call_id"], wait_s=25)

    assert (running["status"], running.get("content")) == ("running", None)
    assert told["status"] == "done"
    assert told["result"]["content"].startswith(SENTENCE)
    assert asked_of(localnet) == before + 1


@pytest.mark.parametrize("how", ["wrong_signature", "wrong_output_hash", "other_tee"])
async def test_what_cannot_be_verified_is_withheld(
    mcp: Client, localnet: LocalNetwork, how: str
) -> None:
    localnet.spoil(how)

    text = await refusal(mcp, "chat", **asking())

    assert SENTENCE not in text
    assert "cannot be verified" in text
    (call,) = (await answer(mcp, "list_calls"))["calls"]
    assert (call["status"], call["stage"]) == ("failed", "charged")
    assert text.endswith(
        f"It was charged (stage charged); get_call with call_id {call['call_id']} tells what it cost."
    )
    told = await answer(mcp, "get_call", call_id=call["call_id"])
    # It was paid for, so that it leaves a receipt, which shows what is wrong.
    checked = await answer(mcp, "verify_receipt", call_id=call["call_id"])
    assert checked["valid"] is False
    assert SENTENCE not in json.dumps([told, checked])


async def test_an_answer_that_is_lost_says_that_it_may_have_been_charged(
    mcp: Client, localnet: LocalNetwork
) -> None:
    await answer(mcp, "chat", **asking("to open a session"))
    localnet.spoil("cut")
    before = asked_of(localnet)

    text = await refusal(mcp, "chat", **asking("lost"))

    (call, _) = (await answer(mcp, "list_calls"))["calls"]
    assert (call["status"], call["stage"]) == ("failed", "sent_unknown")
    assert "may have been charged" in text
    # A host may show nothing of an error but its text.
    fate = f"It may have been paid (stage sent_unknown); get_call with call_id {call['call_id']} tells."
    assert text.endswith(fate)
    assert asked_of(localnet) == before + 1


async def test_a_lost_answer_is_not_paid_again_unasked_until_its_payment_has_its_end(
    mcp: Client, localnet: LocalNetwork
) -> None:
    await answer(mcp, "chat", **asking("to open a session"))
    localnet.spoil("cut")
    await refusal(mcp, "chat", **asking("lost"))
    (call, _) = (await answer(mcp, "list_calls"))["calls"]
    before = asked_of(localnet)

    for _ in range(2):
        text = await refusal(mcp, "chat", **asking("lost"))
        assert f"as call {call['call_id']}, and its answer was not kept" in text
        assert "it may have been paid (stage sent_unknown)" in text
        assert "new idempotency_key" in text
    assert asked_of(localnet) == before
    # Said out loud, it is asked and paid once more; and so it is once the first has its end.
    said = await answer(mcp, "chat", **asking("lost", idempotency_key="once-more"))
    localnet.settle()
    anew = await answer(mcp, "chat", **asking("lost"))

    assert len({call["call_id"], said["call_id"], anew["call_id"]}) == 3
    assert asked_of(localnet) == before + 2


async def test_under_its_key_an_answer_that_may_have_been_paid_stays_lost_and_tells_what_was(
    mcp: Client, localnet: LocalNetwork
) -> None:
    # More is taken than was told: whether for this answer or for the lost one, nobody knows.
    localnet.spoil("cost_under_told")
    await answer(mcp, "chat", **asking("to open a session"))
    localnet.spoil("cut")
    await refusal(mcp, "chat", **asking("lost", idempotency_key="k"))
    localnet.settle()
    before = asked_of(localnet)

    text = await refusal(mcp, "chat", **asking("lost", idempotency_key="k"))

    assert "its payment, which may cover other calls too, settled for 0." in text, text
    assert asked_of(localnet) == before


async def test_under_its_key_a_lost_answer_that_nobody_was_paid_for_is_asked_again(
    localnet: LocalNetwork,
) -> None:
    lost = asking("lost", idempotency_key="k")
    session = Session.from_env(localnet.environ)
    async with Client(build_server(session)) as mcp:
        await answer(mcp, "chat", **asking("to open a session"))
        localnet.fault("gateway POST /v1/chat/completions", "drop", service="gateway")
        await refusal(mcp, "chat", **lost)
        (call, _) = (await answer(mcp, "list_calls"))["calls"]
        before = asked_of(localnet)

        in_doubt = await refusal(mcp, "chat", **lost)
        asked = asked_of(localnet)
        localnet.settle()
        again = await answer(mcp, "chat", **lost)

    told = re.search("Whether it was is known by ([0-9: -]+) UTC; if it was not, the", in_doubt)
    assert told is not None
    known_by = datetime.fromisoformat(f"{told[1]}+00:00")
    # Its deadline, and how long what is past that counts.
    left_s = (known_by - datetime.now(UTC)).total_seconds()
    assert 600 + 2_400 - 120 < left_s <= 600 + 2_400
    assert (asked, asked_of(localnet)) == (before, before + 1)
    assert (again["call_id"], again["status"]) == (call["call_id"], "done")
    assert "amount_opg" not in again["payment"]


async def test_a_person_is_asked_with_the_most_it_may_cost_in_opg(localnet: LocalNetwork) -> None:
    environ, person = {**localnet.environ, "OG_CONFIRM_ABOVE": "0.05"}, Person()
    async with Client(build_server(Session.from_env(environ)), elicitation_callback=person) as mcp:
        result = await answer(mcp, "chat", **asking())

    assert result["content"].startswith(SENTENCE)
    (question,) = person.heard
    wallet = localnet.ready["accounts"][0]["address"]
    assert question.startswith(
        "Allow the service that answers this chat call to charge up to 0.1 OPG from your wallet "
        f"{wallet}? Network local. Call {result['call_id']}: "
    )


async def test_without_somebody_to_ask_nothing_is_signed(localnet: LocalNetwork) -> None:
    environ, before = {**localnet.environ, "OG_CONFIRM_ABOVE": "0"}, len(localnet.sessions())
    async with Client(build_server(Session.from_env(environ))) as mcp:
        text = await refusal(mcp, "chat", **asking())
        (call,) = (await answer(mcp, "list_calls"))["calls"]

    assert "may cost up to 0.1 OPG" in text
    assert f"og-mcp calls approve {call['call_id']}`" in text
    assert len(localnet.sessions()) == before


async def test_what_the_gateway_tells_of_cost_and_sources_is_told_as_its_word(
    mcp: Client, localnet: LocalNetwork
) -> None:
    localnet.spoil("annotated")

    result = await answer(mcp, "chat", **asking())
    localnet.settle()
    told = await answer(mcp, "get_call", call_id=result["call_id"])

    assert result["cost"]["source"] == "gateway"
    assert result["cost"]["opg"] == told["payment"]["amount_opg"]
    assert result["citations"] == [
        {"url": "https://example.com/local", "title": "The local network"}
    ]
    assert result["moderation"] == {"flagged": False, "categories": {}}


async def test_an_older_gateway_tells_no_cost(mcp: Client, localnet: LocalNetwork) -> None:
    localnet.spoil("no_cost")

    result = await answer(mcp, "chat", **asking())

    assert not {"cost", "citations", "moderation"} & set(result)


async def test_the_flag_web_search_says_that_it_has_no_effect(mcp: Client) -> None:
    result = await answer(mcp, "chat", **asking(web_search=True))

    assert "the tool web_search" in result["note"]
