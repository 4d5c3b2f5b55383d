"""T33: what a payment chain's RPC may lie about frees no authorization."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_account import Account as Keys
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak

from og_mcp.client import Session
from og_mcp.client.chain.rpc import RPC
from og_mcp.client.payments.ledger import Ledger
from og_mcp.client.payments.settlement_proof import proven_amount
from og_mcp.client.payments.settlements import Settlement, SettlementReader
from og_mcp.client.wire.http import open_http
from og_mcp.errors import AlreadySentError, AnswerLostError, PaymentRejectedError
from og_mcp.networks import PERMIT2, UPTO_PROXY
from og_mcp.settings import Settings
from og_mcp.types import Account, Cap, ChatResult, Stage
from tests.books import Purse
from tests.client.payments.chats import CAP, CHAT, OPG, chat, settled, units
from tests.client.payments.test_exposure import send
from tests.clock import MovedClock
from tests.localnet_client import LocalNetwork
from tests.lying_rpc import Asked, Lie, LyingRPC, RefusalError, drops, lying, refuses, says

ALL_SPENT = "0x" + "ff" * 32
BITMAP = "0x" + keccak(text="nonceBitmap(address,uint256)")[:4].hex()
TRANSFER = "0x" + keccak(text="Transfer(address,address,uint256)").hex()
SETTLE = (
    "((address,uint256),uint256,uint256)",
    "uint256",
    "address",
    "(address,address,uint256)",
    "bytes",
)


@dataclass
class Bench:
    """A wallet whose payment chain is seen through two RPCs that may lie, by a clock of its own."""

    purse: Purse
    rpc: LyingRPC
    other: LyingRPC
    clock: MovedClock = field(default_factory=MovedClock)
    chain_ahead_s: int = 0

    def session(self, *, second: bool = False, **more: str) -> Session:
        ready = json.loads(Path(self.purse.environ["OG_LOCALNET"]).read_text(encoding="utf-8"))
        file = self.purse.folder / "seen.json"
        file.write_text(json.dumps({**ready, "base_rpc_url": self.rpc.url}))
        seen = {**self.purse.environ, "OG_LOCALNET": str(file)}
        if second:
            seen["OG_BASE_RPC_URLS"] = self.other.url
        return Session(Settings.from_env({**seen, **more}), clock=self.clock)

    def pass_time(self, seconds: int) -> None:
        """Let it pass on this machine and on the chain, as both RPCs see it."""
        self.clock.ahead_s += seconds
        self.chain_ahead_s += seconds
        for rpc in (self.rpc, self.other):
            rpc.on("eth_getBlockByNumber", self._later)

    async def _later(self, asked: Asked) -> dict[str, Any]:
        block = await asked.truth()
        return {**block, "timestamp": hex(int(block["timestamp"], 16) + self.chain_ahead_s)}


@pytest.fixture
async def bench(purse: Purse) -> AsyncIterator[Bench]:
    url = purse.localnet.ready["base_rpc_url"]
    async with lying(url) as rpc, lying(url) as other:
        yield Bench(purse, rpc, other)


async def look(og: Session) -> list[str]:
    """Look once; returns what became of every payment, the oldest first."""
    await (await (await og._resources()).settlements.get()).look()  # noqa: SLF001 - else asked every 20 s
    return [cap.status for cap in await caps_of(og)]


async def caps_of(og: Session) -> list[Cap]:
    journal = await (await og._resources()).journal.get()  # noqa: SLF001 - the one that signed
    ids = {call.payment.cap_id for call in (await og.list_calls(limit=50)).calls} - {""}
    return sorted([await journal.cap(one) for one in ids], key=lambda cap: cap.created_at)


# Lies about what was spent.


def settle_data(cap: Cap, amount: int = 1) -> str:
    """Write the call by which a facilitator takes an amount."""
    values = (
        ((cap.asset, cap.max_opg), int(cap.nonce), cap.deadline),
        amount,
        cap.account.address,
        (cap.pay_to, cap.facilitator, 0),
        b"\0" * 65,
    )
    selector = keccak(text=f"settle({','.join(SETTLE)})")[:4]
    return "0x" + (selector + encode(SETTLE, values)).hex()


def invented(cap: Cap, number: int, signer: LocalAccount | None) -> dict[str, Any]:
    """Make up a settlement of 1 base unit; signed by a key of the liar's own, or by nobody."""
    call: dict[str, Any] = {
        "nonce": number,
        "gasPrice": 10**9,
        "gas": 10**5,
        "value": 0,
        "to": UPTO_PROXY,
        "data": settle_data(cap),
        "chainId": cap.account.chain_id,
    }
    signed = (signer or Keys.create()).sign_transaction(call)
    return {
        **{name: hex(call[name]) for name in ("nonce", "gasPrice", "gas", "value", "chainId")},
        "type": "0x0",
        "to": UPTO_PROXY,
        "input": call["data"],
        "from": cap.facilitator,
        **{name: hex(getattr(signed, name)) for name in ("v", "r", "s")},
        "hash": signed.hash.to_0x_hex(),
    }


def invent(rpc: LyingRPC, caps: list[Cap], *, signed: bool) -> None:
    """Let an RPC say that all nonces are spent, by transfers of 1 base unit that it makes up."""
    signer = Keys.create() if signed else None
    made = {one["hash"]: one for n, cap in enumerate(caps) if (one := invented(cap, n, signer))}
    if not signed:
        made = {hash_: {**one, "r": "0x1", "s": "0x1"} for hash_, one in made.items()}
    log = {
        "address": caps[0].asset,
        "topics": [TRANSFER, *("0x" + "00" * 32,) * 2],
        "data": "0x1",
        "blockNumber": "0x1",
    }

    async def call(asked: Asked) -> object:
        return ALL_SPENT if asked.params[0]["data"].startswith(BITMAP) else await asked.truth()

    rpc.on("eth_call", call)
    rpc.on("eth_getLogs", says([{**log, "transactionHash": one} for one in made]))
    rpc.on("eth_getTransactionByHash", lambda asked: made.get(asked.params[0]))


@pytest.mark.parametrize("signed", [True, False], ids=["signed by itself", "signed by nobody"])
async def test_t33_a_payment_rpc_that_invents_settlements_frees_none_of_ten_open_authorizations(
    bench: Bench, *, signed: bool
) -> None:
    async with bench.session() as og:
        for number in range(10):
            await chat(og, f"Question {number}", principal=f"principal {number}")
        journal = await (await og._resources()).journal.get()  # noqa: SLF001 - those of all principals
        caps = list(await journal.open_caps())
        invent(bench.rpc, caps, signed=signed)
        still_open = await (await (await og._resources()).settlements.get()).look()  # noqa: SLF001 - as above
        after = await journal.open_caps()
        bench.rpc.honest()
        bench.purse.localnet.settle()
        left = await (await (await og._resources()).settlements.get()).look()  # noqa: SLF001 - as above

    assert (len(caps), still_open) == (10, 10)
    assert sum(cap.max_opg for cap in after) == 10 * CAP
    assert left == 0


async def test_t33_what_the_facilitator_signed_counts_whatever_the_event_says(bench: Bench) -> None:
    async with bench.session() as og:
        await chat(og, "first")
        bench.purse.localnet.settle()
        [took] = settled(bench.purse)

        async def smaller(asked: Asked) -> object:
            return [{**log, "data": "0x1"} for log in await asked.truth()]

        bench.rpc.on("eth_getLogs", smaller)
        assert await look(og) == ["settled"]
        [cap] = await caps_of(og)

    assert cap.amount_opg == took > 1


CHANGES: Mapping[str, Mapping[str, object]] = {
    "its input": {"input": "0x"},
    "its recipient": {"to": PERMIT2},
    "its nonce": {"nonce": "0x99"},
    "its type": {"type": "0x7"},
    "its type too": {"type": "later"},
    "its signature": {"s": "0x1"},
    "no signature": {"r": None, "s": None},
    "its chain": {"chainId": "0x1", "v": "0x25"},
    "its access list": {"type": "0x2", "accessList": 5},
}


async def test_t33_a_settlement_that_differs_in_anything_proves_nothing(bench: Bench) -> None:
    async with bench.session() as og:
        await chat(og, "first")
        bench.purse.localnet.settle()
        for what, change in CHANGES.items():
            bench.rpc.on("eth_getTransactionByHash", changed(change))
            assert await look(og) == ["open"], what
        bench.rpc.honest()
        assert await look(og) == ["settled"]


async def test_t33_a_settlement_that_is_found_by_its_hash_need_not_repeat_it(bench: Bench) -> None:
    async with bench.session() as og:
        await chat(og, "first")
        bench.purse.localnet.settle()
        bench.rpc.on("eth_getTransactionByHash", changed({"hash": "0x" + "11" * 32}))
        assert await look(og) == ["settled"]


def changed(change: Mapping[str, object]) -> Lie:
    """Tell of a transaction as it is not."""

    async def lie(asked: Asked) -> object:
        return {**await asked.truth(), **change}

    return lie


def authorized(account: LocalAccount) -> list[Any]:
    authorization = {"chainId": 8453, "address": PERMIT2, "nonce": 3}
    return [account.sign_authorization(authorization)]


@pytest.mark.parametrize("kind", [0, 1, 2, 4])
def test_t33_every_kind_of_transaction_proves_what_its_facilitator_signed(kind: int) -> None:
    """Signed by eth-account, whose encoder is another."""
    facilitator, stranger = Keys.create(), Keys.create()
    cap = a_cap(facilitator.address)
    call: dict[str, Any] = {
        "chainId": 8453,
        "nonce": 7,
        "gas": 100_000,
        "value": 0,
        "to": UPTO_PROXY,
        "data": settle_data(cap, 42),
    }
    slots = [{"address": PERMIT2, "storageKeys": ["0x" + "00" * 31 + "07"]}]
    call |= {"gasPrice": 10**9} if kind < 2 else {}
    call |= {"maxFeePerGas": 10**9, "maxPriorityFeePerGas": 0} if kind >= 2 else {}
    call |= {"type": kind, "accessList": slots} if kind else {}
    call |= {"authorizationList": authorized(facilitator)} if kind == 4 else {}

    def seen(signer: LocalAccount) -> tuple[dict[str, Any], str]:
        signed = signer.sign_transaction(dict(call))
        numbers = {k: hex(v) for k, v in call.items() if isinstance(v, int)}
        listed = [
            {
                **{k: hex(getattr(one, n)) for k, n in NAMES.items()},
                "address": "0x" + bytes(one.address).hex(),
            }
            for one in call.get("authorizationList", ())
        ]
        signature = {name: hex(getattr(signed, name)) for name in ("v", "r", "s")}
        record = {**numbers, "to": call["to"], "input": call["data"], "type": hex(kind)}
        record |= {"accessList": slots} if kind else {}
        record |= {"authorizationList": listed} if kind == 4 else {}
        return record | signature, signed.hash.to_0x_hex()

    assert proven_amount(*seen(facilitator), cap) == 42
    assert proven_amount(*seen(stranger), cap) is None
    for name in ("max_opg", "nonce", "deadline", "pay_to", "asset", "facilitator"):
        other = replace(cap, **{name: OTHERS[name]})
        assert proven_amount(*seen(facilitator), other) is None, name


def a_cap(facilitator: str) -> Cap:
    return Cap(
        account=Account(network="real", chain_id=8453, address="0x" + "0a" * 20),
        principal="local",
        resource="https://gateway.test/v1/chat/completions",
        asset="0x" + "fb" * 20,
        pay_to="0x" + "9a" * 20,
        max_opg=100,
        nonce="123",
        deadline=1_800_000_000,
        facilitator=facilitator,
        id="00" * 16,
        status="open",
        created_at=datetime(2026, 12, 1, tzinfo=UTC),
    )


NAMES = {"chainId": "chain_id", "nonce": "nonce", "yParity": "y_parity", "r": "r", "s": "s"}
OTHERS: dict[str, Any] = {
    "max_opg": 41,
    "nonce": "124",
    "deadline": 99,
    "pay_to": PERMIT2,
    "asset": PERMIT2,
    "facilitator": PERMIT2,
}


async def test_a_settlement_that_is_gone_before_its_deadline_counts_in_full_again(
    bench: Bench,
) -> None:
    async def never_spent(asked: Asked) -> object:
        is_bitmap = asked.params[0]["data"].startswith(BITMAP)
        return "0x" + "00" * 32 if is_bitmap else await asked.truth()

    async with bench.session() as og:
        result = await chat(og, "first")
        bench.purse.localnet.settle()
        before = await look(og)
        settled_as = (await og.get_call(result.call_id)).stage
        bench.rpc.on("eth_call", never_spent)
        gone = await look(og)
        during, open_as = await og.list_calls(), (await og.get_call(result.call_id)).stage
        bench.rpc.honest()
        again = await look(og)
        after = await og.list_calls()
        bench.pass_time(700)
        bench.rpc.on("eth_call", never_spent)
        late = await look(og)

    [took] = settled(bench.purse)
    assert (before, gone, again, late) == (["settled"], ["open"], ["settled"], ["settled"])
    assert (settled_as, open_as) == (Stage.CONFIRMED, Stage.CHARGED)
    assert (during.open_opg, during.spent_opg) == ("0.1", "0")
    assert (after.open_opg, units(after.spent_opg)) == ("0", took)


# Nobody can take it any more: by two clocks, and a second look.

PAST_S = 2_500
"""From the signature of a payment until both clocks are past its deadline (600 s) and the margin."""


async def unspent(bench: Bench, og: Session) -> None:
    """Sign a payment that no gateway takes."""
    bench.purse.localnet.refuse_payments(1)
    with pytest.raises(PaymentRejectedError):
        await chat(og, "never answered")


async def test_t7_an_unspent_payment_is_void_after_its_deadline_and_a_second_look(
    bench: Bench,
) -> None:
    async with bench.session() as og:
        await unspent(bench, og)
        assert await look(og) == ["open"]
        [lost] = [call for call in (await og.list_calls()).calls if call.tool == "chat"]
        bench.pass_time(PAST_S)
        first = [await look(og), await look(og)]
        bench.pass_time(599)
        before = await look(og)
        bench.pass_time(2)
        after = await look(og)
        listed = await og.list_calls()
        found = await og.get_call(lost.call_id)

    assert (lost.stage, found.stage) == (Stage.SENT_UNKNOWN, Stage.NOT_SENT)
    assert (first, before, after) == ([["open"], ["open"]], ["open"], ["void"])
    assert (listed.open_opg, listed.spent_opg) == ("0", "0")


async def test_a_lost_chat_is_asked_again_under_its_key_once_its_payment_is_void(
    bench: Bench,
) -> None:
    localnet = bench.purse.localnet
    async with bench.session() as og:
        await chat(og, "first")
        localnet.fault(CHAT, "drop", service="gateway")
        with pytest.raises(AnswerLostError):
            await chat(og, "lost", idempotency_key="k")
        bench.pass_time(PAST_S)
        with pytest.raises(AlreadySentError, match="is known by"):
            await chat(og, "lost", idempotency_key="k")
        bench.pass_time(601)
        again = await chat(og, "lost", idempotency_key="k")
        calls = [call.call_id for call in (await og.list_calls()).calls if call.tool == "chat"]

    assert (again.status, again.call_id) == ("done", calls[0])
    assert len(calls) == 2


async def test_t7_a_second_look_may_be_another_processes(bench: Bench) -> None:
    async with bench.session() as og:
        await unspent(bench, og)
    bench.pass_time(PAST_S)
    async with bench.session() as og:
        assert await look(og) == ["open"]
    bench.pass_time(601)
    async with bench.session() as og:
        assert await look(og) == ["void"]


@pytest.mark.parametrize("alone", ["this machine's clock", "the chain's time"])
async def test_t33_one_clock_alone_frees_nothing(bench: Bench, alone: str) -> None:
    async with bench.session() as og:
        await unspent(bench, og)
        for _ in range(3):
            bench.pass_time(PAST_S)
            if alone == "this machine's clock":
                bench.chain_ahead_s = 0
            else:
                bench.clock.ahead_s = 0
            assert await look(og) == ["open"]


@pytest.mark.parametrize("tag", ["safe", "finalized"])
@pytest.mark.parametrize("part", ["number", "timestamp"])
async def test_t33_a_block_that_is_ahead_of_the_newest_frees_nothing(
    bench: Bench, tag: str, part: str
) -> None:
    async with bench.session() as og:
        await unspent(bench, og)
        bench.pass_time(PAST_S)

        async def ahead(asked: Asked) -> object:
            block = await bench._later(asked)  # noqa: SLF001 - the time that has passed
            later = {part: hex(int(block[part], 16) + 10**6)}
            return {**block, **later} if asked.params[0] == tag else block

        bench.rpc.on("eth_getBlockByNumber", ahead)
        for _ in range(3):
            assert await look(og) == ["open"]
            bench.clock.ahead_s += 700


async def test_an_rpc_without_tags_frees_what_is_void(bench: Bench) -> None:
    async with bench.session() as og:
        await unspent(bench, og)
        bench.pass_time(PAST_S)

        async def untagged(asked: Asked) -> object:
            if asked.params[0] in {"safe", "finalized"}:
                raise RefusalError("unknown block tag")
            return await bench._later(asked)  # noqa: SLF001 - the time that has passed

        bench.rpc.on("eth_getBlockByNumber", untagged)
        assert await look(og) == ["open"]
        bench.clock.ahead_s += 700
        assert await look(og) == ["void"]


async def test_t33_a_second_rpc_has_to_agree_that_a_payment_is_void(bench: Bench) -> None:
    async with bench.session(second=True) as og:
        await unspent(bench, og)
        bench.pass_time(PAST_S)
        await look(og)
        bench.pass_time(700)
        bench.other.on("eth_*", drops)
        silent = await look(og)
        bench.other.honest()
        # Its time is another: it knows of no deadline that has passed.
        differs = await look(og)
        bench.pass_time(1)
        agreed = await look(og)

    assert (silent, differs, agreed) == (["open"], ["open"], ["void"])


async def test_t33_what_a_gateway_told_counts_where_a_payment_is_found_void(bench: Bench) -> None:
    async with bench.session() as og:
        await chat(og, "first")
        bench.pass_time(PAST_S)
        await look(og)
        bench.pass_time(700)
        after = await look(og)
        listed = await og.list_calls()
    bench.purse.localnet.settle()
    [spent] = settled(bench.purse)

    assert after == ["void"]
    assert units(listed.spent_opg) == spent > 0


# Spent, and nothing proves by what.


def hide(*rpcs: LyingRPC) -> None:
    """Let the facilitator be a contract: who sent its transactions, and to whom, is another."""

    async def contract(asked: Asked) -> object:
        record = await asked.truth()
        return {**record, "from": "0x" + "33" * 20, "to": "0x" + "44" * 20}

    for rpc in rpcs:
        rpc.on("eth_getTransactionByHash", contract)


async def test_t33_a_contracts_settlement_counts_in_full_until_a_second_rpc_says_the_same(
    bench: Bench,
) -> None:
    hide(bench.rpc, bench.other)
    async with bench.session() as og:
        await chat(og, "first")
        bench.purse.localnet.settle()
        [took] = settled(bench.purse)
        alone = await look(og)
    async with bench.session(second=True) as og:

        async def other(asked: Asked) -> object:
            return [{**log, "data": hex(took - 1)} for log in await asked.truth()]

        bench.other.on("eth_getLogs", other)
        differs = await look(og)
        bench.other.on("eth_getLogs", refuses("limit exceeded"))
        silent = await look(og)
        bench.other.honest()
        hide(bench.other)
        agreed = await look(og)
        [cap] = await caps_of(og)

    assert (alone, differs, silent, agreed) == (["open"], ["open"], ["open"], ["settled"])
    assert cap.amount_opg == took


async def test_t33_what_nothing_proves_counts_by_the_largest_once_its_deadline_is_long_past(
    bench: Bench,
) -> None:
    """A contract's call can name any payment, and hold any amount."""
    async with bench.session() as og:
        await chat(og, "first")
        await chat(og, "second", principal="http")
        await chat(og, "third", principal="http")
        journal = await (await og._resources()).journal.get()  # noqa: SLF001 - of both principals
        caps = await journal.open_caps()
        named = "".join(f"{int(cap.nonce):064x}" for cap in caps)
        bench.purse.localnet.settle()
        both = {"from": "0x" + "33" * 20, "to": "0x" + "44" * 20, "input": f"0x01{named}"}
        bench.rpc.on("eth_getTransactionByHash", says(both))
        await look(og)
        early = len(await journal.open_caps())
        bench.pass_time(PAST_S)
        await look(og)
        bench.pass_time(700)
        await look(og)
        found = [await journal.cap(cap.id) for cap in caps]

    took = settled(bench.purse)
    assert (early, len(took)) == (2, 2)
    assert min(took) < max(took)
    assert [(one.status, one.amount_opg) for one in found] == [("settled", max(took))] * 2


async def test_a_payment_that_its_owner_has_voided_counts_in_full_until_its_deadline_is_past(
    bench: Bench,
) -> None:
    async with bench.session() as og:
        await unspent(bench, og)
        [cap] = await caps_of(og)
        nonce = int(cap.nonce)
        send(
            bench.purse,
            PERMIT2,
            "invalidateUnorderedNonces(uint256,uint256)",
            [nonce >> 8, 1 << (nonce & 255)],
        )
        early = await look(og)
        bench.pass_time(PAST_S)
        await look(og)
        bench.pass_time(700)
        late = await look(og)

    assert (early, late) == (["open"], ["void"])


async def test_a_settlement_counts_once_twelve_blocks_are_on_top_of_it(bench: Bench) -> None:
    localnet = bench.purse.localnet
    async with bench.session() as og:
        await chat(og, "first")
        localnet.settle()
        [cap] = await caps_of(og)
    [took] = settled(bench.purse)
    async with open_http(local=True) as http:
        rpc = RPC(http, bench.rpc.url, "payment chain's RPC", timeout_s=10.0)
        fates = SettlementReader(Ledger(rpc, localnet.ready["opg_token"]), depth=12)
        localnet.mine(11, chain="base_rpc")
        before = await fates.look([cap])
        localnet.mine(1, chain="base_rpc")
        after = await fates.look([cap])

    assert (before.proven, before.claimed[cap.id].is_deep) == ({}, False)
    [settlement] = after.proven.values()
    assert settlement == Settlement(took, settlement.transaction_hash)


@pytest.mark.slow
async def test_at_the_defaults_a_chat_every_15_s_for_half_an_hour_is_never_refused(
    fresh_localnet: LocalNetwork, tmp_path: Path
) -> None:
    """Though settlements are counted five minutes late: the RPC is that far behind."""
    url, heads = fresh_localnet.ready["base_rpc_url"], [0]
    results: list[ChatResult] = []
    open_: list[int] = []
    async with lying(url) as rpc:

        async def behind(asked: Asked) -> object:
            tag = asked.params[0]
            late = hex(heads[max(len(heads) - 21, 0)])
            return await rpc.forward(asked.method, [tag if tag.startswith("0x") else late, False])

        rpc.on("eth_getBlockByNumber", behind)
        file = tmp_path / "seen.json"
        file.write_text(json.dumps({**fresh_localnet.ready, "base_rpc_url": rpc.url}))
        environ = {"OG_NETWORK": "local", "OG_LOCALNET": str(file), "OG_DATA_DIR": str(tmp_path)}
        clock = MovedClock()
        async with Session(Settings.from_env(environ), clock=clock) as og:
            journal = await (await og._resources()).journal.get()  # noqa: SLF001 - what is open
            for number in range(30 * 4 + 1):
                results.append(await chat(og, f"Question {number}"))
                open_.append(sum(cap.max_opg for cap in await journal.open_caps()))
                clock.ahead_s += 15
                fresh_localnet.advance_sessions(15)
                heads.append(int(fresh_localnet.rpc("eth_blockNumber", url=url), 16))

    sessions = {result.payment.cap_id for result in results}
    assert len(results) == 121
    assert (len(sessions), max(open_)) == (7, 25 * OPG)


@pytest.mark.parametrize(
    ("field", "value"), [("nonce", "-0x1"), ("chainId", "0x" + "f" * 65), ("type", "-0x1")]
)
def test_t37_a_settling_transaction_with_odd_numbers_proves_nothing(field: str, value: str) -> None:
    transaction = {
        "type": "0x2",
        "chainId": "0x1",
        "nonce": "0x0",
        "maxPriorityFeePerGas": "0x0",
        "maxFeePerGas": "0x0",
        "gas": "0x0",
        "to": UPTO_PROXY,
        "value": "0x0",
        "input": "0x",
        "accessList": [],
        "yParity": "0x0",
        "r": "0x1",
        "s": "0x1",
    }

    assert proven_amount({**transaction, field: value}, "0x00", a_cap(UPTO_PROXY)) is None
