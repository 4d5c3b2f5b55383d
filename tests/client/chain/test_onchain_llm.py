"""Chats and completions on chain: one transaction each, read from its events, with a receipt."""

from __future__ import annotations

from collections.abc import AsyncIterator
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

import pytest

from og_mcp.client import Session, Timeouts
from og_mcp.client.chain.wallet import read_transaction
from og_mcp.client.receipts import receipts
from og_mcp.errors import (
    ApprovalRequiredError,
    InputError,
    OutputMissingError,
    SimulationRevertedError,
    TransactionPendingError,
    TransactionRevertedError,
)
from og_mcp.settings import Settings
from og_mcp.types import ChatResult, CompletionResult, LLMModeName, Stage, Verification
from tests.localnet_client import LocalNetwork

SEND = "eth_sendRawTransaction"
LLAMA = "meta-llama/Llama-3.1-70B-Instruct"
MISTRAL = "mistralai/Mistral-7B-Instruct-v0.3"
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
ENDLESS = {
    "type": "function",
    "function": {
        "name": "endless",
        "description": "No value fits its parameters",
        "parameters": {"required": ["a"], "properties": {"a": {"$ref": "#"}}},
    },
}
PATIENT = Timeouts(rpc_s=10.0, look_up_s=4.0, receipt_s=20.0)


class Asker:
    """A session that is asked on chain."""

    def __init__(self, session: Session) -> None:
        self.session = session

    async def chat(
        self,
        *messages: dict[str, Any],
        model: str = LLAMA,
        mode: LLMModeName = "VANILLA",
        **more: Any,  # noqa: ANN401 - as Session.chat
    ) -> ChatResult:
        asked = messages or ({"role": "user", "content": "Hello"},)
        return await self.session.chat(model, asked, mode, **more)

    async def complete(
        self,
        prompt: str = "Once",
        model: str = LLAMA,
        **more: Any,  # noqa: ANN401 - as Session.completion
    ) -> CompletionResult:
        return await self.session.completion(model, prompt, "VANILLA", **more)


def session(localnet: LocalNetwork, folder: Path, **more: str) -> Session:
    environ = {**localnet.environ, "OG_DATA_DIR": str(folder), **more}
    return Session(Settings.from_env(environ), timeouts=PATIENT)


@pytest.fixture
async def og(localnet: LocalNetwork, tmp_path: Path) -> AsyncIterator[Asker]:
    async with session(localnet, tmp_path) as opened:
        yield Asker(opened)


@pytest.fixture
async def hashing(localnet: LocalNetwork, tmp_path: Path) -> AsyncIterator[Asker]:
    async with session(localnet, tmp_path, OG_RECEIPTS="hashes") as opened:
        yield Asker(opened)


def transactions(localnet: LocalNetwork) -> int:
    """Count the wallet's transactions."""
    address = localnet.ready["accounts"][0]["address"]
    return int(localnet.rpc("eth_getTransactionCount", address, "latest"), 16)


def results(verification: Verification) -> dict[str, str]:
    return {check.name: check.result for check in verification.checks}


def failed(verification: Verification) -> set[str]:
    return {name for name, result in results(verification).items() if result == "failed"}


def rehashed(receipt: dict[str, Any]) -> dict[str, Any]:
    """Make the hashes fit again, as a forger would."""
    hashes = {f"{part}_hash": receipts.digest(receipt[part]) for part in ("request", "response")}
    return receipts.digested({**receipt, **hashes})


# Answers


async def test_a_chat_is_one_transaction_in_two_requests_and_tells_what_it_cost(
    og: Asker, localnet: LocalNetwork
) -> None:
    await og.chat()
    before = transactions(localnet)
    localnet.reset_counters()

    result = await og.chat({"role": "user", "content": "Good morning"})

    assert localnet.counters()["http_requests"] == 2
    assert transactions(localnet) == before + 1
    mined = localnet.rpc("eth_getTransactionReceipt", result.transaction_hash)
    assert result.fee_wei == int(mined["gasUsed"], 16) * int(mined["effectiveGasPrice"], 16)
    assert (result.status, result.network, result.model) == ("done", "local", LLAMA)
    assert result.finish_reason == "stop"
    assert "built-in responder of the local network" in result.content
    assert result.tool_calls == []
    assert result.verification.status == "chain"
    assert (result.payment.cap_id, result.max_opg) == ("", "0")


async def test_a_completion_is_answered(og: Asker, localnet: LocalNetwork) -> None:
    before = transactions(localnet)

    result = await og.complete("Once upon a time", MISTRAL)

    assert transactions(localnet) == before + 1
    assert (result.status, result.model) == ("done", MISTRAL)
    assert "built-in responder" in result.text
    assert result.verification.status == "chain"


async def test_a_tool_call_goes_back_as_it_came_and_is_answered(og: Asker) -> None:
    question = {"role": "user", "content": "What is the weather in Oslo?"}

    asked = await og.chat(question, tools=[WEATHER], tool_choice="get_weather")
    (call,) = asked.tool_calls
    answered = await og.chat(
        question,
        {"role": "assistant", "content": asked.content, "tool_calls": [call.model_dump()]},
        {"role": "tool", "content": "rain", "tool_call_id": call.id},
        tools=[WEATHER],
    )

    assert (asked.finish_reason, call.function.name) == ("tool_calls", "get_weather")
    assert call.function.arguments == '{"city": "local"}'
    assert (answered.finish_reason, answered.tool_calls) == ("stop", [])
    assert answered.content


async def test_in_tee_mode_the_one_model_of_the_list_answers(og: Asker) -> None:
    result = await og.chat(mode="TEE")

    receipt = await og.session.receipt(result.call_id)
    assert receipt["request"]["inference_mode"] == "TEE"
    with pytest.raises(InputError, match="does not run in a TEE"):
        await og.chat(model=MISTRAL, mode="TEE")


async def test_the_same_key_gives_the_same_answer_and_one_transaction(
    og: Asker, localnet: LocalNetwork
) -> None:
    before = transactions(localnet)

    first, again = await og.chat(idempotency_key="k"), await og.chat(idempotency_key="k")

    assert first == again
    assert transactions(localnet) == before + 1


async def test_the_gas_limit_is_half_again_what_was_estimated(
    og: Asker, localnet: LocalNetwork
) -> None:
    result = await og.chat()

    receipt = await og.session.receipt(result.call_id)
    signed = read_transaction(bytes.fromhex(receipt["chain"]["raw_transaction"][2:]))
    call = {
        "from": localnet.ready["accounts"][0]["address"],
        "to": localnet.ready["inference_contract"],
        "data": "0x" + signed.data.hex(),
    }
    estimate = int(localnet.rpc("eth_estimateGas", call), 16)
    assert estimate * 3 // 2 <= signed.gas_limit < estimate * 3 // 2 + 2**14


# Before anything is sent


async def test_a_dry_run_tells_the_most_that_it_may_cost_and_sends_nothing(
    og: Asker, localnet: LocalNetwork
) -> None:
    before = transactions(localnet)

    priced, completed = await og.chat(dry_run=True), await og.complete(dry_run=True)

    assert transactions(localnet) == before
    assert (priced.status, priced.call_id, completed.status) == ("dry_run", "", "dry_run")
    assert {check.result for check in priced.checks} == {"ok"}
    assert 0 < (await og.chat()).fee_wei <= priced.fee_wei


async def test_a_revert_costs_nothing_and_quotes_the_contract(
    og: Asker, localnet: LocalNetwork
) -> None:
    before = transactions(localnet)

    with pytest.raises(SimulationRevertedError, match=r"'the parameters of the tool \"endless\""):
        await og.chat(tools=[ENDLESS])

    assert transactions(localnet) == before


async def test_a_person_who_wants_to_be_asked_is(localnet: LocalNetwork, tmp_path: Path) -> None:
    async with session(localnet, tmp_path, OG_CONFIRM_ABOVE="0") as opened:
        og = Asker(opened)
        before = transactions(localnet)

        with pytest.raises(ApprovalRequiredError) as asked:
            await og.chat()
        assert transactions(localnet) == before
        await opened.approve(asked.value.approval_of)

        assert (await og.chat()).status == "done"
        assert transactions(localnet) == before + 1


@pytest.mark.parametrize("retries", [-1, 21])
async def test_a_number_of_retries_that_nobody_means_is_refused(og: Asker, retries: int) -> None:
    with pytest.raises(InputError, match=f"max_retries is {retries}"):
        await og.complete(max_retries=retries)


# Answers in other places


async def whole(localnet: LocalNetwork, og: Asker, kind: Literal["chat", "completion"]) -> str:
    localnet.answers()
    return (await og.chat()).content if kind == "chat" else (await og.complete()).text


@pytest.mark.parametrize("where", ["empty", "missing"])
async def test_without_the_contracts_event_the_precompiles_is_read(
    og: Asker, localnet: LocalNetwork, where: str
) -> None:
    chatted, completed = await whole(localnet, og, "chat"), await whole(localnet, og, "completion")
    localnet.answers(contract_event=where)

    chat, completion = await og.chat(), await og.complete()

    assert (chat.content, completion.text) == (chatted, completed)
    for result in (chat, completion):
        verification = await og.session.verify_receipt(call_id=result.call_id, online=True)
        assert verification.level == "confirmed"


@pytest.mark.parametrize("where", ["empty", "missing"])
async def test_an_answer_that_is_nowhere_is_an_error_that_tells_its_cost_and_has_a_receipt(
    og: Asker, localnet: LocalNetwork, where: str
) -> None:
    localnet.answers(contract_event=where, precompile_event=where)

    for ask in (og.chat, og.complete):
        with pytest.raises(OutputMissingError, match="no event with an answer") as caught:
            await ask()

        told = await og.session.get_call(caught.value.call_id)
        checked = await og.session.verify_receipt(call_id=caught.value.call_id, online=True)
        assert caught.value.stage is Stage.CHARGED
        assert told.status == "failed"
        assert told.fee_wei == caught.value.fee_wei > 0
        assert checked.level == "confirmed"


# Receipts


async def test_the_receipt_of_a_chat_is_consistent_and_confirmed(og: Asker) -> None:
    question = {"role": "user", "content": "What is the weather? 🌧"}
    result = await og.chat(question, tools=[WEATHER], stop_sequence=["\n"], temperature=0.29)

    receipt = await og.session.receipt(result.call_id)
    offline = receipts.verify(receipt)
    online = await og.session.verify_receipt(receipt, online=True)

    assert receipt["tool"] == "chat"
    assert receipt["request"] == {
        "tool": "chat",
        "model": LLAMA,
        "inference_mode": "VANILLA",
        "max_tokens": 1024,
        "stop_sequence": ["\n"],
        "temperature": 0.29,
        "messages": [question],
        "tools": [
            {
                "name": "get_weather",
                "description": "Tells the weather",
                "parameters": receipts.canonical(WEATHER["function"]["parameters"]),  # type: ignore[index] # a mapping
            }
        ],
        "tool_choice": "auto",
    }
    assert receipt["response"] == {
        "content": result.content,
        "tool_calls": [call.model_dump() for call in result.tool_calls],
        "finish_reason": "tool_calls",
    }
    assert (offline.valid, offline.level) == (True, "consistent")
    assert (online.valid, online.level) == (True, "confirmed")
    assert results(online)["call_data"] == results(online)["output"] == "ok"


async def test_a_receipt_of_hashes_is_confirmed_by_what_the_chain_has(hashing: Asker) -> None:
    chat = await hashing.chat(tools=[WEATHER])
    completion = await hashing.complete()

    for result in (chat, completion):
        receipt = await hashing.session.receipt(result.call_id)
        verification = await hashing.session.verify_receipt(receipt, online=True)

        assert not {"request", "response"} & set(receipt)
        assert not {"raw_transaction", "logs"} & set(receipt["chain"])
        assert verification.level == "confirmed"
        assert results(verification)["call_data"] == results(verification)["output"] == "ok"


CHANGES: dict[str, tuple[tuple[str, ...], object, str]] = {
    "another model": (("request", "model"), MISTRAL, "call_data"),
    "another mode": (("request", "inference_mode"), "TEE", "call_data"),
    "another message": (("request", "messages"), [], "call_data"),
    "another temperature": (("request", "temperature"), 0.5, "call_data"),
    "another tool": (("request", "tool"), "completion", "call_data"),
    "a field more": (("request", "web_search"), True, "call_data"),
    "no request": (("request",), 5, "call_data"),
    "another content": (("response", "content"), "Yes", "output"),
    "another reason": (("response", "finish_reason"), "length", "output"),
    "a tool call": (("response", "tool_calls"), [{}], "output"),
    "no answer": (("response",), [], "output"),
}


async def test_what_a_forger_changes_is_found_by_the_check_that_looks_at_it(og: Asker) -> None:
    genuine = await og.session.receipt((await og.chat()).call_id)
    for name, (path, to, check) in CHANGES.items():
        forged: dict[str, Any] = deepcopy(genuine)
        place = forged
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = to

        verification = receipts.verify(rehashed(forged))

        assert failed(verification) - {"tool"} == {check}, name
        assert verification.level == "none"


async def test_the_events_of_another_kind_of_call_do_not_pass(og: Asker) -> None:
    chat = await og.session.receipt((await og.chat()).call_id)
    completion = await og.session.receipt((await og.complete()).call_id)
    mixed = {**chat, "response": completion["response"]}
    mixed["chain"] = {**chat["chain"], "logs": completion["chain"]["logs"]}

    verification = receipts.verify(rehashed(mixed))

    assert results(verification)["output"] == "not_checked"
    assert verification.level == "none"


# After trouble


@pytest.mark.slow
@pytest.mark.parametrize("kept", ["full", "hashes"])
async def test_an_interrupted_call_is_settled_from_what_was_signed(
    localnet: LocalNetwork, tmp_path: Path, kept: str
) -> None:
    async with session(localnet, tmp_path, OG_RECEIPTS=kept) as opened:
        og = Asker(opened)
        await og.chat()
        before = transactions(localnet)
        for ask in (og.chat, og.complete):
            localnet.fault(SEND, "drop", times=99)
            with pytest.raises(TransactionPendingError) as doubt:
                await ask()
            localnet.clear_faults()
            await og.chat({"role": "user", "content": "Next"}, idempotency_key=doubt.value.call_id)

            settled = await opened.get_call(doubt.value.call_id)
            checked = await opened.verify_receipt(call_id=doubt.value.call_id, online=True)
            assert (settled.status, settled.transaction_hash) == (
                "done",
                doubt.value.transaction_hash,
            )
            assert checked.level == "confirmed"
            if kept == "full":
                answer = settled.result.get("content") or settled.result["text"]
                assert "built-in responder" in answer
        assert transactions(localnet) == before + 4


async def test_a_call_that_reverts_on_chain_tells_its_cost_and_has_a_receipt(
    og: Asker, localnet: LocalNetwork
) -> None:
    localnet.fault("eth_estimateGas", "result", result=hex(200_000))

    with pytest.raises(TransactionRevertedError, match="endless") as caught:
        await og.chat(tools=[ENDLESS])

    checked = await og.session.verify_receipt(call_id=caught.value.call_id, online=True)
    assert caught.value.stage is Stage.CHARGED
    assert caught.value.fee_wei > 0
    assert checked.level == "confirmed"
