"""Receipts: what is built from real calls, what verification finds, and what it does not claim."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from copy import deepcopy
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from eth_abi import abi as eth_abi
from eth_account import Account
from eth_utils.crypto import keccak
from hypothesis import given, settings
from hypothesis import strategies as st

from og_mcp.client import Session
from og_mcp.client.chain.chain import Receipt
from og_mcp.client.chain.signature import read_signed
from og_mcp.client.codec.inputs import parse_inputs
from og_mcp.client.receipts import receipts
from og_mcp.client.receipts.chain_signature import kept_signature
from og_mcp.errors import ServiceError, ServiceReplyError, WrongChainError
from og_mcp.networks import INFERENCE_PRECOMPILE, NETWORKS
from og_mcp.types import Verification
from tests.localnet_client import LocalNetwork

KEPT = json.loads(Path(__file__).with_name("receipt.json").read_text(encoding="utf-8"))
"""A receipt that a real call on a local network left; that network is long gone."""

EIP155 = bytes.fromhex(
    "f86c098504a817c800825208943535353535353535353535353535353535353535880de0b6b3a764000080"
    "25a028ef61340bd939bc2195fe537567866003e1a15d3c71ff63e1590620aa636276"
    "a067cbe9d8997f761aecb703304b3800ccf555c9f3dc64214b297fb1966a3b6d83"
)
"""The signed transaction that EIP-155 gives as its example."""

UNSIGNED_FOR = {"call_id", "created_at", "tool", "network"}
"""What nothing in a receipt speaks for."""


@pytest.fixture
async def og(localnet: LocalNetwork, tmp_path: Path) -> AsyncIterator[Session]:
    environ = {**localnet.environ, "OG_DATA_DIR": str(tmp_path / "data")}
    async with Session.from_env(environ | {"OG_UPLOAD_ROOTS": str(tmp_path)}) as session:
        yield session


@pytest.fixture
async def hashing(localnet: LocalNetwork, tmp_path: Path) -> AsyncIterator[Session]:
    environ = {**localnet.environ, "OG_DATA_DIR": str(tmp_path / "data"), "OG_RECEIPTS": "hashes"}
    async with Session.from_env(environ) as session:
        yield session


def sample(localnet: LocalNetwork, name: str = "portfolio-value") -> dict[str, Any]:
    samples: list[dict[str, Any]] = localnet.ready["sample_models"]
    return next(one for one in samples if one["name"] == name)


async def receipt_of(og: Session, model: dict[str, Any], **tensors: object) -> dict[str, Any]:
    result = await og.infer(model["cid"], {**model["model_input"], **tensors})
    return await og.receipt(result.call_id)


def results(verification: Verification) -> dict[str, str]:
    return {check.name: check.result for check in verification.checks}


def failed(verification: Verification) -> set[str]:
    return {name for name, result in results(verification).items() if result == "failed"}


def detail(verification: Verification, name: str) -> str:
    return next(check.detail for check in verification.checks if check.name == name)


def changed(*path: str | int, to: object) -> dict[str, Any]:
    receipt: dict[str, Any] = deepcopy(KEPT)
    place: Any = receipt
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    return receipt


def rehashed(receipt: dict[str, Any]) -> dict[str, Any]:
    """Make the hashes fit again, as a forger would."""
    hashes = {f"{part}_hash": receipts.digest(receipt[part]) for part in ("request", "response")}
    made = {**receipt, **hashes}
    return receipts.digested(made) if "digest" in receipt else made


def signed_anew(receipt: dict[str, Any], **fields: object) -> dict[str, Any]:
    """Sign the receipt's call with a key of one's own."""
    signed = read_signed(bytes.fromhex(receipt["chain"]["raw_transaction"][2:]))
    transaction = {
        "nonce": 0,
        "gasPrice": 1,
        "gas": 10**6,
        "to": receipt["chain"]["contract"],
        "value": 0,
        "data": signed.data,
        "chainId": signed.chain_id,
    }
    made = Account.create().sign_transaction({**transaction, **fields})
    chain = {
        **receipt["chain"],
        "raw_transaction": made.raw_transaction.to_0x_hex(),
        "transaction_hash": made.hash.to_0x_hex(),
    }
    return {**receipt, "chain": chain}


def test_the_example_of_eip_155_has_the_hash_and_signer_that_it_names() -> None:
    signed = read_signed(EIP155)

    assert (
        signed.transaction_hash
        == "0x33469b22e9f636356c4160a87eb19df52b7412e8eac32a4a55ffe88ea8350788"
    )
    assert signed.sender == "0x9d8A62f656a8d1615C1294fd71e9CFb3E4855A4F"
    assert signed.chain_id == 1
    assert signed.to == "0x" + "35" * 20


def test_each_bit_flipped_in_a_signed_transaction_gives_another_hash_or_none() -> None:
    ours = "0x" + keccak(EIP155).hex()
    for place in range(len(EIP155)):
        flipped = bytearray(EIP155)
        flipped[place] ^= 1 << place % 8
        try:
            found = read_signed(bytes(flipped)).transaction_hash
        except ValueError:
            continue

        assert found != ours, place


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "not a legacy transaction"),
        (b"\x02" + EIP155, "not a legacy transaction"),
        (EIP155 + b"\0", "length"),
        (EIP155[:-1], "length"),
        (b"\xf9\x00\x6c" + EIP155[2:], "shortest form"),
        (b"\xc1\xc0", "a list"),
        (b"\xc2\x80\x80", "2 fields"),
        (b"\xc2\x81\x05", "shortest form"),
        (b"\xc2\x85\x05", "beyond its end"),
        (b"\xca\x80\x80\x80\x81\xff\x80\x80\x80\x80\x80", "address"),
        (b"\xc9" + b"\x80" * 9, "names no chain"),
        (b"\xc9\x00" + b"\x80" * 8, "numbers"),
        (b"\xc9" + b"\x80" * 6 + b"\x25\x80\x80", "signature is none"),
    ],
)
def test_what_is_no_signed_legacy_transaction_is_told_why(raw: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_signed(raw)


def test_the_second_signature_that_the_curve_allows_is_refused() -> None:
    order = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
    s = int.from_bytes(EIP155[-32:], "big")
    mirrored = EIP155[:-67] + b"\x26" + EIP155[-66:-32] + (order - s).to_bytes(32, "big")

    with pytest.raises(ValueError, match="EIP-2"):
        read_signed(mirrored)


def test_canonical_json_is_sorted_without_spaces_and_in_utf_8() -> None:
    value = {"b": [1, 0.1, None], "a": {"ü": "x y"}}

    assert receipts.canonical(value) == '{"a":{"ü":"x y"},"b":[1,0.1,null]}'
    # printf '{"a":{"ü":"x y"},"b":[1,0.1,null]}' | sha256sum
    assert receipts.digest(value) == (
        "18b29287064131eacc706ba62744709dc14dd81519ed7954a66172f9af02324a"
    )


def test_requests_that_travel_alike_have_one_form() -> None:
    alike: list[dict[str, Any]] = [
        {"x": [[1.0, 0.1]], "n": 3},
        {"x": [[1, 0.1]], "n": [3]},
        {"x": np.array([[1, 0.1]], np.float32), "n": np.int64(3)},
        {"n": 3, "x": ((1, 0.1),)},
    ]

    forms = [receipts.canonical_input(one, parse_inputs(one)) for one in alike]

    assert all(form == {"x": [[1, 0.1]], "n": [3]} for form in forms)
    assert len({receipts.canonical(form) for form in forms}) == 1


def test_a_large_tensor_is_the_hash_of_its_abi_words() -> None:
    values = [i / 2 for i in range(10_001)]
    texts = ["é"] * 10_001
    given_ = {"x": values, "t": texts}

    form = receipts.canonical_input(given_, parse_inputs(given_))

    pairs = [(i // 2, 0) if i % 2 == 0 else (i * 5, 1) for i in range(10_001)]
    # An array's words follow its offset and its length.
    numbers = eth_abi.encode(["(int128,int128)[]"], [pairs])[64:]
    strings = eth_abi.encode(["string[]"], [texts])[32:]
    assert form == {
        "x": {"sha256": hashlib.sha256(numbers).hexdigest(), "shape": [10_001]},
        "t": {"sha256": hashlib.sha256(strings).hexdigest(), "shape": [10_001]},
    }


def test_a_tensor_from_a_file_shows_the_file_s_name_and_not_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "secret-project" / "x.npy"
    path.parent.mkdir()
    np.save(path, np.ones((2, 3), np.float32))
    given_ = {"x": {"file": str(path)}}

    inputs = parse_inputs(given_, open_file=lambda name: BytesIO(Path(name).read_bytes()))
    form = receipts.canonical_input(given_, inputs)

    assert form["x"].pop("sha256")
    assert form == {"x": {"file": "x.npy", "shape": [2, 3]}}


@given(
    st.recursive(
        st.integers(-(2**127), 2**127 - 1)
        | st.floats(-1.7e38, 1.7e38)
        | st.floats(width=32, min_value=-(2**126), max_value=2**126),
        lambda inner: st.lists(inner, min_size=1, max_size=1),
        max_leaves=4,
    )
)
def test_what_stands_in_a_request_travels_as_what_was_given(value: Any) -> None:  # noqa: ANN401
    given_ = {"x": value}

    form = receipts.canonical_input(given_, parse_inputs(given_))
    again = receipts.canonical_input(form, parse_inputs(json.loads(json.dumps(form))))

    assert receipts.canonical(again) == receipts.canonical(form)


@pytest.mark.parametrize("name", ["candle-volatility", "word-sentiment", "portfolio-value"])
async def test_a_real_call_leaves_a_consistent_receipt_that_the_chain_confirms(
    name: str, og: Session, localnet: LocalNetwork
) -> None:
    model = sample(localnet, name)

    receipt = json.loads(json.dumps(await receipt_of(og, model)))

    assert receipts.verify(receipt).level == "consistent"
    online = await og.verify_receipt(receipt, online=True)
    assert online.valid
    assert online.level == "confirmed"
    assert receipt["response"] == model["model_output"]
    mined = localnet.rpc("eth_getTransactionReceipt", receipt["chain"]["transaction_hash"])
    assert receipt["chain"]["block_hash"] == mined["blockHash"]
    assert mined["from"] in detail(online, "inclusion")


async def test_the_parts_of_a_receipt_are_those_of_the_published_schema(
    og: Session, localnet: LocalNetwork
) -> None:
    receipt = await receipt_of(og, sample(localnet))

    assert set(receipt) == {
        *("schema", "call_id", "network", "tool", "created_at", "digest"),
        *("request", "request_hash", "response", "response_hash", "chain"),
    }
    assert set(receipt["chain"]) == {
        *("chain_id", "transaction_hash", "block_number", "block_hash", "contract"),
        *("raw_transaction", "logs"),
    }
    assert receipt["request"] == {
        "tool": "infer",
        "model_cid": sample(localnet)["cid"],
        "model_input": sample(localnet)["model_input"],
        "inference_mode": "VANILLA",
    }


async def test_with_hashes_a_receipt_keeps_nothing_of_request_and_answer(
    hashing: Session, localnet: LocalNetwork
) -> None:
    model = sample(localnet, "word-sentiment")

    receipt = await receipt_of(hashing, model)

    text = json.dumps(receipt)
    assert not {"request", "response"} & set(receipt)
    assert not {"raw_transaction", "logs"} & set(receipt["chain"])
    assert "love" not in text
    assert b"love".hex() not in text
    offline = receipts.verify(receipt)
    assert (offline.valid, offline.level) == (True, "consistent")
    assert receipt["chain"]["sender"] in detail(offline, "signature")
    not_shown = {"request_hash", "response_hash", "transaction_hash", "call_data", "output"}
    assert {results(offline)[name] for name in not_shown} == {"not_checked"}


async def test_t29_what_is_left_of_a_signed_transaction_cannot_be_changed(
    hashing: Session, localnet: LocalNetwork
) -> None:
    receipt = await receipt_of(hashing, sample(localnet))
    for name in ("signed_hash", "signature", "sender"):
        text = receipt["chain"][name]
        for place in range(2, len(text), 9):
            other = text[:place] + ("1" if text[place] != "1" else "2") + text[place + 1 :]
            forged = receipts.digested({**receipt, "chain": {**receipt["chain"], name: other}})
            assert failed(receipts.verify(forged)) == {"signature"}, (name, place)
    others = signed_anew({**KEPT, "network": "local"})
    raw = bytes.fromhex(others["chain"]["raw_transaction"][2:])
    stolen = receipts.digested({**receipt, "chain": {**receipt["chain"], **kept_signature(raw)}})

    online = await hashing.verify_receipt(stolen, online=True)

    assert receipts.verify(stolen).level == "consistent"
    assert failed(online) == {"signature"}


async def test_what_a_receipt_of_hashes_leaves_out_is_held_to_them_online(
    hashing: Session, localnet: LocalNetwork
) -> None:
    receipt = await receipt_of(hashing, sample(localnet, "word-sentiment"))

    confirmed = await hashing.verify_receipt(receipt, online=True)
    other_answer = await hashing.verify_receipt(
        receipts.digested({**receipt, "response_hash": "00" * 32}), online=True
    )
    other_request = await hashing.verify_receipt(
        receipts.digested({**receipt, "request_hash": "00" * 32}), online=True
    )

    assert confirmed.level == "confirmed"
    source = {check.name: check.source for check in confirmed.checks}
    assert "completed by RPC" in source["request_hash"]
    assert source["digest"] == "this file alone"
    # Texts travel without their shape, tensors without their file's name.
    assert other_answer.level == "consistent"
    assert other_request.level == "consistent"
    assert results(other_request)["request_hash"] == "not_checked"
    assert "name does not travel" in detail(other_request, "inclusion")
    assert "name does not travel" not in detail(confirmed, "inclusion")


async def test_a_request_of_a_chat_on_chain_is_held_to_its_hash_though_it_is_not_kept(
    hashing: Session,
) -> None:
    chatted = await hashing.chat(
        "meta-llama/Meta-Llama-3-8B-Instruct",
        [{"role": "user", "content": "Hi"}],
        inference_mode="VANILLA",
    )
    receipt = await hashing.receipt(chatted.call_id)
    forged = receipts.digested({**receipt, "request_hash": "00" * 32})

    assert (await hashing.verify_receipt(receipt, online=True)).level == "confirmed"
    assert failed(await hashing.verify_receipt(forged, online=True)) == {"request_hash"}


async def test_an_answer_that_is_not_the_chain_s_fails_though_only_its_hash_is_kept(
    hashing: Session, localnet: LocalNetwork
) -> None:
    receipt = await receipt_of(hashing, sample(localnet, "candle-volatility"))

    receipt = receipts.digested({**receipt, "response_hash": "00" * 32})

    forged = await hashing.verify_receipt(receipt, online=True)

    assert failed(forged) == {"response_hash"}


async def test_tensors_from_files_and_large_ones_are_verified_by_their_hash(
    og: Session, localnet: LocalNetwork, tmp_path: Path
) -> None:
    model = sample(localnet, "candle-volatility")
    array = np.array(model["model_input"]["open_high_low_close"], np.float32)
    np.save(tmp_path / "candles.npy", array)

    receipt = await receipt_of(
        og, model, open_high_low_close={"file": str(tmp_path / "candles.npy")}
    )
    kept = receipt["request"]["model_input"]["open_high_low_close"]
    other = deepcopy(receipt)
    other["request"]["model_input"]["open_high_low_close"]["sha256"] = "00" * 32

    assert set(kept) == {"sha256", "shape", "file"}
    assert receipts.verify(receipt).level == "consistent"
    assert failed(receipts.verify(rehashed(other))) == {"call_data"}


async def test_an_answer_from_the_node_s_api_is_bound_by_nothing_and_not_called_consistent(
    og: Session, localnet: LocalNetwork
) -> None:
    localnet.answers(contract_event="empty", precompile_event="empty")

    receipt = await receipt_of(og, sample(localnet))
    offline = receipts.verify(receipt)
    online = await og.verify_receipt(receipt, online=True)

    assert results(offline)["output"] == "not_checked"
    assert (offline.valid, failed(offline)) == (False, set())
    assert (offline.level, online.level) == ("none", "none")
    assert results(online)["inclusion"] == "ok"


async def test_an_answer_in_the_precompile_s_event_is_bound_as_well(
    og: Session, localnet: LocalNetwork
) -> None:
    localnet.answers(contract_event="missing")

    assert receipts.verify(await receipt_of(og, sample(localnet))).level == "consistent"


async def test_a_call_that_reverted_leaves_a_receipt_that_claims_no_answer(
    og: Session, localnet: LocalNetwork
) -> None:
    model, wallet = sample(localnet), localnet.new_wallet()
    call = read_signed(bytes.fromhex(KEPT["chain"]["raw_transaction"][2:]))
    request = {**KEPT["request"], "model_cid": "Q" * len(KEPT["request"]["model_cid"])}
    data = call.data.replace(KEPT["request"]["model_cid"].encode(), request["model_cid"].encode())
    signed = wallet.sign_transaction(
        {
            "nonce": 0,
            "gasPrice": int(localnet.rpc("eth_gasPrice"), 16),
            "gas": 10**7,
            "to": localnet.ready["inference_contract"],
            "value": 0,
            "data": data,
            "chainId": localnet.ready["chain_id"],
        }
    )
    localnet.rpc("eth_sendRawTransaction", signed.raw_transaction.to_0x_hex())
    mined = localnet.rpc("eth_getTransactionReceipt", signed.hash.to_0x_hex())
    assert mined["status"] == "0x0", model

    receipt = receipts.build(
        call_id="c",
        network="local",
        tool="infer",
        created_at="2026-01-01T00:00:00+00:00",
        request=request,
        response=None,
        raw_transaction=bytes(signed.raw_transaction),
        receipt=Receipt(
            signed.hash.to_0x_hex(),
            False,
            int(mined["blockNumber"], 16),
            mined["blockHash"],
            0,
            0,
            None,
            (),
            "",
        ),
        contract=localnet.ready["inference_contract"],
        chain_id=localnet.ready["chain_id"],
        keep_content=True,
    )
    online = await og.verify_receipt(receipt, online=True)
    answered = await og.verify_receipt(rehashed({**receipt, "response": {"y": 1}}), online=True)

    assert receipts.verify(receipt).level == "consistent"
    assert online.level == "confirmed"
    assert "it reverted" in detail(online, "inclusion")
    assert "inclusion" in failed(answered)


def test_a_receipt_verifies_long_after_its_network_is_gone() -> None:
    verification = receipts.verify(KEPT)

    assert verification.valid
    assert verification.level == "consistent"
    assert results(verification) == {
        "schema": "ok",
        "fields": "ok",
        # It was made before receipts had one.
        "digest": "not_checked",
        "request_hash": "ok",
        "response_hash": "ok",
        "tool": "ok",
        "labels": "not_checked",
        "transaction_hash": "ok",
        "signature": "ok",
        "contract": "ok",
        "call_data": "ok",
        "output": "ok",
        "network": "not_checked",
        "inclusion": "not_checked",
    }
    assert all(check.source and check.detail for check in verification.checks)


def test_t14_a_receipt_forged_with_a_key_of_its_own_is_consistent_and_says_what_it_is_not() -> None:
    verification = receipts.verify(signed_anew(KEPT))

    assert verification.level == "consistent"
    assert results(verification)["inclusion"] == "not_checked"
    assert "chain" in detail(verification, "inclusion")


async def test_t14_online_the_forged_one_is_found(og: Session, localnet: LocalNetwork) -> None:
    genuine = await receipt_of(og, sample(localnet))

    verification = await og.verify_receipt(receipts.digested(signed_anew(genuine)), online=True)

    assert not verification.valid
    assert verification.level == "none"
    assert failed(verification) == {"inclusion"}
    assert "no such" in detail(verification, "inclusion")


@pytest.mark.parametrize(
    ("path", "to", "words"),
    [
        (("block_hash",), "0x" + "11" * 32, "it is in block"),
        (("block_number",), 10**9, "its block is"),
        (("logs", 0, "topics", 0), "0x" + "22" * 32, "events differ"),
        (("chain_id",), 1, "of chain '1'"),
        (("transaction_hash",), "0xnone", "is not a hash"),
        (("transaction_hash",), 5, "is not a hash"),
        (("logs",), 5, "malformed"),
    ],
)
async def test_online_what_differs_from_the_chain_is_named(
    path: tuple[str | int, ...], to: object, words: str, og: Session, localnet: LocalNetwork
) -> None:
    receipt = await receipt_of(og, sample(localnet))
    place: Any = receipt["chain"]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to

    verification = await og.verify_receipt(receipt, online=True)

    assert "inclusion" in failed(verification)
    assert words in detail(verification, "inclusion")


async def test_an_answer_whose_events_were_made_up_is_found_online(
    og: Session, localnet: LocalNetwork
) -> None:
    one = await receipt_of(og, sample(localnet))
    counts = [[3, 0, 12], [1, 7, -3]]
    other = await receipt_of(og, sample(localnet), counts=counts)
    mixed = {**one, "response": other["response"], "response_hash": other["response_hash"]}
    # The precompile's event tells its request; without it, only the chain does.
    told = other["chain"]["logs"]
    logs = [log for log in told if log["address"] != INFERENCE_PRECOMPILE.lower()]
    whole = receipts.digested({**mixed, "chain": {**one["chain"], "logs": told}})
    mixed = receipts.digested({**mixed, "chain": {**one["chain"], "logs": logs}})

    verification = await og.verify_receipt(mixed, online=True)

    assert failed(receipts.verify(whole)) == {"output"}
    assert receipts.verify(mixed).level == "consistent"
    assert failed(verification) == {"inclusion"}
    assert detail(verification, "inclusion") == "its events differ"


async def test_an_rpc_that_lies_about_the_sender_or_the_transaction_is_found(
    og: Session, localnet: LocalNetwork
) -> None:
    receipt = await receipt_of(og, sample(localnet))
    sent = localnet.rpc("eth_getTransactionByHash", receipt["chain"]["transaction_hash"])

    localnet.fault("eth_getTransactionByHash", "result", result={**sent, "from": "0x" + "11" * 20})
    other_sender = await og.verify_receipt(receipt, online=True)

    assert "sender" in detail(other_sender, "inclusion")
    for lie in (
        {**sent, "nonce": "0x99"},
        {"from": "0x"},
        {**sent, "input": "0xzz"},
        {**sent, "v": 5},
    ):
        localnet.fault("eth_getTransactionByHash", "result", result=lie)
        with pytest.raises(ServiceReplyError):
            await og.verify_receipt(receipt, online=True)


async def test_a_transaction_of_another_kind_is_no_inference(
    og: Session, localnet: LocalNetwork
) -> None:
    wallet = localnet.new_wallet()
    signed = wallet.sign_transaction(
        {
            "nonce": 0,
            "maxFeePerGas": 10**10,
            "maxPriorityFeePerGas": 0,
            "gas": 21_000,
            "to": wallet.address,
            "value": 0,
            "chainId": localnet.ready["chain_id"],
        }
    )
    localnet.rpc("eth_sendRawTransaction", signed.raw_transaction.to_0x_hex())
    receipt = await receipt_of(og, sample(localnet))
    receipt["chain"]["transaction_hash"] = signed.hash.to_0x_hex()

    verification = await og.verify_receipt(receipt, online=True)

    assert "another kind" in detail(verification, "inclusion")


async def test_an_rpc_that_cannot_be_used_is_an_error_and_no_verdict(
    localnet: LocalNetwork, tmp_path: Path
) -> None:
    receipt = changed("chain", "chain_id", to=localnet.ready["chain_id"])
    environ = {
        "OG_NETWORK": "opengradient",
        "OG_RPC_URL": localnet.ready["rpc_url"],
        "OG_CHAIN_ID": "31337",
        "OG_DATA_DIR": str(tmp_path),
    }
    elsewhere = changed("chain", "chain_id", to=31337)

    async with Session.from_env(environ) as og:
        with pytest.raises(WrongChainError):
            await og.verify_receipt(elsewhere, online=True)
    async with Session.from_env({**localnet.environ, "OG_DATA_DIR": str(tmp_path)}) as og:
        localnet.fault("eth_*", "status", status=503, times=9)
        with pytest.raises(ServiceError):
            await og.verify_receipt(receipt, online=True)


@pytest.mark.parametrize(
    ("receipt", "check"),
    [
        (changed("schema", to="og-mcp/receipt/3"), "schema"),
        (changed("request", "model_cid", to="QmOther"), "request_hash"),
        (changed("response", "totals", to=[1]), "response_hash"),
        (changed("chain", "transaction_hash", to="0x" + "00" * 32), "transaction_hash"),
        (changed("chain", "raw_transaction", to="0x00"), "transaction_hash"),
        (changed("chain", "raw_transaction", to="0X" + "00" * 9), "signature"),
        (changed("chain", "chain_id", to=1), "signature"),
        (changed("chain", "chain_id", to=True), "signature"),
        (changed("chain", "contract", to="0x" + "11" * 20), "contract"),
        (rehashed(changed("request", "model_cid", to="QmOther")), "call_data"),
        (rehashed(changed("request", "inference_mode", to="TEE")), "call_data"),
        (rehashed(changed("request", "model_input", "prices", to=[1, 2, 3])), "call_data"),
        (rehashed(changed("request", "model_input", "extra", to=[1])), "call_data"),
        (rehashed(changed("request", "model_input", to=[])), "call_data"),
        (rehashed(changed("request", to=5)), "call_data"),
        (rehashed(changed("response", "totals", 0, to=1.0)), "output"),
        (rehashed(changed("response", "extra", to=1.0)), "output"),
        (rehashed(changed("response", to=[])), "output"),
        (changed("chain", "logs", 1, "data", to="0x00"), "output"),
        (changed("chain", "logs", 0, to=None), "output"),
        (signed_anew(KEPT, data=b""), "call_data"),
        (signed_anew(KEPT, data=bytes.fromhex("cbf09d80")), "call_data"),
        (signed_anew(KEPT, to=None), "contract"),
        (signed_anew(KEPT, chainId=1), "signature"),
    ],
)
def test_what_does_not_belong_is_found_by_the_check_that_looks_at_it(
    receipt: dict[str, Any], check: str
) -> None:
    verification = receipts.verify(receipt)

    assert check in failed(verification)
    assert not verification.valid
    assert verification.level == "none"


def test_junk_behind_the_call_data_s_end_is_found() -> None:
    data = read_signed(bytes.fromhex(KEPT["chain"]["raw_transaction"][2:])).data

    verification = receipts.verify(signed_anew(KEPT, data=data + bytes(32)))

    assert "standard encoding" in detail(verification, "call_data")


@pytest.mark.parametrize("part", ["raw_transaction", "logs", "contract", "transaction_hash"])
def test_a_receipt_without_some_of_its_evidence_is_not_called_consistent(part: str) -> None:
    receipt = deepcopy(KEPT)
    del receipt["chain"][part]

    assert receipts.verify(receipt).level == "none"


async def test_a_local_receipt_cannot_be_relabelled_as_real(
    og: Session, localnet: LocalNetwork
) -> None:
    relabelled = receipts.digested(
        {**await receipt_of(og, sample(localnet)), "network": "opengradient"}
    )

    offline = receipts.verify(relabelled)
    online = await og.verify_receipt(relabelled, online=True)

    for found in (offline, online):
        assert (found.valid, found.level, failed(found)) == (False, "none", {"network"})
        assert "10740" in detail(found, "network")


async def test_a_contract_that_is_not_the_network_s_is_not_confirmed_for_being_on_its_chain(
    localnet: LocalNetwork, tmp_path: Path
) -> None:
    environ = {**localnet.environ, "OG_DATA_DIR": str(tmp_path)}
    async with Session.from_env(environ) as og:
        receipt = await receipt_of(og, sample(localnet))
        receipt["chain"]["contract"] = "0x" + "11" * 20
        elsewhere = receipts.digested(
            signed_anew(receipt, to="0x" + "11" * 20, chainId=localnet.ready["chain_id"])
        )

        online = await og.verify_receipt(elsewhere, online=True)

    assert receipts.verify(elsewhere).level == "consistent"
    assert failed(online) == {"network", "inclusion"}


def test_who_has_another_chain_in_a_network_s_name_vouches_for_it_and_nobody_else_does() -> None:
    own = replace(
        NETWORKS["opengradient"],
        chain_id=KEPT["chain"]["chain_id"],
        inference_contract=KEPT["chain"]["contract"],
    )
    receipt = {**KEPT, "network": "opengradient"}

    assert receipts.verify(receipt, own).level == "consistent"
    assert failed(receipts.verify(receipt)) == {"network"}
    assert failed(receipts.verify(KEPT, own)) == {"network"}


def test_a_name_that_goes_with_chain_and_contract_is_told_by_our_own_table() -> None:
    chain = {"chain_id": 10740, "contract": "0x8383C9bD7462F12Eb996DD02F78234C0421A6FaE"}
    receipt = signed_anew({**KEPT, "network": "opengradient"}, chainId=10740)
    receipt["chain"] |= chain

    verification = receipts.verify(receipt)

    assert verification.level == "consistent"
    assert results(verification)["network"] == "ok"


def test_what_nothing_speaks_for_is_named() -> None:
    verification = receipts.verify({**KEPT, "zkml": {"proof": "0x00"}, "notes": {}})

    assert failed(verification) == {"fields"}
    assert "'zkml', 'notes'" in detail(verification, "fields")
    told = detail(verification, "labels")
    assert KEPT["call_id"] in told
    assert KEPT["created_at"] in told


@pytest.mark.parametrize("tool", ["chat", "approve_opg", "Infer", ""])
def test_a_call_cannot_be_relabelled_as_one_of_another_tool(tool: str) -> None:
    head = receipts.verify(changed("tool", to=tool))
    both = receipts.verify(rehashed({**changed("request", "tool", to=tool), "tool": tool}))
    without = {name: changed("tool", to=tool)[name] for name in KEPT if name != "request"}

    assert failed(head) == failed(receipts.verify(without)) == {"tool"}
    assert "tool" in failed(both)


@pytest.mark.parametrize(("field", "value"), [("max_fee", "1"), ("tool", "chat"), ("stream", True)])
def test_a_request_with_a_field_that_was_not_signed_for_is_found(field: str, value: object) -> None:
    receipt = rehashed(changed("request", field, to=value))

    assert failed(receipts.verify(receipt)) - {"tool"} == (
        {"call_data"} if field != "tool" else set()
    )


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:  # noqa: ANN401
    """Give the path of each value of a receipt that holds no others."""
    members = value.items() if isinstance(value, dict) else enumerate(value)
    for key, member in members:
        if isinstance(member, (dict, list)):
            yield from leaves(member, (*path, key))
        else:
            yield (*path, key)


@pytest.mark.parametrize(
    ("most", "least"), [(2, 40), pytest.param(400, 2000, marks=pytest.mark.slow)]
)
def test_a_byte_changed_anywhere_in_a_receipt_is_found_offline(most: int, least: int) -> None:
    kept = receipts.digested(KEPT)
    changes = 0
    for path in leaves(kept):
        value: Any = kept
        for key in path:
            value = value[key]
        text = json.dumps(value, ensure_ascii=False)
        for place in range(len(text) // most // 2, len(text), len(text) // most or 1):
            for bit in (1, 4):
                try:
                    other = json.loads(
                        text[:place] + chr(ord(text[place]) ^ bit) + text[place + 1 :]
                    )
                except ValueError:
                    continue
                receipt = deepcopy(kept)
                whole: Any = receipt
                for key in path[:-1]:
                    whole = whole[key]
                whole[path[-1]] = other
                if receipts.canonical(receipt) == receipts.canonical(kept):
                    continue
                changes += 1
                assert not receipts.verify(receipt).valid, (path, other)
    assert changes > least


@pytest.mark.parametrize("part", ["request", "response"])
def test_a_request_or_answer_may_be_kept_back_and_is_named_then(part: str) -> None:
    whole = receipts.digested(KEPT)
    without = {name: whole[name] for name in whole if name != part}

    verification = receipts.verify(without)

    assert (verification.valid, verification.level) == (True, "consistent")
    assert results(verification)[f"{part}_hash"] == "not_checked"


def test_a_receipt_of_which_nothing_signed_is_left_is_not_valid() -> None:
    chain = {
        name: KEPT["chain"][name]
        for name in KEPT["chain"]
        if name not in {"raw_transaction", "logs"}
    }
    cut = {name: KEPT[name] for name in KEPT if name not in {"request", "response"}}

    verification = receipts.verify(receipts.digested({**cut, "chain": chain}))

    assert (verification.valid, verification.level) == (False, "none")
    assert failed(verification) == set()


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["", "0x", "0x00", "0X0a", "\ud800", "é" * 70, 10**4000, -1, 2**300, 0.1]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def paths(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:  # noqa: ANN401
    if path:
        yield path
    if isinstance(value, dict):
        for key in value:
            yield from paths(value[key], (*path, key))
    if isinstance(value, list):
        for index in range(len(value)):
            yield from paths(value[index], (*path, index))


PATHS = list(paths(KEPT))


@given(json_values)
def test_nothing_makes_verification_raise_or_accept_it(value: Any) -> None:  # noqa: ANN401
    verification = receipts.verify(value)

    assert verification.level == "none"
    assert not verification.valid


@pytest.mark.slow
@settings(deadline=None)
@given(st.sampled_from(PATHS), json_values)
def test_a_receipt_with_any_part_replaced_is_read_and_not_believed(
    path: tuple[str | int, ...],
    value: Any,  # noqa: ANN401
) -> None:
    verification = receipts.verify(changed(*path, to=value))

    speaks = path[0] not in UNSIGNED_FOR and path[:2] not in {
        ("chain", "block_number"),
        ("chain", "block_hash"),
        # Events that hold no answer are the chain's to compare.
        ("chain", "logs"),
    }
    if speaks and verification.level != "none":
        place: Any = KEPT
        for key in path:
            place = place[key]
        assert receipts.canonical(value) == receipts.canonical(place)


@settings(deadline=None)
@given(st.integers(0, len(KEPT["chain"]["raw_transaction"]) - 1), st.integers(0, 6))
def test_each_bit_flipped_in_a_receipt_s_transaction_is_found(place: int, bit: int) -> None:
    text = KEPT["chain"]["raw_transaction"]
    flipped = text[:place] + chr(ord(text[place]) ^ 1 << bit) + text[place + 1 :]

    assert not receipts.verify(changed("chain", "raw_transaction", to=flipped)).valid


def nested(depth: int) -> Any:  # noqa: ANN401
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def doubled(depth: int) -> Any:  # noqa: ANN401
    """Make a value that is small in memory and endless to walk through."""
    value: Any = 1
    for _ in range(depth):
        value = [value, value]
    return value


@pytest.mark.slow
@pytest.mark.parametrize(
    "value",
    [
        nested(200_000),
        doubled(90),
        10**10_000,
        {1: 2},
        float("nan"),
        {"x": b"bytes"},
        ["\ud800"],
        [0] * 3_000_000,
        "0x" + "00" * 3_000_000,
    ],
    ids=["deep", "endless", "huge", "keys", "nan", "bytes", "surrogate", "long", "hex"],
)
async def test_what_is_deep_or_huge_is_refused_in_bounded_time(value: object) -> None:
    with anyio.fail_after(30):
        for receipt in (
            value,
            changed("response", to=value),
            changed("chain", "raw_transaction", to=value),
        ):
            verification = await anyio.to_thread.run_sync(receipts.verify, receipt)

            assert not verification.valid
