"""Whose calls are whose: stdio and HTTP on one journal (threats.md T21)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from mcp import Client, MCPError
from mcp.types import ResourceTemplateReference, TextResourceContents

from og_mcp.client import Session
from og_mcp.server import build_server
from tests.http_client import WAYS, connected
from tests.localnet_client import LocalNetwork
from tests.server_process import over_http, over_stdio
from tests.tools.calls import answer, refusal

TEMPLATES = ("og://calls/{call_id}", "og://receipts/{call_id}")


@pytest.fixture
def arguments(localnet: LocalNetwork) -> dict[str, Any]:
    """A request that costs gas."""
    sample = localnet.ready["sample_models"][0]
    return {"model_cid": sample["cid"], "model_input": sample["model_input"]}


def sent(localnet: LocalNetwork) -> int:
    count: int = localnet.counters()["calls"].get("eth_sendRawTransaction", 0)
    return count


async def ids_seen(mcp: Client) -> set[str]:
    """Everything that a client is told without naming a call, by list and by completion."""
    listed = {call["call_id"] for call in (await answer(mcp, "list_calls"))["calls"]}
    for template in TEMPLATES:
        assert set(await completions(mcp, template)) == listed
    return listed


async def completions(mcp: Client, template: str, start: str = "") -> list[str]:
    reference = ResourceTemplateReference(type="ref/resource", uri=template)
    result = await mcp.complete(reference, {"name": "call_id", "value": start})
    return result.completion.values


async def shown_not_to_know(mcp: Client, call_id: str) -> None:
    """Every way to a call answers as it does for one that never was."""
    never = "f" * 32
    for tool in ("get_call", "verify_receipt"):
        refused = await refusal(mcp, tool, call_id=call_id)
        assert refused.replace(call_id, never) == await refusal(mcp, tool, call_id=never)
    for template in TEMPLATES:
        with pytest.raises(MCPError) as unread:
            await mcp.read_resource(template.format(call_id=call_id))
        assert unread.value.code == -32602
        assert await completions(mcp, template, call_id[:4]) == []


@pytest.mark.slow
async def test_t21_stdio_and_http_know_nothing_of_each_others_calls(
    localnet: LocalNetwork, arguments: dict[str, Any]
) -> None:
    environ = {**localnet.environ, "OG_WAIT_S": "1"}
    before = sent(localnet)
    with over_http(environ) as address:
        async with Client(over_stdio(environ)) as mcp, connected(address, *WAYS[0]) as http:
            ours, theirs = await keyed_alike(mcp, arguments), await keyed_alike(http, arguments)
            localnet.hold_blocks()
            running = {(await answer(one, "infer", **arguments))["call_id"] for one in (mcp, http)}
            localnet.release_blocks()
            seen, seen_over_http = await ids_seen(mcp), await ids_seen(http)
            for one, known in ((mcp, seen), (http, seen_over_http)):
                ended = [await answer(one, "get_call", call_id=call_id) for call_id in known]
                assert {call["status"] for call in ended} == {"done"}
            assert ours in seen
            assert seen | seen_over_http == {ours, theirs, *running}
            assert not seen & seen_over_http
            await shown_not_to_know(mcp, theirs)
        for way in WAYS:
            async with connected(address, *way) as http:
                assert await ids_seen(http) == seen_over_http
                await shown_not_to_know(http, ours)

    assert len({ours, theirs, *running}) == 4
    assert sent(localnet) == before + 4


async def keyed_alike(mcp: Client, arguments: dict[str, Any]) -> str:
    """Infer under the key that the other one uses too, to the end."""
    result = await answer(mcp, "infer", **arguments, idempotency_key="same")
    ended = await answer(mcp, "get_call", call_id=result["call_id"])
    assert ended["status"] == "done"
    return str(result["call_id"])


async def test_a_call_and_its_receipt_are_resources(
    localnet: LocalNetwork, arguments: dict[str, Any]
) -> None:
    async with Client(build_server(Session.from_env(localnet.environ))) as mcp:
        made = await answer(mcp, "infer", **arguments)
        listed = (await mcp.list_resource_templates()).resource_templates
        documents = {}
        for template in (one for one in listed if one.uri_template in TEMPLATES):
            uri = template.uri_template.format(call_id=made["call_id"])
            (content,) = (await mcp.read_resource(uri)).contents
            assert isinstance(content, TextResourceContents)
            assert content.mime_type == template.mime_type == "application/json"
            documents[template.uri_template] = json.loads(content.text)
        told = await answer(mcp, "get_call", call_id=made["call_id"])

    call, receipt = (documents[template] for template in TEMPLATES)
    assert call == told
    assert receipt["call_id"] == made["call_id"]
    assert receipt["schema"] == "og-mcp/receipt/2"


async def test_t21_another_principals_call_and_receipt_are_not_told(
    localnet: LocalNetwork, arguments: dict[str, Any]
) -> None:
    async with Session.from_env(localnet.environ) as og:
        theirs = await og.infer(**arguments, principal="http")
    async with Client(build_server(Session.from_env(localnet.environ))) as mcp:
        await shown_not_to_know(mcp, theirs.call_id)
        assert await ids_seen(mcp) == set()


async def test_only_call_ids_are_completed(
    localnet: LocalNetwork, arguments: dict[str, Any]
) -> None:
    async with Client(build_server(Session.from_env(localnet.environ))) as mcp:
        call_id = (await answer(mcp, "infer", **arguments))["call_id"]
        right = await completions(mcp, TEMPLATES[0], call_id[:8])
        wrong = await completions(mcp, TEMPLATES[0], "z")
        elsewhere = await mcp.complete(
            ResourceTemplateReference(type="ref/resource", uri=TEMPLATES[0]),
            {"name": "other", "value": ""},
        )

    assert (right, wrong, elsewhere.completion.values) == ([call_id], [], [])
