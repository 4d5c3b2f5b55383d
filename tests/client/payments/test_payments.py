"""Gateways are paid once, within the caps, and nothing unverified is shown, whatever they do."""

from __future__ import annotations

import base64
import json
import logging
import shutil
from itertools import pairwise
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from og_mcp.client import Session, Timeouts
from og_mcp.errors import (
    AllowanceError,
    AnswerLostError,
    ApprovalRequiredError,
    BudgetExceededError,
    GatewayRejectedError,
    OGError,
    PaymentRejectedError,
    VerificationError,
)
from og_mcp.journal import open_journal
from og_mcp.types import ChatResult, OPGCaps, Stage
from tests import journal_worker
from tests.books import Purse
from tests.client.payments.chats import (
    CAP,
    CHAT,
    MODEL,
    OPG,
    chat,
    of_payer,
    opg,
    paid,
    settled,
    the_account,
    units,
)
from tests.localnet_client import LocalNetwork

SENTENCE = "built-in responder"


async def test_calls_share_a_session_and_the_journal_agrees_with_the_chain(purse: Purse) -> None:
    async with purse.session() as og:
        results = [await chat(og, f"Question {number}") for number in range(3)]
        caps = {result.payment.cap_id for result in results}
        before = paid(purse)
        told = [await og.get_call(result.call_id) for result in results]
        listed = await og.list_calls()
        receipt = await og.receipt(results[0].call_id)

    assert len(caps) == 1
    assert settled(purse) == [before]
    assert before > 0
    for info in told:
        assert info.stage is Stage.CONFIRMED
        assert units(info.payment.amount_opg) == before
        assert info.result["payment"]["transaction_hash"] == info.payment.transaction_hash
    assert listed.spent_opg == told[0].payment.amount_opg
    assert listed.open_opg == "0"
    assert receipt["payment"]["amount_opg"] == told[0].payment.amount_opg


LIES = [
    "wrong_signature",
    "wrong_request_hash",
    "wrong_output_hash",
    "wrong_tee_id",
    "old_timestamp",
    "other_text",
]


@pytest.mark.slow
@pytest.mark.parametrize("how", LIES)
async def test_t18_an_answer_that_is_not_what_its_tee_signed_is_withheld(
    purse: Purse, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    purse.localnet.spoil(how)

    async with purse.session() as og:
        with pytest.raises(VerificationError) as failed:
            await chat(og, idempotency_key="lie")
        info = await og.get_call(failed.value.call_id)
        receipt = await og.receipt(failed.value.call_id)
        verification = await og.verify_receipt(receipt)
        with pytest.raises(OGError, match="cannot be verified"):
            await chat(og, idempotency_key="lie")

    assert info.stage in {Stage.CHARGED, Stage.CONFIRMED}
    assert SENTENCE not in str(failed.value) + str(info) + caplog.text
    assert not verification.valid
    assert len(of_payer(purse, purse.localnet.sessions())) == 1
    assert paid(purse) <= CAP


async def _ignore(_count: int) -> None:
    """Hear progress: the answer is streamed then."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "error", "streams"),
    [
        ("cut", AnswerLostError, False),
        ("cut", AnswerLostError, True),
        ("not_json", AnswerLostError, False),
        ("wrong_shape", (AnswerLostError, VerificationError), False),
        ("error_frame", GatewayRejectedError, False),
        ("error_frame", GatewayRejectedError, True),
        ("redirect", GatewayRejectedError, False),
        ("huge", AnswerLostError, False),
    ],
)
async def test_what_is_no_answer_is_told_and_asked_for_once(
    purse: Purse,
    how: str,
    error: type[OGError],
    streams: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    purse.localnet.reset_counters("gateway")
    purse.localnet.spoil(how)

    async with purse.session(OG_MAX_PER_DAY="0.3") as og:
        with pytest.raises(error) as failed:
            await chat(og, on_progress=_ignore if streams else None)

    assert isinstance(failed.value, OGError)
    assert failed.value.stage is not Stage.NOT_SENT
    assert SENTENCE not in str(failed.value) + caplog.text
    calls = purse.localnet.counters("gateway")["calls"]
    # The challenge and the one paid request; a redirect is followed by none (T10).
    assert sum(calls.values()) == 2
    assert len(of_payer(purse, purse.localnet.sessions())) <= 1


async def test_a_gateway_that_is_busy_costs_nothing_before_it_is_paid(purse: Purse) -> None:
    purse.localnet.fault(CHAT, "status", service="gateway", status=503, times=10)

    async with purse.session() as og:
        with pytest.raises(GatewayRejectedError, match="503") as failed:
            await chat(og)

    assert failed.value.stage is Stage.NOT_SENT
    assert paid(purse) == 0


async def test_a_read_timeout_after_the_payment_is_in_doubt_and_not_repeated(purse: Purse) -> None:
    async with purse.session(Timeouts(gateway_s=1.0)) as og:
        await chat(og, "first")
        purse.localnet.fault(CHAT, "hang", service="gateway", limit_s=4.0)
        purse.localnet.reset_counters("gateway")
        with pytest.raises(AnswerLostError) as failed:
            await chat(og, "second", idempotency_key="hangs")
        with pytest.raises(OGError):
            await chat(og, "second", idempotency_key="hangs")
        info = await og.get_call(failed.value.call_id)

    assert info.status == "failed"
    assert info.stage is Stage.SENT_UNKNOWN
    assert sum(purse.localnet.counters("gateway")["calls"].values()) == 1


async def test_above_the_threshold_a_person_is_asked_first(purse: Purse) -> None:
    async with purse.session(OG_CONFIRM_ABOVE="0.05") as og:
        with pytest.raises(ApprovalRequiredError, match=r"0\.1 OPG") as asked:
            await chat(og)
        await og.approve(asked.value.approval_of)
        result = await chat(og)

    assert result.status == "done"


async def test_402_twice_is_told_and_signed_once(purse: Purse) -> None:
    purse.localnet.refuse_payments(5)

    async with purse.session() as og:
        with pytest.raises(PaymentRejectedError) as failed:
            await chat(og)
        listed = await og.list_calls()

    assert failed.value.stage is Stage.SENT_UNKNOWN
    assert listed.open_opg == "0.1"
    assert paid(purse) == 0


async def test_a_changed_price_is_signed_for_once_more(purse: Purse) -> None:
    purse.localnet.terms(after_challenges=1, amount=str(CAP // 2))

    async with purse.session() as og:
        result = await chat(og)

    assert result.payment.max_opg == "0.05"


async def test_an_ended_session_is_followed_by_one_new_signature(purse: Purse) -> None:
    async with purse.session() as og:
        first = await chat(og, "first")
        purse.localnet.end_sessions()
        async with anyio.create_task_group() as group:
            for number in range(8):
                group.start_soon(chat, og, f"again {number}")
        last = await chat(og, "last")

    assert last.payment.cap_id != first.payment.cap_id
    assert len(of_payer(purse, purse.localnet.sessions())) <= 2


async def test_gateways_without_sessions_are_paid_by_the_request(purse: Purse) -> None:
    purse.localnet.payment_mode(sessions=False)
    results: list[ChatResult] = []

    async def one(og: Session, number: int) -> None:
        results.append(await chat(og, f"Question {number}"))

    async with purse.session() as og, anyio.create_task_group() as group:
        for number in range(5):
            group.start_soon(one, og, number)

    assert len({result.payment.cap_id for result in results}) == 5
    assert sum(settled(purse)) == paid(purse)


@pytest.mark.slow
async def test_many_first_calls_at_a_gateway_without_sessions_are_all_answered(
    purse: Purse,
) -> None:
    purse.localnet.payment_mode(sessions=False)
    # All of them are asked to pay before the first has learned that sessions are not kept.
    purse.localnet.fault(CHAT, "delay", service="gateway", delay_s=0.5, times=30)
    results: list[ChatResult] = []

    async def one(og: Session, number: int) -> None:
        results.append(await chat(og, f"Question {number}"))

    async with purse.session() as og, anyio.create_task_group() as group:
        await og.status()
        for number in range(30):
            group.start_soon(one, og, number)

    assert len({result.payment.cap_id for result in results}) == 30
    assert sum(settled(purse)) == paid(purse)


async def test_t8_calls_that_only_waited_for_a_refused_payment_sent_nothing(
    purse: Purse,
) -> None:
    purse.localnet.refuse_payments(100)
    ended: list[PaymentRejectedError] = []

    async def one(og: Session, number: int) -> None:
        with pytest.raises(PaymentRejectedError) as failed:
            await chat(og, f"Question {number}", idempotency_key=f"key {number}")
        ended.append(failed.value)

    async with purse.session() as og:
        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(one, og, number)
        calls = (await og.list_calls(limit=30)).calls
        open_opg = (await og.list_calls()).open_opg

    chats = [call for call in calls if call.tool == "chat"]
    signed = [call for call in chats if call.payment.cap_id]
    assert len(chats) == len(ended) == 20
    assert all(call.stage is Stage.SENT_UNKNOWN for call in signed)
    assert {call.stage for call in chats if call not in signed} <= {Stage.NOT_SENT}
    assert units(open_opg) == CAP * len(signed)
    assert len(signed) < 20
    assert paid(purse) == 0


async def test_a_remembered_price_makes_the_first_chat_of_a_process_one_request(
    purse: Purse,
) -> None:
    async with purse.session() as og:
        await chat(og, "first")
    purse.localnet.reset_counters("gateway")

    async with purse.session() as og:
        await chat(og, "second")
        await chat(og, "third")

    assert sum(purse.localnet.counters("gateway")["calls"].values()) == 2


async def test_t6_the_day_counts_what_the_chain_shows_where_the_journal_is_gone(
    purse: Purse,
) -> None:
    async with purse.session() as og:
        await chat(og)
    spent = paid(purse)
    shutil.rmtree(purse.folder / "data")

    async with purse.session(OG_MAX_PER_DAY=opg(CAP + spent - 1)) as og:
        with pytest.raises(BudgetExceededError, match="OG_MAX_PER_DAY"):
            await chat(og, "again")


async def test_without_an_allowance_the_error_says_what_to_call(
    localnet: LocalNetwork, tmp_path: Path
) -> None:
    purse = Purse(localnet, tmp_path)
    localnet.fund_opg(purse.address, OPG)

    async with purse.session() as og:
        with pytest.raises(AllowanceError, match="approve_opg"):
            await chat(og)
        status = await og.status()

    assert not status.ready
    assert any("approve_opg" in problem.fix for problem in status.problems)


async def test_t21_principals_share_no_session(purse: Purse) -> None:
    async with purse.session() as og:
        mine = await chat(og, "mine")
        theirs = await chat(og, "theirs", principal="http")
        with pytest.raises(OGError, match="There is no call"):
            await og.get_call(mine.call_id, principal="http")

    assert mine.payment.cap_id != theirs.payment.cap_id


async def test_t29_no_bearer_secret_is_written_down(
    purse: Purse, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with purse.session() as og:
        await chat(og)
        [slot] = (await og._resources()).payments.opened._slots.values()  # type: ignore[union-attr]  # noqa: SLF001 - the secrets themselves
        assert slot.session is not None
        secrets = [slot.session.id, slot.session.signature]
    written = b"".join(
        path.read_bytes() for path in (purse.folder / "data").rglob("*") if path.is_file()
    )

    assert all(secrets)
    for secret in secrets:
        assert secret.encode() not in written
        assert secret not in caplog.text


async def test_100_chats_at_once_are_one_session_and_agree_with_the_chain(purse: Purse) -> None:
    results: list[ChatResult] = []

    async def one(og: Session, number: int) -> None:
        results.append(await chat(og, f"Question {number}"))

    async with purse.session() as og:
        async with anyio.create_task_group() as group:
            for number in range(100):
                group.start_soon(one, og, number)
        opened = of_payer(purse, purse.localnet.sessions())
        spent = paid(purse)
        await og.get_call(results[0].call_id)
        listed = await og.list_calls()

    assert len(results) == 100
    assert all(result.verification.status == "local" for result in results)
    assert len(opened) == 1
    assert sum(settled(purse)) == spent
    assert units(listed.spent_opg) == spent


@pytest.mark.slow
async def test_100_chats_at_once_never_pass_the_day_by_one_unit(purse: Purse) -> None:
    purse.localnet.payment_mode(sessions=False)
    day = 7 * CAP + CAP // 2
    account, limits = await the_account(purse), OPGCaps(per_call=CAP, per_day=day)
    ended: list[ChatResult | OGError] = []
    seen: list[int] = []

    async def one(og: Session, number: int) -> None:
        try:
            ended.append(await chat(og, f"Question {number}"))
        except OGError as exc:
            ended.append(exc)

    async def watch() -> None:
        async with open_journal(purse.settings()) as journal:
            while len(ended) < 100:
                budget = await journal.opg_budget(account, limits)
                seen.append(budget.spent + budget.open)
                await anyio.sleep(0.005)

    async with (
        purse.session(OG_MAX_PER_DAY="0.75") as og,
        anyio.create_task_group() as group,
    ):
        group.start_soon(watch)
        for number in range(100):
            group.start_soon(one, og, number)

    refused = [end for end in ended if isinstance(end, OGError)]
    assert all(isinstance(end, BudgetExceededError) for end in refused), refused
    assert len(ended) - len(refused) >= 7
    assert max(seen) <= day
    assert paid(purse) <= day


async def test_t2_the_offered_extension_is_answered_by_nothing(purse: Purse) -> None:
    before = purse.localnet.allowance(purse.address)

    async with purse.session() as og:
        await chat(og)
        [slot] = (await og._resources()).payments.opened._slots.values()  # type: ignore[union-attr]  # noqa: SLF001 - what was sent
        assert slot.session is not None
        sent = json.loads(base64.b64decode(slot.session.signature))

    assert not sent.get("extensions")
    assert sent["payload"].keys() == {"permit2Authorization", "signature"}
    assert purse.localnet.allowance(purse.address) == before


@pytest.mark.slow
async def test_a_chat_among_100_at_once_keeps_less_than_a_mebibyte(purse: Purse) -> None:
    with journal_worker.running(purse.environ) as worker:
        held = [
            await to_thread.run_sync(_memory_after, worker, chats) for chats in (1, 100, 100, 100)
        ]

    grown = [(after - before) / 100 for before, after in pairwise(held)]
    assert max(grown) < 1


def _memory_after(worker: journal_worker.Worker, chats: int) -> float:
    """Return the MiB that a process holds after so many chats at once."""
    for number in range(chats):
        worker.ask_chat(MODEL, f"Question {number} {'word ' * 100}")
    answers = [worker.answer() for _ in range(2 * chats)]
    assert sum(answer["status"] == "done" for answer in answers) == chats
    status = Path(f"/proc/{worker.process.pid}/status").read_text(encoding="ascii")
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024
