"""Ends are kept: whatever the journal's disk does, whoever leaves, whichever process looks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from og_mcp.client import Session, Timeouts
from og_mcp.errors import (
    AlreadySentError,
    ApprovalRequiredError,
    ChainError,
    OGError,
    TransactionPendingError,
)
from og_mcp.journal import open_journal
from og_mcp.types import Call, InferenceResult, Stage
from tests.books import Purse, check_books
from tests.broken_journal import BrokenJournal
from tests.lying_rpc import Asked, LyingRPC, drops, refuses

SEND = "eth_sendRawTransaction"
BRIEF = Timeouts(rpc_s=5.0, look_up_s=0.2, receipt_s=0.2)


@pytest.fixture
async def broken(purse: Purse) -> BrokenJournal:
    """The journal's file, with its tables."""
    async with open_journal(purse.settings()):
        pass
    return BrokenJournal(purse.folder / "data" / "journal.db")


async def infer(
    og: Session,
    purse: Purse,
    key: str = "",
    **more: Any,  # noqa: ANN401 - as Session.infer
) -> InferenceResult:
    sample = purse.localnet.ready["sample_models"][0]
    return await og.infer(sample["cid"], sample["model_input"], idempotency_key=key, **more)


async def until(is_so: Callable[[], bool]) -> None:
    """Wait, within bounds, for what only asking can tell."""
    with anyio.fail_after(30):
        while not is_so():  # noqa: ASYNC110 - another thread changes it
            await anyio.sleep(0.01)


async def the_call(purse: Purse) -> Call:
    (call,) = await purse.calls()
    return call


async def test_a_good_end_that_the_journal_could_not_take_is_recorded_all_the_same(
    purse: Purse, broken: BrokenJournal
) -> None:
    broken.fails("done", times=1)
    async with purse.session() as og:
        result = await infer(og, purse)

    assert broken.failures == 1
    assert result.status == "done"
    (call,) = await check_books(purse)
    assert (call.status, call.stage, call.fee_wei) == ("done", Stage.CHARGED, result.fee_wei)


async def test_an_end_is_recorded_though_its_session_closes(
    purse: Purse, broken: BrokenJournal
) -> None:
    # The second attempt fails, too; the third comes a moment later, and the session closes before.
    broken.fails("done", times=2)
    async with purse.session() as og:
        running = await infer(og, purse, wait_s=0)
        await until(lambda: broken.failures == 2)

    call = await the_call(purse)
    assert (call.id, call.status, call.stage) == (running.call_id, "done", Stage.CHARGED)
    assert call.fee_wei == purse.spent()


async def test_a_bad_end_that_the_journal_could_not_take_is_recorded_later(
    purse: Purse, broken: BrokenJournal
) -> None:
    broken.fails("failed", times=1)
    async with purse.session() as og:
        with pytest.raises(ChainError):
            await og.infer("QmNoSuchModel", {"x": [1.0]}, idempotency_key="key")
        assert broken.failures == 1
        with pytest.raises(OGError) as again:
            # Whoever repeats it waits for its end, and gets it.
            with anyio.fail_after(10):
                await og.infer("QmNoSuchModel", {"x": [1.0]}, idempotency_key="key")

    assert again.value.stage is Stage.NOT_SENT
    call = await the_call(purse)
    assert (call.status, call.stage) == ("failed", Stage.NOT_SENT)


async def test_a_lost_call_is_repeated_with_the_bytes_it_has_whatever_price_the_node_wants(
    purse: Purse, rpc: LyingRPC
) -> None:
    rpc.on(SEND, drops)
    async with purse.session(BRIEF) as og:
        with pytest.raises(TransactionPendingError):
            await infer(og, purse)
    rpc.on(SEND, refuses("transaction underpriced"))
    # Long enough for the node to be asked a second time.
    async with purse.session(replace(BRIEF, receipt_s=2.0)) as og:
        with pytest.raises(AlreadySentError):
            await infer(og, purse)
    assert len(rpc.sent) > 2
    assert len(set(rpc.sent)) == 1

    rpc.honest()
    async with purse.session() as og:
        assert (await infer(og, purse)).status == "done"
    assert len(set(rpc.sent)) == purse.sent() == 1


async def test_wait_s_begins_when_the_call_is_asked_for(purse: Purse) -> None:
    async with purse.session() as og:
        # Opens what a first call opens, but for what this model takes.
        await og.status()
        purse.localnet.latency(1.1, service="hub_read")
        running = await infer(og, purse, wait_s=1.0)
        purse.localnet.latency(0.0, service="hub_read")
        # It was over before the call began; the call itself takes a moment.
        assert running.status == "running"
        assert (await og.get_call(running.call_id)).status == "done"


async def test_a_call_that_is_given_up_while_it_is_priced_for_a_person_has_ended(
    purse: Purse, rpc: LyingRPC
) -> None:
    arrived = anyio.Event()

    async def never(_: Asked) -> None:
        arrived.set()
        await anyio.sleep_forever()

    async with purse.session(OG_CONFIRM_ABOVE="0") as og:
        # What the model takes is looked up before.
        await infer(og, purse, dry_run=True)
        rpc.on("eth_estimateGas", never)
        async with anyio.create_task_group() as group:
            group.start_soon(infer, og, purse)
            await arrived.wait()
            group.cancel_scope.cancel()
        call = await the_call(purse)
        assert (call.status, call.stage) == ("failed", Stage.NOT_SENT)
        assert "nothing was paid" in call.error

        rpc.honest()
        with pytest.raises(ApprovalRequiredError), anyio.fail_after(10):
            # Who repeats it waits for nobody.
            await infer(og, purse)
