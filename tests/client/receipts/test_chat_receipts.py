"""Receipts of real chats: good by themselves for ever, confirmed by chains, and by nothing less."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import anyio
import pytest

from og_mcp.client import Session
from og_mcp.client.chain.chain import Chain
from og_mcp.client.chain.rpc import RPC
from og_mcp.client.receipts import receipts
from og_mcp.client.receipts.settlement import SettlementCheck
from og_mcp.client.wire.http import open_http
from og_mcp.types import Verification
from tests.cli.program import inside
from tests.localnet_client import LocalNetwork
from tests.server_process import run

MODEL = "openai/gpt-5.4-mini"
TOOL = {"type": "function", "function": {"name": "sum", "parameters": {"type": "object"}}}
ASKED: list[dict[str, Any]] = [
    {"tools": [TOOL], "tool_choice": "sum"},
    {"stop_sequence": [" built-in"], "web_search": True, "temperature": 0.7},
    {"response_format": {"type": "json_object"}, "settlement_mode": "private"},
]

NO_NETWORK = """
import sys
def refuse(event, _):
    if event in {"socket.connect", "socket.sendto", "socket.getaddrinfo"}:
        raise SystemExit("the network was touched")
sys.addaudithook(refuse)
"""
"""A sitecustomize that ends whatever reaches for the network."""


async def chat_receipt(localnet: LocalNetwork, folder: Path, **environ: str) -> dict[str, Any]:
    """Chat, let the payment settle, and return what is left of it."""
    async with Session.from_env({**localnet.environ, "OG_DATA_DIR": str(folder), **environ}) as og:
        result = await og.chat(MODEL, [{"role": "user", "content": "Grüße \U0001f600"}])
        localnet.settle()
        await og.get_call(result.call_id)
        return await og.receipt(result.call_id)


@pytest.fixture(scope="module")
def receipt(
    _one_localnet: LocalNetwork, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """One chat for all tests of this module, which change nothing of it."""
    return anyio.run(chat_receipt, _one_localnet, tmp_path_factory.mktemp("chat"))


def saved(receipt: object, tmp_path: Path) -> str:
    path = tmp_path / "receipt.json"
    path.write_text(json.dumps(receipt), encoding="utf-8")
    return str(path)


def results(verification: Verification) -> dict[str, str]:
    return {check.name: check.result for check in verification.checks}


@pytest.mark.slow
def test_a_chat_s_receipt_verifies_with_nothing_but_the_file(
    receipt: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(NO_NETWORK)
    changed = deepcopy(receipt)
    changed["response"]["content"] += "."

    done = run("verify", saved(receipt, tmp_path), environ={"PYTHONPATH": str(tmp_path)})
    found = inside("verify", saved(changed, tmp_path), environ={})

    assert done.returncode == 0, done.stdout + done.stderr
    assert found.returncode == 1


def test_the_parts_of_a_receipt_are_those_of_the_published_schema(
    receipt: dict[str, Any],
) -> None:
    assert set(receipt) == {
        *("schema", "call_id", "network", "tool", "created_at", "digest"),
        *("request", "request_hash", "response", "response_hash", "tee", "payment", "claims"),
    }
    assert set(receipt["tee"]) == {
        *("tee_id", "endpoint", "pcr_hash", "public_key", "canonical_request", "content"),
        *("request_hash", "output_hash", "timestamp", "signature", "registry", "digest"),
    }
    assert set(receipt["tee"]["registry"]) == {"rpc", "chain_id", "block_number", "block_hash"}
    assert set(receipt["payment"]) == {
        *("scheme", "network", "asset", "max_opg", "cap_id", "amount_opg", "transaction_hash"),
        *("payer", "pay_to", "spender", "nonce", "deadline"),
    }
    assert set(receipt["claims"]) == {"finish_reason", "usage", "cost", "settlement"}


async def test_what_the_gateway_says_of_settling_hashes_is_kept_unless_it_is_private(
    receipt: dict[str, Any], localnet: LocalNetwork, tmp_path: Path
) -> None:
    async with Session.from_env({**localnet.environ, "OG_DATA_DIR": str(tmp_path)}) as og:
        result = await og.chat(
            MODEL, [{"role": "user", "content": "Hello"}], settlement_mode="private"
        )
        private = await og.receipt(result.call_id)

    said = receipt["claims"]["settlement"]
    assert said.keys() == {"processing_hash"}
    assert len(said["processing_hash"]) == 66
    assert "settlement" not in private["claims"]


def test_online_tee_and_settlement_are_confirmed(
    receipt: dict[str, Any], localnet: LocalNetwork, tmp_path: Path
) -> None:
    file = saved(receipt, tmp_path)

    done = inside("verify", file, "--online", "--json", environ=localnet.environ)

    told = json.loads(done.stdout)
    found = {check["name"]: check["result"] for check in told["checks"]}
    assert (done.returncode, told["level"]) == (0, "confirmed")
    assert (found["tee_registry"], found["settlement"]) == ("ok", "ok")


async def test_receipts_of_hashes_prove_the_signature_and_name_what_they_leave_out(
    localnet: LocalNetwork, tmp_path: Path
) -> None:
    receipt = await chat_receipt(localnet, tmp_path, OG_RECEIPTS="hashes")

    offline = receipts.verify(receipt)

    assert "built-in responder" not in json.dumps(receipt)
    assert (offline.valid, offline.level) == (True, "consistent")
    assert results(offline)["tee_signature"] == "ok"
    assert results(offline)["tee_response"] == "not_checked"
    assert results(offline)["request_hash"] == "not_checked"


async def test_every_kind_of_chat_leaves_a_consistent_receipt(
    localnet: LocalNetwork, tmp_path: Path
) -> None:
    async with Session.from_env({**localnet.environ, "OG_DATA_DIR": str(tmp_path)}) as og:
        question = [{"role": "user", "content": [{"type": "text", "text": "What is it?"}]}]
        for more in ASKED:
            result = await og.chat(MODEL, question, **more)
            assert (await og.verify_receipt(call_id=result.call_id)).level == "consistent", more


async def test_the_receipt_of_an_image_holds_for_all_but_the_image(
    localnet: LocalNetwork, tmp_path: Path
) -> None:
    async with Session.from_env({**localnet.environ, "OG_DATA_DIR": str(tmp_path)}) as og:
        drawn = await og.generate_image("gpt-image-2", "a boat", width=64)
        receipt = await og.receipt(drawn.call_id)
        offline = await og.verify_receipt(receipt)
        online = await og.verify_receipt(receipt, online=True)
        as_real = await og.verify_receipt(
            receipts.digested({**receipt, "network": "opengradient"}), online=True
        )

    done = inside("verify", saved(receipt, tmp_path), environ={})

    assert (offline.level, online.level, as_real.level) == ("consistent", "confirmed", "none")
    assert {"network", "tee_network"} & {
        name for name, result in results(as_real).items() if result == "failed"
    }
    assert results(offline)["tee_response"] == results(online)["tee_response"] == "not_checked"
    assert done.returncode == 0
    assert "answer, payment are only claimed" in " ".join(done.stdout.split())


def test_a_payment_s_terms_are_found_changed_offline_and_online(
    receipt: dict[str, Any], localnet: LocalNetwork, tmp_path: Path
) -> None:
    for name, value in (
        ("max_opg", "0.2"),
        ("deadline", receipt["payment"]["deadline"] + 1),
        ("nonce", "1"),
        ("spender", "0x" + "11" * 20),
        ("scheme", "exact"),
        ("cap_id", "0" * 32),
    ):
        changed = {**receipt, "payment": {**receipt["payment"], name: value}}
        redone = saved(receipts.digested(changed), tmp_path)

        done = inside("verify", redone, "--online", "--json", environ=localnet.environ)

        assert results(receipts.verify(changed))["digest"] == "failed", name
        told = {one["name"]: one for one in json.loads(done.stdout)["checks"]}
        if name == "cap_id":
            assert "payment.cap_id" in told["labels"]["detail"]
        else:
            assert told["settlement"]["result"] == "failed", name
            assert done.returncode == 1


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_no_bit_of_what_the_tee_signed_can_be_flipped(receipt: dict[str, Any], step: int) -> None:
    text = json.dumps(receipt["tee"], ensure_ascii=True)
    flipped = 0
    for place in range(0, len(text), step):
        for bit in (1, 4):
            other = text[:place] + chr(ord(text[place]) ^ bit) + text[place + 1 :]
            try:
                part = json.loads(other)
            except ValueError:
                continue
            if part == receipt["tee"]:
                continue
            flipped += 1
            assert not receipts.verify({**receipt, "tee": part}).valid, place
    assert flipped > 2500 // step


# The payment chain


@pytest.fixture
async def settlement(localnet: LocalNetwork) -> AsyncIterator[SettlementCheck]:
    async with open_http(local=True) as http:
        rpc = RPC(http, localnet.ready["base_rpc_url"], "payment chain's RPC", timeout_s=5)
        chain = Chain(rpc, localnet.ready["base_chain_id"])
        yield SettlementCheck(chain, localnet.ready["opg_token"])


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("network", "eip155:1", "payment chain"),
        ("asset", "0x" + "11" * 20, "token"),
        ("transaction_hash", "0x" + "11" * 32, "no such transaction"),
        ("transaction_hash", "0x11", "transaction_hash is not a hash"),
        ("transaction_hash", 5, "transaction_hash is not a hash"),
        ("transaction_hash", {}, "transaction_hash is not a hash"),
        ("scheme", "exact", "the scheme"),
        ("spender", "0x" + "11" * 20, "the spender"),
        ("nonce", "0", "not settle a payment of these terms"),
        ("nonce", "9" * 5000, "nonce is not a number"),
        ("nonce", "٣", "nonce is not a number"),
        ("nonce", 5, "nonce is not a number"),
        ("deadline", 5, "not settle a payment of these terms"),
        ("deadline", "5", "deadline is not a time"),
        ("deadline", 2**300, "deadline is not a time"),
        ("max_opg", "0.2", "not settle a payment of these terms"),
        ("max_opg", "1e400", "amounts is not an amount"),
        ("amount_opg", "0.1", "not settle a payment of these terms"),
        ("amount_opg", None, "amounts is not an amount"),
        ("payer", "0x" + "11" * 20, "not settle a payment of these terms"),
        ("payer", "nobody", "not an address"),
        ("pay_to", "0x" + "11" * 20, "not settle a payment of these terms"),
    ],
)
async def test_a_payment_that_was_not_so_is_found(
    receipt: dict[str, Any], settlement: SettlementCheck, name: str, value: object, words: str
) -> None:
    found = await settlement({**receipt["payment"], name: value})

    assert found.result == "failed"
    assert words in found.detail


async def test_a_payment_that_names_no_settlement_is_not_called_checked(
    receipt: dict[str, Any], settlement: SettlementCheck
) -> None:
    part = {**receipt["payment"], "transaction_hash": ""}

    assert (await settlement(receipt["payment"])).result == "ok"
    assert (await settlement(part)).result == "not_checked"
    assert "deadline and max_opg" in (await settlement(part)).detail
    junks: tuple[object, ...] = (None, [], "x", 5, {})
    for junk in junks:
        assert (await settlement(junk)).result == "failed"


async def test_a_settlement_that_moved_another_amount_than_it_says_is_found(
    receipt: dict[str, Any], settlement: SettlementCheck, localnet: LocalNetwork
) -> None:
    part, method = receipt["payment"], "eth_getTransactionReceipt"
    url = localnet.ready["base_rpc_url"]
    mined = localnet.rpc(method, part["transaction_hash"], url=url)
    less = {**mined, "logs": [{**log, "data": "0x" + "1".rjust(64, "0")} for log in mined["logs"]]}
    localnet.fault(method, "result", service="base_rpc", result=less)

    found = await settlement(part)

    assert (found.result, "not transfer that amount" in found.detail) == ("failed", True)


async def test_another_payment_s_settlement_does_not_pass_for_this_one_s(
    receipt: dict[str, Any], settlement: SettlementCheck, localnet: LocalNetwork, tmp_path: Path
) -> None:
    other = await chat_receipt(localnet, tmp_path / "other")
    part = {**receipt["payment"], "transaction_hash": other["payment"]["transaction_hash"]}

    with anyio.fail_after(10):
        found = await settlement(part)

    assert (found.result, "these terms" in found.detail) == ("failed", True)
