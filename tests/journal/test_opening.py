"""Opening a call: recorded once, joined by whoever repeats it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from og_mcp.calls import Journal
from og_mcp.errors import IdempotencyKeyReusedError, InputError
from og_mcp.journal import open_journal
from og_mcp.journal._opened import database_of
from og_mcp.settings import Settings
from og_mcp.types import Call, Opened, Stage
from tests.journal.paying import cap_for
from tests.journal.steps import (
    FEE,
    asking,
    give_back,
    opened,
    settled_call,
    sign,
    signed_call,
)


async def test_a_new_call_is_running_and_not_sent(journal: Journal) -> None:
    request = replace(asking(idempotency_key="k"), max_opg=5)

    call = (await journal.open_call(request)).call

    assert (call.status, call.stage, call.orphaned) == ("running", Stage.NOT_SENT, False)
    assert (call.tool, call.request, call.max_opg) == ("infer", request.request, 5)
    assert len(bytes.fromhex(call.id)) == 16
    assert await journal.get(call.id, "local") == call


async def test_an_identical_request_joins_a_running_call(journal: Journal) -> None:
    request = asking()
    first = await journal.open_call(request)

    assert await journal.open_call(request) == Opened(first.call, joined=True)


async def test_a_request_without_a_key_joins_a_running_call_that_has_one(journal: Journal) -> None:
    first = await journal.open_call(asking(request_hash="aa", idempotency_key="k"))

    again = await journal.open_call(asking(request_hash="aa"))

    assert (again.call.id, again.joined) == (first.call.id, True)


async def test_an_identical_request_gets_an_end_that_was_never_delivered(journal: Journal) -> None:
    call = await settled_call(journal, request_hash="aa")

    again = await journal.open_call(asking(request_hash="aa"))

    assert again == Opened(call, joined=True)


async def test_a_delivered_end_is_not_reused(journal: Journal) -> None:
    call = await settled_call(journal, request_hash="aa")
    await journal.deliver(call.id)

    again = await journal.open_call(asking(request_hash="aa"))

    assert not again.joined
    assert again.call.id != call.id


async def test_delivering_a_running_call_changes_nothing(journal: Journal) -> None:
    call = await opened(journal)

    await journal.deliver(call.id)

    assert await journal.get(call.id, "local") == call


async def test_a_failure_that_may_have_cost_something_is_joined(journal: Journal) -> None:
    call = await signed_call(journal, request_hash="aa")
    await journal.fail(call.id, Stage.SENT_UNKNOWN, "no answer")

    again = await journal.open_call(asking(request_hash="aa"))

    assert (again.call.id, again.joined, again.call.error) == (call.id, True, "no answer")


async def test_a_delivered_failure_is_joined_until_its_transaction_has_its_end(
    journal: Journal, settings: Settings
) -> None:
    call = await signed_call(journal, request_hash="aa")
    await journal.fail(call.id, Stage.SENT_UNKNOWN, "no answer")
    await journal.deliver(call.id)

    results = await _open_at_once(journal, settings, request_hash="aa")
    named = await journal.open_call(asking(request_hash="aa", idempotency_key="k"))
    theirs = await journal.open_call(asking(request_hash="aa", principal="http"))

    assert {(one.call.id, one.joined) for one in results} == {(call.id, True)}
    # A key of its own asks, and pays, once more; T21: others never join.
    assert (named.joined, theirs.joined) == (False, False)
    await journal.fail(named.call.id, Stage.NOT_SENT, "refused")
    await give_back(journal, call)
    assert not (await journal.open_call(asking(request_hash="aa"))).joined


async def test_an_answer_that_is_found_after_its_failure_was_delivered_is_handed_over(
    journal: Journal,
) -> None:
    call = await signed_call(journal, request_hash="aa")
    await journal.fail(call.id, Stage.SENT_UNKNOWN, "no answer")
    await journal.deliver(call.id)
    await journal.settle(call.id, Stage.CHARGED, FEE, '{"y": 1}')

    found = await journal.open_call(asking(request_hash="aa"))
    await journal.deliver(call.id)
    anew = await journal.open_call(asking(request_hash="aa"))

    assert (found.call.id, found.joined, found.call.result) == (call.id, True, '{"y": 1}')
    assert not anew.joined


async def test_an_answer_that_is_found_late_leaves_a_newer_call_of_its_request_alone(
    journal: Journal, settings: Settings
) -> None:
    """As journals hold them in which nobody joined a call in doubt."""
    call = await signed_call(journal, request_hash="aa")
    await journal.fail(call.id, Stage.SENT_UNKNOWN, "no answer")
    await journal.deliver(call.id)
    newer = await opened(journal, request_hash="bb")
    connection = database_of(settings).connect()
    connection.plain("UPDATE calls SET request_hash = 'aa'")
    connection.close()

    await journal.settle(call.id, Stage.CHARGED, FEE, "{}")

    assert (await journal.get(call.id, "local")).status == "done"
    assert (await journal.open_call(asking(request_hash="aa"))).call.id == newer.id


@pytest.mark.parametrize("end", ["settled", "void"])
async def test_a_delivered_failure_is_joined_until_its_payment_has_its_end(
    journal: Journal, end: str
) -> None:
    call = await opened(journal, request_hash="aa", tool="chat")
    cap = await cap_for(journal, call)
    await journal.fail(call.id, Stage.SENT_UNKNOWN, "no answer")
    await journal.deliver(call.id)
    request = asking(request_hash="aa", tool="chat")

    joined = await journal.open_call(request)
    if end == "settled":
        await journal.settle_cap(cap.id, 5, "0xaa")
    else:
        await journal.void_cap(cap.id)
    anew = await journal.open_call(request)

    assert (joined.call.id, joined.joined) == (call.id, True)
    assert (anew.call.id != call.id, anew.joined) == (True, False)


async def test_a_failure_that_signed_nothing_is_told_once(journal: Journal) -> None:
    call = await opened(journal, request_hash="aa", tool="upload")
    await journal.fail(call.id, Stage.SENT_UNKNOWN, "no answer")
    await journal.deliver(call.id)

    assert not (await journal.open_call(asking(request_hash="aa", tool="upload"))).joined


async def test_a_failure_before_sending_is_not_joined(journal: Journal) -> None:
    call = await opened(journal, request_hash="aa")
    await journal.fail(call.id, Stage.NOT_SENT, "refused")

    assert not (await journal.open_call(asking(request_hash="aa"))).joined


async def test_a_key_gives_its_call_even_when_delivered(journal: Journal) -> None:
    call = await settled_call(journal, request_hash="aa", idempotency_key="k")
    await journal.deliver(call.id)

    again = await journal.open_call(asking(request_hash="aa", idempotency_key="k"))

    assert (again.call.id, again.joined, again.call.result) == (call.id, True, '{"y": 1}')


async def test_a_key_with_another_request_is_refused(journal: Journal) -> None:
    call = await opened(journal, request_hash="aa", idempotency_key="k")

    for other in ({"request_hash": "bb"}, {"request_hash": "aa", "network": "opengradient"}):
        with pytest.raises(IdempotencyKeyReusedError) as caught:
            await journal.open_call(asking(idempotency_key="k", **other))
        assert caught.value.call_id == call.id


async def test_keys_of_other_tools_and_principals_are_other_keys(journal: Journal) -> None:
    first = await opened(journal, idempotency_key="k")

    others = [
        await opened(journal, idempotency_key="k", tool="chat"),
        await opened(journal, idempotency_key="k", principal="http"),
    ]

    assert len({first.id, *(other.id for other in others)}) == 3


async def test_requests_of_another_principal_never_join(journal: Journal) -> None:
    """T21."""
    await settled_call(journal, request_hash="aa")

    assert not (await journal.open_call(asking(request_hash="aa", principal="http"))).joined


async def test_a_key_tries_again_after_a_failure_before_sending(journal: Journal) -> None:
    call = await opened(journal, request_hash="aa", idempotency_key="k")
    await journal.fail(call.id, Stage.NOT_SENT, "unreachable")
    await journal.deliver(call.id)

    again = await journal.open_call(asking(request_hash="aa", idempotency_key="k"))

    assert (again.call.id, again.joined) == (call.id, False)
    assert (again.call.status, again.call.error, again.call.delivered_at) == ("running", "", None)


async def test_exactly_one_of_many_retries_runs_the_call(
    journal: Journal, settings: Settings
) -> None:
    call = await opened(journal, request_hash="aa", idempotency_key="k")
    await journal.fail(call.id, Stage.NOT_SENT, "unreachable")

    results = await _open_at_once(journal, settings, request_hash="aa", idempotency_key="k")

    assert sorted(result.joined for result in results) == [False] + [True] * 19
    assert {result.call.id for result in results} == {call.id}


@pytest.mark.parametrize("key", ["", "k"])
async def test_identical_requests_at_once_give_one_call(
    journal: Journal, settings: Settings, key: str
) -> None:
    results = await _open_at_once(journal, settings, request_hash="aa", idempotency_key=key)

    assert sorted(result.joined for result in results) == [False] + [True] * 19
    assert len({result.call.id for result in results}) == 1


async def _open_at_once(journal: Journal, settings: Settings, **request: str) -> list[Opened]:
    """Open one request twenty times at once, through two journals."""
    results: list[Opened] = []

    async def one(through: Journal) -> None:
        results.append(await through.open_call(asking(**request)))

    async with open_journal(settings) as other, anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(one, journal)
            group.start_soon(one, other)
    return results


async def test_a_call_whose_process_closed_before_sending_is_run_by_who_asks(
    journal: Journal, settings: Settings
) -> None:
    async with open_journal(settings) as gone:
        call = await opened(gone, request_hash="aa")

    results = await _open_at_once(journal, settings, request_hash="aa")

    assert {result.call.id for result in results} == {call.id}
    assert [result.joined for result in results].count(False) == 1


async def test_a_signed_call_whose_process_closed_is_told_apart(
    journal: Journal, settings: Settings
) -> None:
    async with open_journal(settings) as gone:
        call = await signed_call(gone, request_hash="aa")

    again = await journal.open_call(asking(request_hash="aa"))

    assert again.joined
    assert again.call.orphaned
    assert [found.id for found in await journal.unfinished()] == [call.id]


async def test_an_orphan_is_adopted_by_one_process(journal: Journal, settings: Settings) -> None:
    async with open_journal(settings) as gone:
        call = await signed_call(gone)

    async with open_journal(settings) as other:
        adopted = [await journal.adopt(call.id), await other.adopt(call.id)]

    assert adopted == [True, False]


async def test_an_orphan_is_adopted_by_one_of_two_processes_that_found_it_at_once(
    tmp_path: Path,
) -> None:
    settings = Settings(network_name="local", data_dir=tmp_path / "data")
    async with open_journal(settings) as gone:
        call = await signed_call(gone)
    adopted: list[bool] = []

    async def adopt(through: Journal) -> None:
        adopted.append(await through.adopt(call.id))

    async with (
        open_journal(settings) as one,
        open_journal(settings) as other,
        anyio.create_task_group() as group,
    ):
        # Nobody writes until both have read whose it is.
        with _written_by_another(settings):
            group.start_soon(adopt, one)
            group.start_soon(adopt, other)
            await anyio.sleep(0.1)

    assert sorted(adopted) == [False, True]


async def test_an_unsent_call_is_taken_over_by_one_of_two_processes_that_found_it_at_once(
    tmp_path: Path,
) -> None:
    settings = Settings(network_name="local", data_dir=tmp_path / "data")
    async with open_journal(settings) as gone:
        calls = [await opened(gone, request_hash=f"{number:064x}") for number in range(60)]
    taken: list[str] = []

    async def take(through: Journal, call: Call) -> None:
        found = await through.open_call(asking(request_hash=call.request_hash))
        if not found.joined:
            taken.append(found.call.id)

    async with open_journal(settings) as one, open_journal(settings) as other:
        for call in calls:
            async with anyio.create_task_group() as group:
                with _written_by_another(settings):
                    group.start_soon(take, one, call)
                    group.start_soon(take, other, call)
                    await anyio.wait_all_tasks_blocked()

    assert sorted(taken) == sorted(call.id for call in calls)


@contextmanager
def _written_by_another(settings: Settings) -> Iterator[None]:
    """Hold the lock of the journal's file, so that all others read and wait."""
    path = settings.data_dir / "journal.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("COMMIT")


async def test_a_living_process_keeps_its_call(journal: Journal, settings: Settings) -> None:
    call = await opened(journal)

    async with open_journal(settings) as other:
        assert not await other.adopt(call.id)


async def test_the_process_that_lost_its_call_cannot_sign_for_it(
    journal: Journal, settings: Settings
) -> None:
    async with open_journal(settings, lease_s=0.2) as slow:
        call = await opened(slow, request_hash="aa")
        await slow.aclose()
    assert not (await journal.open_call(asking(request_hash="aa"))).joined

    async with open_journal(settings) as other:
        with pytest.raises(Exception, match="cannot be signed"):
            await sign(other, call)


@pytest.mark.parametrize("key", ["x" * 257, "a\0b", "\ud800"])
async def test_a_key_that_no_database_takes_is_refused(journal: Journal, key: str) -> None:
    with pytest.raises(InputError, match="idempotency_key"):
        await journal.open_call(asking(idempotency_key=key))
