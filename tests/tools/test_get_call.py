"""Tool get_call."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from mcp import Client

from og_mcp.client import Session
from og_mcp.server import build_server
from tests.localnet_client import LocalNetwork
from tests.tools.calls import answer, refusal

UNKNOWN = "0" * 32


async def test_a_call_is_told_with_its_result(
    mcp: Client, request_of_sample: dict[str, Any]
) -> None:
    made = await answer(mcp, "infer", **request_of_sample)

    told = await answer(mcp, "get_call", call_id=made["call_id"])

    assert told.pop("created_at").startswith("20")
    assert told.pop("stage") in {"charged", "confirmed"}
    assert told.pop("first_words").startswith('{"open_high_low_close":')
    assert told == {
        "call_id": made["call_id"],
        "network": "local",
        "status": "done",
        "tool": "infer",
        "model": request_of_sample["model_cid"],
        "transaction_hash": made["transaction_hash"],
        "fee": made["fee"],
        "fee_wei": made["fee_wei"],
        "result": made,
    }


async def test_a_failed_call_is_told_and_is_no_error(
    mcp: Client, localnet: LocalNetwork, request_of_sample: dict[str, Any]
) -> None:
    localnet.fault("eth_estimateGas", "error", code=3, message="execution reverted: no")
    text = await refusal(mcp, "infer", **request_of_sample, max_retries=0)

    (listed,) = (await answer(mcp, "list_calls", status="failed"))["calls"]
    told = await answer(mcp, "get_call", call_id=listed["call_id"])

    assert (told["status"], told["stage"], "result" in told) == ("failed", "not_sent", False)
    # What it raised said besides where the call stands.
    assert "nothing was paid" in told["error"].lower()
    assert text == f"{told['error']} The call ended at stage not_sent (call_id {told['call_id']})."


async def test_an_answer_that_is_not_kept_is_told_and_is_no_empty_answer(
    localnet: LocalNetwork, request_of_sample: dict[str, Any]
) -> None:
    environ = {**localnet.environ, "OG_RECEIPTS": "hashes"}
    keyed = {**request_of_sample, "idempotency_key": "k"}
    async with Client(build_server(Session.from_env(environ))) as mcp:
        made = await answer(mcp, "infer", **keyed)
        text = await refusal(mcp, "infer", **keyed)
        told = await answer(mcp, "get_call", call_id=made["call_id"])
        (listed,) = (await answer(mcp, "list_calls"))["calls"]

    assert f"Call {made['call_id']} is done" in text
    assert "OG_RECEIPTS=hashes" in text
    assert (told["status"], "result" in told) == ("done", False)
    assert "OG_RECEIPTS=hashes" in told["note"]
    assert "note" not in listed


@pytest.mark.slow
async def test_it_waits_for_the_end_of_a_running_call(
    localnet: LocalNetwork, request_of_sample: dict[str, Any]
) -> None:
    heard = anyio.Event()

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        assert progress > 0
        assert (total, message) == (None, f"{progress:g} s")
        localnet.release_blocks()
        heard.set()

    localnet.hold_blocks()
    environ = {**localnet.environ, "OG_WAIT_S": "1"}
    async with Client(build_server(Session.from_env(environ))) as mcp:
        running = await answer(mcp, "infer", **request_of_sample)
        with anyio.fail_after(30):
            result = await mcp.call_tool(
                "get_call", {"call_id": running["call_id"], "wait_s": 25}, progress_callback=hear
            )

    assert heard.is_set()
    assert result.structured_content is not None
    assert result.structured_content["status"] == "done"


async def test_an_unknown_call_names_the_tool_to_call_next(mcp: Client) -> None:
    text = await refusal(mcp, "get_call", call_id=UNKNOWN)

    assert UNKNOWN in text
    assert "list_calls" in text


@pytest.mark.parametrize("call_id", ["", "x", UNKNOWN.upper() + "A", "../journal.db", 5])
async def test_what_is_no_call_id_is_refused(mcp: Client, call_id: object) -> None:
    text = await refusal(mcp, "get_call", call_id=call_id)

    assert "Argument call_id must be a call's id, 32 digits and letters a to f" in text


@pytest.mark.parametrize("wait_s", [-1, 51, True, "long"])
async def test_it_does_not_wait_longer_than_hosts_do(mcp: Client, wait_s: object) -> None:
    text = await refusal(mcp, "get_call", call_id=UNKNOWN, wait_s=wait_s)

    assert "Argument wait_s must be a number from 0 to 50" in text
