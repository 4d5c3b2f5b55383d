"""One call is at most one transaction, whatever becomes of the chain's answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from og_mcp.client import Session, Timeouts
from og_mcp.errors import (
    ChainError,
    OGError,
    ServiceUnreachableError,
    SimulationRevertedError,
    TransactionPendingError,
    TransactionRevertedError,
    coins,
)
from og_mcp.settings import Settings
from og_mcp.types import InferenceResult, Stage
from tests.localnet_client import LocalNetwork

SEND = "eth_sendRawTransaction"
RECEIPT = "eth_getTransactionReceipt"
LOOK_UP = "eth_getTransactionByHash"
IMPATIENT = Timeouts(rpc_s=0.5, look_up_s=2.0, receipt_s=2.0)
BRIEF = Timeouts(rpc_s=10.0, look_up_s=0.5, receipt_s=1.0)
PATIENT = Timeouts(rpc_s=10.0, look_up_s=4.0, receipt_s=20.0)


@pytest.fixture
async def og(localnet: LocalNetwork, tmp_path: Path) -> AsyncIterator[Session]:
    async with Session(settings(localnet, tmp_path), timeouts=PATIENT) as session:
        yield session


def settings(localnet: LocalNetwork, tmp_path: Path, **more: str) -> Settings:
    return Settings.from_env({**localnet.environ, "OG_DATA_DIR": str(tmp_path), **more})


def sample(localnet: LocalNetwork) -> dict[str, Any]:
    found: dict[str, Any] = localnet.ready["sample_models"][0]
    return found


async def infer(
    og: Session,
    localnet: LocalNetwork,
    mode: str = "VANILLA",
    *,
    max_retries: int = 5,
    idempotency_key: str = "",
) -> InferenceResult:
    model = sample(localnet)
    return await og.infer(
        model["cid"],
        model["model_input"],
        mode,
        max_retries=max_retries,
        idempotency_key=idempotency_key,
    )


def transactions(localnet: LocalNetwork, state: str = "latest") -> int:
    """Count the wallet's transactions."""
    address = localnet.ready["accounts"][0]["address"]
    return int(localnet.rpc("eth_getTransactionCount", address, state), 16)


async def test_a_call_gives_what_the_sample_promises_in_two_requests(
    og: Session, localnet: LocalNetwork
) -> None:
    await infer(og, localnet)
    localnet.reset_counters()
    before = transactions(localnet)

    result = await infer(og, localnet)

    requests = localnet.counters()["http_requests"]
    assert result.model_output == sample(localnet)["model_output"]
    assert result.source == "event"
    assert result.is_simulation_result
    assert transactions(localnet) == before + 1
    # One of the two counts above is the test's own question.
    assert requests == 2 + 1


async def test_the_first_call_of_a_session_takes_two_requests_too(
    localnet: LocalNetwork, tmp_path: Path
) -> None:
    async with Session(settings(localnet, tmp_path)) as earlier:
        await infer(earlier, localnet)
    localnet.reset_counters()

    async with Session(settings(localnet, tmp_path)) as og:
        await infer(og, localnet)

    assert localnet.counters()["http_requests"] == 2


async def test_64_concurrent_calls_of_one_wallet_all_answer_and_none_is_sent_twice(
    og: Session, localnet: LocalNetwork
) -> None:
    before = transactions(localnet)
    results: list[InferenceResult] = []

    async def one(number: int) -> None:
        # Without keys of their own, identical requests would be one call.
        results.append(await infer(og, localnet, idempotency_key=f"call {number}"))

    localnet.reset_counters()
    async with anyio.create_task_group() as group:
        for number in range(64):
            group.start_soon(one, number)

    assert len({result.transaction_hash for result in results}) == 64
    assert all(result.model_output == sample(localnet)["model_output"] for result in results)
    assert localnet.counters()["calls"][SEND] == 64
    assert transactions(localnet) == before + 64


Fault = Callable[[LocalNetwork], None]

ENDS_IN_A_RESULT: dict[str, Fault] = {
    "the estimate's connection drops once": lambda net: net.fault("eth_estimateGas", "drop"),
    "the answer to the sending is lost": lambda net: net.fault(SEND, "drop", when="after"),
    "the sending is executed and answered with an error": lambda net: net.fault(
        SEND, "error", when="after", message="internal error"
    ),
    "the sending is executed and answered nonce too low": lambda net: net.fault(
        SEND, "error", when="after", message="nonce too low"
    ),
    "the sending is executed and answered already known": lambda net: net.fault(
        SEND, "error", when="after", message="already known"
    ),
    "the sending is executed and answered 502": lambda net: net.fault(
        SEND, "status", when="after", status=502
    ),
    "the sending is refused for its nonce once": lambda net: net.fault(
        SEND, "error", message="nonce too low"
    ),
    "the sending is swallowed": lambda net: net.fault(SEND, "drop"),
    "the sending is answered 504": lambda net: net.fault(SEND, "status", status=504),
    "the pool is full for a while": lambda net: net.fault(
        SEND, "error", message="txpool is full", times=2
    ),
    "the node says once that funds are missing": lambda net: net.fault(
        SEND, "error", message="insufficient funds for gas * price + value"
    ),
    "the node wants a higher price once": lambda net: net.fault(
        SEND, "error", message="transaction underpriced"
    ),
    "the receipt's answer is lost": lambda net: net.fault(RECEIPT, "drop", when="after"),
    "the receipt is an error once": lambda net: net.fault(RECEIPT, "error"),
    "the receipt is late": lambda net: net.fault(RECEIPT, "result", result=None, times=3),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ENDS_IN_A_RESULT)
async def test_a_call_survives_when(name: str, og: Session, localnet: LocalNetwork) -> None:
    await infer(og, localnet)
    before = transactions(localnet)
    ENDS_IN_A_RESULT[name](localnet)

    result = await infer(og, localnet)

    assert localnet.pending_faults() == []
    assert result.model_output == sample(localnet)["model_output"]
    assert transactions(localnet) == before + 1


ENDS_IN_AN_ERROR: dict[str, tuple[Fault, Stage]] = {
    "the estimate is an error": (
        lambda net: net.fault("eth_estimateGas", "error", message="try later", times=9),
        Stage.NOT_SENT,
    ),
    "the estimate is answered 503": (
        lambda net: net.fault("eth_estimateGas", "status", status=503, times=9),
        Stage.NOT_SENT,
    ),
    "the node says that funds are missing": (
        lambda net: net.fault(
            SEND, "error", message="insufficient funds for gas * price + value", times=99
        ),
        Stage.SENT_UNKNOWN,
    ),
    "the node says that the gas is too much": (
        lambda net: net.fault(SEND, "error", message="exceeds block gas limit"),
        Stage.SENT_UNKNOWN,
    ),
    "the sending is swallowed": (lambda net: net.fault(SEND, "drop", times=99), Stage.SENT_UNKNOWN),
    "the sending is answered with an unknown error": (
        lambda net: net.fault(SEND, "error", message="something else", times=99),
        Stage.SENT_UNKNOWN,
    ),
    "the sending is answered 504": (
        lambda net: net.fault(SEND, "status", status=504, times=99),
        Stage.SENT_UNKNOWN,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ENDS_IN_AN_ERROR)
async def test_an_error_says_whether_the_transaction_may_still_be_mined_when(
    name: str, localnet: LocalNetwork, tmp_path: Path
) -> None:
    fault, stage = ENDS_IN_AN_ERROR[name]
    async with Session(settings(localnet, tmp_path), timeouts=BRIEF) as og:
        await infer(og, localnet)
        before = transactions(localnet)
        fault(localnet)

        with pytest.raises(OGError) as caught:
            await infer(og, localnet, max_retries=0)

        assert caught.value.stage is stage
        assert ("may still be" in str(caught.value)) == (stage is Stage.SENT_UNKNOWN)
        assert transactions(localnet) == before
        localnet.reset()
        # What is in doubt is sent once more by whatever comes next, so that no gap stays.
        assert (await infer(og, localnet, "TEE")).status == "done"
        assert transactions(localnet) == before + (2 if stage is Stage.SENT_UNKNOWN else 1)


@pytest.mark.slow
async def test_a_node_that_never_answers_the_sending_leaves_the_call_in_doubt(
    localnet: LocalNetwork, tmp_path: Path
) -> None:
    async with Session(settings(localnet, tmp_path), timeouts=IMPATIENT) as og:
        await infer(og, localnet)
        before = transactions(localnet)
        localnet.fault(SEND, "hang", times=99)

        with pytest.raises(TransactionPendingError, match="may still be"):
            await infer(og, localnet)

        assert transactions(localnet) == before


async def test_a_node_that_executes_and_never_answers_is_asked_by_hash(
    localnet: LocalNetwork, tmp_path: Path
) -> None:
    async with Session(settings(localnet, tmp_path), timeouts=IMPATIENT) as og:
        await infer(og, localnet)
        before = transactions(localnet)
        localnet.fault(SEND, "hang", when="after")

        result = await infer(og, localnet)

        assert result.model_output == sample(localnet)["model_output"]
        assert transactions(localnet) == before + 1


async def test_a_repeated_call_after_a_doubt_is_still_one_transaction_on_chain(
    localnet: LocalNetwork, tmp_path: Path
) -> None:
    async with Session(settings(localnet, tmp_path), timeouts=BRIEF) as og:
        await infer(og, localnet)
        before = transactions(localnet)
        localnet.fault(SEND, "drop", when="after")
        for method in (LOOK_UP, RECEIPT):
            localnet.fault(method, "result", result=None, times=99)

        with pytest.raises(TransactionPendingError) as doubt:
            await infer(og, localnet)
        localnet.reset()
        other = await infer(og, localnet, "TEE")
        again = await infer(og, localnet)

    # The first was mined after all: the chain's own count moved the other to the next nonce.
    assert other.transaction_hash != doubt.value.transaction_hash
    assert again.transaction_hash == doubt.value.transaction_hash
    assert transactions(localnet) == before + 2


async def test_a_transaction_that_never_arrived_is_sent_by_the_next_call_and_settled(
    localnet: LocalNetwork, tmp_path: Path
) -> None:
    async with Session(settings(localnet, tmp_path), timeouts=BRIEF) as og:
        await infer(og, localnet)
        before = transactions(localnet)
        localnet.fault(SEND, "drop", times=99)

        with pytest.raises(TransactionPendingError) as doubt:
            await infer(og, localnet)
        localnet.reset()
        again = await infer(og, localnet, "TEE")

        settled = await og.get_call(doubt.value.call_id)
        assert settled.status == "done"
        assert settled.transaction_hash == doubt.value.transaction_hash != again.transaction_hash
        assert settled.result["model_output"] == sample(localnet)["model_output"]
        assert transactions(localnet) == before + 2


async def test_a_transaction_in_a_held_block_is_pending_and_the_next_call_does_not_replace_it(
    localnet: LocalNetwork, tmp_path: Path
) -> None:
    waits = Timeouts(rpc_s=10.0, look_up_s=2.0, receipt_s=0.5)
    async with Session(settings(localnet, tmp_path), timeouts=waits) as og:
        await infer(og, localnet)
        before = transactions(localnet)
        localnet.hold_blocks()

        for mode in ("VANILLA", "TEE"):
            with pytest.raises(TransactionPendingError):
                await infer(og, localnet, mode)
        localnet.release_blocks()

        assert transactions(localnet) == before + 2


async def test_an_unreachable_rpc_is_named_and_nothing_is_signed(
    og: Session, localnet: LocalNetwork
) -> None:
    await infer(og, localnet)
    before = transactions(localnet)
    localnet.close_service("rpc")

    with pytest.raises(ServiceUnreachableError, match=r"local RPC at http://127\.0\.0\.1"):
        await infer(og, localnet, max_retries=1)
    localnet.open_service("rpc")

    assert transactions(localnet) == before
    assert (await infer(og, localnet)).status == "done"


async def test_an_rpc_that_comes_back_in_time_is_waited_for(
    og: Session, localnet: LocalNetwork
) -> None:
    localnet.close_service("rpc")
    results: list[InferenceResult] = []

    async def call() -> None:
        results.append(await infer(og, localnet))

    async with anyio.create_task_group() as group:
        group.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        localnet.open_service("rpc")

    assert results[0].status == "done"


async def test_another_program_on_the_same_wallet_costs_a_retry_not_a_failure(
    localnet: LocalNetwork, tmp_path: Path
) -> None:
    config = settings(localnet, tmp_path)
    async with Session(config) as ours, Session(config) as theirs:
        before = transactions(localnet)
        for og in (ours, theirs, ours, theirs):
            await infer(og, localnet)

        assert transactions(localnet) == before + 4


async def test_a_refusal_is_told_in_the_nodes_own_words(
    localnet: LocalNetwork, tmp_path: Path
) -> None:
    async with Session(settings(localnet, tmp_path), timeouts=BRIEF) as og:
        await infer(og, localnet)
        localnet.fault(SEND, "error", message="nonce too low: next nonce 7", times=99)

        with pytest.raises(TransactionPendingError, match="next nonce 7") as caught:
            await infer(og, localnet)

    # What stays reserved is told, and what gives it up.
    assert f"up to {coins(caught.value.reserved)} coins stay reserved" in str(caught.value)
    assert f"`og-mcp calls cancel {caught.value.call_id}`" in str(caught.value)


async def test_a_revert_costs_nothing_and_quotes_the_contract(
    og: Session, localnet: LocalNetwork
) -> None:
    before = transactions(localnet)

    with pytest.raises(SimulationRevertedError, match="QmNoSuchModel"):
        await og.infer("QmNoSuchModel", {"x": [1.0]})

    assert transactions(localnet) == before


async def test_an_unknown_cid_costs_nothing_and_is_named(
    og: Session, localnet: LocalNetwork
) -> None:
    before = transactions(localnet)

    with pytest.raises(ChainError, match="QmNoSuchModel"):
        await og.infer("QmNoSuchModel", {"x": [1.0]})

    assert transactions(localnet) == before


async def test_a_receipt_of_another_transaction_is_not_believed(
    og: Session, localnet: LocalNetwork
) -> None:
    first = await infer(og, localnet)
    other = localnet.rpc(RECEIPT, first.transaction_hash)
    localnet.fault(RECEIPT, "result", result=other)

    second = await infer(og, localnet)

    assert localnet.pending_faults() == []
    assert second.transaction_hash != first.transaction_hash


async def test_a_batch_that_the_node_refuses_is_asked_one_by_one(
    og: Session, localnet: LocalNetwork
) -> None:
    localnet.fault("eth_estimateGas", "status", status=405)

    result = await infer(og, localnet)

    assert result.model_output == sample(localnet)["model_output"]


async def test_a_call_that_reverts_on_chain_tells_its_cost_and_has_a_receipt(
    og: Session, localnet: LocalNetwork
) -> None:
    localnet.fault("eth_estimateGas", "result", result=hex(200_000))
    localnet.fault("eth_call", "result", result="0x")

    with pytest.raises(TransactionRevertedError, match="QmNoSuchModel") as caught:
        await og.infer("QmNoSuchModel", {"x": [1.0]})

    told = await og.get_call(caught.value.call_id)
    checked = await og.verify_receipt(call_id=caught.value.call_id)
    assert caught.value.stage is Stage.CHARGED
    assert (told.status, told.stage) == ("failed", Stage.CONFIRMED)
    assert told.fee_wei == caught.value.fee_wei > 0
    assert checked.valid
