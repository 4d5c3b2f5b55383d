"""Exposure is settled plus open, by the chain's own word, and no cap is passed by one base unit."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import nullcontext

import anyio
import pytest
from anyio import to_thread
from eth_abi.abi import encode
from eth_account import Account as Keys
from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from og_mcp.client import Session
from og_mcp.client.payments.clock import check_clock
from og_mcp.errors import (
    AllowanceError,
    ApprovalRequiredError,
    BudgetExceededError,
    ClockError,
    FeeCapError,
    OGError,
)
from og_mcp.journal import open_journal
from og_mcp.types import OPGCaps, Stage
from tests import journal_worker
from tests.books import Purse
from tests.client.payments.chats import (
    CAP,
    OPG,
    chat,
    of_payer,
    opg,
    paid,
    settled,
    the_account,
    units,
)

IMAGES = "openai/gpt-image-2"


async def test_what_an_earlier_process_left_open_is_looked_up_before_the_day_is_in_the_way(
    purse: Purse,
) -> None:
    async with purse.session() as og:
        await chat(og, "first")
    spent = paid(purse)
    day = opg(CAP + spent)

    # The journal has it as open still: together they would pass the day's cap.
    async with purse.session(OG_MAX_PER_DAY=day, OG_WAIT_S="5") as og:
        second = await chat(og, "second")
        with pytest.raises(BudgetExceededError, match="OG_MAX_PER_DAY"):
            await chat(og, "third", principal="http")
        listed = await og.list_calls()

    assert second.status == "done"
    assert units(listed.spent_opg) == spent


async def test_t6_a_deleted_journal_gives_nothing_back_for_a_day_however_often_it_is_opened(
    purse: Purse,
) -> None:
    async with purse.session() as og:
        await chat(og, "first")
    before = paid(purse)
    shutil.rmtree(purse.folder / "data")
    day = opg(CAP + before)

    async with purse.session(OG_MAX_PER_DAY=day) as og:
        await chat(og, "second")
    after = paid(purse)
    async with purse.session(OG_MAX_PER_DAY=day) as og:
        # What it has paid since counts on top of what the chain has shown.
        with pytest.raises(BudgetExceededError) as refused:
            await chat(og, "third")
        dry = await _dry_run(og)

    assert after > before
    assert (refused.value.spent, refused.value.open) == (after, 0)
    assert isinstance(dry, BudgetExceededError)


async def test_t6_payments_to_gateways_that_are_gone_count_and_own_transfers_do_not(
    purse: Purse,
) -> None:
    elsewhere = Keys.create().address
    purse.localnet.change_tee(payment_address=elsewhere)
    purse.localnet.terms(payTo=elsewhere)
    async with purse.session() as og:
        await chat(og, "first")
    before = paid(purse)
    send(purse, purse.localnet.ready["opg_token"], "transfer(address,uint256)", [elsewhere, OPG])
    shutil.rmtree(purse.folder / "data")
    purse.localnet.reset()

    async with purse.session(OG_MAX_PER_DAY=opg(CAP + before - 1)) as og:
        with pytest.raises(BudgetExceededError) as refused:
            await chat(og, "second")

    assert refused.value.spent == before


async def test_a_revoked_allowance_is_not_signed_on(purse: Purse) -> None:
    async with purse.session() as og:
        await chat(og, "first")
        await approve(og, "0")
        with pytest.raises(AllowanceError, match="approve_opg"):
            await chat(og, "second", principal="http")
        await approve(og, "1")
        assert (await chat(og, "third", principal="http")).status == "done"

    assert purse.localnet.allowance(purse.address) == OPG


async def test_t3_a_clock_that_is_behind_the_chain_signs_nothing(purse: Purse) -> None:
    url = purse.localnet.ready["base_rpc_url"]
    block = purse.localnet.rpc("eth_getBlockByNumber", "latest", False, url=url)
    later = {**block, "timestamp": hex(int(block["timestamp"], 16) + 1000)}

    async with purse.session() as og:
        purse.localnet.fault(
            "eth_getBlockByNumber", "result", service="base_rpc", result=later, times=1000
        )
        with pytest.raises(ClockError, match=r"behind the payment chain's newest block") as failed:
            await chat(og, "first")
        purse.localnet.clear_faults("base_rpc")
        second = await chat(og, "second")

    assert failed.value.stage is Stage.NOT_SENT
    assert -1100 < failed.value.ahead_s < -900
    assert second.status == "done"


@pytest.mark.parametrize(
    ("ahead_s", "is_idle", "is_fit"),
    [
        (120, False, True),
        (121, False, False),
        (10**6, True, True),
        (-120, False, True),
        (-121, True, False),
    ],
)
def test_t3_nothing_is_signed_by_a_clock_more_than_two_minutes_from_the_chains(
    *, ahead_s: int, is_idle: bool, is_fit: bool
) -> None:
    with nullcontext() if is_fit else pytest.raises(ClockError):
        check_clock(ahead_s, is_idle=is_idle)


async def test_an_approval_passes_no_cap_on_fees(purse: Purse) -> None:
    async with purse.session(OG_MAX_FEE_PER_CALL="0.000000000000000001") as og:
        with pytest.raises(FeeCapError, match="OG_MAX_FEE_PER_CALL"):
            await og.approve_opg("7", dry_run=True)
        with pytest.raises(FeeCapError, match="OG_MAX_FEE_PER_CALL") as refused:
            await approve(og, "7")

    assert refused.value.stage is Stage.NOT_SENT
    assert purse.localnet.allowance(purse.address) == 50 * OPG


@pytest.mark.slow
@pytest.mark.parametrize("sessions", [True, False], ids=["sessions", "single payments"])
async def test_100_chats_and_images_at_once_never_pass_a_cap_by_one_unit(
    purse: Purse, *, sessions: bool
) -> None:
    purse.localnet.payment_mode(sessions=sessions)
    day = 7 * CAP + CAP // 2
    account, limits = await the_account(purse), OPGCaps(per_call=CAP, per_day=day)
    refused: list[OGError] = []
    done: list[str] = []
    exposed: list[int] = []

    async def one(ask: Callable[[], Awaitable[object]], what: str) -> None:
        try:
            await ask()
        except OGError as exc:
            refused.append(exc)
        else:
            done.append(what)

    async def watch() -> None:
        async with open_journal(purse.settings()) as journal:
            while len(refused) + len(done) < 100:
                budget = await journal.opg_budget(account, limits)
                exposed.append(budget.spent + budget.open)
                assert max(signed_by_call(purse).values(), default=0) <= CAP
                await anyio.sleep(0.005)

    async with (
        purse.session(OG_MAX_PER_DAY=opg(day), OG_MAX_PER_CALL=opg(CAP)) as og,
        anyio.create_task_group() as group,
    ):
        group.start_soon(watch)
        for number in range(50):
            group.start_soon(one, lambda n=number: chat(og, f"Question {n}"), "chat")
            group.start_soon(one, lambda n=number: og.generate_image(IMAGES, f"Image {n}"), "image")

    assert all(isinstance(error, BudgetExceededError) for error in refused), refused
    assert set(done) == {"chat", "image"} if sessions else len(done) >= 7
    assert len(exposed) > 1
    assert max(exposed) <= day
    assert max(signed_by_call(purse).values()) == CAP
    if sessions:
        # Chats and images go the same way to the same gateway.
        assert (len(done), len(of_payer(purse, purse.localnet.sessions()))) == (100, 1)
    spent = paid(purse)
    assert sum(settled(purse)) == spent <= day


@pytest.mark.slow
@pytest.mark.parametrize("sessions", [True, False], ids=["sessions", "single payments"])
async def test_two_processes_of_one_journal_share_the_day_and_open_a_session_each(
    purse: Purse, *, sessions: bool
) -> None:
    purse.localnet.payment_mode(sessions=sessions)
    day = 7 * CAP + CAP // 2
    account, limits = await the_account(purse), OPGCaps(per_call=5 * CAP, per_day=day)
    exposed: list[int] = []
    environ = {**purse.environ, "OG_MAX_PER_DAY": opg(day)}
    chats = 25

    def ask_all(worker: journal_worker.Worker, who: str) -> list[dict[str, str]]:
        for number in range(chats):
            worker.ask_chat("openai/gpt-5.4-mini", f"Question {number} of {who}")
        answers = [worker.answer() for _ in range(2 * chats)]
        return [answer for answer in answers if answer["status"] != "asked"]

    answers: list[dict[str, str]] = []
    # On a machine that is busy, neither may be taken for dead.
    with (
        journal_worker.running(environ, lease_s=60) as first,
        journal_worker.running(environ, lease_s=60) as second,
    ):

        async def one(worker: journal_worker.Worker, who: str) -> None:
            answers.extend(await to_thread.run_sync(ask_all, worker, who))

        async def watch() -> None:
            async with open_journal(purse.settings()) as journal:
                while len(answers) < 2 * chats:
                    budget = await journal.opg_budget(account, limits)
                    exposed.append(budget.spent + budget.open)
                    await anyio.sleep(0.01)

        with anyio.fail_after(120):
            async with anyio.create_task_group() as group:
                group.start_soon(watch)
                group.start_soon(one, first, "the first")
                group.start_soon(one, second, "the second")
        opened = of_payer(purse, purse.localnet.sessions())
    spent = paid(purse)
    async with purse.session() as og:
        await og.status()
        listed = await og.list_calls(limit=100)

    done = [answer for answer in answers if answer["status"] == "done"]
    others = [answer for answer in answers if answer not in done]
    assert [one for one in others if "OG_MAX_PER_DAY" not in one["error"]] == []
    assert max(exposed) <= day
    if sessions:
        assert (len(done), len(opened)) == (2 * chats, 2)
    else:
        assert len(done) >= 7
    assert (units(listed.spent_opg), listed.open_opg) == (spent, "0")
    assert sum(settled(purse)) == spent <= day
    assert len(listed.calls) == 2 * chats


@pytest.mark.slow
async def test_a_settlement_is_found_behind_ten_thousand_blocks(
    fresh_purse: Purse,
) -> None:
    purse = fresh_purse
    async with purse.session() as og:
        first = await chat(og, "first")
    spent = paid(purse)
    for _ in range(11):
        purse.localnet.mine(1000, chain="base_rpc")
    async with purse.session() as og:
        await og.status()
        told = await og.get_call(first.call_id)

    assert units(told.payment.amount_opg) == spent


def signed_by_call(purse: Purse) -> dict[str, int]:
    """Sum what is signed and not void, by the call that it was signed for."""
    sums: dict[str, int] = defaultdict(int)
    rows = "SELECT opened_by, max_opg FROM caps WHERE status != 'void'"
    with sqlite3.connect(purse.folder / "data" / "journal.db") as database:
        for call, max_opg in database.execute(rows):
            sums[call] += int(max_opg)
    return sums


async def approve(og: Session, amount: str) -> None:
    """Set the allowance, with a person's consent."""
    try:
        await og.approve_opg(amount)
    except ApprovalRequiredError as exc:
        await og.approve(exc.approval_of)
        await og.approve_opg(amount)


async def _dry_run(og: Session) -> OGError | None:
    try:
        await chat(og, "dry", dry_run=True)
    except OGError as exc:
        return exc
    return None


def send(purse: Purse, contract: str, function: str, values: list[object]) -> None:
    """Send a transaction of the wallet's own on the payment chain."""
    account = json.loads((purse.folder / "ready.json").read_text())["accounts"][0]
    wallet: LocalAccount = Keys.from_key(account["private_key"])
    base = purse.localnet.ready
    url, kinds = base["base_rpc_url"], function.partition("(")[2].rstrip(")").split(",")
    data = keccak(text=function)[:4] + encode(kinds, values)
    signed = wallet.sign_transaction(
        {
            "to": to_checksum_address(contract),
            "data": data,
            "value": 0,
            "gas": 200_000,
            "gasPrice": int(purse.localnet.rpc("eth_gasPrice", url=url), 16),
            "nonce": int(
                purse.localnet.rpc("eth_getTransactionCount", wallet.address, "latest", url=url), 16
            ),
            "chainId": base["base_chain_id"],
        }
    )
    raw = "0x" + bytes(signed.raw_transaction).hex()
    hash_ = purse.localnet.rpc("eth_sendRawTransaction", raw, url=url)
    assert purse.localnet.rpc("eth_getTransactionReceipt", hash_, url=url)["status"] == "0x1"
