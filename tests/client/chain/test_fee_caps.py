"""What calls may cost is capped where they are signed, whoever lies and however many there are."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import anyio
import pytest

from og_mcp.client import Session, Timeouts
from og_mcp.errors import (
    BudgetExceededError,
    FeeCapError,
    OGError,
    TransactionPendingError,
    coins,
)
from og_mcp.journal import open_journal
from og_mcp.types import FeeCaps, InferenceResult, Stage
from tests.books import CHARGED, Purse, check_books
from tests.localnet_client import LocalNetwork

SEND = "eth_sendRawTransaction"
GWEI = 10**9
PATIENT = Timeouts(rpc_s=20.0, look_up_s=4.0, receipt_s=60.0)
BRIEF = Timeouts(rpc_s=10.0, look_up_s=2.0, receipt_s=0.5)


@pytest.fixture
def purse(localnet: LocalNetwork, tmp_path: Path) -> Purse:
    return Purse(localnet, tmp_path, funds=10**24)


async def infer(
    og: Session,
    purse: Purse,
    key: str = "",
    **more: Any,  # noqa: ANN401 - as Session.infer
) -> InferenceResult:
    sample = purse.localnet.ready["sample_models"][0]
    return await og.infer(sample["cid"], sample["model_input"], idempotency_key=key, **more)


async def most_of_a_call(purse: Purse) -> int:
    """Return what one call may cost at most, wei; the gas limit varies a little by call."""
    async with purse.session() as og:
        return (await infer(og, purse, dry_run=True)).fee_wei


@pytest.mark.slow
async def test_100_calls_at_once_never_pass_the_day_by_one_wei(purse: Purse) -> None:
    cap = 10 * await most_of_a_call(purse)
    ended: list[InferenceResult | OGError] = []
    seen: list[int] = []

    async def one(number: int) -> None:
        try:
            ended.append(await infer(og, purse, f"call-{number}"))
        except OGError as exc:
            ended.append(exc)

    async def watch() -> None:
        async with open_journal(purse.settings()) as journal:
            while len(ended) < 100:
                budget = await journal.budget(purse.account, FeeCaps(per_call=cap, per_day=cap))
                seen.append(budget.spent + budget.open)
                await anyio.sleep(0.005)

    async with (
        purse.session(PATIENT, OG_MAX_FEE_PER_DAY=coins(cap)) as og,
        anyio.create_task_group() as group,
    ):
        group.start_soon(watch)
        for number in range(100):
            group.start_soon(one, number)

    refused = [end for end in ended if isinstance(end, OGError)]
    assert all(isinstance(end, BudgetExceededError) for end in refused), refused
    assert 10 <= len(ended) - len(refused) < 100
    assert max(seen) <= cap
    assert purse.spent() <= cap
    await check_books(purse)


async def test_what_waits_for_a_block_counts_with_all_that_it_may_cost(purse: Purse) -> None:
    most = await most_of_a_call(purse)
    cap = 3 * most + most // 2
    purse.localnet.hold_blocks()
    ended: list[OGError] = []

    async def one(number: int) -> None:
        with pytest.raises((TransactionPendingError, BudgetExceededError)) as caught:
            await infer(og, purse, f"call-{number}")
        ended.append(caught.value)

    async with purse.session(BRIEF, OG_MAX_FEE_PER_DAY=coins(cap)) as og:
        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(one, number)
        status = await og.status()
        waiting = sum(isinstance(end, TransactionPendingError) for end in ended)
        # The salt in the gas limit makes up to a quarter of it.
        assert purse.sent("pending") == waiting
        assert waiting in {3, 4}
        assert 2 * most < int(status.budget["open_fee_wei"]) <= cap
        purse.localnet.release_blocks()
        await og.reconcile()
    await check_books(purse)


@pytest.mark.parametrize(
    "lie",
    [("eth_gasPrice", hex(10**15)), ("eth_estimateGas", hex(10**10))],
    ids=["an inflated gas price", "an inflated estimate"],
)
async def test_t1_is_refused_by_the_cap_of_one_call(purse: Purse, lie: tuple[str, str]) -> None:
    async with purse.session(OG_MAX_FEE_PER_CALL=coins(10**15)) as og:
        purse.localnet.fault(lie[0], "result", result=lie[1])
        with pytest.raises(FeeCapError, match="OG_MAX_FEE_PER_CALL") as caught:
            await infer(og, purse)
        assert caught.value.stage is Stage.NOT_SENT
        assert purse.sent("pending") == 0
        assert (await infer(og, purse)).status == "done"
    await check_books(purse)


async def test_t1_an_inflated_price_is_refused_by_the_cap_of_the_day(purse: Purse) -> None:
    async with purse.session(OG_MAX_FEE_PER_DAY=coins(10**15)) as og:
        await infer(og, purse, "cheap")
        purse.localnet.prices(gas_price=10 * GWEI)
        with pytest.raises(BudgetExceededError, match="OG_MAX_FEE_PER_DAY"):
            await infer(og, purse, "dear")
        assert purse.sent("pending") == 1
    await check_books(purse)


@pytest.mark.slow
@pytest.mark.parametrize("variable", ["OG_MAX_FEE_PER_CALL", "OG_MAX_FEE_PER_DAY"])
@pytest.mark.parametrize("step", ["speed_up", "cancel"])
async def test_t1_a_replacement_is_held_to_the_caps_too(
    purse: Purse, variable: str, step: str
) -> None:
    cap = await most_of_a_call(purse) * 2
    purse.localnet.hold_blocks()
    async with purse.session(BRIEF, **{variable: coins(cap)}) as og:
        with pytest.raises(TransactionPendingError) as stuck:
            await infer(og, purse)
        purse.localnet.prices(gas_price=100 * GWEI if step == "speed_up" else 10**6 * GWEI)
        with pytest.raises((FeeCapError, BudgetExceededError)):
            await getattr(og, step)(stuck.value.call_id)
        purse.localnet.reset()
        ended = await og.get_call(stuck.value.call_id)
        assert ended.transaction_hash == stuck.value.transaction_hash
        assert ended.stage in CHARGED
    await check_books(purse)


@pytest.fixture
def rich(localnet: LocalNetwork, tmp_path: Path) -> Purse:
    """A wallet whose coins are as old as the chain, so that the chain shows what it spends."""
    purse = Purse(localnet, tmp_path)
    purse.address = localnet.ready["accounts"][0]["address"]
    purse.environ = {**purse.environ, "OG_LOCALNET": str(localnet.ready_file)}
    return purse


async def test_t6_a_journal_that_is_deleted_does_not_give_the_day_back(rich: Purse) -> None:
    async with rich.session() as og:
        for number in range(3):
            await infer(og, rich, f"call-{number}")
    most = await most_of_a_call(rich)
    shutil.rmtree(rich.settings().data_dir)
    at_first = int(rich.localnet.rpc("eth_getBalance", rich.address, "0x0"), 16)
    spent = at_first - int(rich.localnet.rpc("eth_getBalance", rich.address, "latest"), 16)

    async with rich.session(OG_MAX_FEE_PER_DAY=coins(spent + most // 2)) as og:
        with pytest.raises(BudgetExceededError) as caught:
            await infer(og, rich)
        assert caught.value.spent == spent
        budget = (await og.status()).budget
        assert (int(budget["spent_fee_wei"]), budget["open_fee_wei"]) == (spent, "0")

    async with rich.session(OG_MAX_FEE_PER_DAY=coins(spent + most * 2)) as og:
        inferred = await infer(og, rich)
        assert inferred.status == "done"

    # What was found counts on top of what comes, in the next process too.
    async with rich.session() as og:
        budget = (await og.status()).budget
    assert int(budget["spent_fee_wei"]) == spent + inferred.fee_wei
