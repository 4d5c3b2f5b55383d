"""Tool verify_receipt."""

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
from tests.localnet_client import LocalNetwork
from tests.tools.calls import answer, refusal


async def receipt_of(mcp: Client, call_id: str) -> dict[str, Any]:
    """Read a receipt as a host does."""
    (content,) = (await mcp.read_resource(f"og://receipts/{call_id}")).contents
    assert isinstance(content, TextResourceContents)
    document: dict[str, Any] = json.loads(content.text)
    return document


async def test_the_receipt_of_a_call_is_consistent(
    mcp: Client, request_of_sample: dict[str, Any]
) -> None:
    made = await answer(mcp, "infer", **request_of_sample)

    verified = await answer(mcp, "verify_receipt", call_id=made["call_id"])

    assert (verified["valid"], verified["level"]) == (True, "consistent")
    assert verified["network"] == "local"
    assert all(check["source"] for check in verified["checks"])
    assert {check["result"] for check in verified["checks"]} == {"ok", "not_checked"}


async def test_online_the_chain_is_asked(mcp: Client, request_of_sample: dict[str, Any]) -> None:
    made = await answer(mcp, "infer", **request_of_sample)

    verified = await answer(mcp, "verify_receipt", call_id=made["call_id"], online=True)

    assert (verified["valid"], verified["level"]) == (True, "confirmed")


async def test_a_receipt_is_checked_by_itself(
    mcp: Client, request_of_sample: dict[str, Any]
) -> None:
    made = await answer(mcp, "infer", **request_of_sample)
    receipt = await receipt_of(mcp, made["call_id"])

    by_itself = await answer(mcp, "verify_receipt", receipt=receipt)

    assert receipt["schema"] == "og-mcp/receipt/2"
    assert receipt["chain"]["transaction_hash"] == made["transaction_hash"]
    assert by_itself == await answer(mcp, "verify_receipt", call_id=made["call_id"])


async def test_a_changed_receipt_is_not_valid(
    mcp: Client, request_of_sample: dict[str, Any]
) -> None:
    made = await answer(mcp, "infer", **request_of_sample)
    receipt = await receipt_of(mcp, made["call_id"])
    receipt["response"]["model_output"] = {"close_volatility": [0.5]}

    verified = await answer(mcp, "verify_receipt", receipt=receipt)

    assert (verified["valid"], verified["level"]) == (False, "none")
    assert "failed" in {check["result"] for check in verified["checks"]}


async def test_a_saved_receipt_is_read_below_the_roots_alone(
    localnet: LocalNetwork, request_of_sample: dict[str, Any], tmp_path: Path
) -> None:
    environ = {**localnet.environ, "OG_UPLOAD_ROOTS": str(tmp_path)}
    async with Client(build_server(Session.from_env(environ))) as mcp:
        made = await answer(mcp, "infer", **request_of_sample)
        receipt = await receipt_of(mcp, made["call_id"])
        text = json.dumps(receipt)
        (tmp_path / "saved.json").write_text(text, encoding="utf-8-sig")
        (tmp_path / "double.json").write_text(f'{text[:-1]}, "tool": "chat"}}')
        (tmp_path / "empty.json").write_text("")

        async def refused(path: object) -> str:
            return await refusal(mcp, "verify_receipt", receipt={"file": path})

        saved = await answer(mcp, "verify_receipt", receipt={"file": str(tmp_path / "saved.json")})
        double = await refused("double.json")
        empty = await refused("empty.json")
        outside = await refused("/etc/hostname")
        number = await refused(5)

    assert (saved["valid"], saved["level"]) == (True, "consistent")
    assert saved["summary"] == (
        "11 checks passed, 0 failed, 1 needs the local network, 2 could not be checked"
    )
    assert "an object in it has a key twice" in double
    assert "'empty.json' is not a receipt: it is not readable JSON" in empty
    assert "/etc/hostname" in outside
    assert "receipt's file is '5', which is not a path" in number


@pytest.mark.parametrize("both", [True, False])
async def test_exactly_one_of_call_and_receipt_is_needed(mcp: Client, *, both: bool) -> None:
    arguments: dict[str, Any] = {"call_id": "0" * 32, "receipt": {"schema": "x"}} if both else {}

    assert "call_id" in await refusal(mcp, "verify_receipt", **arguments)


async def test_a_call_that_sent_nothing_has_no_receipt(
    mcp: Client, localnet: LocalNetwork, request_of_sample: dict[str, Any]
) -> None:
    localnet.fault("eth_estimateGas", "error", code=3, message="execution reverted: no")
    await refusal(mcp, "infer", **request_of_sample, max_retries=0)
    (listed,) = (await answer(mcp, "list_calls"))["calls"]

    text = await refusal(mcp, "verify_receipt", call_id=listed["call_id"])

    assert "has no receipt: it is failed at stage not_sent" in text


async def test_a_publication_has_no_receipt(mcp: Client) -> None:
    made = await answer(mcp, "create_model", model_name="no receipt", model_desc="")

    text = await refusal(mcp, "verify_receipt", call_id=made["call_id"])

    assert "create_model publishes on the Model Hub, and only calls that pay leave receipts" in text


async def test_what_is_no_receipt_is_told(mcp: Client) -> None:
    verified = await answer(mcp, "verify_receipt", receipt={"schema": "og-mcp/receipt/1"})

    assert (verified["valid"], verified["level"], verified["network"]) == (False, "none", "local")


async def test_a_local_receipt_relabelled_as_real_is_not_valid_online(
    mcp: Client, request_of_sample: dict[str, Any]
) -> None:
    made = await answer(mcp, "infer", **request_of_sample)
    receipt = await receipt_of(mcp, made["call_id"])
    receipt = receipts.digested(receipt | {"network": "opengradient"})

    verified = await answer(mcp, "verify_receipt", receipt=receipt, online=True)

    assert (verified["valid"], verified["level"]) == (False, "none")
    assert [one["name"] for one in verified["checks"] if one["result"] == "failed"] == ["network"]
