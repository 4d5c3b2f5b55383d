"""What a program reads of an error: whether to repeat the call, how far it came, and its id."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from mcp import Client

from og_mcp import tools
from og_mcp.types import Stage
from tests.localnet_client import LocalNetwork

CHAT = {"model": "openai/gpt-5.4-mini", "messages": [{"role": "user", "content": "Hello"}]}


async def failed(mcp: Client, name: str, **arguments: object) -> dict[str, Any]:
    result = await mcp.call_tool(name, arguments)
    assert result.is_error
    facts: dict[str, Any] | None = result.structured_content
    assert facts is not None
    return facts


async def test_an_argument_that_is_refused_is_not_to_be_repeated(mcp: Client) -> None:
    unsent = {"retryable": False, "stage": "not_sent", "call_id": ""}

    assert await failed(mcp, "chat", model="x", nonsense=1) == unsent
    assert await failed(mcp, "get_call", call_id="0" * 32) == unsent | {"call_id": "0" * 32}


@pytest.mark.parametrize("retryable", [True, False])
async def test_an_error_of_the_gateway_tells_whether_repeating_helps(
    mcp: Client, localnet: LocalNetwork, *, retryable: bool
) -> None:
    localnet.spoil("refuse", status=503, retryable=retryable, times=1 + retryable)

    facts = await failed(mcp, "chat", **CHAT)

    assert (facts["retryable"], facts["stage"]) == (retryable, "sent_unknown")
    told = await mcp.call_tool("get_call", {"call_id": facts["call_id"]})
    assert told.structured_content is not None
    assert told.structured_content["status"] == "failed"


async def test_a_lost_answer_is_not_to_be_repeated_and_a_closed_gateway_may_be_asked_later(
    mcp: Client, localnet: LocalNetwork
) -> None:
    localnet.spoil("cut")
    lost = await failed(mcp, "chat", **CHAT)
    localnet.close_service("gateway")
    closed = await failed(mcp, "completion", model=CHAT["model"], prompt="Once")
    localnet.open_service("gateway")

    assert (lost["retryable"], lost["stage"]) == (False, "sent_unknown")
    assert (closed["retryable"], closed["stage"]) == (True, "not_sent")


@pytest.mark.sweep(quick=8)
@pytest.mark.parametrize("tool", tools.ALL, ids=lambda tool: tool.name)
@pytest.mark.parametrize("stage", list(Stage))
def test_an_error_fits_the_published_schema_which_older_clients_hold_it_to(
    tool: tools.Tool, stage: Stage
) -> None:
    facts = {"retryable": False, "stage": stage.value, "call_id": "0" * 32}

    assert tool.output_schema is not None
    jsonschema.validate(facts, tool.output_schema)
