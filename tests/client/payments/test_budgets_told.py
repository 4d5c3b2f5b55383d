"""What status, doctor and a dry run tell of a budget is what the next signature is held to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread
from mcp import Client

from og_mcp.client import Session
from og_mcp.client.budgets import ASK_S
from og_mcp.errors import ApprovalRequiredError, BudgetExceededError
from og_mcp.server import build_server
from tests.books import Purse
from tests.cli.program import inside
from tests.client.payments.chats import CAP, MODEL, OPG, chat, opg, paid, units
from tests.tools.calls import answer, refusal

CHAT: Mapping[str, Any] = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Who are you?"}],
}


def mcp_of(purse: Purse, **more: str) -> Client:
    return Client(build_server(Session.from_env({**purse.environ, **more})))


async def doctor(purse: Purse, **more: str) -> dict[str, Any]:
    done = await to_thread.run_sync(
        partial(inside, "doctor", "--json", environ={**purse.environ, **more})
    )
    return {finding["name"]: finding for finding in json.loads(done.stdout)}


async def test_t6_what_only_the_chain_shows_of_opg_is_told_as_it_counts(purse: Purse) -> None:
    async with purse.session() as og:
        await chat(og)
    spent = paid(purse)
    day = CAP + spent - 1
    more = {"OG_DATA_DIR": str(purse.folder / "another"), "OG_MAX_PER_DAY": opg(day)}

    async with mcp_of(purse, **more) as mcp:
        budget = (await answer(mcp, "status"))["budget"]
        refused = await refusal(mcp, "chat", **CHAT, dry_run=True)
        again = await answer(mcp, "status")
        held_to = await refusal(mcp, "chat", **CHAT)
    row = (await doctor(purse, **more))["payments"]

    assert (units(budget["spent_opg"]), units(budget["left_opg"])) == (spent, CAP - 1)
    assert (budget["open_opg"], budget["note"]) == ("0", "")
    assert "OG_MAX_PER_DAY" in refused
    assert held_to.startswith(refused)
    (problem,) = again["problems"]
    assert not again["ready"]
    assert "gateways ask for 0.1 OPG to be covered" in problem["what"]
    assert "OG_MAX_PER_DAY" in problem["fix"]
    assert (row["held"], row["detail"]) == (False, problem["what"])


async def test_t6_a_budget_that_is_enough_is_told_with_what_the_chain_shows(purse: Purse) -> None:
    async with purse.session() as og:
        await chat(og)
    spent = paid(purse)
    more = {"OG_DATA_DIR": str(purse.folder / "another"), "OG_MAX_PER_DAY": "1"}

    row = (await doctor(purse, **more))["payments"]

    left = f"{opg(OPG - spent).rstrip('0')} of 1 OPG left of this day's cap"
    assert (row["held"], row["detail"]) == (True, f"none open; {left}")


async def test_fees_are_told_apart_by_chain(used_purse: Purse) -> None:
    """The fixture's approve_opg was paid on the payment chain, in its coin."""
    sample = used_purse.localnet.ready["sample_models"][0]
    url = used_purse.localnet.ready["base_rpc_url"]
    left = int(used_purse.localnet.rpc("eth_getBalance", used_purse.address, "latest", url=url), 16)
    base = 10**18 - left
    async with mcp_of(used_purse) as mcp:
        before = await answer(mcp, "list_calls")
        inferred = await answer(
            mcp, "infer", model_cid=sample["cid"], model_input=sample["model_input"]
        )
        listed = await answer(mcp, "list_calls")
        budget = (await answer(mcp, "status"))["budget"]

    fee = inferred["fee_wei"]
    assert (before["fees_wei"], before["base_fees_wei"]) == ("0", str(base))
    assert (listed["fees_wei"], listed["base_fees_wei"]) == (fee, str(base))
    assert (listed["open_wei"], "base_open_wei" in listed) == ("0", False)
    assert (budget["spent_fee_wei"], budget["base_spent_fee_wei"]) == (fee, str(base))
    most = int(budget["max_fee_per_day_wei"])
    assert (int(budget["left_fee_wei"]), int(budget["base_left_fee_wei"])) == (
        most - int(fee),
        most - base,
    )


async def test_a_dry_run_is_held_to_the_days_fees_as_the_call_is(purse: Purse) -> None:
    sample = purse.localnet.ready["sample_models"][0]
    request = {"model_cid": sample["cid"], "model_input": sample["model_input"]}
    async with mcp_of(purse) as mcp:
        await answer(mcp, "infer", **request)

    async with mcp_of(purse, OG_MAX_FEE_PER_DAY="0.000000000000000001") as mcp:
        dry = await refusal(mcp, "infer", **request, dry_run=True)
        status = await answer(mcp, "status")
    rows = await doctor(purse, OG_MAX_FEE_PER_DAY="0.000000000000000001")

    assert "the cap of 0.000000000000000001 coins (1 wei) that OG_MAX_FEE_PER_DAY sets" in dry
    (problem,) = status["problems"]
    assert "OG_MAX_FEE_PER_DAY" in problem["what"]
    assert rows["fees"]["detail"] == problem["what"]


@pytest.mark.sweep(quick=2)
@pytest.mark.parametrize(
    ("caps", "variable", "words"),
    [
        ({"OG_MAX_PER_DAY": "0"}, "OG_MAX_PER_DAY", "is 0 OPG, so that no gateway is paid"),
        ({"OG_MAX_PER_CALL": "0"}, "OG_MAX_PER_CALL", "is 0 OPG, so that no gateway is paid"),
        ({"OG_MAX_FEE_PER_CALL": "0"}, "OG_MAX_FEE_PER_CALL", "no transaction is signed"),
        ({"OG_MAX_FEE_PER_DAY": "0"}, "OG_MAX_FEE_PER_DAY", "no transaction is signed"),
    ],
)
async def test_a_cap_of_nothing_is_a_problem_with_its_fix(
    purse: Purse, caps: dict[str, str], variable: str, words: str
) -> None:
    async with purse.session(**caps) as og:
        status = await og.status()

    (problem,) = status.problems
    assert not status.ready
    assert problem.what.startswith(variable)
    assert words in problem.what
    assert variable in problem.fix


async def test_a_cap_below_what_gateways_ask_for_is_a_problem_once_that_is_known(
    purse: Purse,
) -> None:
    async with purse.session() as og:
        await chat(og, dry_run=True)

    async with purse.session(OG_MAX_PER_CALL="0.09") as og:
        (problem,) = (await og.status()).problems

    assert (
        problem.what == "OG_MAX_PER_CALL is 0.09 OPG, and gateways ask for 0.1 OPG to be covered."
    )
    assert problem.fix == "Have the operator raise OG_MAX_PER_CALL to 0.1 or more."


async def test_too_small_a_balance_or_allowance_is_a_problem_once_the_price_is_known(
    purse: Purse,
) -> None:
    async with purse.session() as og:
        await chat(og, dry_run=True)
        with pytest.raises(ApprovalRequiredError) as asked:
            await og.approve_opg("0.05")
        await og.approve(asked.value.approval_of)
        await og.approve_opg("0.05")
        (problem,) = (await og.status()).problems

    assert "Permit2 may take 0.05 OPG alone" in problem.what
    assert "approve_opg" in problem.fix


async def test_a_dry_run_tells_that_an_open_payment_covers_the_call(purse: Purse) -> None:
    async with purse.session(OG_MAX_PER_DAY="0.15", OG_CONFIRM_ABOVE="0.1") as og:
        first = await chat(og)
        dry = await chat(og, dry_run=True)
        with pytest.raises(BudgetExceededError):
            await chat(og, dry_run=True, principal="another")
        with pytest.raises(BudgetExceededError):
            await og.completion(MODEL, "Once", dry_run=True)
        second = await chat(og, "And who am I?")

    details = {check.name: check.detail for check in dry.checks}
    assert "a payment that is open covers it" in details["caps"]
    assert details["consent"] == "nobody is asked first: nothing is signed"
    assert second.payment.cap_id == first.payment.cap_id


async def test_what_is_open_keeps_nobody_from_being_ready(purse: Purse) -> None:
    async with purse.session(OG_MAX_PER_DAY="0.15") as og:
        await chat(og)
        status = await og.status()

    assert (status.budget["open_opg"], status.budget["left_opg"]) == ("0.1", "0.05")
    assert status.ready


async def test_a_budget_has_the_same_keys_whatever_is_missing(purse: Purse, tmp_path: Path) -> None:
    key = "0x" + "11" * 32
    elsewhere = {
        "OG_NETWORK": "opengradient",
        "OG_DATA_DIR": str(tmp_path / "elsewhere"),
        "OG_RPC_URL": "http://127.0.0.1:9",
        "OG_CHAIN_ID": "10740",
        "OG_BASE_RPC_URL": "http://127.0.0.1:9",
        "OG_BASE_CHAIN_ID": "8453",
        "OG_ALLOW_INSECURE": "1",
    }
    async with purse.session() as og:
        whole = (await og.status()).budget
    async with Session.from_env(elsewhere) as og:
        unsigned = (await og.status()).budget
    async with Session.from_env({**elsewhere, "OG_PRIVATE_KEY": key}) as og:
        unreached = (await og.status()).budget
    purse.localnet.close_service("rpc")
    async with purse.session() as og:
        unnamed = (await og.status()).budget

    assert whole.keys() == unsigned.keys() == unreached.keys() == unnamed.keys()
    assert all(whole[name] for name in whole.keys() - {"note"})
    assert (unsigned["spent_opg"], unsigned["spent_fee_wei"], unsigned["note"]) == ("", "", "")
    told = [unreached[name] for name in ("spent_fee_wei", "base_spent_fee_wei", "spent_opg")]
    assert told == ["0", "0", "0"]
    assert unreached["note"].count("as the journal has it alone; the chain cannot be asked") == 3
    assert unnamed["spent_fee_wei"] == ""
    assert unnamed["note"] == "the network's chain: not known; the chain cannot be asked"
    assert unnamed["spent_opg"] == "0"


@pytest.mark.slow
async def test_a_payment_chain_that_does_not_answer_holds_status_up_for_a_moment_alone(
    purse: Purse,
) -> None:
    late = f"did not answer within {ASK_S:g} s"
    async with purse.session() as og:
        purse.localnet.latency(9.0, service="base_rpc")
        with anyio.fail_after(3 * ASK_S):
            first = await og.status()
        purse.localnet.reset()
        assert (await og.status()).ready
        purse.localnet.latency(9.0, service="base_rpc")
        with anyio.fail_after(3 * ASK_S):
            later = await og.status()

    assert first.budget["note"].count(late) == 2
    assert (first.budget["spent_opg"], first.budget["base_spent_fee_wei"]) == ("", "")
    # What the chain has shown once is known; what the wallet holds is not.
    assert (later.budget["note"], later.budget["spent_opg"]) == ("", "0")
    for status in (first, later):
        (problem,) = status.problems
        assert problem.what == f"The payment chain {late}."
        assert "OG_BASE_RPC_URL" in problem.fix


@pytest.mark.slow
@pytest.mark.parametrize("above", ["0", "0.05", "1000"])
async def test_a_dry_run_tells_whether_a_person_is_asked_first(purse: Purse, above: str) -> None:
    sample = purse.localnet.ready["sample_models"][0]
    on_chain = {"model": "meta-llama/Meta-Llama-3-8B-Instruct", "inference_mode": "VANILLA"}
    by_gateway: list[tuple[str, dict[str, Any]]] = [
        ("chat", dict(CHAT)),
        ("completion", {"model": MODEL, "prompt": "Once"}),
        ("generate_image", {"model": "openai/gpt-image-2", "prompt": "a boat"}),
    ]
    by_transaction: list[tuple[str, dict[str, Any]]] = [
        ("infer", {"model_cid": sample["cid"], "model_input": sample["model_input"]}),
        ("chat", {**CHAT, **on_chain}),
        ("completion", {"prompt": "Once", **on_chain}),
    ]
    asked = {"0": by_gateway + by_transaction, "0.05": by_gateway, "1000": []}[above]
    asked = [*asked, ("approve_opg", {"amount_opg": "1"})]
    others = [one for one in by_gateway + by_transaction if one not in asked]
    async with mcp_of(purse, OG_CONFIRM_ABOVE=above) as mcp:

        async def consent(tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
            checks = (await answer(mcp, tool, **arguments, dry_run=True))["checks"]
            (found,) = (check for check in checks if check["name"] == "consent")
            return dict(found)

        for tool, arguments in asked:
            check = await consent(tool, arguments)
            assert check["result"] == "not_checked"
            assert "a person is asked first" in check["detail"]
            assert "og-mcp calls approve" in await refusal(mcp, tool, **arguments)
        for tool, arguments in others:
            check = await consent(tool, arguments)
            assert (check["result"], check["source"]) == ("ok", "OG_CONFIRM_ABOVE")
