"""Two servers, one wallet, one journal, all of it killed at random: every call is paid once.

The figures are those of the project's promise: 500 calls from 20 tasks.
"""

from __future__ import annotations

import random
import re
import subprocess
import threading
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
import httpx2
import pytest
from anyio import to_thread
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from og_mcp.errors import JournalError
from tests import postgres
from tests.books import CHARGED, Purse, check_books
from tests.localnet_client import LocalNetwork
from tests.server_process import start

CALLS: Final = 500
TASKS: Final = 20
SEED: Final = 20261122
SERVER_KILLS: Final = 6
LIMIT_S: Final = 240.0

LOST: Final = (MCPError, httpx2.TransportError, OSError, ExceptionGroup, TimeoutError)
"""What a client sees of a server that is killed."""

pytestmark = pytest.mark.slow


class Server:
    """`og-mcp serve` over HTTP, which can be killed and started again."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._process: subprocess.Popen[str] | None = None
        self.address = ""
        """Empty while it does not run."""

        self.log: list[str] = []

    def start(self) -> None:
        arguments = ("serve", "--transport", "http", "--port", "0")
        self._process = start(self._environ, *arguments, stdin=subprocess.DEVNULL)
        assert self._process.stderr is not None
        for line in iter(self._process.stderr.readline, ""):
            self.log.append(line)
            found = re.search(r"og-mcp serves (http://[^/]+)", line)
            if found:
                break
        else:
            raise AssertionError("".join(self.log[-20:]))
        # A full pipe would hold the server up.
        threading.Thread(target=self.log.extend, args=(self._process.stderr,), daemon=True).start()
        assert found is not None
        self.address = found[1]

    def kill(self) -> None:
        self.address = ""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdout, self._process.stderr):
                assert pipe is not None
                pipe.close()


class Load:
    """Calls that many tasks carry out, each until it is done."""

    def __init__(self, purse: Purse, servers: list[Server]) -> None:
        self._sample = purse.localnet.ready["sample_models"][0]
        self._servers = servers
        self._left = deque(range(CALLS))
        self.done: dict[int, str] = {}
        """Number -> transaction hash."""

        self.troubles: list[str] = []

    async def run_task(self, task: int) -> None:
        """Talk to one server for as long as it lives, then to the other one."""
        turn = task
        while self._left:
            address = self._servers[turn % len(self._servers)].address
            turn += 1
            try:
                if address:
                    async with connected(address) as mcp:
                        await self._work(mcp)
            except LOST as exc:
                self.troubles.append(type(exc).__name__)
            await anyio.sleep(0.05)

    async def _work(self, mcp: Client) -> None:
        while self._left:
            number = self._left.popleft()
            try:
                await self._ask(mcp, number)
            finally:
                if number not in self.done:
                    self._left.append(number)

    async def _ask(self, mcp: Client, number: int) -> None:
        arguments = {
            "model_cid": self._sample["cid"],
            "model_input": self._sample["model_input"],
            "idempotency_key": f"call-{number}",
        }
        result = await mcp.call_tool("infer", arguments)
        found = result.structured_content or {}
        if result.is_error or found["status"] != "done":
            text = " ".join(getattr(block, "text", "") for block in result.content)
            assert text != "Error executing tool infer", "a mistake of ours; the log has it"
            self.troubles.append(text)
            await self._look_up(mcp, text)
            return
        self.done[number] = found["transaction_hash"]

    async def _look_up(self, mcp: Client, text: str) -> None:
        """Ask for the end of a call that is in doubt, as its error says."""
        call_id = re.search(r"\b[0-9a-f]{32}\b", text)
        if call_id:
            await mcp.call_tool("get_call", {"call_id": call_id[0], "wait_s": 1})


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Client]:
    async with httpx2.AsyncClient(trust_env=False, timeout=60) as http:
        transport = streamable_http_client(address + "/mcp", http_client=http)
        async with Client(transport, mode="2026-07-28") as client:
            yield client


@pytest.fixture
def purse(localnet: LocalNetwork, tmp_path: Path) -> Purse:
    return Purse(localnet, tmp_path, funds=10**20)


@pytest.fixture
def database() -> Iterator[postgres.Postgres]:
    with postgres.running() as server:
        yield server


async def test_500_calls_on_postgresql_survive_the_deaths_of_servers_and_database(
    purse: Purse, database: postgres.Postgres
) -> None:
    await endure(purse, database, OG_JOURNAL_URL=database.url)


async def test_500_calls_on_sqlite_survive_the_deaths_of_servers(purse: Purse) -> None:
    await endure(purse)


async def endure(purse: Purse, database: postgres.Postgres | None = None, **more: str) -> None:
    """Carry the load out under kills, then hold the books against the chain."""
    more = {"OG_MAX_FEE_PER_DAY": "1", "OG_WAIT_S": "20", **more}
    servers = [Server({**purse.environ, **more}) for _ in range(2)]
    load = Load(purse, servers)
    try:
        started = anyio.current_time()
        with anyio.fail_after(LIMIT_S):
            for server in servers:
                await to_thread.run_sync(server.start)
            async with anyio.create_task_group() as group:
                group.start_soon(destroy, load, servers, database)
                for task in range(TASKS):
                    group.start_soon(load.run_task, task)
        seconds = anyio.current_time() - started
    finally:
        for server in servers:
            server.kill()
    print(f"{CALLS} calls in {seconds:.0f} s; troubles: {Counter(load.troubles)}")  # noqa: T201 - shown by pytest -s
    await settle_the_rest(purse, **more)
    calls = await check_books(purse, **more)

    assert len(calls) == len({call.idempotency_key for call in calls}) == CALLS
    assert all(call.status == "done" and call.stage in CHARGED for call in calls)
    hashes = {int(call.idempotency_key.split("-")[1]): call.transaction_hashes for call in calls}
    assert all(load.done[number] in hashes[number] for number in range(CALLS))
    assert purse.sent() == CALLS


async def destroy(load: Load, servers: list[Server], database: postgres.Postgres | None) -> None:
    """Kill servers at random moments, and the database midway; start each again."""
    chance = random.Random(SEED)  # noqa: S311 - the same deaths in every run
    moments = sorted(chance.sample(range(20, CALLS - 20), SERVER_KILLS))
    deaths: list[tuple[int, Server | None]] = [(at, chance.choice(servers)) for at in moments]
    if database is not None:
        deaths.append((CALLS // 2, None))
    for at, server in sorted(deaths, key=lambda death: death[0]):
        while len(load.done) < at:  # noqa: ASYNC110 - looked at now and then, as chance has it
            await anyio.sleep(0.02)
        # Not at the moment of an answer: somewhere in the calls that run.
        await anyio.sleep(chance.uniform(0, 0.3))
        victim = server or database
        assert victim is not None
        await to_thread.run_sync(victim.kill)
        await to_thread.run_sync(victim.start)


async def settle_the_rest(purse: Purse, **more: str) -> None:
    """Do what the next start would: look up what the dead left behind."""
    async with purse.session(**more) as og:
        journal: Any = await (await og._resources()).journal.get()  # noqa: SLF001 - the session's own journal
        for call in await journal.unfinished():
            await journal.wait(call.id, call.principal, 15.0)
        await og.reconcile()


async def test_a_call_that_was_paid_while_the_database_was_gone_is_found_when_it_is_back(
    purse: Purse, database: postgres.Postgres
) -> None:
    sample = purse.localnet.ready["sample_models"][0]
    purse.localnet.hold_blocks()
    async with purse.session(OG_JOURNAL_URL=database.url) as og:
        running = await og.infer(sample["cid"], sample["model_input"], wait_s=0.1)
        with anyio.fail_after(20):
            while purse.sent("pending") == 0:  # noqa: ASYNC110 - the chain changes it
                await anyio.sleep(0.02)
        await to_thread.run_sync(database.kill)
        purse.localnet.release_blocks()
        # Longer than the journal waits for a database that comes back by itself.
        with pytest.raises(JournalError):
            await og.get_call(running.call_id)
        await to_thread.run_sync(database.start)

        with anyio.fail_after(60):
            while (await og.get_call(running.call_id, 5.0)).status != "done":
                pass
        again = await og.infer(sample["cid"], sample["model_input"])

    assert again.call_id != running.call_id
    assert len(await check_books(purse, OG_JOURNAL_URL=database.url)) == 2
