"""Tool list_calls."""

from __future__ import annotations

from typing import Any

import pytest
from mcp import Client

from tests.localnet_client import LocalNetwork
from tests.tools.calls import answer, refusal


async def test_calls_are_listed_the_newest_first_with_what_they_cost(
    mcp: Client, request_of_sample: dict[str, Any]
) -> None:
    first = await answer(mcp, "infer", **request_of_sample)
    second = await answer(mcp, "infer", **request_of_sample)

    listed = await answer(mcp, "list_calls")

    calls = listed.pop("calls")
    assert [call["call_id"] for call in calls] == [second["call_id"], first["call_id"]]
    assert not any("result" in call for call in calls)
    assert listed == {
        "network": "local",
        "spent_opg": "0",
        "open_opg": "0",
        "fees_wei": str(int(first["fee_wei"]) + int(second["fee_wei"])),
        "open_wei": "0",
    }


async def test_status_tool_and_limit_choose(
    mcp: Client, localnet: LocalNetwork, request_of_sample: dict[str, Any]
) -> None:
    for _ in range(2):
        await answer(mcp, "infer", **request_of_sample)
    localnet.fault("eth_sendRawTransaction", "error", message="txpool is full")
    await refusal(mcp, "infer", **request_of_sample, max_retries=0)

    async def count(**arguments: object) -> int:
        return len((await answer(mcp, "list_calls", **arguments))["calls"])

    assert await count() == 3
    assert await count(limit=1) == 1
    assert await count(status="done") == 2
    assert await count(status="failed") == 1
    assert await count(status="running") == 0
    assert await count(tool="infer") == 3
    assert await count(tool="chat") == 0


async def test_nothing_is_listed_before_the_first_call(mcp: Client) -> None:
    assert (await answer(mcp, "list_calls"))["calls"] == []


@pytest.mark.parametrize(
    ("name", "value"), [("limit", 0), ("limit", 101), ("limit", True), ("status", "open")]
)
async def test_what_the_schema_does_not_allow_is_refused(
    mcp: Client, name: str, value: object
) -> None:
    assert f"Argument {name} must be" in await refusal(mcp, "list_calls", **{name: value})
