"""A person's agreement: sealed, for one request, one time, one hour (T22, T25)."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from og_mcp.calls import Journal
from og_mcp.errors import CallNotFoundError, CallStateError, JournalError, SealBrokenError
from og_mcp.journal import _approvals, open_journal
from og_mcp.journal._opened import database_of
from og_mcp.journal._seal import Seal
from og_mcp.settings import Settings
from og_mcp.types import Call, ConsentRequest
from tests.journal.paying import paid_call
from tests.journal.steps import ACCOUNT, asking, opened, signed_call

HASH = "aa"


def consent(wei: int = 0, opg: int = 0) -> ConsentRequest:
    """Describe what a person is asked to agree to."""
    return ConsentRequest(
        request_hash=HASH, network="local", payer=ACCOUNT, cap_wei=wei, cap_opg=opg
    )


async def asked(journal: Journal) -> Call:
    """Open a call that waits for approval."""
    call = await opened(journal, request_hash=HASH)
    await journal.request_approval(call.id, "a person must agree", consent(100, 5))
    return call


async def test_a_call_that_waits_for_approval_shows_as_failed_and_why(journal: Journal) -> None:
    call = await asked(journal)

    found = await journal.get(call.id, "local")
    assert (found.status, found.waiting_approval, found.error) == (
        "failed",
        True,
        "a person must agree",
    )
    approval = await journal.approval(call.id)
    assert (approval.cap_wei, approval.cap_opg, approval.expires_at) == (100, 5, None)


async def test_the_same_request_takes_up_the_call_again(journal: Journal) -> None:
    call = await asked(journal)
    await journal.deliver(call.id)

    again = await journal.open_call(asking(request_hash=HASH))

    assert (again.call.id, again.joined, again.call.status) == (call.id, False, "running")


async def test_nothing_is_taken_before_somebody_approves(journal: Journal) -> None:
    call = await asked(journal)

    assert not await journal.take_approval(call.id, consent(1))
    assert not await journal.take_approval("0" * 32, consent(1))


async def test_an_approval_is_good_for_one_try(journal: Journal, settings: Settings) -> None:
    call = await asked(journal)
    await journal.approve(call.id)
    taken: list[bool] = []

    async def take(through: Journal) -> None:
        taken.append(await through.take_approval(call.id, consent(100, 5)))

    async with open_journal(settings) as other, anyio.create_task_group() as group:
        for through in (journal, other) * 5:
            group.start_soon(take, through)

    assert sorted(taken) == [False] * 9 + [True]
    assert (await journal.approval(call.id)).taken


@pytest.mark.parametrize(
    "changed",
    [
        {"request_hash": "bb"},
        {"cap_wei": 101},
        {"cap_opg": 6},
        {"network": "og-mainnet"},
        {"payer": replace(ACCOUNT, address=f"0x{'cd' * 20}")},
        {"payer": replace(ACCOUNT, network="local:0xdef")},
        {"payer": replace(ACCOUNT, chain_id=8)},
        {"payer": None},
        {"what": "publish it"},
    ],
    ids=str,
)
async def test_an_approval_covers_its_request_payer_and_cap_alone(
    journal: Journal, changed: dict[str, Any]
) -> None:
    call = await asked(journal)
    await journal.approve(call.id)

    assert not await journal.take_approval(call.id, replace(consent(100, 5), **changed))
    assert await journal.take_approval(call.id, consent(100, 5))


async def test_an_approval_tells_network_and_payer(journal: Journal) -> None:
    call = await asked(journal)

    for approval in (await journal.approval(call.id), await journal.approve(call.id)):
        assert (approval.network, approval.payer) == ("local", ACCOUNT)


async def test_an_approval_of_opg_alone_covers_opg_alone(journal: Journal) -> None:
    call = await opened(journal, request_hash=HASH)
    await journal.request_approval(call.id, "a person must agree", consent(opg=10**17))
    assert (await journal.approval(call.id)).cap_opg == 10**17
    await journal.approve(call.id)

    assert not await journal.take_approval(call.id, consent(opg=10**17 + 1))
    assert not await journal.take_approval(call.id, consent(1, 10**17))
    assert await journal.take_approval(call.id, consent(opg=10**17))


async def test_a_call_that_is_paid_for_cannot_wait_for_approval(journal: Journal) -> None:
    call, _ = await paid_call(journal)

    with pytest.raises(CallStateError):
        await journal.request_approval(call.id, "late", consent(opg=1))


async def test_asking_anew_undoes_an_approval(journal: Journal) -> None:
    call = await asked(journal)
    await journal.approve(call.id)
    await journal.open_call(asking(request_hash=HASH))
    await journal.request_approval(call.id, "dearer now", consent(200))

    assert not await journal.take_approval(call.id, consent(100))


async def test_a_question_that_changed_is_not_approved(journal: Journal) -> None:
    call = await asked(journal)
    shown = await journal.approval(call.id)
    await journal.open_call(asking(request_hash=HASH))
    await journal.request_approval(call.id, "dearer now", consent(200))

    with pytest.raises(CallStateError, match="has changed"):
        await journal.approve(call.id, shown)


async def test_a_call_that_was_never_asked_for_is_not_approved(journal: Journal) -> None:
    with pytest.raises(CallNotFoundError):
        await journal.approve("0" * 32)


async def test_a_signed_call_cannot_wait_for_approval(journal: Journal) -> None:
    call = await signed_call(journal)

    with pytest.raises(CallStateError):
        await journal.request_approval(call.id, "late", consent(1))


async def _write(settings: Settings, sql: str) -> None:
    """Write to the database as somebody who has nothing else."""
    database = database_of(settings)
    connection = await anyio.to_thread.run_sync(database.connect)
    connection.plain(sql)
    connection.close()


async def test_what_is_written_with_the_database_alone_is_refused(
    journal: Journal, settings: Settings, tmp_path: Path
) -> None:
    """T25: a question and an answer that another key has sealed."""
    call = await asked(journal)
    stranger = _approvals.Approvals(Seal(tmp_path / "theirs"), tmp_path / "theirs")
    record = {"call_id": call.id, "request_hash": HASH, "cap_wei": "9", "cap_opg": "9"}
    answer = {**record, "expires_at": f"{2**60}", "token": "a"}
    forged = stranger.seal.seal(_approvals.APPROVED, json.dumps(answer).encode())
    await _write(settings, f"UPDATE approvals SET approved = '{forged}', asked = '{forged}'")  # noqa: S608 - an attack

    assert not await journal.take_approval(call.id, consent(1))
    with pytest.raises(SealBrokenError):
        await journal.approval(call.id)
    with pytest.raises(SealBrokenError):
        await journal.approve(call.id)


async def test_an_approval_moved_to_another_call_is_refused(
    journal: Journal, settings: Settings
) -> None:
    """T25."""
    first = await asked(journal)
    await journal.approve(first.id)
    await _write(settings, f"UPDATE approvals SET call_id = '{'0' * 32}'")  # noqa: S608 - an attack

    assert not await journal.take_approval("0" * 32, consent(1))


async def test_an_approval_marked_unused_again_stays_used(
    journal: Journal, settings: Settings
) -> None:
    """T25."""
    call = await asked(journal)
    await journal.approve(call.id)
    assert await journal.take_approval(call.id, consent(1))
    await _write(settings, "UPDATE approvals SET taken_by = ''")

    assert not await journal.take_approval(call.id, consent(1))


async def test_an_approval_ends_after_an_hour(journal: Journal, settings: Settings) -> None:
    call = await asked(journal)
    before = time.time()
    approval = await journal.approve(call.id)
    assert approval.expires_at is not None
    assert 3600 <= approval.expires_at.timestamp() - int(before) <= 3660

    database = database_of(settings)
    connection = await anyio.to_thread.run_sync(database.connect)
    [[sealed]] = connection.plain("SELECT approved FROM approvals")
    record = json.loads(journal.unseal(_approvals.APPROVED, sealed))
    for left_s, is_good in ((-1, False), (60, True)):
        changed = {**record, "expires_at": str(int((time.time() + left_s) * 10**6))}
        written = journal.seal(_approvals.APPROVED, json.dumps(changed).encode())
        connection.plain(f"UPDATE approvals SET approved = '{written}'")  # noqa: S608 - our own words
        assert await journal.take_approval(call.id, consent(1)) is is_good
    connection.close()


async def test_sealed_data_comes_back_for_its_purpose_alone(journal: Journal) -> None:
    sealed = journal.seal("payment requirements", b"\x00data")

    assert journal.unseal("payment requirements", sealed) == b"\x00data"
    for purpose, text in (
        ("other", sealed),
        ("payment requirements", f"A{sealed[1:]}"),
        ("x", "?é"),
    ):
        with pytest.raises(SealBrokenError):
            journal.unseal(purpose, text if text != sealed or purpose == "other" else "")


async def test_a_seal_outlives_the_process(journal: Journal, settings: Settings) -> None:
    sealed = journal.seal("p", b"data")

    async with open_journal(settings) as other:
        assert other.unseal("p", sealed) == b"data"


def test_the_key_file_is_its_owners_alone(tmp_path: Path) -> None:
    Seal(tmp_path)
    key = tmp_path / "journal.key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert sorted(tmp_path.iterdir()) == [key]

    key.chmod(0o640)
    with pytest.raises(JournalError, match="read by others"):
        Seal(tmp_path)


def test_a_damaged_key_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "journal.key").write_bytes(b"short")

    with pytest.raises(JournalError, match="holds 5 bytes"):
        Seal(tmp_path)
