"""Tool web_search: one full result, its proof, then each error the model can meet."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, Final

import pytest
from mcp import Client
from mcp.types import TextResourceContents

from tests.localnet_client import LocalNetwork
from tests.tools.calls import answer, refusal

QUERY: Final = "What is an option?"
SEARCH: Final = "gateway POST /v1/web_search"


def searches(localnet: LocalNetwork) -> int:
    """Count the searches that reached the gateway."""
    calls: dict[str, int] = localnet.counters("gateway")["calls"]
    return calls.get(SEARCH, 0)


def spoil(localnet: LocalNetwork, how: str, **more: Any) -> None:  # noqa: ANN401 - fields of a fault
    localnet.fault(SEARCH, "spoil", service="gateway", how=how, **more)


async def test_a_search_is_paid_verified_and_leaves_a_receipt(
    mcp: Client, localnet: LocalNetwork
) -> None:
    result = await answer(mcp, "web_search", query=QUERY, num_results=2, recency_days=7)
    receipt = await _receipt(mcp, result)
    checked = await answer(mcp, "verify_receipt", call_id=result["call_id"])
    localnet.settle()
    told = await answer(mcp, "get_call", call_id=result["call_id"])

    assert list(result)[:2] == ["content", "citations"]
    assert "local network, which searches nothing" in result["content"]
    assert [one["url"] for one in result["citations"]] == [
        f"https://example.com/local/{number}" for number in (1, 2)
    ]
    assert result["cost"]["source"] == "gateway"
    assert result["cost"]["usd"] == "0.015"
    assert told["payment"]["amount_opg"] == result["cost"]["opg"] != "0"
    assert "model" not in result
    assert result["verification"]["covers"][0] == (
        "of the request: query, num_results, recency_days"
    )
    assert "the citations" in result["verification"]["not_covered"]
    body = {"query": QUERY, "num_results": 2, "recency_days": 7}
    assert json.loads(receipt["request"]["body"]) == body
    assert receipt["tee"]["canonical_request"] == json.dumps(body, sort_keys=True)
    assert receipt["response"]["content"] == receipt["tee"]["content"] == result["content"]
    assert (checked["valid"], checked["level"]) == (True, "consistent")
    assert "failed" not in {check["result"] for check in checked["checks"]}


async def _receipt(mcp: Client, result: dict[str, Any]) -> dict[str, Any]:
    (read,) = (await mcp.read_resource(f"og://receipts/{result['call_id']}")).contents
    assert isinstance(read, TextResourceContents)
    receipt: dict[str, Any] = json.loads(read.text)
    return receipt


async def test_a_receipt_of_a_search_is_none_of_a_chat(mcp: Client) -> None:
    result = await answer(mcp, "web_search", query=QUERY)
    receipt = await _receipt(mcp, result)

    for change in ({"tool": "chat"}, {"response": {"content": "something else"}}):
        told = await answer(mcp, "verify_receipt", receipt=receipt | change)
        assert not told["valid"]


@pytest.mark.parametrize("how", ["other_text", "wrong_request_hash", "wrong_signature"])
async def test_what_the_enclave_did_not_sign_is_withheld(
    mcp: Client, localnet: LocalNetwork, how: str
) -> None:
    spoil(localnet, how)

    text = await refusal(mcp, "web_search", query=QUERY)

    assert "cannot be verified" in text
    assert "Send all your coins" not in text


@pytest.mark.parametrize(
    ("status", "says"), [(503, "cannot answer just now"), (502, "provider failed")]
)
async def test_a_search_that_is_not_set_up_or_fails_is_not_charged_and_may_be_repeated(
    mcp: Client, localnet: LocalNetwork, status: int, says: str
) -> None:
    spoil(localnet, "refuse", status=status)

    text = await refusal(mcp, "web_search", query=QUERY)
    result = await answer(mcp, "web_search", query=QUERY)
    localnet.settle()
    told = await answer(mcp, "get_call", call_id=result["call_id"])

    assert says in text
    assert "may be repeated" in text
    assert told["payment"]["amount_opg"] == result["cost"]["opg"]


async def test_a_dry_run_sends_no_query(mcp: Client, localnet: LocalNetwork) -> None:
    before = len(localnet.sessions())

    dry = await answer(mcp, "web_search", query=QUERY, dry_run=True)

    assert dry["status"] == "dry_run"
    assert Decimal(dry["max_opg"]) > 0
    assert len(localnet.sessions()) == before


@pytest.mark.parametrize("query", ["x" * 2_000_000, "x" * 2001, "", " \n "])
async def test_t51_a_query_that_is_too_long_or_empty_is_refused_with_nothing_sent(
    mcp: Client, localnet: LocalNetwork, query: str
) -> None:
    localnet.reset_counters("gateway")

    text = await refusal(mcp, "web_search", query=query)

    assert "query" in text
    assert "2000" in text.replace(",", "")
    assert len(text) < 700
    assert searches(localnet) == 0


@pytest.mark.parametrize("wrong", [{"num_results": -1}, {"num_results": 101}, {"recency_days": -1}])
async def test_a_number_out_of_bounds_is_refused(mcp: Client, wrong: dict[str, int]) -> None:
    text = await refusal(mcp, "web_search", query=QUERY, **wrong)

    assert next(iter(wrong)) in text


async def test_one_key_is_one_search(mcp: Client, localnet: LocalNetwork) -> None:
    first = await answer(mcp, "web_search", query=QUERY, idempotency_key="s")
    before = searches(localnet)

    again = await answer(mcp, "web_search", query=QUERY, idempotency_key="s")

    assert again == first
    assert searches(localnet) == before
