"""Signed maxima: recorded before they are signed, within the limits, until the chain ends them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from og_mcp.calls import Journal
from og_mcp.errors import (
    BudgetExceededError,
    CallNotFoundError,
    CallStateError,
    JournalError,
    OPGCapError,
)
from og_mcp.journal import open_journal
from og_mcp.journal._opened import database_of
from og_mcp.settings import Settings
from og_mcp.types import Call, Cap, OPGCaps, Stage
from tests.journal.paying import LIMITS, MOST, OPG, PAYER, cap_for, paid_call, wanting
from tests.journal.steps import asking, opened, sign, signed_call

DAY_US = 24 * 3600 * 10**6


async def answered(journal: Journal) -> tuple[Call, str]:
    """Open a call, sign a maximum, and have its answer; returns the maximum's id."""
    call, cap = await paid_call(journal)
    await journal.settle(call.id, Stage.CHARGED, 0, '{"content": "hi"}', "{}")
    return await journal.get(call.id, "local"), cap.id


async def spent_and_open(journal: Journal) -> tuple[int, int]:
    budget = await journal.opg_budget(PAYER, LIMITS)
    assert budget.left == LIMITS.per_day - budget.spent - budget.open
    return budget.spent, budget.open


async def test_a_signed_maximum_is_open_and_its_call_in_doubt_before_it_is_signed(
    journal: Journal,
) -> None:
    call = await opened(journal, tool="chat")
    request = wanting()

    cap = await journal.open_cap(call.id, request, LIMITS)

    assert (cap.status, cap.amount_opg, cap.transaction_hash) == ("open", 0, "")
    assert len(bytes.fromhex(cap.id)) == 16
    assert all(getattr(cap, name) == value for name, value in vars(request).items())
    found = await journal.get(call.id, "local")
    assert (found.status, found.stage, found.cap) == ("running", Stage.SENT_UNKNOWN, cap)
    assert await journal.cap(cap.id) == cap
    assert await journal.open_caps() == await journal.open_caps(PAYER) == (cap,)
    assert await spent_and_open(journal) == (0, MOST)


async def test_recording_a_payment_twice_records_one(journal: Journal) -> None:
    call, request = await opened(journal), wanting()

    caps = [await journal.open_cap(call.id, request, LIMITS) for _ in range(2)]

    assert caps[0] == caps[1]
    assert await journal.open_caps() == (caps[0],)


async def test_a_settlement_that_is_gone_is_open_again_and_in_no_sum(journal: Journal) -> None:
    call, cap_id = await answered(journal)
    for _ in range(2):
        await journal.settle_cap(cap_id, 7, "0x" + "ab" * 32)
        settled = await spent_and_open(journal), (await journal.get(call.id, "local")).stage
        reversible = await journal.reversible_caps(PAYER, 1_799_999_999)
        await journal.reopen_cap(cap_id)
        await journal.reopen_cap(cap_id)
        reopened = await spent_and_open(journal), (await journal.get(call.id, "local")).stage

        assert (settled, reopened) == (((7, 0), Stage.CONFIRMED), ((0, MOST), Stage.CHARGED))
        assert [cap.id for cap in reversible] == [cap_id]
        assert await journal.reversible_caps(PAYER, 1_800_000_000) == ()
    cap = await journal.cap(cap_id)
    assert (cap.status, cap.amount_opg, cap.transaction_hash) == ("open", 0, "")
    assert await journal.opg_totals() == (0, MOST)


async def test_a_nonce_that_was_signed_is_not_signed_for_another_call(journal: Journal) -> None:
    _, cap = await paid_call(journal)

    with pytest.raises(CallStateError, match="nonce was signed before"):
        await cap_for(journal, await opened(journal), nonce=cap.nonce)
    assert await journal.open_caps() == (cap,)


async def test_an_answered_call_is_confirmed_once_its_maximum_is_settled(journal: Journal) -> None:
    call, cap_id = await answered(journal)
    assert (call.status, call.stage, call.amount_opg) == ("done", Stage.CHARGED, 0)

    for amount in (MOST // 4, MOST):
        await journal.settle_cap(cap_id, amount, "0xaa")

    found = await journal.get(call.id, "local")
    assert (found.stage, found.amount_opg, found.fee_wei) == (Stage.CONFIRMED, MOST // 4, 0)
    assert found.cap is not None
    assert (found.cap.status, found.cap.transaction_hash) == ("settled", "0xaa")
    assert await spent_and_open(journal) == (MOST // 4, 0)
    assert await journal.opg_totals() == (MOST // 4, 0)
    assert await journal.open_caps() == ()


async def test_an_answer_that_comes_after_the_settlement_is_confirmed(journal: Journal) -> None:
    call, cap = await paid_call(journal)
    await journal.settle_cap(cap.id, MOST, "0xaa")

    await journal.settle(call.id, Stage.CHARGED, 0, "{}")

    assert (await journal.get(call.id, "local")).stage is Stage.CONFIRMED


async def test_a_failure_that_was_paid_for_is_confirmed_with_its_maximum(journal: Journal) -> None:
    call, cap = await paid_call(journal)
    await journal.fail(call.id, Stage.CHARGED, "the proof does not hold", receipt="{}")

    await journal.settle_cap(cap.id, 5, "0xaa")

    found = await journal.get(call.id, "local")
    assert (found.status, found.stage, found.receipt) == ("failed", Stage.CONFIRMED, "{}")


async def test_a_call_in_doubt_stays_so_when_its_maximum_is_settled(journal: Journal) -> None:
    call, cap = await paid_call(journal)
    await journal.fail(call.id, Stage.SENT_UNKNOWN, "no answer")

    await journal.settle_cap(cap.id, 5, "0xaa")

    assert (await journal.get(call.id, "local")).stage is Stage.SENT_UNKNOWN


TOLD = 7
LOST = asking(request_hash="aa", idempotency_key="k", tool="chat")


async def lost_beside_an_answer(journal: Journal) -> tuple[Call, Cap]:
    """Lose the answer of a call whose maximum pays for another one, too, which told its cost."""
    first, cap = await paid_call(journal)
    await journal.settle(first.id, Stage.CHARGED, 0, "{}", told_opg=TOLD)
    lost = (await journal.open_call(LOST)).call
    await journal.pay_by(lost.id, cap.id)
    await journal.fail(lost.id, Stage.SENT_UNKNOWN, "no answer")
    return lost, cap


@pytest.mark.parametrize(("settled", "is_free"), [(0, True), (TOLD, True), (TOLD + 1, False)])
async def test_a_lost_call_is_free_again_where_the_answered_ones_alone_were_paid(
    journal: Journal, settled: int, is_free: bool
) -> None:
    lost, cap = await lost_beside_an_answer(journal)
    before = await journal.open_call(LOST)
    await journal.settle_cap(cap.id, settled, "0xaa")

    after = await journal.open_call(LOST)

    assert (before.joined, before.call.id) == (True, lost.id)
    assert (after.joined, after.call.id) == (not is_free, lost.id)
    if is_free:
        assert (after.call.status, after.call.stage) == ("running", Stage.NOT_SENT)
        assert after.call.cap is None
    else:
        assert (after.call.status, after.call.stage) == ("failed", Stage.SENT_UNKNOWN)


async def test_a_lost_call_is_taken_once_and_paid_anew(journal: Journal) -> None:
    lost, cap = await lost_beside_an_answer(journal)
    await journal.settle_cap(cap.id, TOLD, "0xaa")

    first, second = [await journal.open_call(LOST) for _ in range(2)]
    another = await cap_for(journal, first.call)
    await journal.drop_cap(another.id)
    found = await journal.get(lost.id, "local")

    assert (first.joined, second.joined) == (False, True)
    # What was signed first is over, and says nothing of this try.
    assert (found.stage, found.cap) == (Stage.NOT_SENT, None)


async def test_a_lost_call_stays_in_doubt_where_its_settlement_is_gone(journal: Journal) -> None:
    _, cap = await lost_beside_an_answer(journal)
    await journal.settle_cap(cap.id, TOLD, "0xaa")
    await journal.reopen_cap(cap.id)

    assert (await journal.open_call(LOST)).joined


@pytest.mark.parametrize("end", ["open", "settled", "void"])
async def test_a_lost_call_is_free_once_all_that_was_signed_for_it_has_ended_without_it(
    journal: Journal, end: str
) -> None:
    lost = (await journal.open_call(LOST)).call
    older, newer = [await cap_for(journal, lost) for _ in range(2)]
    await journal.fail(lost.id, Stage.SENT_UNKNOWN, "no answer")
    await journal.settle_cap(newer.id, 0, "0xaa")
    if end == "settled":
        await journal.settle_cap(older.id, 1, "0xbb")
    elif end == "void":
        await journal.void_cap(older.id)

    assert (await journal.open_call(LOST)).joined == (end != "void")


async def test_a_call_with_an_open_maximum_cannot_fail_as_if_nothing_was_sent(
    journal: Journal,
) -> None:
    call, _ = await paid_call(journal)

    with pytest.raises(CallStateError, match="fail at not_sent"):
        await journal.fail(call.id, Stage.NOT_SENT, "refused")


async def test_a_void_maximum_confirms_answers_and_takes_back_failures(journal: Journal) -> None:
    """T7."""
    first, cap = await paid_call(journal)
    others = [await opened(journal, idempotency_key=key) for key in ("k", "")]
    for call in others:
        await journal.pay_by(call.id, cap.id)
    await journal.settle(first.id, Stage.CHARGED, 0, "{}")
    await journal.fail(others[0].id, Stage.SENT_UNKNOWN, "no answer")

    for _ in range(2):
        await journal.void_cap(cap.id)
    # A call that runs on finds out at its end.
    assert (await journal.get(others[1].id, "local")).stage is Stage.SENT_UNKNOWN
    for _ in range(2):
        await journal.fail(others[1].id, Stage.SENT_UNKNOWN, "no answer")

    found = [await journal.get(call.id, "local") for call in (first, *others)]
    assert [call.stage for call in found] == [Stage.CONFIRMED, Stage.NOT_SENT, Stage.NOT_SENT]
    # What they had told before, that they may have been paid, is over.
    assert ["nothing was paid" in call.error for call in found] == [False, True, True]
    assert await spent_and_open(journal) == (0, 0)
    again = await journal.open_call(
        asking(request_hash=others[0].request_hash, idempotency_key="k")
    )
    assert (again.joined, again.call.id, again.call.cap) == (False, others[0].id, None)


async def test_a_doubt_that_was_taken_back_may_be_told_again(journal: Journal) -> None:
    call, cap = await paid_call(journal)
    await journal.fail(call.id, Stage.SENT_UNKNOWN, "no answer")
    await journal.void_cap(cap.id)

    await journal.fail(call.id, Stage.SENT_UNKNOWN, "no answer")

    found = await journal.get(call.id, "local")
    assert (found.stage, "nothing was paid" in found.error) == (Stage.NOT_SENT, True)


async def test_a_maximum_whose_signature_never_left_is_dropped_with_its_doubt(
    journal: Journal,
) -> None:
    call, cap = await paid_call(journal)

    for _ in range(2):
        await journal.drop_cap(cap.id)

    found = await journal.get(call.id, "local")
    assert (found.status, found.stage, found.cap) == ("running", Stage.NOT_SENT, None)
    assert (await journal.cap(cap.id)).status == "void"
    await journal.fail(call.id, Stage.NOT_SENT, "refused")


async def test_what_left_under_an_older_maximum_stays_in_doubt_when_the_newer_is_dropped(
    journal: Journal,
) -> None:
    call, older = await paid_call(journal)
    newer = await cap_for(journal, call)
    assert (await journal.get(call.id, "local")).cap == newer

    await journal.drop_cap(newer.id)

    found = await journal.get(call.id, "local")
    assert (found.stage, found.cap) == (Stage.SENT_UNKNOWN, older)


async def test_a_failure_costs_what_any_of_its_maxima_settle_for(journal: Journal) -> None:
    call, older = await paid_call(journal)
    newer = await cap_for(journal, call)
    await journal.fail(call.id, Stage.SENT_UNKNOWN, "no answer")

    await journal.void_cap(newer.id)
    assert (await journal.get(call.id, "local")).stage is Stage.SENT_UNKNOWN
    await journal.void_cap(older.id)

    assert (await journal.get(call.id, "local")).stage is Stage.NOT_SENT


async def test_an_answer_is_confirmed_by_the_older_maximum_where_the_newer_was_void(
    journal: Journal,
) -> None:
    call, older = await paid_call(journal)
    newer = await cap_for(journal, call)
    await journal.settle(call.id, Stage.CHARGED, 0, "{}")
    await journal.settle_cap(older.id, 7, "0xaa")
    assert (await journal.get(call.id, "local")).stage is Stage.CHARGED

    await journal.void_cap(newer.id)

    found = await journal.get(call.id, "local")
    assert (found.stage, found.amount_opg) == (Stage.CONFIRMED, 7)


async def test_what_is_settled_is_neither_dropped_nor_void(journal: Journal) -> None:
    _, cap = await paid_call(journal)
    await journal.settle_cap(cap.id, 7, "0xaa")

    for step in (journal.drop_cap, journal.void_cap):
        with pytest.raises(CallStateError, match="is settled"):
            await step(cap.id)
    assert await spent_and_open(journal) == (7, 0)


async def test_the_chain_is_right_about_what_was_believed_void(journal: Journal) -> None:
    call, cap_id = await answered(journal)
    await journal.void_cap(cap_id)

    await journal.settle_cap(cap_id, 7, "0xaa")

    assert (await journal.get(call.id, "local")).amount_opg == 7
    assert await spent_and_open(journal) == (7, 0)


async def test_many_calls_share_one_maximum(journal: Journal) -> None:
    _, cap = await paid_call(journal)
    calls = [await opened(journal) for _ in range(3)]
    for call in calls:
        for _ in range(2):
            await journal.pay_by(call.id, cap.id)
        await journal.settle(call.id, Stage.CHARGED, 0, "{}")
    assert await spent_and_open(journal) == (0, MOST)

    await journal.settle_cap(cap.id, 7, "0xaa")

    listed = await journal.list_calls("local", 3)
    assert {call.id for call in listed} == {call.id for call in calls}
    assert {call.stage for call in listed} == {Stage.CONFIRMED}
    assert {call.amount_opg for call in listed} == {7}
    assert await journal.opg_totals() == (7, 0)


async def test_a_call_of_which_nothing_left_is_not_paid(journal: Journal) -> None:
    call, cap = await paid_call(journal)
    other = await opened(journal)
    await journal.pay_by(other.id, cap.id)

    for one in (call, other):
        for _ in range(2):
            await journal.unpay(one.id)

        found = await journal.get(one.id, "local")
        assert (found.status, found.stage, found.cap) == ("running", Stage.NOT_SENT, None)
    assert await journal.open_caps() == (cap,)


async def test_an_ended_call_is_neither_paid_nor_unpaid(journal: Journal) -> None:
    call, cap_id = await answered(journal)

    for step in (journal.pay_by(call.id, cap_id), journal.unpay(call.id)):
        with pytest.raises(CallStateError, match="it is done at charged"):
            await step
    with pytest.raises(CallStateError, match="it is done at charged"):
        await cap_for(journal, call)
    assert await spent_and_open(journal) == (0, MOST)


@pytest.mark.parametrize("end", ["settle", "void"])
async def test_an_ended_maximum_pays_for_nothing_more(journal: Journal, end: str) -> None:
    _, cap = await paid_call(journal)
    call = await opened(journal)
    await (journal.void_cap(cap.id) if end == "void" else journal.settle_cap(cap.id, 1, "0xaa"))

    with pytest.raises(CallStateError, match=f"it is {end}"):
        await journal.pay_by(call.id, cap.id)


async def test_a_call_that_another_process_runs_is_not_paid_here(
    journal: Journal, settings: Settings
) -> None:
    _, cap = await paid_call(journal)
    async with open_journal(settings) as other:
        call = await opened(other)

        for step in (journal.pay_by(call.id, cap.id), cap_for(journal, call)):
            with pytest.raises(CallStateError, match="another process runs it"):
                await step
        await other.pay_by(call.id, cap.id)


async def test_a_call_that_signs_transactions_is_paid_by_them(journal: Journal) -> None:
    _, cap = await paid_call(journal)
    call = await signed_call(journal)

    for step in (journal.pay_by(call.id, cap.id), cap_for(journal, call), journal.unpay(call.id)):
        with pytest.raises(CallStateError, match="pays by transaction"):
            await step


async def test_a_call_that_pays_a_gateway_signs_no_transaction(journal: Journal) -> None:
    call, cap = await paid_call(journal)

    with pytest.raises(CallStateError):
        await sign(journal, call)

    found = await journal.get(call.id, "local")
    assert (found.stage, found.cap, found.transaction_hashes) == (Stage.SENT_UNKNOWN, cap, ())


async def test_what_the_journal_does_not_have_is_refused(journal: Journal) -> None:
    nothing, call = "0" * 32, await opened(journal)

    for step in (
        journal.cap(nothing),
        journal.void_cap(nothing),
        journal.drop_cap(nothing),
        journal.settle_cap(nothing, 1, "0xaa"),
    ):
        with pytest.raises(CallNotFoundError):
            await step
    for step in (journal.pay_by(call.id, nothing), journal.unpay(nothing)):
        with pytest.raises(CallStateError, match="does not have it"):
            await step
    with pytest.raises(CallStateError, match="does not have it"):
        await journal.open_cap(nothing, wanting(), LIMITS)


async def test_nobody_is_paid_for_by_another_principal(journal: Journal) -> None:
    """T21."""
    _, cap = await paid_call(journal)
    theirs = await opened(journal, principal="http")

    with pytest.raises(CallStateError, match="another principal's"):
        await journal.pay_by(theirs.id, cap.id)
    with pytest.raises(CallStateError, match="another principal's"):
        await journal.open_cap(theirs.id, wanting(principal="local"), LIMITS)

    assert (await journal.get(theirs.id, "http")).stage is Stage.NOT_SENT
    assert await journal.opg_totals("http") == (0, 0)
    assert await journal.opg_totals("local") == (0, MOST)


async def test_totals_are_of_a_principal_and_an_account(journal: Journal) -> None:
    """T21."""
    other = replace(PAYER, chain_id=8454)
    for principal, account, amount in (("local", PAYER, 1), ("http", PAYER, 2), ("http", other, 4)):
        call = await opened(journal, principal=principal)
        cap = await cap_for(journal, call, account=account)
        await journal.settle_cap(cap.id, amount, "0xaa")
    await cap_for(journal, await opened(journal, principal="http"), max_opg=8)

    assert await journal.opg_totals() == (7, 8)
    assert await journal.opg_totals("http") == (6, 8)
    assert await journal.opg_totals("http", PAYER) == (2, 8)
    assert await journal.opg_totals("local", other) == (0, 0)
    assert (await journal.opg_budget(PAYER, LIMITS)).spent == 3
    assert await journal.open_caps(other) == ()


async def test_what_is_signed_for_one_call_stays_within_its_cap(journal: Journal) -> None:
    call = await opened(journal)
    for _ in range(5):
        await cap_for(journal, call)

    with pytest.raises(OPGCapError, match=r"reach 0\.500000000000000001 OPG.* 0\.5 OPG .*PER_CALL"):
        await cap_for(journal, call, max_opg=1)

    assert await spent_and_open(journal) == (0, 5 * MOST)
    await cap_for(journal, await opened(journal), max_opg=LIMITS.per_call)


async def test_what_was_dropped_or_void_does_not_count_for_the_call(journal: Journal) -> None:
    call = await opened(journal)
    for end in (journal.drop_cap, journal.void_cap):
        await end((await cap_for(journal, call, max_opg=LIMITS.per_call)).id)

    await cap_for(journal, call, max_opg=LIMITS.per_call)


async def test_joining_a_maximum_costs_the_call_nothing(journal: Journal) -> None:
    _, cap = await paid_call(journal, max_opg=LIMITS.per_call)
    call = await opened(journal)

    await journal.pay_by(call.id, cap.id)

    await cap_for(journal, call, max_opg=LIMITS.per_call)


async def test_a_payment_stays_within_the_cap_of_a_day_to_the_unit(journal: Journal) -> None:
    limits = OPGCaps(per_call=OPG, per_day=10)
    settled, open_ = await opened(journal), await opened(journal)
    cap = await cap_for(journal, settled, max_opg=4, limits=limits)
    await journal.settle_cap(cap.id, 3, "0xaa")
    await cap_for(journal, open_, max_opg=5, limits=limits)
    call = await opened(journal)

    with pytest.raises(BudgetExceededError, match=r" OPG.* OG_MAX_PER_DAY ") as caught:
        await cap_for(journal, call, max_opg=3, limits=limits)

    error = caught.value
    assert (error.cap, error.spent, error.open, error.asked) == (10, 3, 5, 3)
    assert "coins" not in str(error)
    assert "wei" not in str(error)
    assert (await journal.get(call.id, "local")).stage is Stage.NOT_SENT
    await cap_for(journal, call, max_opg=2, limits=limits)
    assert (await journal.opg_budget(PAYER, limits)).left == 0


async def test_what_only_the_chain_shows_counts_on_top_of_the_journal(journal: Journal) -> None:
    """T6."""
    _, cap = await paid_call(journal)
    await journal.settle_cap(cap.id, 3, "0xaa")
    limits = OPGCaps(per_call=OPG, per_day=10, unrecorded=6)

    with pytest.raises(BudgetExceededError):
        await cap_for(journal, await opened(journal), max_opg=2, limits=limits)
    await cap_for(journal, await opened(journal), max_opg=1, limits=limits)

    less = replace(limits, unrecorded=0)
    assert (await journal.opg_budget(PAYER, limits)).spent == 9
    assert (await journal.opg_budget(PAYER, less)).spent == 3


async def test_a_journal_that_is_moved_away_signs_nothing(tmp_path: Path) -> None:
    """T6."""
    async with open_journal(Settings(network_name="local", data_dir=tmp_path)) as journal:
        _, cap = await paid_call(journal)
        call = await opened(journal)
        (tmp_path / "journal.db").rename(tmp_path / "moved.db")

        for step in (cap_for(journal, call), journal.pay_by(call.id, cap.id)):
            with pytest.raises(JournalError, match="moved or replaced"):
                await step


async def _age(settings: Settings, days: float, *statements: str) -> None:
    """Make everything about payments older."""
    past = int(days * DAY_US)
    connection = database_of(settings).connect()
    for sql in (
        "UPDATE caps SET created_at = created_at - {past}, ended_at = ended_at - {past}",
        "UPDATE opg_spending SET bucket = bucket - {past} / 600000000",
        "UPDATE purses SET window_floor = window_floor - {past} / 600000000",
        "UPDATE calls SET updated_at = updated_at - {past}",
        *statements,
    ):
        connection.plain(sql.format(past=past))
    connection.close()


@pytest.mark.parametrize(("days", "spent"), [(0.99, 7), (1.01, 0), (3, 0), (30, 0)])
async def test_a_settlement_counts_for_a_day(
    journal: Journal, settings: Settings, days: float, spent: int
) -> None:
    _, cap = await paid_call(journal)
    await journal.settle_cap(cap.id, 7, "0xaa")
    await _age(settings, days)

    assert await spent_and_open(journal) == (spent, 0)
    _, cap = await paid_call(journal)
    assert await spent_and_open(journal) == (spent, MOST)
    await journal.settle_cap(cap.id, 1, "0xbb")
    assert await spent_and_open(journal) == (spent + 1, 0)
    assert await journal.opg_totals("local") == (8, 0)


async def test_an_old_maximum_that_is_still_open_counts(
    journal: Journal, settings: Settings
) -> None:
    await paid_call(journal)
    await _age(settings, 30)

    assert await spent_and_open(journal) == (0, MOST)


async def test_calls_whose_maximum_is_open_are_not_pruned(
    journal: Journal, settings: Settings
) -> None:
    call, older = await paid_call(journal)
    newer = await cap_for(journal, call)
    await journal.settle(call.id, Stage.CHARGED, 0, "{}")
    await journal.deliver(call.id)
    await _age(settings, 2)
    await journal.settle_cap(newer.id, 7, "0xaa")
    await _age(settings, 2, "UPDATE caps SET ended_at = ended_at + {past}")
    now = datetime.now(UTC) + timedelta(minutes=1)

    assert (await journal.prune(now)).calls == 0
    await journal.void_cap(older.id)
    assert (await journal.prune(now)).calls == 1
    # The day needs what ended within it.
    assert (await journal.cap(newer.id)).status == "settled"
    await _age(settings, 2)
    assert (await journal.prune(now)).calls == 0

    for cap in (older, newer):
        with pytest.raises(CallNotFoundError):
            await journal.cap(cap.id)
    assert await journal.opg_totals("local") == (7, 0)


async def test_maxima_of_calls_that_are_kept_are_kept(journal: Journal, settings: Settings) -> None:
    call, cap_id = await answered(journal)
    await journal.settle_cap(cap_id, 7, "0xaa")
    await _age(settings, 40)

    await journal.prune(datetime.now(UTC))

    assert (await journal.get(call.id, "local")).amount_opg == 7


async def test_an_orphan_under_a_maximum_is_adopted_and_given_up(
    journal: Journal, settings: Settings
) -> None:
    async with open_journal(settings) as gone:
        call, cap = await paid_call(gone)
    [found] = await journal.unfinished(PAYER)
    assert (found.id, found.orphaned, found.cap) == (call.id, True, cap)
    assert await journal.unfinished() == (found,)
    # It may have been sent: whoever repeats it joins.
    again = await journal.open_call(asking(request_hash=call.request_hash, tool="chat"))
    assert (again.joined, again.call.cap) == (True, cap)

    assert await journal.adopt(call.id)
    await journal.fail(call.id, Stage.SENT_UNKNOWN, "its process died")

    ended = await journal.get(call.id, "local")
    assert (ended.status, ended.stage, ended.cap) == ("failed", Stage.SENT_UNKNOWN, cap)
    assert await journal.unfinished(PAYER) == ()
    assert await journal.open_caps() == (cap,)


@pytest.mark.parametrize("amount", ["-1", "", "1e9", "0x10", "²"])
@pytest.mark.parametrize(
    "where", ["caps SET max_opg", "purses SET window_opg", "opg_spending SET amount_opg"]
)
async def test_an_amount_that_is_none_stops_payments(
    journal: Journal, settings: Settings, where: str, amount: str
) -> None:
    """T25: else an amount below nothing would raise the cap of a day without end."""
    _, cap = await paid_call(journal)
    await journal.settle_cap(cap.id, 7, "0xaa")
    await paid_call(journal)
    await _age(settings, 1, f"UPDATE {where} = '{amount}'")
    moved = where.startswith("purses")
    if moved:
        await _age(settings, -1)

    with pytest.raises(JournalError, match="where an amount belongs"):
        await cap_for(journal, await opened(journal))


@pytest.mark.parametrize("amount", [-1, -(10**30)])
async def test_a_negative_amount_is_never_written(journal: Journal, amount: int) -> None:
    call, cap = await paid_call(journal)

    with pytest.raises(ValueError, match="base units"):
        await cap_for(journal, call, max_opg=amount)
    with pytest.raises(ValueError, match="base units"):
        await journal.settle_cap(cap.id, amount, "0xaa")


async def test_who_deletes_maxima_gains_no_more_than_the_caps_and_the_chain_leave(
    journal: Journal, settings: Settings
) -> None:
    """T6, T25: what is left are the cap of one call, and the day's less what the chain shows."""
    _, cap = await paid_call(journal)
    await journal.settle_cap(cap.id, MOST, "0xaa")
    await paid_call(journal)
    await _age(settings, 0, "DELETE FROM caps", "DELETE FROM purses", "DELETE FROM opg_spending")
    call = await opened(journal)

    with pytest.raises(OPGCapError):
        await cap_for(journal, call, max_opg=LIMITS.per_call + 1)
    limits = OPGCaps(per_call=OPG, per_day=2 * MOST, unrecorded=MOST)
    with pytest.raises(BudgetExceededError):
        await cap_for(journal, call, max_opg=MOST + 1, limits=limits)
    await cap_for(journal, call, max_opg=MOST, limits=limits)
