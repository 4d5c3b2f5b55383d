"""The end of a server hands over: paid answers arrive, what has signed nothing can be repeated."""

from __future__ import annotations

import json
import signal
import sqlite3
import sys
from contextlib import closing
from subprocess import PIPE, Popen
from typing import Any, Final

import anyio
import httpx
import pytest
from anyio import to_thread
from mcp import Client

from og_mcp.client import Session
from og_mcp.server import build_server
from tests.http_client import WAYS, connected
from tests.localnet_client import LocalNetwork
from tests.server_process import END_S, clean, command, ending, served, start
from tests.test_stdio import INITIALIZE, LIST_TOOLS, exchange
from tests.tools.calls import answer, refusal, text_of

MODEL: Final = "openai/gpt-5.4-mini"
CHAT: Final = "gateway POST /v1/chat/completions"
REFUSED: Final = (
    "og-mcp is shutting down: this call was not sent, and nothing was paid. Repeat it, with the "
    "same idempotency_key if it had one, once og-mcp runs again."
)
NO_SESSIONS: Final = (
    "og-mcp is shutting down and takes no new sessions; nothing was sent or paid. Connect once it "
    "runs again."
)
MANY: Final = 20

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")


def asking(text: str, **more: object) -> dict[str, Any]:
    return {"model": MODEL, "messages": text, **more}


FIRST: Final = asking("to open a session", idempotency_key="first")


def inferring(localnet: LocalNetwork, **more: object) -> dict[str, Any]:
    sample = localnet.ready["sample_models"][0]
    return {"model_cid": sample["cid"], "model_input": sample["model_input"], **more}


def slow(localnet: LocalNetwork, chats: int = 1, delay_s: float = 2.0) -> None:
    """Let the gateway answer so many chats late."""
    localnet.fault(CHAT, "delay", service="gateway", delay_s=delay_s, times=chats)


async def shown(localnet: LocalNetwork, service: str = "gateway") -> None:
    """Wait until every fault of a service has met its request."""
    with anyio.fail_after(30):
        while localnet.pending_faults(service):  # noqa: ASYNC110 - another process counts
            await anyio.sleep(0.02)


async def begun(mcp: Client) -> None:
    """Wait until a server that was told to end says so: until then it repeats its first answer."""
    with anyio.fail_after(10):
        while not (result := await mcp.call_tool("chat", FIRST)).is_error:
            pass
    assert text_of(result) == f"Error executing tool chat: {REFUSED}"
    assert (result.structured_content or {})["retryable"] is True


async def new_session(address: str) -> tuple[int, str]:
    """Ask for a session, of a server that would refuse this request all the same."""
    async with httpx.AsyncClient(trust_env=False) as http:
        response = await http.post(f"{address}/mcp", json={})
    return response.status_code, response.json()["error"]["message"]


async def ended(process: Popen[str]) -> None:
    """Wait for a clean end."""
    assert await to_thread.run_sync(process.wait, END_S) == 0


def chats(localnet: LocalNetwork) -> list[tuple[str, str]]:
    """Read how the chats ended, from the journal's file."""
    with closing(sqlite3.connect(localnet.data_dir / "journal.db")) as database:
        return sorted(database.execute("SELECT status, stage FROM calls WHERE tool = 'chat'"))


async def test_a_paid_answer_on_its_way_is_awaited_and_what_is_free_can_be_repeated(
    localnet: LocalNetwork,
) -> None:
    told: dict[str, Any] = {}
    session = Session.from_env(localnet.environ)
    async with Client(build_server(session)) as mcp:
        await answer(mcp, "chat", **FIRST)
        slow(localnet, delay_s=1.0)
        localnet.fault("eth_estimateGas", "hang")

        async def paid() -> None:
            told["chat"] = await answer(mcp, "chat", **asking("slow"))

        async def free() -> None:
            told["infer"] = await refusal(mcp, "infer", **inferring(localnet, idempotency_key="k"))

        async with anyio.create_task_group() as group:
            group.start_soon(paid)
            group.start_soon(free)
            await shown(localnet)
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


@posix_only
@pytest.mark.process
@pytest.mark.parametrize(("path", "mode"), WAYS)
async def test_twenty_paid_chats_are_answered_after_sigterm(
    localnet: LocalNetwork, path: str, mode: str
) -> None:
    told: list[str] = []
    with served(localnet.environ) as (address, process):
        async with connected(address, path, mode) as mcp:
            await answer(mcp, "chat", **FIRST)
            slow(localnet, MANY)

            async def chat(text: str) -> None:
                told.append((await answer(mcp, "chat", **asking(text)))["status"])

            async with anyio.create_task_group() as group:
                for number in range(MANY):
                    group.start_soon(chat, f"question {number}")
                await shown(localnet)
                process.send_signal(signal.SIGTERM)
                await begun(mcp)
                assert await new_session(address) == (503, NO_SESSIONS)
        await ended(process)

    assert told == ["done"] * MANY
    assert chats(localnet) == [("done", "charged")] * (MANY + 1)


@posix_only
@pytest.mark.process
async def test_openais_clients_get_their_paid_answers_too_and_may_ask_new_ones_again(
    localnet: LocalNetwork,
) -> None:
    def ask(text: str) -> httpx.Response:
        body = {"model": MODEL, "messages": [{"role": "user", "content": text}]}
        return httpx.post(
            f"{address}/v1/chat/completions", json=body, trust_env=False, timeout=END_S
        )

    told: list[int] = []
    with served(localnet.environ, "http", "--openai") as (address, process):
        assert ask("to open a session").status_code == 200
        slow(localnet, 5)

        async def chat(text: str) -> None:
            told.append((await to_thread.run_sync(ask, text)).status_code)

        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(chat, f"question {number}")
            await shown(localnet)
            process.send_signal(signal.SIGTERM)
            with anyio.fail_after(10):
                while (await new_session(address))[0] != 503:
                    pass
            new = ask("too late")
        await ended(process)

    assert told == [200] * 5
    assert (new.status_code, new.headers["x-should-retry"]) == (503, "true")
    assert new.json()["error"]["message"] == REFUSED
    assert chats(localnet) == [("done", "charged")] * 6


@posix_only
@pytest.mark.process
@pytest.mark.parametrize("transport", ["http", "sse"])
async def test_a_second_signal_ends_at_once_and_its_chat_stays_in_doubt(
    localnet: LocalNetwork, transport: str
) -> None:
    path = "/sse" if transport == "sse" else "/mcp"
    with served(localnet.environ, transport) as (address, process):
        async with connected(address, path, "legacy") as mcp:
            await answer(mcp, "chat", **FIRST)
            localnet.fault(CHAT, "hang", service="gateway")
            async with anyio.create_task_group() as group:
                group.start_soon(mcp.call_tool, "chat", asking("for ever"))
                await shown(localnet)
                process.send_signal(signal.SIGHUP)
                await begun(mcp)
                process.send_signal(signal.SIGTERM)
                await ended(process)
                group.cancel_scope.cancel()
    localnet.clear_faults("gateway")

    assert chats(localnet) == [("done", "charged"), ("running", "sent_unknown")]


def ask_over_stdio(
    process: Popen[str], number: int, tool: str = "chat", **arguments: object
) -> None:
    assert process.stdin is not None
    params = {"name": tool, "arguments": arguments}
    message = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
    process.stdin.write(json.dumps(message) + "\n")


@posix_only
@pytest.mark.process
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGHUP, None], ids=str)
async def test_paid_chats_over_stdio_are_answered_after_its_end(
    localnet: LocalNetwork, end: signal.Signals | None
) -> None:
    with ending(start({**localnet.environ, "OG_GRACE_S": "30"}, "serve")) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        exchange(process, INITIALIZE)
        ask_over_stdio(process, 1, **FIRST)
        assert not json.loads(process.stdout.readline())["result"]["isError"]
        slow(localnet, 5)
        for number in range(2, 7):
            ask_over_stdio(process, number, **asking(f"question {number}"))
        await shown(localnet)
        if end is None:
            process.stdin.close()
        else:
            process.send_signal(end)
        answers = [json.loads(line) for line in process.stdout]
        await ended(process)

    assert sorted(one["id"] for one in answers) == [2, 3, 4, 5, 6]
    assert not any(one["result"]["isError"] for one in answers)
    assert chats(localnet) == [("done", "charged")] * 6


@posix_only
@pytest.mark.process
def test_a_signal_that_whoever_started_the_server_ignores_stays_ignored() -> None:
    # As `nohup og-mcp serve` does.
    shell = ["/bin/sh", "-c", 'trap "" HUP; exec "$@"', "sh", *command("serve")]
    with ending(
        Popen(  # noqa: S603 - our own program
            shell, env=clean({"OG_NETWORK": "local"}), stdin=PIPE, stdout=PIPE, text=True, bufsize=1
        )
    ) as process:
        exchange(process, INITIALIZE)
        process.send_signal(signal.SIGHUP)

        assert exchange(process, LIST_TOOLS)["result"]["tools"]


@posix_only
@pytest.mark.process
async def test_a_call_that_has_signed_nothing_ends_unsent_and_goes_on_under_its_key(
    localnet: LocalNetwork,
) -> None:
    asked = inferring(localnet, idempotency_key="k")
    with ending(start(localnet.environ, "serve")) as process:
        assert process.stdout is not None
        exchange(process, INITIALIZE)
        localnet.fault("eth_estimateGas", "hang")
        ask_over_stdio(process, 1, "infer", **asked)
        await shown(localnet, "rpc")
        process.send_signal(signal.SIGTERM)
        told = json.loads(process.stdout.readline())["result"]
        await ended(process)
    localnet.clear_faults()

    assert REFUSED in told["content"][0]["text"]
    assert told["structuredContent"]["stage"] == "not_sent"
    async with Client(build_server(Session.from_env(localnet.environ))) as mcp:
        again = await answer(mcp, "infer", **asked)
    assert (again["call_id"], again["status"]) == (told["structuredContent"]["call_id"], "done")


@posix_only
@pytest.mark.process
async def test_over_stdio_calls_get_three_seconds_and_a_second_signal_ends_at_once(
    localnet: LocalNetwork,
) -> None:
    for signals, grace in ((1, {}), (2, {"OG_GRACE_S": "600"})):
        with ending(start({**localnet.environ, **grace}, "serve")) as process:
            assert process.stdout is not None
            exchange(process, INITIALIZE)
            ask_over_stdio(process, 1, **FIRST)
            process.stdout.readline()
            localnet.fault(CHAT, "hang", service="gateway")
            ask_over_stdio(process, 2, **asking(f"question {signals}"))
            await shown(localnet)
            began = anyio.current_time()
            for number in range(signals):
                process.send_signal(signal.SIGTERM)
                if number == 0:
                    ask_over_stdio(process, 3, **asking("too late"))
                    refused = json.loads(process.stdout.readline())
                    assert refused["result"]["content"][0]["text"].endswith(REFUSED)
            await ended(process)
            assert grace or anyio.current_time() - began >= 3.0
        localnet.clear_faults("gateway")

    # Where the second server has looked back by then, it has found the first one's call lost.
    assert sorted(stage for _, stage in chats(localnet)) == ["charged", *["sent_unknown"] * 2]
    async with Client(build_server(Session.from_env(localnet.environ))) as mcp:
        text = await refusal(mcp, "chat", **asking("question 1"))
    assert "its answer was not kept" in text
