"""What RPC providers do, honestly or not, holds: one transaction, the right output, plain words."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from og_mcp.client import Session, Timeouts
from og_mcp.client.wire.quantities import COUNT, WORD, quantity
from og_mcp.errors import OGError, RateLimitError, ServiceReplyError, TransactionPendingError
from og_mcp.types import InferenceResult, Stage
from tests.books import Purse, check_books
from tests.localnet_client import LocalNetwork
from tests.lying_rpc import (
    Asked,
    LyingRPC,
    does_and,
    drops,
    http,
    lying,
    refuses,
    says,
    without,
)

ESTIMATE = "eth_estimateGas"
PRICE = "eth_gasPrice"
SEND = "eth_sendRawTransaction"
NONCE = "eth_getTransactionCount"
RECEIPT = "eth_getTransactionReceipt"
LOOK_UP = "eth_getTransactionByHash"
BLOCK = "eth_getBlockByNumber"
GWEI = 10**9
QUICK = Timeouts(rpc_s=5.0, look_up_s=1.0, receipt_s=10.0)
BRIEF = Timeouts(rpc_s=2.0, look_up_s=0.3, receipt_s=0.5)
HTML = "<html><body><h1>502 Bad Gateway</h1></body></html>"


async def infer(
    og: Session,
    purse: Purse,
    key: str = "",
    **more: Any,  # noqa: ANN401 - as Session.infer
) -> InferenceResult:
    sample = purse.localnet.ready["sample_models"][0]
    return await og.infer(sample["cid"], sample["model_input"], idempotency_key=key, **more)


Quirk = Callable[[LyingRPC], object]


def late(times: int) -> Quirk:
    return lambda rpc: rpc.on(RECEIPT, says(None), times=times)


def batches(change: Callable[[list[dict[str, Any]]], object]) -> Quirk:
    return lambda rpc: setattr(rpc, "batch", change)


async def taken_twice(asked: Asked) -> object:
    """Bring the transaction to the node twice: the second answer is `already known`, or so."""
    await asked.truth()
    return await asked.truth()


QUIRKS: dict[str, Quirk] = {
    "answers of a batch come in another order": batches(lambda answers: answers[::-1]),
    "answers of a batch come twice": batches(lambda answers: answers * 2),
    "a batch is answered by one object": batches(lambda _: {"jsonrpc": "2.0", "error": {}}),
    "a batch is answered by errors alone": batches(
        lambda answers: [
            {"jsonrpc": "2.0", "id": one["id"], "error": {"code": -32600, "message": "no batches"}}
            for one in answers
        ]
    ),
    "ids of a batch come as floats": batches(
        lambda answers: [{**one, "id": float(one["id"])} for one in answers]
    ),
    "the sending is taken and its answer lost": lambda rpc: rpc.on(SEND, does_and(drops), times=1),
    "the sending is taken and answered already known": lambda rpc: rpc.on(
        SEND, does_and(refuses("already known")), times=1
    ),
    "the sending is taken and answered nonce too low": lambda rpc: rpc.on(
        SEND, does_and(refuses("nonce too low")), times=1
    ),
    "the sending is taken and answered by HTML": lambda rpc: rpc.on(
        SEND, does_and(http(HTML, 502)), times=1
    ),
    "the sending is brought to the node twice": lambda rpc: rpc.on(SEND, taken_twice, times=1),
    "the sending is lost": lambda rpc: rpc.on(SEND, drops, times=1),
    "the sending is lost and answered by HTML with status 200": lambda rpc: rpc.on(
        SEND, http(HTML, 200), times=1
    ),
    "the pool is full for a while": lambda rpc: rpc.on(SEND, refuses("txpool is full"), times=2),
    "too many requests for a while, at the sending": lambda rpc: rpc.on(
        SEND, refuses("rate limit exceeded", -32005), times=1
    ),
    "receipts are null for a while": late(3),
    "a receipt is an error for a while": lambda rpc: rpc.on(
        RECEIPT, refuses("header not found"), times=2
    ),
    "a receipt is malformed for a while": lambda rpc: rpc.on(
        RECEIPT, says({"status": "0x1"}), times=2
    ),
    "a receipt tells no price": lambda rpc: rpc.on(RECEIPT, without("effectiveGasPrice")),
    "the hash is never found": lambda rpc: rpc.on(LOOK_UP, says(None)),
    "the header is not found for a while": lambda rpc: rpc.on(
        ESTIMATE, refuses("header not found"), times=2
    ),
    "the count is answered by an error for a while": lambda rpc: rpc.on(
        NONCE, refuses("missing trie node"), times=2
    ),
    "there is no gas price": lambda rpc: rpc.on(
        PRICE, refuses("the method eth_gasPrice does not exist", -32601)
    ),
    "the gas price is null": lambda rpc: rpc.on(PRICE, says(None)),
    "the gas price is zero": lambda rpc: rpc.on(PRICE, says("0x0")),
    "there is no batch at all": lambda rpc: rpc.on("*", lambda asked: asked.truth()),
    "HTML for a while": lambda rpc: rpc.on(ESTIMATE, http(HTML, 503), times=2),
    "too many requests for a while": lambda rpc: rpc.on(ESTIMATE, http("slow down", 429), times=2),
    "the pending count lags": lambda rpc: rpc.on(NONCE, says("0x0"), times=1),
}


@pytest.mark.sweep(quick=4)
@pytest.mark.parametrize("name", QUIRKS)
async def test_a_call_is_one_transaction_and_answers_where(
    name: str, purse: Purse, rpc: LyingRPC
) -> None:
    async with purse.session(QUICK) as og:
        await infer(og, purse, "first")
        QUIRKS[name](rpc)
        result = await infer(og, purse, "second")
        rpc.honest()
        third = await infer(og, purse, "third")

    expected = purse.localnet.ready["sample_models"][0]["model_output"]
    assert result.model_output == third.model_output == expected
    assert purse.sent() == 3
    await check_books(purse)


@pytest.mark.parametrize(
    "lie",
    [http("slow down", 429), refuses("Too Many Requests", 429), refuses("rate limited", -32005)],
)
async def test_an_endless_rate_limit_is_told_as_one_with_what_helps(
    purse: Purse, rpc: LyingRPC, lie: Callable[[Asked], Any]
) -> None:
    rpc.on("*", lie)
    async with purse.session() as og:
        with pytest.raises(RateLimitError, match="limits how many requests") as caught:
            await infer(og, purse, max_retries=1)

    assert caught.value.stage is Stage.NOT_SENT
    assert "Wait a minute" in str(caught.value)
    assert "OG_RPC_URL" in str(caught.value)
    assert rpc.sent == []


async def test_a_rate_limit_after_the_signature_says_so_and_heals_by_repeating(
    purse: Purse, rpc: LyingRPC
) -> None:
    async with purse.session(BRIEF) as og:
        rpc.on(SEND, http("slow down", 429))
        with pytest.raises(TransactionPendingError, match="limits how many requests"):
            await infer(og, purse, "key")
        rpc.honest()
        result = await infer(og, purse, "key")

    assert result.status == "done"
    assert len(set(rpc.sent)) == purse.sent() == 1


async def test_no_more_is_asked_than_max_retries_say(purse: Purse, rpc: LyingRPC) -> None:
    async with purse.session() as og:
        await infer(og, purse)
        rpc.on(ESTIMATE, refuses("header not found"))
        before = rpc.asked[ESTIMATE]
        with pytest.raises(OGError, match="header not found"):
            await infer(og, purse, "again", max_retries=2)

    assert rpc.asked[ESTIMATE] == before + 3


async def test_a_price_of_zero_is_taken_where_there_is_no_base_fee(
    purse: Purse, rpc: LyingRPC
) -> None:
    rpc.on(PRICE, says("0x0"))
    rpc.on(BLOCK, without("baseFeePerGas"))
    async with purse.session() as og:
        assert (await infer(og, purse, dry_run=True)).fee_wei == 0


# Numbers, threats.md T37

ODD = ["-0x1", "0x", "1a", "0x-1", "0x1g", " 0x1", "0x1\n", "0x" + "f" * 65, 1, 1.5, True, [], {}]


@pytest.mark.parametrize("value", [*ODD, None, "0X1", "0x0_1"])
def test_t37_what_is_not_a_quantity_is_refused(value: object) -> None:
    with pytest.raises(ServiceReplyError, match="not a hexadecimal quantity"):
        quantity(value, "RPC", WORD)


def test_t37_a_quantity_is_read_within_its_range() -> None:
    assert quantity("0x" + "f" * 64, "RPC", WORD) == WORD
    assert quantity("0x001A", "RPC") == 26
    assert quantity(hex(COUNT), "RPC") == COUNT
    with pytest.raises(ServiceReplyError, match="out of range"):
        quantity(hex(COUNT + 1), "RPC")


@pytest.mark.sweep(quick=2)
@pytest.mark.parametrize("method", [ESTIMATE, PRICE, "eth_getBalance", NONCE])
async def test_t37_a_number_that_cannot_be_fails_before_the_signature(
    purse: Purse, rpc: LyingRPC, method: str
) -> None:
    # A balance of 2^80 wei is one.
    large = () if method == "eth_getBalance" else (hex(2**80),)
    async with purse.session(OG_MAX_FEE_PER_CALL="0.01") as og:
        for value in (*ODD, *large, hex(2**256)):
            asked = rpc.asked[method]
            rpc.on(method, says(value))
            with pytest.raises(OGError) as caught:
                await infer(og, purse, max_retries=0)
            assert caught.value.stage is Stage.NOT_SENT, value
            assert rpc.asked[method] > asked

    assert rpc.sent == []


@pytest.mark.parametrize(
    "lie",
    [
        without(number=hex(2**60), timestamp=hex(2**39)),
        without(timestamp=hex(2**80)),
        without(gasLimit=hex(2**60)),
    ],
)
async def test_t37_no_loop_grows_with_a_number_from_outside(
    purse: Purse, rpc: LyingRPC, lie: Callable[[Asked], Any]
) -> None:
    rpc.on(BLOCK, lie)
    async with purse.session() as og:
        with pytest.raises(OGError) as caught:
            await infer(og, purse, max_retries=0)

    assert caught.value.stage is Stage.NOT_SENT
    assert sum(rpc.asked.values()) < 200
    assert rpc.sent == []


async def test_t31_a_pending_count_far_above_our_record_has_to_be_mined(
    purse: Purse, rpc: LyingRPC
) -> None:
    async with purse.session() as og:
        await infer(og, purse)
        rpc.on(NONCE, lambda asked: hex(1000) if asked.params[1] == "pending" else hex(1))
        with pytest.raises(ServiceReplyError, match="it counts 1000 transactions") as caught:
            await infer(og, purse, "again")
        rpc.honest()
        assert (await infer(og, purse, "again")).status == "done"

    assert caught.value.stage is Stage.NOT_SENT
    assert purse.sent() == 2


# Two RPCs, threats.md T35


@pytest.fixture
async def second(localnet: LocalNetwork) -> AsyncIterator[LyingRPC]:
    async with lying(localnet.ready["rpc_url"]) as rpc:
        yield rpc


def with_second(purse: Purse, second: LyingRPC) -> Session:
    """Open a session with OG_RPC_URLS, which a local network does not take from the environment."""
    return Session(replace(purse.settings(), rpc_urls=(second.url,)), timeouts=BRIEF)


async def test_t35_a_result_names_the_rpcs_that_vouch_for_it(
    purse: Purse, rpc: LyingRPC, second: LyingRPC
) -> None:
    async with purse.session() as og:
        alone = await infer(og, purse)
    async with with_second(purse, second) as og:
        both = await infer(og, purse, "both")
        second.asked.clear()
        rpc.asked.clear()
        checked = await og.verify_receipt(call_id=both.call_id, online=True)

    assert alone.vouched_by == rpc.url
    assert both.vouched_by == f"{rpc.url}, {second.url}"
    # Online, another one than that which made it is asked.
    assert checked.level == "confirmed"
    assert second.asked[RECEIPT] == 1
    assert rpc.asked[RECEIPT] == 0


async def test_t35_an_output_that_the_second_rpc_does_not_confirm_is_not_handed_over(
    purse: Purse, rpc: LyingRPC, second: LyingRPC
) -> None:
    async with purse.session() as og:
        other = await infer(og, purse)
    forged = (await rpc.forward(RECEIPT, [other.transaction_hash]))["logs"]

    async with with_second(purse, second) as og:
        rpc.on(RECEIPT, without(logs=forged[:0]))
        with pytest.raises(TransactionPendingError) as caught:
            await infer(og, purse, "key")
        assert f"RPC {rpc.url} has a receipt" in str(caught.value)
        assert f"RPC {second.url} has another one" in str(caught.value)
        second.on(RECEIPT, says(None))
        told = await og.get_call(caught.value.call_id)
        assert (told.status, told.stage) == ("failed", Stage.SENT_UNKNOWN)
        rpc.honest()
        second.honest()
        done = await infer(og, purse, "key")

    assert done.call_id == caught.value.call_id
    assert purse.sent() == 2
