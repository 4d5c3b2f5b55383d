"""How calls end: each step once, none backwards."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import product

import anyio
import pytest

from og_mcp.calls import Journal
from og_mcp.errors import CallNotFoundError, CallStateError, JournalError
from og_mcp.journal import open_journal
from og_mcp.settings import Settings
from og_mcp.types import Stage
from tests.journal.steps import (
    ACCOUNT,
    CAPS,
    FEE,
    give_back,
    opened,
    reserve,
    settled_call,
    signed_call,
)


async def test_a_settled_call_keeps_its_documents_and_its_fee(journal: Journal) -> None:
    call = await settled_call(journal, fee=FEE // 2)

    assert (call.status, call.stage, call.fee_wei) == ("done", Stage.CHARGED, FEE // 2)
    assert (call.result, call.receipt) == ('{"y": 1}', '{"schema": "og-mcp/receipt/1"}')
    assert (call.account, call.nonce, len(call.transaction_hashes)) == (ACCOUNT, 0, 1)


async def test_settling_twice_counts_once(journal: Journal) -> None:
    call = await settled_call(journal)

    await journal.settle(call.id, Stage.CHARGED, 2 * FEE, '{"y": 2}')

    assert await journal.get(call.id, "local") == call
    assert (await journal.budget(ACCOUNT, CAPS)).spent == FEE


async def test_a_charged_call_is_confirmed_and_stays_so(journal: Journal) -> None:
    call = await settled_call(journal)

    await journal.confirm(call.id)
    await journal.confirm(call.id)
    await journal.settle(call.id, Stage.CHARGED, FEE, "{}")

    assert (await journal.get(call.id, "local")).stage is Stage.CONFIRMED


async def test_charged_calls_can_be_found_until_they_are_confirmed(journal: Journal) -> None:
    """T12."""
    calls = [await settled_call(journal) for _ in range(2)]
    await journal.confirm(calls[0].id)

    assert [call.id for call in await journal.unconfirmed(ACCOUNT)] == [calls[1].id]


async def test_a_revert_settles_its_fee(journal: Journal) -> None:
    call = await signed_call(journal)

    await journal.fail(call.id, Stage.CHARGED, "reverted", fee_wei=FEE, receipt="{}")

    found = await journal.get(call.id, "local")
    assert (found.status, found.stage, found.error) == ("failed", Stage.CHARGED, "reverted")
    budget = await journal.budget(ACCOUNT, CAPS)
    assert (budget.spent, budget.open) == (FEE, 0)


async def test_a_fee_in_the_days_sum_is_not_added_again_by_a_later_end(journal: Journal) -> None:
    call = await signed_call(journal)
    await journal.fail(call.id, Stage.CHARGED, "its answer is not found", fee_wei=FEE)
    # Pruning adds what has settled to the sums.
    await journal.prune(call.created_at)
    await journal.settle(call.id, Stage.CHARGED, FEE, '{"y": 1}')
    await journal.prune(call.created_at)

    budget = await journal.budget(ACCOUNT, CAPS)
    assert (budget.spent, budget.open) == (FEE, 0)
    [total] = await journal.totals()
    assert total.fees_wei == FEE


async def test_a_call_in_doubt_stays_open_and_may_end_well(journal: Journal) -> None:
    call = await signed_call(journal)
    await journal.fail(call.id, Stage.SENT_UNKNOWN, "no answer")
    assert (await journal.budget(ACCOUNT, CAPS)).open == FEE

    await journal.settle(call.id, Stage.CHARGED, FEE, '{"y": 1}')

    found = await journal.get(call.id, "local")
    assert (found.status, found.error) == ("done", "")
    assert (await journal.budget(ACCOUNT, CAPS)).open == 0


async def test_a_doubt_that_comes_late_changes_nothing(journal: Journal) -> None:
    call = await settled_call(journal)

    await journal.fail(call.id, Stage.SENT_UNKNOWN, "no answer")

    assert await journal.get(call.id, "local") == call


async def test_what_contradicts_an_end_is_refused(journal: Journal) -> None:
    call = await settled_call(journal)

    with pytest.raises(CallStateError, match="it is done at charged"):
        await journal.fail(call.id, Stage.CHARGED, "reverted", fee_wei=FEE)


async def test_a_signed_call_cannot_fail_as_if_nothing_was_sent(journal: Journal) -> None:
    call = await signed_call(journal)

    with pytest.raises(CallStateError, match="fail at not_sent"):
        await journal.fail(call.id, Stage.NOT_SENT, "refused")


async def test_a_reserved_call_can_fail_as_if_nothing_was_sent(journal: Journal) -> None:
    call = await opened(journal)
    await reserve(journal, call)

    await journal.fail(call.id, Stage.NOT_SENT, "refused")

    assert (await journal.budget(ACCOUNT, CAPS)).open == 0
    assert await journal.unfinished() == ()


async def test_settling_what_was_given_back_is_refused(journal: Journal) -> None:
    call = await signed_call(journal)
    await give_back(journal, call)

    with pytest.raises(CallStateError, match="given_back"):
        await journal.settle(call.id, Stage.CHARGED, FEE, "{}")


async def test_settling_a_fee_of_what_was_reserved_and_not_signed_is_refused(
    journal: Journal,
) -> None:
    call = await opened(journal)
    await reserve(journal, call)

    with pytest.raises(CallStateError, match="running at not_sent"):
        await journal.settle(call.id, Stage.CHARGED, FEE, "{}")


async def test_a_call_that_signs_nothing_ends_without_a_fee(journal: Journal) -> None:
    call = await opened(journal, tool="upload")

    await journal.settle(call.id, Stage.CONFIRMED, 0, '{"model_cid": "Qm"}')

    assert (await journal.get(call.id, "local")).status == "done"


async def test_a_call_that_signs_nothing_cannot_have_a_fee(journal: Journal) -> None:
    call = await opened(journal)

    with pytest.raises(CallStateError):
        await journal.settle(call.id, Stage.CHARGED, 1, "{}")


async def test_an_unknown_call_cannot_end(journal: Journal) -> None:
    with pytest.raises(CallStateError, match="unknown"):
        await journal.settle("0" * 32, Stage.CHARGED, 0, "{}")


async def test_text_that_databases_refuse_is_stored_without_it(journal: Journal) -> None:
    call = await opened(journal)

    await journal.fail(call.id, Stage.NOT_SENT, "a\0b\ud800")

    assert (await journal.get(call.id, "local")).error == "ab?"


Step = Callable[[Journal, str], Awaitable[None]]
ENDS: dict[str, Step] = {
    "settle": lambda journal, id_: journal.settle(id_, Stage.CHARGED, FEE, "{}"),
    "settle confirmed": lambda journal, id_: journal.settle(id_, Stage.CONFIRMED, FEE, "{}"),
    "fail unsent": lambda journal, id_: journal.fail(id_, Stage.NOT_SENT, "e"),
    "fail unknown": lambda journal, id_: journal.fail(id_, Stage.SENT_UNKNOWN, "e"),
    "fail charged": lambda journal, id_: journal.fail(id_, Stage.CHARGED, "e", fee_wei=FEE),
    "confirm": lambda journal, id_: journal.confirm(id_),
    "deliver": lambda journal, id_: journal.deliver(id_),
}


async def test_no_two_steps_take_a_stage_back_or_count_a_fee_twice(journal: Journal) -> None:
    for first, second in product(ENDS.values(), repeat=2):
        call = await signed_call(journal)
        before = await journal.budget(ACCOUNT, CAPS)
        reached = [Stage.SENT_UNKNOWN]
        for step in (first, second):
            with suppress(CallStateError):
                await step(journal, call.id)
            reached.append((await journal.get(call.id, "local")).stage)
        after = await journal.budget(ACCOUNT, CAPS)

        assert reached == sorted(reached, key=list(Stage).index)
        assert after.spent - before.spent in {0, FEE}
        assert (after.spent - before.spent) + (after.open - before.open) == 0
        if (await journal.get(call.id, "local")).fee_state == "open":
            await give_back(journal, call)


async def test_waiting_ends_with_the_call(journal: Journal) -> None:
    call = await signed_call(journal)

    async with anyio.create_task_group() as group:
        with anyio.fail_after(5):
            group.start_soon(journal.settle, call.id, Stage.CHARGED, FEE, '{"y": 1}')
            found = await journal.wait(call.id, "local", 60)

    assert found.result == '{"y": 1}'


async def test_waiting_sees_the_end_that_another_process_wrote(
    journal: Journal, settings: Settings
) -> None:
    call = await signed_call(journal)

    async with open_journal(settings) as other, anyio.create_task_group() as group:
        with anyio.fail_after(5):
            group.start_soon(journal.settle, call.id, Stage.CHARGED, FEE, '{"y": 1}')
            found = await other.wait(call.id, "local", 60)

    assert found.result == '{"y": 1}'


async def test_waiting_gives_up_and_returns_the_running_call(journal: Journal) -> None:
    call = await opened(journal)

    assert (await journal.wait(call.id, "local", 0.01)).status == "running"


async def test_waiting_for_an_orphan_ends_at_once(journal: Journal, settings: Settings) -> None:
    async with open_journal(settings) as gone:
        call = await signed_call(gone)

    with anyio.fail_after(5):
        assert (await journal.wait(call.id, "local", 60)).orphaned


async def test_another_principal_sees_nothing(journal: Journal) -> None:
    """T21."""
    call = await settled_call(journal)

    with pytest.raises(CallNotFoundError):
        await journal.get(call.id, "http")
    with pytest.raises(CallNotFoundError):
        await journal.wait(call.id, "http", 0)
    assert await journal.list_calls("http", 10) == ()
    assert await journal.totals("http") == ()


async def test_calls_are_listed_newest_first_by_status_and_tool(journal: Journal) -> None:
    done = await settled_call(journal)
    running = await opened(journal, tool="chat")
    failed = await opened(journal)
    await journal.fail(failed.id, Stage.NOT_SENT, "e")

    async def ids(limit: int = 10, **chosen: str) -> list[str]:
        found = await journal.list_calls("local", limit, **chosen)  # type: ignore[arg-type] # status is one of its words
        return [call.id for call in found]

    assert await ids() == [failed.id, running.id, done.id]
    assert await ids(2) == [failed.id, running.id]
    assert await ids(before=failed.id) == [running.id, done.id]
    assert await ids(status="done") == [done.id]
    assert await ids(status="failed") == [failed.id]
    assert await ids(tool="chat") == [running.id]
    with pytest.raises(CallNotFoundError):
        await ids(before="0" * 32)


async def test_totals_are_by_account_and_principal(journal: Journal) -> None:
    await settled_call(journal)
    await settled_call(journal, principal="http")
    await signed_call(journal)

    [all_] = await journal.totals()
    [mine] = await journal.totals("local", ACCOUNT)

    assert (all_.fees_wei, all_.open_wei, all_.address) == (2 * FEE, FEE, ACCOUNT.address)
    assert (mine.fees_wei, mine.open_wei) == (FEE, FEE)


async def test_what_is_not_open_any_more_says_so(settings: Settings) -> None:
    async with open_journal(settings) as journal:
        await journal.aclose()
        with pytest.raises(JournalError, match="is closed"):
            await opened(journal)
        with pytest.raises(JournalError, match="is closed"):
            async with journal.lane(ACCOUNT):
                pass


async def test_a_lane_can_be_left_after_the_journal_was_closed(settings: Settings) -> None:
    async with open_journal(settings) as journal, journal.lane(ACCOUNT):
        await journal.aclose()
    async with open_journal(settings) as journal, journal.lane(ACCOUNT):
        pass
