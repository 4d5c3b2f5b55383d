"""The chain takes, queues, mines and refuses transactions as a geth would."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from eth.vm.forks.cancun import CancunVM
from eth_account.signers.local import LocalAccount
from eth_keys.datatypes import PrivateKey
from eth_typing import Address
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto

from og_mcp.localnet import admission, genesis
from og_mcp.localnet.chain import GAS_LIMIT, Chain
from og_mcp.localnet.evm import EVM, Call
from og_mcp.localnet.genesis import INFERENCE_CONTRACT, TEE_REGISTRY, GenesisAccount
from og_mcp.localnet.node_errors import NodeError
from og_mcp.networks import LOCAL_WALLET_WEI
from tests.localnet import graphs
from tests.localnet.calls import (
    CONTRACT,
    INFERENCE_RESULT,
    Output,
    numbers,
    raw_address,
    run_data,
    sign,
)
from tests.localnet.conftest import CHAIN_ID
from tests.localnet.graphs import Folder

LEDGER = EVM(chain_id=CHAIN_ID, gas_limit=GAS_LIMIT, genesis=(), precompiles={})
RECIPIENT = raw_address("0x" + "22" * 20)


def _transactions(chain: Chain) -> list[bytes]:
    return [record.hash for block in chain.records for record in block.transactions]


def test_the_receipt_is_there_when_the_transaction_is_taken(
    chain: Chain, wallet: LocalAccount
) -> None:
    sent = chain.send_raw(sign(wallet, CHAIN_ID, value=5))
    mined = chain.records.transaction(sent)

    assert mined is not None
    block, record = mined
    assert (block.number, record.succeeded, record.gas_used) == (1, True, 21_000)
    assert chain.balance(RECIPIENT) == 5
    assert chain.balance(raw_address(wallet.address)) == LOCAL_WALLET_WEI - 5 - 21_000 * 10**9
    assert chain.nonce(raw_address(wallet.address)) == 1


def test_future_nonces_wait_for_the_gap_to_be_filled(chain: Chain, wallet: LocalAccount) -> None:
    address = raw_address(wallet.address)
    later = [chain.send_raw(sign(wallet, CHAIN_ID, nonce=nonce)) for nonce in (2, 1)]

    assert (chain.nonce(address), chain.pending_nonce(address)) == (0, 0)
    assert all(chain.waiting(each) for each in later)

    first = chain.send_raw(sign(wallet, CHAIN_ID, nonce=0))

    assert (chain.nonce(address), chain.pending_nonce(address)) == (3, 3)
    assert _transactions(chain) == [first, later[1], later[0]]
    assert chain.all_waiting() == []


async def test_64_transactions_at_once_in_any_order_are_all_mined(
    chain: Chain, wallet: LocalAccount
) -> None:
    raws = [sign(wallet, CHAIN_ID, nonce=nonce) for nonce in range(64)]
    random.Random(1).shuffle(raws)  # noqa: S311 - an order, not a secret

    sent = [await chain.in_order(chain.send_raw, raw) for raw in raws]

    assert sorted(_transactions(chain)) == sorted(sent)
    assert chain.nonce(raw_address(wallet.address)) == 64


def test_held_blocks_leave_transactions_pending(chain: Chain, wallet: LocalAccount) -> None:
    address = raw_address(wallet.address)
    chain.hold_blocks()
    sent = [chain.send_raw(sign(wallet, CHAIN_ID, nonce=nonce)) for nonce in (0, 1)]

    assert (chain.nonce(address), chain.pending_nonce(address)) == (0, 2)
    assert chain.records.transaction(sent[0]) is None

    chain.release_blocks()

    assert _transactions(chain) == sent
    assert chain.records.head.number == 1


def test_blocks_are_mined_by_hand_while_they_are_held(chain: Chain, wallet: LocalAccount) -> None:
    chain.hold_blocks()
    sent = chain.send_raw(sign(wallet, CHAIN_ID))

    assert chain.mine(3) == 3
    assert _transactions(chain) == [sent]

    chain.send_raw(sign(wallet, CHAIN_ID, nonce=1))

    assert len(chain.all_waiting()) == 1


def test_a_transaction_that_offers_too_little_waits_until_it_is_replaced(
    chain: Chain, wallet: LocalAccount
) -> None:
    chain.least_gas_price = 2 * 10**9
    slow = chain.send_raw(sign(wallet, CHAIN_ID))
    behind = chain.send_raw(sign(wallet, CHAIN_ID, nonce=1, gasPrice=3 * 10**9))

    assert _transactions(chain) == []

    fast = chain.send_raw(sign(wallet, CHAIN_ID, gasPrice=2 * 10**9))

    assert _transactions(chain) == [fast, behind]
    assert chain.waiting(slow) is None


@pytest.mark.parametrize(
    ("price", "taken"), [(10**9, False), (10**9 + 99_999_999, False), (1_100_000_000, True)]
)
def test_a_replacement_pays_a_tenth_more(
    chain: Chain, wallet: LocalAccount, price: int, taken: bool
) -> None:
    chain.hold_blocks()
    first = chain.send_raw(sign(wallet, CHAIN_ID))
    replacement = sign(wallet, CHAIN_ID, gasPrice=price, value=1)

    if taken:
        second = chain.send_raw(replacement)
        chain.release_blocks()
        assert _transactions(chain) == [second]
        return
    with pytest.raises(NodeError, match=r"^replacement transaction underpriced$"):
        chain.send_raw(replacement)
    chain.release_blocks()
    assert _transactions(chain) == [first]


def test_a_transaction_that_waits_is_already_known(chain: Chain, wallet: LocalAccount) -> None:
    chain.hold_blocks()
    raw = sign(wallet, CHAIN_ID)
    chain.send_raw(raw)

    with pytest.raises(NodeError, match=r"^already known$"):
        chain.send_raw(raw)


def _with_fee_market(wallet: LocalAccount, **fields: Any) -> bytes:  # noqa: ANN401 - a transaction
    transaction: dict[str, Any] = {
        "chainId": CHAIN_ID,
        "nonce": 0,
        "gas": 21_000,
        "maxFeePerGas": 2 * 10**9,
        "maxPriorityFeePerGas": 10**9,
        "to": to_checksum_address(RECIPIENT),
        "value": 1,
        **fields,
    }
    return bytes(wallet.sign_transaction(transaction).raw_transaction)


def _without_chain_id(wallet: LocalAccount) -> bytes:
    unsigned = CancunVM.create_unsigned_transaction(
        nonce=0, gas_price=10**9, gas=21_000, to=RECIPIENT, value=0, data=b""
    )
    return bytes(unsigned.as_signed_transaction(PrivateKey(bytes(wallet.key))).encode())


Sign = Callable[[LocalAccount], bytes]

REFUSED: dict[str, tuple[Sign, str]] = {
    "chain id": (
        lambda wallet: sign(wallet, 1),
        f"invalid chain id for signer: have 1 want {CHAIN_ID}",
    ),
    "intrinsic gas": (
        lambda wallet: sign(wallet, CHAIN_ID, gas=20_999),
        "intrinsic gas too low: gas 20999, minimum needed 21000",
    ),
    "block gas": (
        lambda wallet: sign(wallet, CHAIN_ID, gas=GAS_LIMIT + 1),
        "exceeds block gas limit",
    ),
    "funds": (
        lambda wallet: sign(wallet, CHAIN_ID, value=LOCAL_WALLET_WEI),
        (
            f"insufficient funds for gas * price + value: balance {LOCAL_WALLET_WEI}, "
            f"tx cost {LOCAL_WALLET_WEI + 21_000 * 10**9}, overshot {21_000 * 10**9}"
        ),
    ),
    "no price": (lambda wallet: sign(wallet, CHAIN_ID, gasPrice=0), "transaction underpriced"),
    "type": (lambda _wallet: bytes.fromhex("03c0"), "transaction type not supported"),
    "tip": (
        lambda wallet: _with_fee_market(wallet, maxPriorityFeePerGas=3 * 10**9),
        "max priority fee per gas higher than max fee per gas",
    ),
    "no chain id": (
        lambda wallet: bytes(_without_chain_id(wallet)),
        "only replay-protected (EIP-155) transactions allowed over RPC",
    ),
    "unknown type": (lambda _wallet: bytes.fromhex("04c0"), "transaction type not supported"),
}


@pytest.mark.parametrize(("signed", "words"), REFUSED.values(), ids=REFUSED)
def test_a_refused_transaction_is_refused_in_geths_words(
    chain: Chain, wallet: LocalAccount, signed: Sign, words: str
) -> None:
    with pytest.raises(NodeError) as caught:
        chain.send_raw(signed(wallet))

    assert (caught.value.code, caught.value.message) == (-32000, words)
    assert chain.all_waiting() == []
    assert chain.records.head.number == 0


@pytest.mark.parametrize("raw", [b"", b"\x00", b"\xc0", b"hello", b"\x02", b"\x7f\xff"])
def test_bytes_that_are_no_transaction_are_refused(chain: Chain, raw: bytes) -> None:
    with pytest.raises(NodeError) as caught:
        chain.send_raw(raw)

    assert caught.value.code == -32000


@given(raw=st.binary(max_size=300), head=st.sampled_from([b"", b"\x01\xf8", b"\x02\xf8", b"\xf8"]))
def test_whatever_the_bytes_are_the_answer_is_an_error_of_the_node(raw: bytes, head: bytes) -> None:
    with pytest.raises(NodeError):
        admission.read(LEDGER, head + raw)


def test_a_nonce_that_was_used_is_too_low(chain: Chain, wallet: LocalAccount) -> None:
    raw = sign(wallet, CHAIN_ID)
    chain.send_raw(raw)

    with pytest.raises(NodeError, match=r"^nonce too low: next nonce 1, tx nonce 0$"):
        chain.send_raw(raw)


def test_transactions_that_wait_count_against_the_balance(
    chain: Chain, wallet: LocalAccount
) -> None:
    chain.hold_blocks()
    chain.send_raw(sign(wallet, CHAIN_ID, value=LOCAL_WALLET_WEI - 21_000 * 10**9))

    with pytest.raises(NodeError, match=r"insufficient funds .* queued cost"):
        chain.send_raw(sign(wallet, CHAIN_ID, nonce=1))


def test_a_malleable_signature_is_refused(chain: Chain, wallet: LocalAccount) -> None:
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    raw = sign(wallet, CHAIN_ID)
    twin = raw[:-32] + (order - int.from_bytes(raw[-32:], "big")).to_bytes(32, "big")

    with pytest.raises(NodeError, match="invalid sender"):
        chain.send_raw(twin)


def test_transactions_with_their_own_fee_market_are_taken(
    chain: Chain, wallet: LocalAccount
) -> None:
    sent = chain.send_raw(_with_fee_market(wallet))
    mined = chain.records.transaction(sent)

    assert mined is not None
    assert mined[1].price == 10**9 + 7


def test_many_blocks_in_one_second_do_not_outrun_the_clock(chain: Chain) -> None:
    before = chain.records.head.header.timestamp
    chain.mine(50)
    after = chain.records.head.header.timestamp

    assert after - before < 50
    assert after >= before


# Estimates


@pytest.fixture
def identity(models: Folder) -> str:
    return models.add("identity", graphs.identity(TensorProto.FLOAT, ["n"]))


def _call(wallet: LocalAccount, data: bytes, to: bytes = CONTRACT) -> Call:
    return Call(
        sender=raw_address(wallet.address), to=raw_address(to.hex()), gas=GAS_LIMIT, data=data
    )


def test_an_estimate_runs_the_model_once(chain: Chain, wallet: LocalAccount, identity: str) -> None:
    chain.estimate(_call(wallet, run_data(identity, [numbers("x", [1.0])])))

    assert chain.model_runs == 1


@pytest.mark.parametrize("count", [0, 1, 2, 33, 500, 5000])
def test_a_transaction_with_the_estimated_gas_runs_through(
    chain: Chain, wallet: LocalAccount, identity: str, count: int
) -> None:
    values = np.random.default_rng(count).normal(size=count).astype(np.float32)
    data = run_data(identity, [numbers("x", values)])
    estimate = chain.estimate(_call(wallet, data))
    chain.send_raw(sign(wallet, CHAIN_ID, to=INFERENCE_CONTRACT, gas=estimate, data=data))
    (record,) = chain.records.head.transactions

    assert record.succeeded
    assert record.gas_used <= estimate <= record.gas_used * 1.05
    assert Output.read(record.logs[1].data).array("y", np.float32).tobytes() == values.tobytes()
    assert record.logs[1].topics == (INFERENCE_RESULT,)


def _forwarder(to: bytes) -> bytes:
    """Bytecode that passes its call on, and fails where that fails.

    CALLDATASIZE PUSH0 PUSH0 CALLDATACOPY; CALL(GAS, to, 0, 0, CALLDATASIZE, 0, 0); revert if zero.
    """
    call = bytes.fromhex("365f5f37 5f5f365f5f 73".replace(" ", "")) + to + bytes.fromhex("5af1")
    return call + bytes.fromhex("60") + bytes([len(call) + 6]) + bytes.fromhex("57 5f5ffd 5b00")


@pytest.mark.parametrize("depth", [1, 2, 5, 20])
def test_an_estimate_is_enough_for_calls_inside_calls(
    wallet: LocalAccount, models: Folder, identity: str, depth: int
) -> None:
    addresses = [bytes([0xC0 + level]) * 20 for level in range(depth)]
    targets = [*addresses[1:], CONTRACT]
    forwarders = [
        GenesisAccount(address="0x" + address.hex(), code=_forwarder(to))
        for address, to in zip(addresses, targets, strict=True)
    ]
    chain = Chain(
        chain_id=CHAIN_ID,
        accounts=[wallet.address],
        models=models,
        contracts=(*genesis.opengradient(wallet.address), *forwarders),
    )
    data = run_data(identity, [numbers("x", np.ones(50, np.float32))])
    estimate = chain.estimate(_call(wallet, data, addresses[0]))
    first = to_checksum_address(addresses[0])
    for nonce, gas in enumerate((estimate, estimate * 9 // 10)):
        chain.send_raw(sign(wallet, CHAIN_ID, nonce=nonce, to=first, gas=gas, data=data))
    enough, short = (block.transactions[0] for block in list(chain.records)[1:])
    chain.close()

    assert enough.succeeded
    assert len(enough.logs) == 2
    assert not short.succeeded


@pytest.mark.slow
def test_calls_as_deep_as_the_evm_allows_are_estimated_and_carried_out(
    wallet: LocalAccount, models: Folder
) -> None:
    # Calls itself with all gas until there is none or the depth is 1024; then goes on.
    address = "0x" + "cc" * 20
    caller = GenesisAccount(address=address, code=bytes.fromhex("5f5f5f5f5f305af100"))
    chain = Chain(chain_id=CHAIN_ID, accounts=[wallet.address], models=models, contracts=[caller])
    estimate = chain.estimate(_call(wallet, b"", raw_address(address)))
    chain.close()

    assert estimate == GAS_LIMIT


def test_a_transfer_is_estimated_exactly(chain: Chain, wallet: LocalAccount) -> None:
    sender = raw_address(wallet.address)

    assert chain.estimate(Call(sender=sender, to=RECIPIENT, gas=GAS_LIMIT, value=1)) == 21_000


def test_gas_that_is_not_enough_is_named(chain: Chain, wallet: LocalAccount) -> None:
    owner = keccak(text="owner()")[:4]
    call = Call(
        sender=raw_address(wallet.address), to=raw_address(TEE_REGISTRY), gas=21_500, data=owner
    )

    with pytest.raises(NodeError, match=r"^gas required exceeds allowance \(21500\)$"):
        chain.estimate(call)


def test_a_message_that_costs_more_than_its_gas_before_it_runs_is_refused(chain: Chain) -> None:
    with pytest.raises(NodeError, match=r"^intrinsic gas too low: gas 100, minimum needed 21000$"):
        chain.call(Call(sender=RECIPIENT, to=RECIPIENT, gas=100))


def test_a_message_that_moves_more_than_its_sender_has_is_refused(chain: Chain) -> None:
    with pytest.raises(NodeError, match=r"^insufficient funds for transfer$"):
        chain.estimate(Call(sender=RECIPIENT, to=CONTRACT, gas=GAS_LIMIT, value=1))


def test_code_that_fails_otherwise_is_told(chain: Chain) -> None:
    invalid = Call(sender=RECIPIENT, to=Address(b""), gas=GAS_LIMIT, data=b"\xfe")

    with pytest.raises(NodeError, match=r"^execution failed: Invalid opcode 0xfe"):
        chain.call(invalid)


def test_code_that_is_too_long_creates_no_contract(chain: Chain, wallet: LocalAccount) -> None:
    code = bytes(49_153)

    with pytest.raises(NodeError, match=r"^max initcode size exceeded"):
        chain.estimate(Call(sender=RECIPIENT, to=Address(b""), gas=GAS_LIMIT, data=code))
    with pytest.raises(NodeError, match=r"^max initcode size exceeded"):
        chain.send_raw(sign(wallet, CHAIN_ID, to="", gas=10**7, data=code))


def test_a_contract_is_created_by_a_transaction(chain: Chain, wallet: LocalAccount) -> None:
    # PUSH1 0xfe PUSH0 MSTORE8 PUSH1 1 PUSH0 RETURN: code that is one byte, 0xfe.
    code = bytes.fromhex("60fe5f5360015ff3")
    sender = raw_address(wallet.address)
    gas = chain.estimate(Call(sender=sender, to=Address(b""), gas=GAS_LIMIT, data=code))
    chain.send_raw(sign(wallet, CHAIN_ID, to="", gas=gas, data=code))
    (record,) = chain.records.head.transactions

    assert record.succeeded
    assert chain.code(Address(record.created)) == b"\xfe"


def test_what_is_simulated_leaves_nothing_behind(
    chain: Chain, wallet: LocalAccount, identity: str
) -> None:
    call = _call(wallet, run_data(identity, [numbers("x", [1.0])]))
    chain.call(call)
    chain.estimate(call)

    assert chain.records.head.number == 0
    assert chain.node_result("local/1/1") is None
    assert chain.nonce(raw_address(wallet.address)) == 0


def test_a_reverted_transaction_is_mined_and_paid(
    chain: Chain, wallet: LocalAccount, identity: str
) -> None:
    data = run_data(identity, [numbers("wrong", [1.0])])
    chain.send_raw(sign(wallet, CHAIN_ID, to=INFERENCE_CONTRACT, gas=300_000, data=data))
    (record,) = chain.records.head.transactions

    assert not record.succeeded
    assert record.logs == ()
    assert 21_000 < record.gas_used < 300_000


def test_two_chains_in_one_process_know_nothing_of_each_other(
    wallet: LocalAccount, models: Folder
) -> None:
    one, two = (
        Chain(chain_id=chain_id, accounts=[wallet.address], models=models)
        for chain_id in (CHAIN_ID, CHAIN_ID + 1)
    )
    one.send_raw(sign(wallet, CHAIN_ID))
    with pytest.raises(NodeError, match="invalid chain id"):
        two.send_raw(sign(wallet, CHAIN_ID))
    two.send_raw(sign(wallet, CHAIN_ID + 1, value=1))

    assert (one.records.head.number, two.records.head.number) == (1, 1)
    assert (one.balance(RECIPIENT), two.balance(RECIPIENT)) == (0, 1)
    for chain in (one, two):
        chain.close()
