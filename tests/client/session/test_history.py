"""What becomes of a call after it was asked for: waited for, given up, stuck, replaced, confirmed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from og_mcp.client import Session, Timeouts
from og_mcp.client.chain.wallet import read_transaction
from og_mcp.errors import (
    AlreadySentError,
    CallFailedError,
    CallNotFoundError,
    CallStateError,
    TransactionPendingError,
    TransactionRefusedError,
)
from og_mcp.journal import open_journal
from og_mcp.types import Call, CallInfo, InferenceResult, Stage
from tests.books import CHARGED, Purse, check_books
from tests.localnet_client import LocalNetwork

ESTIMATE = "eth_estimateGas"
SEND = "eth_sendRawTransaction"
RECEIPT = "eth_getTransactionReceipt"
GWEI = 10**9
BRIEF = Timeouts(rpc_s=10.0, look_up_s=2.0, receipt_s=0.5)
WATCHFUL = Timeouts(rpc_s=10.0, look_up_s=2.0, receipt_s=30.0, stuck_after_s=0.5)


@pytest.fixture
def purse(localnet: LocalNetwork, tmp_path: Path) -> Purse:
    return Purse(localnet, tmp_path)


@pytest.fixture
async def og(purse: Purse) -> AsyncIterator[Session]:
    async with purse.session() as session:
        yield session


async def infer(
    og: Session,
    purse: Purse,
    key: str = "",
    **more: Any,  # noqa: ANN401 - as Session.infer
) -> InferenceResult:
    sample = purse.localnet.ready["sample_models"][0]
    return await og.infer(sample["cid"], sample["model_input"], idempotency_key=key, **more)


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Wait, within bounds, for what only asking can tell."""
    with anyio.fail_after(30):
        while not await is_so():  # noqa: ASYNC110 - another process or the chain changes it
            await anyio.sleep(0.02)


async def ended(og: Session, call_id: str) -> CallInfo:
    """Return a call once the chain has told its end."""

    async def is_charged() -> bool:
        return (await og.get_call(call_id)).stage in CHARGED

    await until(is_charged)
    return await og.get_call(call_id)


async def the_call(purse: Purse) -> Call:
    """Return the one call of the journal, once there is one."""

    async def is_there() -> bool:
        return bool(await purse.calls())

    await until(is_there)
    (call,) = await purse.calls()
    return call


async def until_sent(purse: Purse) -> None:
    """Wait until the node has a transaction of the wallet."""

    async def is_sent() -> bool:
        return purse.sent("pending") == 1

    await until(is_sent)


# Waiting


async def test_a_call_that_takes_long_is_handed_back_running_and_waited_for_again(
    og: Session, purse: Purse
) -> None:
    purse.localnet.hold_blocks()

    running = await infer(og, purse, wait_s=0.2)
    assert running.status == "running"
    assert (await og.get_call(running.call_id, 0.1)).status == "running"
    purse.localnet.release_blocks()
    done = await og.get_call(running.call_id)

    assert done.status == "done"
    assert done.result["model_output"] == purse.localnet.ready["sample_models"][0]["model_output"]
    assert purse.sent() == 1


async def test_a_call_that_is_given_up_before_its_signature_sends_nothing(
    og: Session, purse: Purse
) -> None:
    purse.localnet.fault(ESTIMATE, "hang")

    async def is_asked() -> bool:
        return not purse.localnet.pending_faults()

    async def has_ended() -> bool:
        return (await the_call(purse)).status != "running"

    async with anyio.create_task_group() as group:
        group.start_soon(infer, og, purse)
        await until(is_asked)
        group.cancel_scope.cancel()
    purse.localnet.reset()
    await until(has_ended)

    call = await the_call(purse)
    assert (call.status, call.stage) == ("failed", Stage.NOT_SENT)
    assert "nothing was paid" in call.error
    assert purse.sent("pending") == 0
    await infer(og, purse)
    assert purse.sent() == 1


async def test_a_call_that_is_given_up_after_its_signature_goes_on_and_is_joined(
    og: Session, purse: Purse
) -> None:
    purse.localnet.hold_blocks()
    purse.localnet.reset_counters()

    async def waits_for_its_receipt() -> bool:
        # Once with the transaction, and once more after it.
        return int(purse.localnet.counters()["calls"].get(RECEIPT, 0)) > 1

    async with anyio.create_task_group() as group:
        group.start_soon(infer, og, purse)
        await until(waits_for_its_receipt)
        group.cancel_scope.cancel()
    given_up = await the_call(purse)
    purse.localnet.release_blocks()

    async def has_ended() -> bool:
        return (await the_call(purse)).status != "running"

    await until(has_ended)
    assert (await the_call(purse)).status == "done"
    joined = await infer(og, purse)

    assert joined.status == "done"
    assert joined.call_id == given_up.id
    assert (joined.transaction_hash,) == given_up.transaction_hashes
    assert purse.sent() == 1
    # Its answer is delivered now: the same request again is another call.
    assert (await infer(og, purse)).call_id != given_up.id
    await check_books(purse)


async def test_of_two_who_wait_for_a_call_one_may_leave(og: Session, purse: Purse) -> None:
    purse.localnet.fault(ESTIMATE, "delay", delay_s=1.0)
    results: list[InferenceResult] = []

    async def stay() -> None:
        results.append(await infer(og, purse))

    async with anyio.create_task_group() as group:
        group.start_soon(stay)
        await the_call(purse)
        with anyio.move_on_after(0.2):
            await infer(og, purse)
    assert results[0].status == "done"
    assert purse.sent() == 1


async def test_t21_calls_of_one_principal_are_neither_seen_nor_joined_by_another(
    og: Session, purse: Purse
) -> None:
    purse.localnet.hold_blocks()
    mine = await infer(og, purse, principal="ours", wait_s=0.2)
    theirs = await infer(og, purse, principal="theirs", wait_s=0.2)
    purse.localnet.release_blocks()

    assert mine.call_id != theirs.call_id
    with pytest.raises(CallNotFoundError):
        await og.get_call(mine.call_id, principal="theirs")
    with pytest.raises(CallNotFoundError):
        await og.receipt(mine.call_id, principal="theirs")
    with pytest.raises(CallNotFoundError):
        await og.cancel(mine.call_id, principal="theirs")
    await og.get_call(mine.call_id, principal="ours")
    listed = await og.list_calls(principal="theirs")
    assert [call.call_id for call in listed.calls] == [theirs.call_id]


# Stuck transactions, threats.md T11


async def stuck_call(og: Session, purse: Purse) -> str:
    """Make a call whose transaction offers too little to be mined."""
    purse.localnet.prices(least_gas_price=2 * GWEI)
    with pytest.raises(TransactionPendingError) as stuck:
        await infer(og, purse)
    return stuck.value.call_id


async def check_replaced(purse: Purse, call_id: str, *, mined: int) -> None:
    """Assert that the call's two transactions are one by nonce, and which one of them is mined."""
    async with open_journal(purse.settings()) as journal:
        signed = await journal.transactions(call_id)
    first, second = (read_transaction(bytes.fromhex(one.raw_transaction[2:])) for one in signed)
    assert (first.nonce, first.to, first.data) == (second.nonce, second.to, second.data)
    assert second.gas_price * 8 >= first.gas_price * 9
    (receipt,) = purse.mined([one.transaction_hash for one in signed])
    assert receipt["transactionHash"] == signed[mined].transaction_hash
    (call,) = await check_books(purse)
    assert call.stage in CHARGED


@pytest.mark.slow
async def test_t11_a_call_that_is_stuck_is_sped_up_by_itself(purse: Purse) -> None:
    results: list[InferenceResult] = []

    async def call(og: Session) -> None:
        results.append(await infer(og, purse))

    purse.localnet.prices(least_gas_price=2 * GWEI)
    async with purse.session(WATCHFUL) as og, anyio.create_task_group() as group:
        group.start_soon(call, og)
        await until_sent(purse)
        assert purse.sent() == 0
        purse.localnet.prices(gas_price=3 * GWEI)

    assert results[0].status == "done"
    await check_replaced(purse, results[0].call_id, mined=1)


@pytest.mark.slow
async def test_t11_a_call_that_is_stuck_at_a_fair_price_waits(purse: Purse) -> None:
    purse.localnet.hold_blocks()
    brief = Timeouts(rpc_s=10.0, look_up_s=2.0, receipt_s=2.0, stuck_after_s=0.2)
    async with purse.session(brief) as og:
        with pytest.raises(TransactionPendingError):
            await infer(og, purse)
    assert len((await the_call(purse)).transaction_hashes) == 1


async def test_t11_a_stuck_call_is_sped_up_on_request(purse: Purse) -> None:
    async with purse.session(BRIEF) as og:
        call_id = await stuck_call(og, purse)
        purse.localnet.prices(gas_price=3 * GWEI)

        sped_up = await og.speed_up(call_id)
        done = await ended(og, call_id)

        assert done.status == "done"
        assert sped_up.transaction_hash == done.transaction_hash
        with pytest.raises(CallStateError):
            await og.speed_up(call_id)
    await check_replaced(purse, call_id, mined=1)


async def test_t11_who_waits_for_a_call_gets_the_end_that_another_process_gave_it(
    purse: Purse,
) -> None:
    results: list[InferenceResult] = []

    async def call(og: Session) -> None:
        results.append(await infer(og, purse))

    purse.localnet.prices(least_gas_price=2 * GWEI)
    async with (
        purse.session() as waiting,
        purse.session() as operator,
        anyio.create_task_group() as group,
    ):
        group.start_soon(call, waiting)
        await until_sent(purse)
        purse.localnet.prices(gas_price=3 * GWEI)
        await operator.speed_up((await the_call(purse)).id)

    assert results[0].status == "done"
    await check_replaced(purse, results[0].call_id, mined=1)


async def test_t11_the_earlier_transaction_counts_where_the_replacement_is_lost(
    purse: Purse,
) -> None:
    async with purse.session(BRIEF) as og:
        call_id = await stuck_call(og, purse)
        purse.localnet.fault(SEND, "drop")
        with pytest.raises(TransactionRefusedError, match="may still be mined"):
            await og.speed_up(call_id)
        purse.localnet.prices(least_gas_price=0)
        purse.localnet.mine()

        assert (await ended(og, call_id)).status == "done"
    await check_replaced(purse, call_id, mined=0)


async def test_t11_a_stuck_call_is_cancelled_for_the_price_of_a_transfer(purse: Purse) -> None:
    async with purse.session(BRIEF) as og:
        call_id = await stuck_call(og, purse)
        purse.localnet.prices(gas_price=3 * GWEI)

        await og.cancel(call_id)
        cancelled = await ended(og, call_id)

        assert cancelled.status == "failed"
        assert cancelled.stage in CHARGED
        assert cancelled.fee_wei == 21_000 * 3 * GWEI
        assert "cancelled" in cancelled.error
    await check_books(purse)


async def test_t11_calls_behind_a_stuck_one_go_through_once_it_does(purse: Purse) -> None:
    async with purse.session(BRIEF) as og:
        first = await stuck_call(og, purse)
        purse.localnet.prices(gas_price=3 * GWEI)
        with pytest.raises(TransactionPendingError) as behind:
            await infer(og, purse, "behind")
        await og.speed_up(first)

        assert (await ended(og, first)).status == "done"
        assert (await ended(og, behind.value.call_id)).status == "done"
    await check_books(purse)


# Confirmation, threats.md T12


async def test_t12_a_call_is_confirmed_once_its_block_is_safe(og: Session, purse: Purse) -> None:
    purse.localnet.safe_depth(3)
    call_id = (await infer(og, purse)).call_id

    assert (await og.get_call(call_id)).stage is Stage.CHARGED
    purse.localnet.mine(2)
    assert (await og.get_call(call_id)).stage is Stage.CHARGED
    purse.localnet.mine(1)
    assert (await og.get_call(call_id)).stage is Stage.CONFIRMED
    await check_books(purse)


async def test_t12_a_chain_that_knows_no_safe_block_confirms_nothing(
    og: Session, purse: Purse
) -> None:
    call_id = (await infer(og, purse)).call_id
    purse.localnet.fault("eth_getBlockByNumber", "error", message="invalid argument 0: safe")

    assert (await og.get_call(call_id)).stage is Stage.CHARGED
    assert purse.localnet.pending_faults() == []


@pytest.mark.slow
@pytest.mark.parametrize("key", ["", "key"])
async def test_a_call_that_failed_in_doubt_is_not_paid_again_by_its_repetition(
    purse: Purse, key: str
) -> None:
    async with purse.session(BRIEF) as og:
        purse.localnet.hold_blocks()
        with pytest.raises(TransactionPendingError):
            await infer(og, purse, key)
        for _ in range(2):
            with pytest.raises(AlreadySentError, match="it may have been paid"):
                await infer(og, purse, key)
        purse.localnet.release_blocks()
        await until(lambda: _is_mined(purse))

        # The chain is asked before the failure is told again.
        result = await infer(og, purse, key)
        (call,) = (await og.list_calls()).calls
    assert (result.status, result.call_id) == ("done", call.call_id)
    assert purse.sent() == 1


async def test_a_call_in_doubt_that_cannot_be_looked_up_still_tells_that(purse: Purse) -> None:
    async with purse.session(BRIEF) as og:
        purse.localnet.hold_blocks()
        with pytest.raises(TransactionPendingError):
            await infer(og, purse)
        purse.localnet.close_service("rpc")
        with pytest.raises(AlreadySentError, match="it may have been paid"):
            await infer(og, purse)
        purse.localnet.open_service("rpc")


@pytest.mark.slow
@pytest.mark.parametrize("key", ["", "key"])
async def test_a_transaction_that_never_arrived_is_sent_again_by_its_repetition(
    purse: Purse, key: str
) -> None:
    async with purse.session(BRIEF) as og:
        purse.localnet.fault(SEND, "drop")
        with pytest.raises(TransactionPendingError) as lost:
            await infer(og, purse, key)
        assert purse.sent("pending") == 0
        # Looking changes nothing.
        assert (await og.get_call(lost.value.call_id)).stage is Stage.SENT_UNKNOWN
        assert purse.sent("pending") == 0

        again = await infer(og, purse, key)

    assert (again.status, again.call_id) == ("done", lost.value.call_id)
    # The very same bytes: there is no second signature.
    assert again.transaction_hash == lost.value.transaction_hash
    (call,) = await check_books(purse)
    assert call.transaction_hashes == (again.transaction_hash,)
    assert purse.sent() == 1


@pytest.mark.slow
async def test_what_comes_before_a_call_is_waited_for_too(purse: Purse) -> None:
    localnet = purse.localnet
    localnet.hold_blocks()
    async with purse.session() as og:
        await og.status()
        localnet.latency(3.0, service="hub_read")
        began = anyio.current_time()
        # What the model takes is looked up before the call is recorded.
        running = await infer(og, purse, wait_s=3.0)
        took = anyio.current_time() - began
        localnet.latency(0.0, service="hub_read")

    assert running.status == "running"
    assert took < 6.0


async def test_a_call_in_doubt_is_named_by_the_doctor_with_what_helps(purse: Purse) -> None:
    async with purse.session(BRIEF) as og:
        purse.localnet.fault(SEND, "drop")
        with pytest.raises(TransactionPendingError) as lost:
            await infer(og, purse)

        (journal,) = [one for one in await og.examine() if one.name == "journal"]

    assert f"1 in doubt, whose transaction is not mined: {lost.value.call_id}" in journal.detail
    assert "og-mcp calls speed-up ID" in journal.detail


async def test_a_lost_call_that_two_processes_repeat_at_once_is_paid_once(purse: Purse) -> None:
    async with purse.session(BRIEF) as og:
        purse.localnet.fault(SEND, "drop")
        with pytest.raises(TransactionPendingError) as lost:
            await infer(og, purse)
    results: list[InferenceResult] = []

    async def repeat(session: Session) -> None:
        results.append(await infer(session, purse))

    async with purse.session() as one, purse.session() as other:
        async with anyio.create_task_group() as group:
            group.start_soon(repeat, one)
            group.start_soon(repeat, other)
        assert {result.call_id for result in results} == {lost.value.call_id}
        # Its end was handed over: from now on the same request is a new one.
        assert (await infer(one, purse)).call_id != lost.value.call_id

    assert purse.sent() == 2
    assert len(await check_books(purse)) == 2


async def test_a_lost_call_that_the_node_refuses_is_never_signed_anew(purse: Purse) -> None:
    async with purse.session(BRIEF) as og:
        purse.localnet.fault(SEND, "drop")
        with pytest.raises(TransactionPendingError):
            await infer(og, purse)
        purse.localnet.fault(SEND, "error", message="insufficient funds for gas * price + value")
        with pytest.raises(AlreadySentError):
            await infer(og, purse)

        assert (await infer(og, purse)).status == "done"

    (call,) = await check_books(purse)
    assert len(call.transaction_hashes) == 1


@pytest.mark.parametrize("key", ["", "key"])
async def test_t31_a_call_whose_nonce_went_elsewhere_ends_after_two_looks_and_is_never_signed_again(
    purse: Purse, key: str
) -> None:
    async with purse.session(BRIEF) as og:
        purse.localnet.fault(SEND, "drop")
        with pytest.raises(TransactionPendingError) as lost:
            await infer(og, purse, key)
        most = lost.value.reserved
    async with purse.session(BRIEF, OG_DATA_DIR=str(purse.folder / "elsewhere")) as stranger:
        await infer(stranger, purse)

    # One look, or two within a minute, end nothing.
    async with purse.session(BRIEF) as og:
        with pytest.raises(AlreadySentError, match="may have been paid"):
            await infer(og, purse, key)
    async with purse.session(replace(BRIEF, recheck_s=0.0)) as og:
        told = await og.get_call(lost.value.call_id)
        budget = (await og.status()).budget
        if key:
            with pytest.raises(CallFailedError, match="new idempotency_key"):
                await infer(og, purse, key)
            assert purse.sent("pending") == 1
        else:
            assert (await infer(og, purse)).call_id != lost.value.call_id

    assert (told.stage, told.status) == (Stage.SENT_UNKNOWN, "failed")
    assert "by the word of RPC http://127.0.0.1" in told.error
    # What was signed may still be mined, whatever the RPC says.
    assert int(budget["open_fee_wei"]) == most


async def _is_mined(purse: Purse) -> bool:
    return purse.sent() == 1
