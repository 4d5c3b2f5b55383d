"""Payments of several processes at once, and of processes that die."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import anyio
import pytest
from anyio import to_thread

from og_mcp.calls import Journal
from og_mcp.errors import BudgetExceededError, CallStateError
from og_mcp.journal import open_journal
from og_mcp.journal._opened import database_of
from og_mcp.settings import Settings
from og_mcp.types import Call, Cap, OPGCaps, Stage
from tests.journal.dying import LEASE_S, stopped_after
from tests.journal.dying_payer import PAID, REQUEST, STEPS
from tests.journal.paying import LIMITS, MOST, OPG, PAYER, cap_for, paid_call
from tests.journal.spender import PER_DAY, spend_at_once
from tests.journal.steps import opened

pytestmark = pytest.mark.process

ROUNDS: Final = 20
WAITING: Final = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


async def test_two_processes_together_never_pass_the_cap_by_one_unit(
    journal: Journal, settings: Settings
) -> None:
    """A hundred payments of one unit at once, where sixty-one may be signed."""
    recorded = await to_thread.run_sync(spend_at_once, settings, 2)

    budget = await journal.opg_budget(PAYER, LIMITS)
    assert sum(recorded) == PER_DAY == budget.spent + budget.open
    assert budget.spent > 0
    assert await journal.opg_totals() == (budget.spent, budget.open)


async def test_payments_of_one_process_at_once_never_pass_the_cap(journal: Journal) -> None:
    limits, signed = OPGCaps(per_call=OPG, per_day=10), []

    async def one() -> None:
        with suppress(BudgetExceededError):
            signed.append(await cap_for(journal, await opened(journal), max_opg=1, limits=limits))

    async with anyio.create_task_group() as group:
        for _ in range(30):
            group.start_soon(one)

    assert len(signed) == 10
    assert set(await journal.open_caps()) == set(signed)


async def test_settlements_at_once_are_all_counted(journal: Journal, settings: Settings) -> None:
    caps = [(await paid_call(journal, max_opg=1))[1] for _ in range(20)]

    async with open_journal(settings) as other, anyio.create_task_group() as group:
        for cap in caps:
            for through in (journal, other):
                group.start_soon(through.settle_cap, cap.id, 1, "0xaa")

    assert (await journal.opg_budget(PAYER, LIMITS)).spent == 20
    assert await journal.opg_totals("local") == (20, 0)


@pytest.mark.parametrize("end", ["settle", "void"])
async def test_an_answer_and_its_settlement_may_come_at_once(
    journal: Journal, settings: Settings, end: str
) -> None:
    calls = [await paid_call(journal) for _ in range(ROUNDS)]

    async def end_cap(through: Journal, cap_id: str) -> None:
        if end == "void":
            await through.void_cap(cap_id)
        else:
            await through.settle_cap(cap_id, 1, "0xaa")

    async with open_journal(settings) as other, anyio.create_task_group() as group:
        for call, cap in calls:
            group.start_soon(journal.settle, call.id, Stage.CHARGED, 0, "{}")
            group.start_soon(end_cap, other, cap.id)

    assert {call.stage for call in await journal.list_calls("local", 100)} == {Stage.CONFIRMED}


async def test_nobody_joins_a_maximum_in_the_moment_it_ends(
    journal: Journal, settings: Settings
) -> None:
    caps = [(await paid_call(journal, max_opg=1))[1] for _ in range(ROUNDS)]
    calls = [await opened(journal) for _ in caps]
    joined: list[str] = []

    async def join(call_id: str, cap_id: str) -> None:
        with suppress(CallStateError):
            await journal.pay_by(call_id, cap_id)
            joined.append(call_id)

    async with open_journal(settings) as other, anyio.create_task_group() as group:
        for call, cap in zip(calls, caps, strict=True):
            group.start_soon(other.void_cap, cap.id)
            group.start_soon(join, call.id, cap.id)

    for call in calls:
        if call.id in joined:
            await journal.fail(call.id, Stage.SENT_UNKNOWN, "no answer")
        assert (await journal.get(call.id, "local")).stage is Stage.NOT_SENT


async def test_books_hold_whatever_two_processes_do_at_once(
    journal: Journal, settings: Settings
) -> None:
    """Calls join, are answered, sign more, while the same maxima are settled and voided."""
    caps = [(await paid_call(journal, max_opg=1))[1] for _ in range(6)]

    async def pay(through: Journal, cap: Cap) -> None:
        call = await opened(through)
        with suppress(CallStateError):
            await through.pay_by(call.id, cap.id)
        await through.settle(call.id, Stage.CHARGED, 0, "{}")

    async def sign(through: Journal) -> None:
        cap = await cap_for(through, await opened(through), max_opg=1)
        await through.settle_cap(cap.id, 1, "0xaa")

    async def end(through: Journal, cap: Cap) -> None:
        with suppress(CallStateError):
            await through.void_cap(cap.id)

    async with open_journal(settings) as other, anyio.create_task_group() as group:
        for number in range(36):
            one, two = (journal, other) if number % 2 else (other, journal)
            group.start_soon(pay, one, caps[number % 6])
            group.start_soon(sign, two)
            if number % 6 == number // 6:
                group.start_soon(end, two, caps[number % 6])

    for call in await journal.list_calls("local", 100, "done"):
        ended = call.cap is not None and call.cap.status != "open"
        assert call.stage is (Stage.CONFIRMED if ended else Stage.CHARGED)
    assert await journal.open_caps() == ()
    assert await journal.opg_totals() == (36, 0)
    assert (await journal.opg_budget(PAYER, LIMITS)).spent == 36


async def test_who_joins_a_maximum_waits_for_its_end(journal: Journal, settings: Settings) -> None:
    """Another process has voided it, and has not committed yet."""
    _, cap = await paid_call(journal)
    call = await opened(journal)
    ending = database_of(settings).connect()
    ending.plain("BEGIN IMMEDIATE" if settings.journal_url is None else "BEGIN")
    ending.plain("UPDATE caps SET status = 'void'")

    async with anyio.create_task_group() as group:
        group.start_soon(_join_in_vain, journal, call, cap)
        # SQLite lets nobody else begin to write; PostgreSQL tells who waits.
        if settings.journal_url is not None:
            await to_thread.run_sync(_until_somebody_waits, settings)
        ending.plain("COMMIT")
    ending.close()

    assert (await journal.get(call.id, "local")).stage is Stage.NOT_SENT


def _until_somebody_waits(settings: Settings) -> None:
    connection, deadline = database_of(settings).connect(), time.monotonic() + 10
    while not connection.plain(WAITING):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    connection.close()


async def _join_in_vain(journal: Journal, call: Call, cap: Cap) -> None:
    with pytest.raises(CallStateError, match="it is void"):
        await journal.pay_by(call.id, cap.id)


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
async def test_a_dead_process_leaves_a_payment_that_can_be_accounted_for(
    settings: Settings, step: str
) -> None:
    with stopped_after(step, settings, "tests.journal.dying_payer"):
        pass
    async with open_journal(settings) as journal:
        call = (await journal.open_call(REQUEST)).call
        with anyio.fail_after(10 * LEASE_S):
            while call.status == "running" and not call.orphaned:
                call = await journal.wait(call.id, "local", LEASE_S)
        budget = await journal.opg_budget(PAYER, LIMITS)
        stages = {
            "open": Stage.NOT_SENT,
            "cap": Stage.SENT_UNKNOWN,
            "answer": Stage.CHARGED,
            "end": Stage.CONFIRMED,
        }

    assert call.stage is stages[step]
    assert budget.open == (MOST if step in ("cap", "answer") else 0)
    assert budget.spent == (PAID if step == "end" else 0)
    assert (call.cap is not None) == (step != "open")
    assert call.status == ("done" if step in ("answer", "end") else "running")


async def _statements(journal: Journal) -> list[str]:
    """Return the SQL of one payment from its call to its settlement, as SQLite saw it."""
    seen: list[str] = []
    store: Any = journal._store  # type: ignore[attr-defined] # noqa: SLF001 - only there can statements be seen
    connections = [store._nearby._raw, store._worker._connection._raw]  # noqa: SLF001 - as above
    for connection in connections:
        connection.set_trace_callback(seen.append)
    call, cap = await paid_call(journal, max_opg=1)
    other = await opened(journal)
    await journal.pay_by(other.id, cap.id)
    for one in (call, other):
        await journal.settle(one.id, Stage.CHARGED, 0, "{}")
        await journal.deliver(one.id)
    await journal.settle_cap(cap.id, 1, "0xaa")
    dropped = await cap_for(journal, await opened(journal), max_opg=1)
    await journal.drop_cap(dropped.id)
    for connection in connections:
        connection.set_trace_callback(None)
    ours = ("BEGIN", "COMMIT", "ROLLBACK", "--", "PRAGMA")
    return [
        sql for sql in seen if not sql.startswith(ours) and "owners" not in sql.split("WHERE")[0]
    ]


async def test_a_payment_costs_the_same_after_any_number_of_them(tmp_path: Path) -> None:
    settings = Settings(network_name="local", data_dir=tmp_path)
    async with open_journal(settings) as journal:
        # The first one makes the account's row.
        await paid_call(journal, max_opg=1)
        before = await _statements(journal)
        for _ in range(200):
            _, cap = await paid_call(journal, max_opg=1)
            await journal.settle_cap(cap.id, 1, "0xaa")
        after = await _statements(journal)
    connection = database_of(settings).connect()
    plans = {
        sql: [str(step[-1]) for step in connection.plain(f"EXPLAIN QUERY PLAN {sql}")]
        for sql in after
    }
    connection.close()

    assert len(before) > 20
    assert len(after) == len(before)
    for sql, plan in plans.items():
        scanned = {step.split()[1] for step in plan if step.startswith("SCAN")}
        assert scanned <= {"CONSTANT"}, (sql, plan)
