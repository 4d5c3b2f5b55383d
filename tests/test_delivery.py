"""An answer that never arrived: the same request joins its call, and nothing is paid twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import httpx
import pytest
from mcp import Client

from og_mcp.client import Session
from og_mcp.server import build_server
from tests.http_client import PATIENCE_S, WAYS, connected
from tests.localnet_client import LocalNetwork
from tests.server_process import over_http, over_stdio
from tests.tools.calls import answer

both_eras = pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])

Calling = Callable[[], Coroutine[Any, Any, object]]


@pytest.fixture
def arguments(localnet: LocalNetwork) -> dict[str, Any]:
    """A request that costs gas."""
    sample = localnet.ready["sample_models"][0]
    return {"model_cid": sample["cid"], "model_input": sample["model_input"]}


def sent(localnet: LocalNetwork) -> int:
    count: int = localnet.counters()["calls"].get("eth_sendRawTransaction", 0)
    return count


async def given_up_once_sent(localnet: LocalNetwork, call: Calling) -> None:
    """Start a call, and give it up as soon as its transaction has reached the chain."""
    before = sent(localnet)
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(_without_result, call)
            while sent(localnet) == before:  # noqa: ASYNC110 - another process counts
                await anyio.sleep(0.05)
            group.cancel_scope.cancel()


async def _without_result(call: Calling) -> None:
    await call()


async def ids(mcp: Client) -> set[str]:
    return {call["call_id"] for call in (await answer(mcp, "list_calls"))["calls"]}


async def shown_to_join(localnet: LocalNetwork, mcp: Client, arguments: dict[str, Any]) -> None:
    """Give a call up, repeat it, and find one call with one transaction."""
    before, known = sent(localnet), await ids(mcp)
    localnet.hold_blocks()
    await given_up_once_sent(localnet, lambda: mcp.call_tool("infer", arguments))
    localnet.release_blocks()

    joined = await answer(mcp, "infer", **arguments)
    new = await ids(mcp) - known
    again = await answer(mcp, "infer", **arguments)

    assert new == {joined["call_id"]}
    assert again["call_id"] != joined["call_id"]
    assert sent(localnet) == before + 2


@both_eras
async def test_a_call_cancelled_in_memory_is_joined(
    localnet: LocalNetwork, arguments: dict[str, Any], mode: str
) -> None:
    server = build_server(Session.from_env(localnet.environ))
    async with Client(server, mode=mode) as mcp:
        await shown_to_join(localnet, mcp, arguments)


@pytest.mark.slow
@both_eras
async def test_a_call_cancelled_over_stdio_is_joined(
    localnet: LocalNetwork, arguments: dict[str, Any], mode: str
) -> None:
    async with Client(over_stdio(localnet.environ), mode=mode) as mcp:
        await shown_to_join(localnet, mcp, arguments)


async def raw_call(address: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Call infer in the 2026 era on a connection of its own; giving up breaks it."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "infer", "arguments": arguments, "_meta": meta},
    }
    headers = {
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call",
        "Mcp-Name": "infer",
    }
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S) as http:
        response = await http.post(f"{address}/mcp", json=body, headers=headers)
    lines = [line for line in response.text.splitlines() if line.startswith("data:")]
    # A short answer comes as JSON, a long one as a stream of events.
    data = lines[-1].removeprefix("data:") if lines else response.text
    content: dict[str, Any] = json.loads(data)["result"]["structuredContent"]
    return content


@pytest.mark.slow
async def test_a_call_over_http_that_was_cancelled_or_whose_connection_broke_is_joined(
    localnet: LocalNetwork, arguments: dict[str, Any]
) -> None:
    with over_http(localnet.environ) as address:
        for path, mode in WAYS:
            async with connected(address, path, mode) as mcp:
                await shown_to_join(localnet, mcp, arguments)

        before = sent(localnet)
        localnet.hold_blocks()
        await given_up_once_sent(localnet, lambda: raw_call(address, arguments))
        localnet.release_blocks()
        result = await raw_call(address, arguments)

    assert result["status"] == "done"
    assert sent(localnet) == before + 1


@pytest.mark.slow
async def test_a_host_that_went_away_finds_its_call_again(
    localnet: LocalNetwork, arguments: dict[str, Any]
) -> None:
    before = sent(localnet)
    localnet.hold_blocks()
    async with Client(over_stdio(localnet.environ)) as mcp:
        await given_up_once_sent(localnet, lambda: mcp.call_tool("infer", arguments))
    localnet.release_blocks()
    async with Client(over_stdio(localnet.environ)) as mcp:
        joined = await answer(mcp, "infer", **arguments)
        listed = await answer(mcp, "list_calls")

    assert joined["status"] == "done"
    assert len(listed["calls"]) == 1
    assert sent(localnet) == before + 1


@both_eras
async def test_a_call_that_is_given_up_before_it_is_sent_sends_nothing(
    localnet: LocalNetwork, arguments: dict[str, Any], mode: str
) -> None:
    before = sent(localnet)
    localnet.latency(0.3)
    server = build_server(Session.from_env(localnet.environ))
    async with Client(server, mode=mode) as mcp:
        with anyio.move_on_after(0.5):
            await mcp.call_tool("infer", arguments)
        localnet.latency(0)
        # The one that was given up must not hold the next one up.
        with anyio.fail_after(20):
            result = await answer(mcp, "infer", **arguments)

    assert result["status"] == "done"
    assert sent(localnet) == before + 1
