"""An open payment authorization that its owner cancels: nobody takes it, and it counts all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from og_mcp.client import Session, Timeouts
from og_mcp.errors import (
    CallNotFoundError,
    CallStateError,
    FeeCapError,
    InputError,
    OGError,
)
from og_mcp.types import CallInfo, Stage
from tests.books import Purse
from tests.client.payments.chats import CAP, OPG, chat, of_payer, paid, settled
from tests.client.payments.conftest import new_purse
from tests.localnet_client import LocalNetwork

BRIEF = Timeouts(rpc_s=5.0, look_up_s=0.2, receipt_s=0.5)


def sent(purse: Purse) -> int:
    """Count the wallet's transactions on the payment chain."""
    url = purse.localnet.ready["base_rpc_url"]
    return int(purse.localnet.rpc("eth_getTransactionCount", purse.address, "pending", url=url), 16)


async def cancelled(og: Session, call_id: str) -> CallInfo:
    """Cancel as a person does who agrees to what is offered."""
    offer = await og.cancellation(call_id)
    return await og.cancel(call_id, max_fee_wei=offer.max_fee_wei)


async def test_a_cancelled_payment_settles_for_nothing_and_counts_until_its_deadline(
    purse: Purse,
) -> None:
    async with purse.session() as og:
        first = await chat(og, "first")
        await chat(og, "second")
        offer = await og.cancellation(first.call_id)
        cancelling = await og.cancel(first.call_id, max_fee_wei=offer.max_fee_wei)
        [settlement] = of_payer(purse, purse.localnet.settle())
        later = await og.get_call(first.call_id)
        listed = await og.list_calls()

    assert (offer.calls, offer.cap.max_opg) == (2, CAP)
    assert (settlement["status"], purse.localnet.opg(purse.address)) == ("failed", 100 * OPG)
    assert (cancelling.tool, cancelling.status) == ("cancel_payment", "done")
    assert 0 < cancelling.fee_wei <= offer.max_fee_wei
    assert "can no longer be taken" in cancelling.result["note"]
    assert "counts against your day's cap until" in cancelling.result["note"]
    assert (later.status, later.payment.amount_opg, listed.open_opg) == ("done", "", "0.1")
    assert "pays for no later call" in later.note


async def test_no_later_call_is_paid_by_what_was_cancelled_in_another_process(
    purse: Purse,
) -> None:
    async with purse.session() as server, purse.session() as terminal:
        first = await chat(server, "first")
        await cancelled(terminal, first.call_id)
        second = await chat(server, "second")

    assert second.status == "done"
    assert second.payment.cap_id != first.payment.cap_id
    assert paid(purse) == settled(purse)[-1] > 0


async def test_a_call_that_may_be_repeated_is_not_sent_again_under_what_was_cancelled(
    purse: Purse,
) -> None:
    async with purse.session() as server, purse.session() as terminal:
        purse.localnet.spoil("refuse", status=503, retryable=True, times=10)
        with pytest.raises(OGError) as failed:
            await chat(server, "first", idempotency_key="the key")
        purse.localnet.clear_faults("gateway")
        await cancelled(terminal, failed.value.call_id)
        purse.localnet.reset_counters("gateway")
        with pytest.raises(OGError) as again:
            await chat(server, "first", idempotency_key="the key")

    assert again.value.stage is Stage.SENT_UNKNOWN
    assert sum(purse.localnet.counters("gateway")["calls"].values()) == 0
    assert paid(purse) == 0


async def test_a_payment_that_has_settled_is_told_and_nothing_is_sent(purse: Purse) -> None:
    async with purse.session() as og:
        first = await chat(og, "first")
        before = sent(purse)
        taken = paid(purse)
        with pytest.raises(CallStateError, match=r"settled for 0\.\d+ OPG.*Nothing was sent"):
            await og.cancel(first.call_id)

    assert taken > 0
    assert sent(purse) == before


async def test_what_is_cancelled_is_not_cancelled_again(purse: Purse) -> None:
    async with purse.session() as og:
        first = await chat(og, "first")
        await cancelled(og, first.call_id)
        before = sent(purse)
        with pytest.raises(CallStateError, match=r"used up.*Nothing was sent"):
            await og.cancellation(first.call_id)

    assert sent(purse) == before


async def test_calls_of_others_are_not_cancelled(
    purse: Purse, localnet: LocalNetwork, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = new_purse(localnet, tmp_path / "other")
    async with purse.session() as og:
        first = await chat(og, "first")
        for call_id, principal in (("0" * 32, "local"), (first.call_id, "theirs")):
            with pytest.raises(CallNotFoundError):
                await og.cancel(call_id, principal=principal)
    before = sent(other)
    # The same journal, in the hands of another wallet.
    async with other.session(OG_DATA_DIR=purse.environ["OG_DATA_DIR"]) as og:
        with pytest.raises(CallStateError) as refused:
            await og.cancel(first.call_id)

    assert purse.address in str(refused.value)
    assert other.address in str(refused.value)
    assert sent(other) == before
    assert paid(purse) > 0


async def test_a_cancellation_costs_no_more_than_a_person_agreed_to(purse: Purse) -> None:
    before = sent(purse)
    async with purse.session() as og:
        first = await chat(og, "first")
        with pytest.raises(FeeCapError, match="the approval") as refused:
            await og.cancel(first.call_id, max_fee_wei=1)

    assert refused.value.stage is Stage.NOT_SENT
    assert sent(purse) == before
    assert paid(purse) > 0


async def test_what_the_node_refuses_is_cancelled_by_the_same_bytes_again(purse: Purse) -> None:
    refusal = {"code": -32000, "message": "txpool is full"}
    purse.localnet.fault(
        "eth_sendRawTransaction", "error", service="base_rpc", times=1000, **refusal
    )
    async with purse.session(BRIEF, OG_RECEIPTS="hashes") as og:
        first = await chat(og, "first")
        before = sent(purse)
        offer = await og.cancellation(first.call_id)
        with pytest.raises(OGError) as failed:
            await og.cancel(first.call_id, max_fee_wei=offer.max_fee_wei)
        purse.localnet.clear_faults("base_rpc")
        done = await cancelled(og, first.call_id)

    assert failed.value.stage is Stage.SENT_UNKNOWN
    assert (done.call_id, done.status) == (failed.value.call_id, "done")
    assert sent(purse) == before + 1
    assert paid(purse) == 0


async def test_a_cancellation_has_no_receipt_and_says_so(purse: Purse) -> None:
    async with purse.session() as og:
        first = await chat(og, "first")
        cancelling = await cancelled(og, first.call_id)
        with pytest.raises(InputError, match="it cancelled a payment"):
            await og.receipt(cancelling.call_id)
