"""Requests, results and receipts: kept, hashed, large, pruned."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from og_mcp.calls import Journal
from og_mcp.errors import CallNotFoundError, JournalError
from og_mcp.journal import open_journal
from og_mcp.journal._documents import INLINE_BYTES
from og_mcp.journal._opened import database_of
from og_mcp.settings import Settings
from og_mcp.types import Call, CallRequest, Stage
from tests.journal.paying import cap_for
from tests.journal.steps import FEE, asking, opened, settled_call, sign

LARGE = f'"{"é" * INLINE_BYTES}"'


async def large_call(journal: Journal) -> Call:
    """Settle a call whose documents are large."""
    request = CallRequest(
        tool="infer", principal="local", network="local", request_hash="aa", request=LARGE
    )
    call = (await journal.open_call(request)).call
    await sign(journal, call)
    await journal.settle(call.id, Stage.CHARGED, FEE, LARGE, LARGE)
    return call


async def test_large_documents_lie_in_files_by_their_hash(
    journal: Journal, settings: Settings
) -> None:
    call = await large_call(journal)

    found = await journal.get(call.id, "local")
    assert (found.request, found.result, found.receipt) == (LARGE, LARGE, LARGE)
    [path] = (settings.data_dir / "documents").iterdir()
    assert path.name == f"{hashlib.sha256(LARGE.encode()).hexdigest()}.{call.id}"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


async def test_a_document_that_was_changed_is_refused(journal: Journal, settings: Settings) -> None:
    call = await large_call(journal)
    [path] = (settings.data_dir / "documents").iterdir()

    path.write_bytes(LARGE.replace("é", "e").encode())

    with pytest.raises(JournalError, match="was changed"):
        await journal.get(call.id, "local")


async def test_lists_hold_no_documents(journal: Journal) -> None:
    await settled_call(journal)

    [call] = await journal.list_calls("local", 10)
    assert (call.request, call.result, call.receipt) == ("", "", "")
    assert len(call.result_hash) == 64


@pytest.fixture
async def discreet(settings: Settings) -> AsyncIterator[Journal]:
    """A journal with OG_RECEIPTS=hashes."""
    async with open_journal(replace(settings, receipts="hashes")) as journal:
        yield journal


async def test_with_hashes_no_document_is_on_disk(discreet: Journal, settings: Settings) -> None:
    """T29."""
    request = CallRequest(
        tool="infer", principal="local", network="local", request_hash="aa", request="PROMPT"
    )
    call = (await discreet.open_call(request)).call
    await sign(discreet, call)
    await discreet.settle(call.id, Stage.CHARGED, FEE, "ANSWER", '{"receipt": 1}')

    async with open_journal(settings) as other:
        found = await other.get(call.id, "local")
        [transaction] = await other.transactions(call.id)
    assert (found.request, found.result, found.receipt) == ("", "", '{"receipt": 1}')
    assert found.result_hash == hashlib.sha256(b"ANSWER").hexdigest()
    # The signed bytes hold the request.
    assert transaction.raw_transaction == ""
    for path in settings.data_dir.rglob("*"):
        assert not path.is_file() or b"PROMPT" not in path.read_bytes()


async def test_with_hashes_the_answer_waits_in_memory_until_delivered(discreet: Journal) -> None:
    call = await settled_call(discreet)
    assert call.result == '{"y": 1}'

    await discreet.deliver(call.id)

    assert (await discreet.get(call.id, "local")).result == ""


@pytest.mark.usefixtures("journal")
async def test_files_of_the_journal_are_its_owners_alone(settings: Settings) -> None:
    """T29."""
    assert settings.data_dir.stat().st_mode & 0o777 == 0o700
    for path in settings.data_dir.iterdir():
        assert path.stat().st_mode & 0o077 == 0, path


async def _old(settings: Settings, days: int) -> None:
    """Make everything in the journal older."""
    connection = database_of(settings).connect()
    past = days * 24 * 3600 * 10**6
    for column in ("created_at", "updated_at", "settled_at", "delivered_at"):
        connection.plain(f"UPDATE calls SET {column} = {column} - {past}")  # noqa: S608 - our own words
    connection.close()


async def test_pruning_removes_what_was_delivered_and_its_files(
    journal: Journal, settings: Settings
) -> None:
    call = await large_call(journal)
    await journal.deliver(call.id)
    kept = await settled_call(journal)
    await _old(settings, 2)

    pruned = await journal.prune(datetime.now(UTC))

    assert (pruned.calls, pruned.files) == (1, 1)
    assert await journal.transactions(call.id) == ()
    with pytest.raises(CallNotFoundError):
        await journal.get(call.id, "local")
    assert await journal.get(kept.id, "local")
    [totals] = await journal.totals("local")
    assert totals.fees_wei == 2 * FEE


async def test_pruning_leaves_what_is_younger_unfinished_or_known_by_its_key(
    journal: Journal, settings: Settings
) -> None:
    signed = await opened(journal)
    await sign(journal, signed)
    await journal.fail(signed.id, Stage.SENT_UNKNOWN, "doubt")
    keyed = await settled_call(journal, idempotency_key="k")
    for call in (signed, keyed):
        await journal.deliver(call.id)
    await opened(journal)
    await _old(settings, 3)

    assert (await journal.prune(datetime.now(UTC))).calls == 0
    assert (await journal.prune(datetime.now(UTC) - timedelta(days=9))).calls == 0
    assert len(await journal.list_calls("local", 10)) == 3


async def test_pruning_leaves_what_ended_within_the_day_whatever_pays_for_it(
    journal: Journal, settings: Settings
) -> None:
    call = await opened(journal, tool="chat")
    cap = await cap_for(journal, call)
    await journal.settle(call.id, Stage.CHARGED, 0, "{}", "{}")
    await journal.settle_cap(cap.id, 5, "0xaa")
    failed = await opened(journal)
    await journal.fail(failed.id, Stage.NOT_SENT, "refused")
    for one in (call, failed):
        await journal.deliver(one.id)

    assert (await journal.prune(datetime.now(UTC) + timedelta(days=999))).calls == 0
    assert (await journal.get(call.id, "local")).receipt
    await _old(settings, 2)
    assert (await journal.prune(datetime.now(UTC))).calls == 2


async def test_a_key_is_forgotten_after_thirty_days(journal: Journal, settings: Settings) -> None:
    old = await settled_call(journal, request_hash="aa", idempotency_key="k")
    await _old(settings, 31)

    again = await journal.open_call(asking(request_hash="aa", idempotency_key="k"))

    assert not again.joined
    assert again.call.id != old.id


async def test_a_key_is_known_for_thirty_days(journal: Journal, settings: Settings) -> None:
    old = await settled_call(journal, request_hash="aa", idempotency_key="k")
    await _old(settings, 29)

    assert (
        await journal.open_call(asking(request_hash="aa", idempotency_key="k"))
    ).call.id == old.id


async def test_documents_that_cannot_be_written_stop_the_call(
    journal: Journal, settings: Settings
) -> None:
    (settings.data_dir / "documents").write_text("in the way")

    with pytest.raises(JournalError, match="cannot be written"):
        await large_call(journal)
    assert await journal.list_calls("local", 10) == ()
