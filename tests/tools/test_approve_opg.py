"""Tool approve_opg: a person is always asked, and the chain has what was agreed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.types import TextResourceContents

from og_mcp.client import Session
from og_mcp.client.receipts import receipts
from og_mcp.server import build_server
from tests.books import Purse
from tests.localnet_client import LocalNetwork
from tests.tools.calls import answer, refusal
from tests.tools.person import Person

OPG = 10**18


@pytest.fixture
def purse(localnet: LocalNetwork, tmp_path: Path) -> Purse:
    """A wallet with coins for gas on the payment chain, that lets Permit2 take nothing."""
    purse = Purse(localnet, tmp_path)
    localnet.fund_opg(purse.address, 10 * OPG)
    localnet.fund(purse.address, chain="base_rpc")
    return purse


def client(purse: Purse, person: Person | None = None) -> Client:
    return Client(build_server(Session.from_env(purse.environ)), elicitation_callback=person)


@pytest.mark.slow
async def test_the_allowance_is_what_was_agreed_to_and_zero_revokes_it(purse: Purse) -> None:
    person, localnet = Person(), purse.localnet
    async with client(purse, person) as mcp:
        result = await answer(mcp, "approve_opg", amount_opg="2.5")
        status = await answer(mcp, "status")
        allowed = localnet.allowance(purse.address)
        revoked = await answer(mcp, "approve_opg", amount_opg="0")

    url = localnet.ready["base_rpc_url"]
    mined = localnet.rpc("eth_getTransactionReceipt", result["transaction_hash"], url=url)
    fee = int(mined["gasUsed"], 16) * int(mined["effectiveGasPrice"], 16) + int(mined["l1Fee"], 16)
    assert (result["status"], result["allowance_opg"]) == ("done", "2.5")
    assert int(result["fee_wei"]) == fee
    assert (allowed, status["allowance_opg"]) == (25 * OPG // 10, "2.5")
    assert (revoked["status"], localnet.allowance(purse.address)) == ("done", 0)
    (given,) = person.heard
    assert given.startswith(
        "Allow chat and image services to charge up to 2.5 OPG in total from your wallet "
        f"{purse.address}? Network fee: at most 0.0"
    )
    assert " ETH. Network local. Call " in given


async def test_t41_revoking_asks_nobody_and_sends_nothing_where_there_is_nothing_to_revoke(
    purse: Purse,
) -> None:
    purse.environ["OG_CONFIRM_ABOVE"] = "0"
    person = Person()
    async with client(purse, person) as mcp:
        given = await answer(mcp, "approve_opg", amount_opg="2")
        dry = await answer(mcp, "approve_opg", amount_opg="0", dry_run=True)
        revoked = await answer(mcp, "approve_opg", amount_opg="0")
        again = await answer(mcp, "approve_opg", amount_opg="0")
        listed = (await answer(mcp, "list_calls"))["calls"]

    assert {check["result"] for check in dry["checks"]} == {"ok"}
    assert (revoked["status"], purse.localnet.allowance(purse.address)) == ("done", 0)
    assert "have not settled yet fail now" in revoked["note"]
    assert (again["status"], again["allowance_opg"]) == ("done", "0")
    assert again["note"].startswith("Nothing was sent: the allowance is 0 already")
    assert "transaction_hash" not in again
    assert [call["call_id"] for call in listed] == [revoked["call_id"], given["call_id"]]
    assert len(person.heard) == 1


async def test_a_person_is_asked_even_where_nothing_else_asks(purse: Purse) -> None:
    person = Person("decline")
    purse.environ["OG_CONFIRM_ABOVE"] = "1000"
    async with client(purse, person) as mcp:
        text = await refusal(mcp, "approve_opg", amount_opg="1")

    assert "A person declined this request" in text
    assert len(person.heard) == 1
    assert purse.localnet.allowance(purse.address) == 0


async def test_t22_a_client_that_cannot_ask_is_refused_with_the_command(purse: Purse) -> None:
    async with client(purse) as mcp:
        text = await refusal(mcp, "approve_opg", amount_opg="1")
        (call,) = (await answer(mcp, "list_calls"))["calls"]

    assert f"og-mcp calls approve {call['call_id']}`" in text
    assert "would allow chat and image services to charge up to 1 OPG in total" in text
    assert purse.localnet.allowance(purse.address) == 0


async def test_a_dry_run_prices_the_gas_and_asks_nobody(purse: Purse) -> None:
    person = Person()
    async with client(purse, person) as mcp:
        dry = await answer(mcp, "approve_opg", amount_opg="1", dry_run=True)

    assert dry["status"] == "dry_run"
    assert not {"transaction_hash", "call_id", "max_opg"} & set(dry)
    assert dry["fee"].endswith(" ETH")
    assert int(dry["fee_wei"]) > 0
    results = {check["name"]: check["result"] for check in dry["checks"]}
    assert results.pop("consent") == "not_checked"
    assert set(results.values()) == {"ok"}
    assert "the OPG token takes the call" in [check["detail"] for check in dry["checks"]]
    assert person.heard == []
    assert purse.localnet.allowance(purse.address) == 0


async def test_one_idempotency_key_is_one_transaction(purse: Purse) -> None:
    person = Person()
    async with client(purse, person) as mcp:
        first = await answer(mcp, "approve_opg", amount_opg="1", idempotency_key="allow-1")
        again = await answer(mcp, "approve_opg", amount_opg="1", idempotency_key="allow-1")

    assert again == first
    assert len(person.heard) == 1


@pytest.mark.parametrize("dry_run", [False, True])
async def test_a_network_without_gateways_needs_no_allowance_and_nothing_is_sent(
    tmp_path: Path, dry_run: bool
) -> None:
    environ = {
        "OG_NETWORK": "alpha-2025",
        "OG_PRIVATE_KEY": "0x" + "11" * 32,
        "OG_DATA_DIR": str(tmp_path),
        "OG_BASE_RPC_URL": "http://127.0.0.1:9",
        "OG_BASE_CHAIN_ID": "8453",
    }
    async with Client(build_server(Session.from_env(environ))) as mcp:
        text = await refusal(mcp, "approve_opg", amount_opg="1", dry_run=dry_run)
        listed = await answer(mcp, "list_calls")

    assert text.startswith("Network alpha-2025 has no gateways: nothing there is paid in OPG")
    assert "OG_NETWORK=opengradient" in text
    assert listed["calls"] == []


@pytest.mark.parametrize("amount", ["", "-1", "1e3", "much", "1" * 10, 5, "115792089237316195423"])
async def test_what_is_no_bounded_amount_is_refused(purse: Purse, amount: object) -> None:
    async with client(purse) as mcp:
        text = await refusal(mcp, "approve_opg", amount_opg=amount)

    assert "amount_opg" in text
    assert purse.localnet.allowance(purse.address) == 0


@pytest.mark.slow
@pytest.mark.parametrize("kept", ["full", "hashes"])
async def test_its_receipt_is_confirmed_and_cannot_be_given_another_network_s_name(
    purse: Purse, kept: str
) -> None:
    purse.environ["OG_RECEIPTS"] = kept
    async with client(purse, Person()) as mcp:
        made = await answer(mcp, "approve_opg", amount_opg="2.5")
        receipt = await receipt_of(mcp, made["transaction_hash"])
        online = await answer(mcp, "verify_receipt", receipt=receipt, online=True)
        results = [
            await answer(
                mcp, "verify_receipt", receipt=receipts.digested(receipt | changed), online=True
            )
            for changed in ({"network": "opengradient"}, {"network": "other"}, {"tool": "infer"})
        ]

    assert (online["valid"], online["level"]) == (True, "confirmed")
    assert [(one["valid"], one["level"]) for one in results] == [(False, "none")] * 3


async def receipt_of(mcp: Client, transaction_hash: str) -> dict[str, Any]:
    """Read the receipt of the call that made a transaction."""
    calls = (await answer(mcp, "list_calls"))["calls"]
    (call_id,) = (one["call_id"] for one in calls if one["transaction_hash"] == transaction_hash)
    (content,) = (await mcp.read_resource(f"og://receipts/{call_id}")).contents
    assert isinstance(content, TextResourceContents)
    document: dict[str, Any] = json.loads(content.text)
    return document
