"""What happens around a signature: nothing before its time, nothing lost after it, one nonce a call."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from pydantic import SecretStr

from og_mcp.client import Session, Timeouts
from og_mcp.client.calls.context import CallContext
from og_mcp.client.chain.chain import Chain
from og_mcp.client.chain.rpc import RPC
from og_mcp.client.chain.signature import Legacy, read_fields
from og_mcp.client.chain.signer import Signer
from og_mcp.client.chain.wallet import FeeGuard, Signed, Transaction, Wallet
from og_mcp.client.wire.http import open_http
from og_mcp.errors import (
    ApprovalRequiredError,
    BudgetExceededError,
    CallStateError,
    FeeCapError,
    OGError,
    ServiceUnreachableError,
    TransactionPendingError,
    coins,
)
from og_mcp.journal import open_journal
from og_mcp.networks import from_ready_file
from og_mcp.settings import WalletSource
from og_mcp.types import CallRequest, InferenceResult, Stage
from tests.books import CAPS, Purse, check_books
from tests.localnet_client import LocalNetwork
from tests.lying_rpc import Asked, LyingRPC, refuses, says

SEND = "eth_sendRawTransaction"
COUNT = "eth_getTransactionCount"
RECEIPT = "eth_getTransactionReceipt"
LOOK_UP = "eth_getTransactionByHash"
PRICE = "eth_gasPrice"
GWEI = 10**9
BRIEF = Timeouts(rpc_s=5.0, look_up_s=0.2, receipt_s=0.2)
QUICK = Timeouts(rpc_s=5.0, look_up_s=1.0, receipt_s=10.0)


async def infer(
    og: Session,
    purse: Purse,
    key: str = "",
    **more: Any,  # noqa: ANN401 - as Session.infer
) -> InferenceResult:
    sample = purse.localnet.ready["sample_models"][0]
    return await og.infer(sample["cid"], sample["model_input"], idempotency_key=key, **more)


def fields_of(rpc: LyingRPC) -> list[Legacy]:
    return [read_fields(bytes.fromhex(raw[2:])) for raw in dict.fromkeys(rpc.sent)]


# Around the signature


async def test_from_the_signature_on_a_call_goes_on_though_its_session_closes(
    purse: Purse, rpc: LyingRPC
) -> None:
    arrived, may_answer, answered = anyio.Event(), anyio.Event(), anyio.Event()

    async def slowly(asked: Asked) -> object:
        arrived.set()
        await may_answer.wait()
        result = await asked.truth()
        answered.set()
        return result

    rpc.on(SEND, slowly)
    closed_early = True

    async def close(og: Session) -> None:
        nonlocal closed_early
        await og.__aexit__(None, None, None)
        closed_early = not answered.is_set()

    og = purse.session(QUICK)
    running = await infer(og, purse, wait_s=0)
    await arrived.wait()
    async with anyio.create_task_group() as group:
        group.start_soon(close, og)
        await anyio.wait_all_tasks_blocked()
        may_answer.set()

    assert not closed_early
    async with purse.session() as later:
        done = await infer(later, purse)
    assert (done.call_id, done.status) == (running.call_id, "done")
    assert len(rpc.sent) == purse.sent() == 1


async def test_from_its_signature_on_a_replacement_goes_on_though_its_caller_leaves(
    purse: Purse, rpc: LyingRPC
) -> None:
    arrived, may_answer, answered = anyio.Event(), anyio.Event(), anyio.Event()

    async def slowly(asked: Asked) -> object:
        arrived.set()
        await may_answer.wait()
        result = await asked.truth()
        answered.set()
        return result

    rpc.on(SEND, refuses("txpool is full"))
    left_early = True

    async def speed_up(og: Session, call_id: str) -> None:
        nonlocal left_early
        try:
            await og.speed_up(call_id)
        finally:
            left_early = not answered.is_set()

    async with purse.session(BRIEF) as og:
        with pytest.raises(TransactionPendingError) as stuck:
            await infer(og, purse)
        rpc.on(SEND, slowly)
        async with anyio.create_task_group() as group:
            group.start_soon(speed_up, og, stuck.value.call_id)
            await arrived.wait()
            group.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await anyio.wait_all_tasks_blocked()
                may_answer.set()
        told = await og.get_call(stuck.value.call_id)

    assert not left_early
    first, second = fields_of(rpc)
    assert first.nonce == second.nonce
    assert (told.status, told.fee_wei) == ("done", purse.spent())


class WatchedWallet(Wallet):
    """The wallet, which tells how often it has signed."""

    signatures = 0

    async def sign(self, transaction: Transaction, guard: FeeGuard, call_id: str = "") -> Signed:
        self.signatures += 1
        return await super().sign(transaction, guard, call_id)


async def test_a_fee_is_reserved_before_anything_is_signed(purse: Purse) -> None:
    network = from_ready_file({**purse.localnet.ready, "accounts": []})
    key = "0x" + bytes(purse.localnet.new_wallet().key).hex()
    wallet = WatchedWallet(WalletSource(kind="key", secret=SecretStr(key)))
    guard = FeeGuard(network, 10**18, 10**9, allow_insecure=False)
    request = CallRequest(
        tool="infer", principal="local", network="local", request_hash="aa", request="{}"
    )
    async with open_http(local=True) as http, open_journal(purse.settings()) as journal:
        chain = Chain(RPC(http, network.rpc_url, "RPC", timeout_s=5), network.chain_id)
        signer = Signer(chain, wallet, guard, journal)
        call = CallContext((await journal.open_call(request)).call.id)
        dear = Transaction(network.chain_id, 0, network.inference_contract, b"", 21_000, GWEI)
        async with signer.lane() as lane:
            with pytest.raises(BudgetExceededError):
                await signer.sign(call, lane, dear)
            assert (wallet.signatures, call.committed) == (0, False)
            await signer.sign(call, lane, replace(dear, gas_price=1))

    assert (wallet.signatures, call.committed) == (1, True)


async def test_a_signature_of_which_nothing_left_is_given_back_with_its_nonce(
    localnet: LocalNetwork, tmp_path: Path
) -> None:
    purse = Purse(localnet, tmp_path)
    account = purse.account

    async def ask() -> None:
        with pytest.raises(ServiceUnreachableError) as caught:
            await infer(og, purse, "key", max_retries=0)
        assert caught.value.stage is Stage.NOT_SENT

    async with purse.session(BRIEF) as og, open_journal(purse.settings()) as journal:
        await infer(og, purse)
        async with anyio.create_task_group() as group, journal.lane(account) as lane:
            assert lane.next_nonce == 1
            quotes = localnet.counters()["calls"]["eth_estimateGas"]
            group.start_soon(ask)
            with anyio.fail_after(10):
                while localnet.counters()["calls"]["eth_estimateGas"] == quotes:  # noqa: ASYNC110 - the node counts
                    await anyio.sleep(0.01)
            # The node answers one after the other: the quote is there when this is.
            await og.status()
            localnet.close_service("rpc")
        localnet.open_service("rpc")
        async with journal.lane(account) as lane:
            # Forgotten with the signature, so that the chain is asked.
            assert (lane.next_nonce, lane.open) == (None, ())
        assert (await journal.budget(account, CAPS)).open == 0
        assert (await infer(og, purse, "key")).status == "done"

    await check_books(purse)


async def test_what_a_person_agreed_to_bounds_the_signature(purse: Purse, rpc: LyingRPC) -> None:
    async with purse.session(BRIEF, OG_CONFIRM_ABOVE="0") as og:
        with pytest.raises(ApprovalRequiredError) as asked:
            await infer(og, purse)
        await og.approve(asked.value.approval_of)
        # The price is right where consent is looked at, and ten times as high at the signature.
        rpc.on(PRICE, says(hex(10 * GWEI)))
        rpc.on(PRICE, says(hex(GWEI)), times=1)
        with pytest.raises(FeeCapError, match="the approval") as caught:
            await infer(og, purse)

    assert caught.value.stage is Stage.NOT_SENT
    assert rpc.sent == []


# One nonce (T31)


async def test_t31_calls_behind_one_that_is_refused_wait_for_it_and_all_go_through(
    purse: Purse, rpc: LyingRPC
) -> None:
    rpc.on(SEND, refuses("txpool is full"), times=3)
    async with purse.session(QUICK) as og, anyio.create_task_group() as group:
        for number in range(5):
            group.start_soon(infer, og, purse, f"call {number}")

    assert purse.sent() == 5
    # None was signed twice, and none took another's nonce over.
    assert sorted(one.nonce for one in fields_of(rpc)) == list(range(5))
    await check_books(purse)


async def test_t31_what_is_too_cheap_is_signed_again_under_its_nonce_at_a_higher_price(
    purse: Purse, rpc: LyingRPC
) -> None:
    rpc.on(SEND, refuses("replacement transaction underpriced"), times=1)
    async with purse.session(QUICK) as og:
        result = await infer(og, purse)

    first, second = fields_of(rpc)
    assert (first.nonce, first.data, first.to) == (second.nonce, second.data, second.to)
    assert second.gas_price * 8 >= first.gas_price * 9
    assert result.fee_wei == result.gas_used * second.gas_price == purse.spent()
    await check_books(purse)


async def test_t31_a_cap_that_is_in_the_way_of_a_higher_price_is_named(
    purse: Purse, rpc: LyingRPC
) -> None:
    async with purse.session() as og:
        most = (await infer(og, purse, dry_run=True)).fee_wei
    rpc.on(SEND, refuses("transaction underpriced"))
    cap = most + 2**14 * GWEI
    rpc.on(PRICE, lambda _: hex(GWEI if not rpc.sent else 10 * GWEI))
    brief = replace(BRIEF, receipt_s=1.0)
    async with purse.session(brief, OG_MAX_FEE_PER_CALL=coins(cap)) as og:
        with pytest.raises(TransactionPendingError, match="OG_MAX_FEE_PER_CALL"):
            await infer(og, purse)

    assert len(fields_of(rpc)) == 1


async def test_t31_a_superseded_call_is_neither_cancelled_nor_released(
    purse: Purse, rpc: LyingRPC
) -> None:
    rpc.on(SEND, refuses("txpool is full"))
    async with purse.session(BRIEF) as og:
        errors: list[OGError] = []
        for key in ("older", "newer"):
            with pytest.raises(TransactionPendingError) as caught:
                await infer(og, purse, key)
            errors.append(caught.value)
        older, newer = (error.call_id for error in errors)
        for step in (og.cancel, og.release, og.speed_up):
            with pytest.raises(CallStateError, match=f"taken over by call {newer}"):
                await step(older)
        sent = len(rpc.sent)
        rpc.honest()
        cancelled = await og.cancel(newer)
        told = await og.get_call(older)

    assert len(rpc.sent) == sent + 1
    assert "cancelled" in cancelled.error
    assert "without effect" in told.error
    assert purse.sent() == 1
    assert purse.spent() == cancelled.fee_wei


async def test_t31_a_receipt_that_vanishes_is_charged_and_its_bytes_are_sent_again(
    purse: Purse, rpc: LyingRPC
) -> None:
    async with purse.session() as og:
        result = await infer(og, purse)
        for method in (RECEIPT, LOOK_UP):
            rpc.on(method, says(None))
        rpc.on(COUNT, says("0x0"))
        rpc.on(SEND, refuses("txpool is full"))
        told = await og.get_call(result.call_id)

    assert len(rpc.sent) == 2
    assert rpc.sent[0] == rpc.sent[1]
    assert (told.status, told.stage, told.fee_wei) == ("done", Stage.CHARGED, purse.spent())


async def test_t31_new_calls_follow_the_count_of_a_chain_that_was_reset(
    purse: Purse, rpc: LyingRPC
) -> None:
    async with purse.session(BRIEF) as og:
        for key in ("a", "b"):
            await infer(og, purse, key)
        rpc.on(COUNT, says("0x0"))
        rpc.on(SEND, says("0x" + "00" * 32))
        for method in (RECEIPT, LOOK_UP):
            rpc.on(method, says(None))
    async with purse.session(BRIEF) as og:
        with pytest.raises(TransactionPendingError):
            await infer(og, purse, "c")

    assert [one.nonce for one in fields_of(rpc)] == [0, 1, 0]
