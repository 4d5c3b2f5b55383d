"""T31: an RPC that refuses and keeps the bytes gets one transaction a call, within cap and approval."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from og_mcp.client import Session, Timeouts
from og_mcp.client.chain.signature import read_fields
from og_mcp.errors import (
    ApprovalRequiredError,
    BudgetExceededError,
    OGError,
    TransactionPendingError,
    coins,
)
from og_mcp.journal import open_journal
from og_mcp.types import Budget, FeeCaps, InferenceResult, Stage
from tests import journal_worker
from tests.books import Purse
from tests.lying_rpc import Lie, LyingRPC, drops, refuses, says

SEND = "eth_sendRawTransaction"
COUNT = "eth_getTransactionCount"
RECEIPT = "eth_getTransactionReceipt"
LOOK_UP = "eth_getTransactionByHash"
BRIEF = Timeouts(rpc_s=5.0, look_up_s=0.2, receipt_s=0.2, recheck_s=0.0)
DAY = FeeCaps(per_call=10**30, per_day=10**30)

LIES: dict[str, Lie] = {
    "nonce too low": refuses("nonce too low: next nonce 1, tx nonce 0"),
    "nonce too high": refuses("nonce too high"),
    "txpool is full": refuses("txpool is full"),
    "insufficient funds": refuses("insufficient funds for gas * price + value"),
    "underpriced": refuses("replacement transaction underpriced"),
    "an unknown word": refuses("computer says no"),
    "silence": drops,
}


async def infer(
    og: Session,
    purse: Purse,
    key: str = "",
    **more: Any,  # noqa: ANN401 - as Session.infer
) -> InferenceResult:
    sample = purse.localnet.ready["sample_models"][0]
    model_input, cid = sample["model_input"], sample["cid"]
    return await og.infer(cid, model_input, idempotency_key=key, max_retries=1, **more)


async def ended(og: Session, purse: Purse, key: str = "") -> OGError:
    """Ask, and return the error that it ends with."""
    with pytest.raises(OGError) as caught:
        await infer(og, purse, key)
    return caught.value


def signed(rpc: LyingRPC) -> dict[int, int]:
    """Return for each nonce the largest fee that was ever signed for it, as the node saw it."""
    largest: dict[int, int] = {}
    for raw in rpc.sent:
        fields = read_fields(bytes.fromhex(raw[2:]))
        fee = fields.gas_limit * fields.gas_price
        largest[fields.nonce] = max(largest.get(fields.nonce, 0), fee)
    return largest


async def budget_of(purse: Purse) -> Budget:
    async with open_journal(purse.settings()) as journal:
        return await journal.budget(purse.account, DAY)


async def mined_by_call(purse: Purse) -> list[int]:
    """Return how many of each call's transactions are mined."""
    async with open_journal(purse.settings()) as journal:
        calls = await journal.list_calls(None, 1000)
        return [len(purse.mined(call.transaction_hashes)) for call in calls]


@pytest.mark.sweep(quick=2)
@pytest.mark.parametrize("lie", LIES)
async def test_t31_one_key_that_is_repeated_is_one_transaction(
    purse: Purse, rpc: LyingRPC, lie: str
) -> None:
    rpc.on(SEND, LIES[lie])
    async with purse.session(BRIEF) as og:
        errors = [await ended(og, purse, "the key") for _ in range(3)]
        assert {error.stage for error in errors} == {Stage.SENT_UNKNOWN}
        assert {error.call_id for error in errors} == {errors[0].call_id}
        # Exposure by nonce is what was signed, to one wei.
        assert signed(rpc).keys() == {0}
        assert (await budget_of(purse)).open == signed(rpc)[0]

        await rpc.replay()
        rpc.honest()
        done = await infer(og, purse, "the key")

    assert (done.status, purse.sent()) == ("done", 1)
    assert await mined_by_call(purse) == [1]
    assert (await budget_of(purse)).open == 0


@pytest.mark.sweep(quick=2)
@pytest.mark.parametrize("lie", LIES)
async def test_t31_one_approval_is_one_transaction_within_its_amount(
    purse: Purse, rpc: LyingRPC, lie: str
) -> None:
    rpc.on(SEND, LIES[lie])
    async with purse.session(BRIEF, OG_CONFIRM_ABOVE="0") as og:
        asked = await ended(og, purse)
        assert isinstance(asked, ApprovalRequiredError)
        approval = await og.approve(asked.approval_of)
        for _ in range(3):
            await ended(og, purse)
        assert signed(rpc).keys() == {0}
        assert signed(rpc)[0] <= approval.cap_wei
        await rpc.replay()

    assert purse.sent() == 1
    assert purse.spent() <= approval.cap_wei


@pytest.mark.sweep(quick=2)
@pytest.mark.parametrize("lie", LIES)
async def test_t31_a_days_cap_bounds_what_can_be_mined(
    purse: Purse, rpc: LyingRPC, lie: str
) -> None:
    async with purse.session() as og:
        most = (await infer(og, purse, dry_run=True)).fee_wei
    cap = 4 * most
    rpc.on(SEND, LIES[lie])
    # The worst that the node can say of the nonce: every one is used, and for good.
    rpc.on(COUNT, lambda asked: hex(len(signed(rpc)) if asked.params[1] == "latest" else 2**40))
    refused = 0
    async with purse.session(BRIEF, OG_MAX_FEE_PER_DAY=coins(cap)) as og:
        for number in range(8):
            error = await ended(og, purse, f"call {number}")
            refused += isinstance(error, BudgetExceededError)
    await rpc.replay()

    assert sum(signed(rpc).values()) <= cap
    assert purse.spent() <= cap
    assert all(mined <= 1 for mined in await mined_by_call(purse))
    budget = await budget_of(purse)
    # What the journal holds is what was signed, to one wei.
    assert budget.open == sum(signed(rpc).values())


@pytest.mark.slow
@pytest.mark.parametrize("lie", LIES)
async def test_t31_the_same_with_kill_9_between(purse: Purse, rpc: LyingRPC, lie: str) -> None:
    rpc.on(SEND, LIES[lie])
    sample = purse.localnet.ready["sample_models"][0]
    for _ in range(3):
        seen = rpc.asked[SEND]
        with journal_worker.running(purse.environ) as worker:
            worker.ask(sample["cid"], sample["model_input"], key="the key")
            await until_sent(rpc, seen)
            worker.kill()
    assert signed(rpc).keys() == {0}
    assert (await budget_of(purse)).open == signed(rpc)[0]
    await rpc.replay()
    rpc.honest()
    async with purse.session() as og:
        done = await infer(og, purse, "the key")

    assert (done.status, purse.sent()) == ("done", 1)
    assert await mined_by_call(purse) == [1]


@pytest.mark.slow
@pytest.mark.parametrize("lie", LIES)
async def test_t31_one_approval_with_kill_9_between(purse: Purse, rpc: LyingRPC, lie: str) -> None:
    async with purse.session(OG_CONFIRM_ABOVE="0") as og:
        asked = await ended(og, purse, "the key")
        assert isinstance(asked, ApprovalRequiredError)
        approval = await og.approve(asked.approval_of)
    rpc.on(SEND, LIES[lie])
    sample = purse.localnet.ready["sample_models"][0]
    for _ in range(3):
        seen = rpc.asked[SEND]
        with journal_worker.running({**purse.environ, "OG_CONFIRM_ABOVE": "0"}) as worker:
            worker.ask(sample["cid"], sample["model_input"], key="the key")
            await until_sent(rpc, seen)
            worker.kill()

    assert signed(rpc).keys() == {0}
    assert (await budget_of(purse)).open == signed(rpc)[0] <= approval.cap_wei
    await rpc.replay()
    assert purse.sent() == 1
    assert purse.spent() <= approval.cap_wei
    assert await mined_by_call(purse) == [1]


@pytest.mark.slow
@pytest.mark.parametrize("lie", LIES)
async def test_t31_a_days_cap_with_kill_9_between(purse: Purse, rpc: LyingRPC, lie: str) -> None:
    async with purse.session() as og:
        cap = 2 * (await infer(og, purse, dry_run=True)).fee_wei
    rpc.on(SEND, LIES[lie])
    environ = {**purse.environ, "OG_MAX_FEE_PER_DAY": coins(cap)}
    sample = purse.localnet.ready["sample_models"][0]
    for number in range(3):
        seen = len(set(rpc.sent))
        with journal_worker.running(environ) as worker:
            worker.ask(sample["cid"], sample["model_input"], key=f"call {number}")
            # Whoever comes next waits until the killed one counts as dead, and takes its nonce over.
            with anyio.fail_after(180):
                while len(set(rpc.sent)) == seen:  # noqa: ASYNC110 - another process sends
                    await anyio.sleep(0.02)
            worker.kill()

    assert signed(rpc).keys() == {0}
    assert (await budget_of(purse)).open == signed(rpc)[0] <= cap
    await rpc.replay()
    assert purse.sent() == 1
    assert purse.spent() <= cap
    assert sorted(await mined_by_call(purse)) == [0, 0, 1]


async def test_t31_a_lying_safe_count_and_null_receipts_get_one_transaction_of_one_key(
    purse: Purse, rpc: LyingRPC
) -> None:
    rpc.on(RECEIPT, says(None))
    rpc.on(LOOK_UP, says(None))
    errors = []
    async with purse.session(BRIEF) as og:
        with pytest.raises(TransactionPendingError) as first:
            await infer(og, purse, "the key")
        rpc.on(COUNT, says("0x9"))
        for _ in range(3):
            errors.append(await ended(og, purse, "the key"))
            await og.reconcile()
        told = await og.get_call(first.value.call_id)
        open_wei = int((await og.status()).budget["open_fee_wei"])

        assert len(set(rpc.sent)) == 1
        assert "Ended without effect, by the word of RPC" in told.error
        assert "new idempotency_key" in str(errors[-1])
        # The word of an RPC frees nothing for a day.
        assert open_wei == signed(rpc)[0]

        rpc.honest()
        # It was mined all along, and is charged once the chain tells.
        done = await og.get_call(first.value.call_id)
    assert (done.status, done.transaction_hash) == ("done", first.value.transaction_hash)
    assert purse.sent() == 1
    assert purse.spent() == done.fee_wei


async def test_t31_the_next_call_takes_a_refused_nonce_over_and_ends_the_older_call(
    purse: Purse, rpc: LyingRPC
) -> None:
    async with purse.session(BRIEF) as og:
        rpc.on(SEND, refuses("txpool is full"))
        older = await ended(og, purse, "older")
        # The older one's bytes are refused again; the newer one's are taken.
        rpc.on(SEND, refuses("txpool is full"), times=1)
        rpc.on(SEND, refuses("txpool is full"), times=1)
        rpc.honest()
        rpc.on(SEND, refuses("txpool is full"), times=1)
        newer = await infer(og, purse, "newer")
        told = await og.get_call(older.call_id)
        sent = len(rpc.sent)
        with pytest.raises(OGError, match="without effect"):
            await infer(og, purse, "older")

    assert newer.status == "done"
    assert purse.sent() == 1
    assert (told.status, told.stage, told.fee_wei) == ("failed", Stage.SENT_UNKNOWN, 0)
    assert "without effect" in told.error
    # Its bytes are never sent again.
    assert len(rpc.sent) == sent
    assert (await budget_of(purse)).open == 0
    await rpc.replay()
    assert purse.sent() == 1


async def test_t31_the_older_call_is_charged_where_its_transaction_is_the_one_that_is_mined(
    purse: Purse, rpc: LyingRPC
) -> None:
    async with purse.session(BRIEF) as og:
        rpc.on(SEND, refuses("txpool is full"))
        older = await ended(og, purse, "older")
        newer = await ended(og, purse, "newer")
        assert signed(rpc).keys() == {0}
        first = rpc.sent[0]
        rpc.honest()
        await rpc.forward(SEND, [first])

        told = await og.get_call(older.call_id)
        other = await og.get_call(newer.call_id)
    assert (told.status, purse.sent()) == ("done", 1)
    assert (other.status, other.fee_wei) == ("failed", 0)
    assert "without effect" in other.error
    assert (await budget_of(purse)).open == 0
    assert purse.spent() == told.fee_wei


async def until_sent(rpc: LyingRPC, seen: int) -> None:
    """Wait until another process has sent something once more."""
    with anyio.fail_after(60):
        while rpc.asked[SEND] == seen:  # noqa: ASYNC110 - another process sends
            await anyio.sleep(0.02)
