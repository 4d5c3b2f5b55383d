"""The end of a server hands over: paid answers arrive, what has signed nothing can be repeated."""

from __future__ import annotations

from typing import Any, Final

import anyio
from mcp import Client

from og_mcp.client import Session
from og_mcp.server import build_server
from tests.localnet_client import LocalNetwork
from tests.tools.calls import answer, refusal

MODEL: Final = "openai/gpt-5.4-mini"
CHAT: Final = "gateway POST /v1/chat/completions"
REFUSED: Final = (
    "og-mcp is shutting down: this call was not sent, and nothing was paid. Repeat it, with the "
    "same idempotency_key if it had one, once og-mcp runs again."
)


def asking(text: str, **more: object) -> dict[str, Any]:
    return {"model": MODEL, "messages": text, **more}


def inferring(localnet: LocalNetwork, **more: object) -> dict[str, Any]:
    sample = localnet.ready["sample_models"][0]
    return {"model_cid": sample["cid"], "model_input": sample["model_input"], **more}


async def shown(localnet: LocalNetwork, service: str) -> None:
    """Wait until every fault of a service has met its request."""
    with anyio.fail_after(30):
        while localnet.pending_faults(service):  # noqa: ASYNC110 - another process counts
            await anyio.sleep(0.02)


async def test_a_paid_answer_on_its_way_is_awaited_and_what_is_free_can_be_repeated(
    localnet: LocalNetwork,
) -> None:
    told: dict[str, Any] = {}
    session = Session.from_env(localnet.environ)
    async with Client(build_server(session)) as mcp:
        await answer(mcp, "chat", **asking("to open a session"))
        localnet.fault(CHAT, "delay", service="gateway", delay_s=1.0)
        localnet.fault("eth_estimateGas", "hang")

        async def paid() -> None:
            told["chat"] = await answer(mcp, "chat", **asking("slow"))

        async def free() -> None:
            told["infer"] = await refusal(mcp, "infer", **inferring(localnet, idempotency_key="k"))

        async with anyio.create_task_group() as group:
            group.start_soon(paid)
            group.start_soon(free)
            await shown(localnet, "gateway")
            await shown(localnet, "rpc")
            await session.end_calls(30)
            new = await refusal(mcp, "chat", **asking("too late"))
        calls = (await answer(mcp, "list_calls"))["calls"]
    localnet.clear_faults()

    assert (told["chat"]["status"], new) == ("done", REFUSED)
    assert told["infer"].startswith(REFUSED)
    (free_one,) = (call for call in calls if call["tool"] == "infer")
    assert (free_one["status"], free_one["stage"]) == ("failed", "not_sent")
    assert [call["status"] for call in calls if call["tool"] == "chat"] == ["done", "done"]
    async with Client(build_server(Session.from_env(localnet.environ))) as mcp:
        again = await answer(mcp, "infer", **inferring(localnet, idempotency_key="k"))
    assert (again["call_id"], again["status"]) == (free_one["call_id"], "done")
