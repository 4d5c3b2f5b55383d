"""T32: what a transaction counts for is what was signed, or what the RPC says where that is more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from og_mcp.client import Session
from og_mcp.errors import (
    ApprovalRequiredError,
    BudgetExceededError,
    FeeCapError,
    OGError,
    coins,
)
from og_mcp.types import InferenceResult, Stage
from tests.books import Purse, check_books
from tests.localnet_client import LocalNetwork
from tests.lying_rpc import Lie, LyingRPC, lying, refuses, says, without

RECEIPT = "eth_getTransactionReceipt"
GWEI = 10**9
OPG = 10**18


async def infer(
    og: Session,
    purse: Purse,
    key: str = "",
    **more: Any,  # noqa: ANN401 - as Session.infer
) -> InferenceResult:
    sample = purse.localnet.ready["sample_models"][0]
    return await og.infer(sample["cid"], sample["model_input"], idempotency_key=key, **more)


@pytest.mark.parametrize(
    "lie",
    [
        without("effectiveGasPrice"),
        without(effectiveGasPrice=None),
        without(effectiveGasPrice="0x0"),
    ],
    ids=["left out", "null", "zero"],
)
async def test_t32_a_receipt_without_a_price_counts_at_the_signed_one(
    purse: Purse, rpc: LyingRPC, lie: Lie
) -> None:
    rpc.on(RECEIPT, lie)
    async with purse.session() as og:
        result = await infer(og, purse)
        told = await og.get_call(result.call_id)

    assert result.fee_wei == told.fee_wei == result.gas_used * GWEI == purse.spent()
    await check_books(purse)


@pytest.mark.parametrize(
    "lie", [without(gasUsed="0x0"), without("gasUsed"), without(gasUsed=hex(10**9))]
)
async def test_t32_gas_that_cannot_be_counts_as_the_limit(
    purse: Purse, rpc: LyingRPC, lie: Lie
) -> None:
    rpc.on(RECEIPT, lie)
    async with purse.session() as og:
        most = (await infer(og, purse, dry_run=True)).fee_wei
        fee = (await infer(og, purse)).fee_wei

    # The limit varies a little by call, and what cannot be is never less.
    assert fee >= most - 2**14 * GWEI
    assert fee > purse.spent()


async def test_t32_a_higher_price_by_the_rpcs_word_counts(purse: Purse, rpc: LyingRPC) -> None:
    rpc.on(RECEIPT, without(effectiveGasPrice=hex(3 * GWEI)))
    async with purse.session() as og:
        result = await infer(og, purse)

    assert result.fee_wei == 3 * purse.spent()


@pytest.mark.parametrize("lie", [without("effectiveGasPrice"), without(effectiveGasPrice="0x0")])
async def test_t32_the_days_cap_fills_whatever_receipts_say_of_the_price(
    purse: Purse, rpc: LyingRPC, lie: Lie
) -> None:
    async with purse.session() as og:
        cap = 5 * (await infer(og, purse, dry_run=True)).fee_wei // 2
    rpc.on(RECEIPT, lie)
    done, refused = 0, None
    async with purse.session(OG_MAX_FEE_PER_DAY=coins(cap)) as og:
        while done < 40 and refused is None:
            try:
                await infer(og, purse, f"call {done}")
                done += 1
            except BudgetExceededError as exc:
                refused = exc

    assert 2 <= done < 40
    assert refused is not None
    assert refused.spent == purse.spent() <= cap


# Base's L1 data fee


@pytest.fixture
async def base(localnet: LocalNetwork) -> AsyncIterator[LyingRPC]:
    async with lying(localnet.ready["base_rpc_url"]) as rpc:
        yield rpc


@pytest.fixture
def payer(localnet: LocalNetwork, base: LyingRPC, tmp_path: Path) -> Purse:
    """A wallet with coins on the payment chain, which charges for each byte beside the gas."""
    payer = Purse(localnet, tmp_path, base_rpc_url=base.url)
    localnet.fund_opg(payer.address, 10 * OPG)
    localnet.fund(payer.address, chain="base_rpc")
    return payer


async def approve(og: Session, **more: Any) -> Any:  # noqa: ANN401 - as Session.approve_opg
    """Set the allowance; a person agrees, where one has to."""
    try:
        return await og.approve_opg("1", **more)
    except ApprovalRequiredError as exc:
        await og.approve(exc.approval_of)
        return await og.approve_opg("1", **more)


def held(payer: Purse) -> int:
    url = payer.localnet.ready["base_rpc_url"]
    return int(payer.localnet.rpc("eth_getBalance", payer.address, "latest", url=url), 16)


async def test_t32_the_l1_data_fee_is_quoted_and_counted(payer: Purse, base: LyingRPC) -> None:
    before = held(payer)
    async with payer.session() as og:
        quoted = (await approve(og, dry_run=True)).fee_wei
        result = await approve(og)
        told = await og.get_call(result.call_id)
    mined = await base.forward(RECEIPT, [result.transaction_hash])

    l1_fee, gas_used = int(mined["l1Fee"], 16), int(mined["gasUsed"], 16)
    assert l1_fee > 0
    assert result.fee_wei == told.fee_wei == before - held(payer) == gas_used * GWEI + l1_fee
    # Both parts are in the question, the second doubled.
    assert quoted > gas_used * GWEI + 2 * l1_fee


async def test_t32_an_l1_fee_that_the_receipt_does_not_tell_counts_as_quoted(
    payer: Purse, base: LyingRPC
) -> None:
    base.on(RECEIPT, without("l1Fee"))
    before = held(payer)
    async with payer.session() as og:
        result = await approve(og)

    assert result.fee_wei > before - held(payer)


async def test_t32_an_l1_fee_above_the_cap_is_refused_before_the_signature(
    payer: Purse, base: LyingRPC
) -> None:
    async with payer.session() as og:
        quoted = (await approve(og, dry_run=True)).fee_wei
    base.on("eth_call", says(f"0x{quoted:064x}"))
    async with payer.session(OG_MAX_FEE_PER_CALL=coins(quoted + GWEI)) as og:
        with pytest.raises(FeeCapError) as caught:
            await og.approve_opg("1")

    assert caught.value.stage is Stage.NOT_SENT
    assert base.sent == []


async def test_t32_a_payment_chain_that_quotes_no_l1_fee_signs_nothing(
    payer: Purse, base: LyingRPC
) -> None:
    base.on("eth_call", refuses("execution reverted", 3))
    async with payer.session() as og:
        with pytest.raises(OGError) as caught:
            await og.approve_opg("1")

    assert caught.value.stage is Stage.NOT_SENT
    assert base.sent == []
