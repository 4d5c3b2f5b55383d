"""What only a server can do to a journal: stop, and come back."""

from __future__ import annotations

from contextlib import AsyncExitStack, suppress
from pathlib import Path

import anyio
import psycopg
import pytest
from anyio import to_thread
from pydantic import SecretStr

from og_mcp.calls import Journal
from og_mcp.errors import JournalError
from og_mcp.journal import open_journal
from og_mcp.settings import Settings
from og_mcp.types import Account, Stage
from tests.journal.steps import (
    ACCOUNT,
    CAPS,
    FEE,
    new_hash,
    opened,
    settled_call,
    signed_call,
)
from tests.postgres import Postgres

pytestmark = pytest.mark.slow


def at(server: Postgres, folder: Path) -> Settings:
    """Configure a journal on that server."""
    return Settings(network_name="local", data_dir=folder, journal_url=SecretStr(server.url))


async def _restart(server: Postgres) -> None:
    await to_thread.run_sync(server.kill)
    await to_thread.run_sync(server.start)


async def _open_until_it_fails(journal: Journal) -> None:
    """The children of a killed server answer until they notice."""
    while True:
        await opened(journal)


async def test_the_next_step_connects_anew_and_nothing_recorded_is_lost(
    server: Postgres, tmp_path: Path
) -> None:
    async with open_journal(at(server, tmp_path)) as journal:
        call = await signed_call(journal)
        await _restart(server)

        await journal.settle(call.id, Stage.CHARGED, FEE, '{"y": 1}')
        assert (await journal.get(call.id, "local")).result == '{"y": 1}'
        await settled_call(journal)
        assert (await journal.budget(ACCOUNT, CAPS)).spent == 2 * FEE


async def test_calls_that_run_while_the_server_restarts_are_all_accounted_for(
    server: Postgres, tmp_path: Path
) -> None:
    ended: list[str] = []

    async def one(journal: Journal) -> None:
        with suppress(JournalError):
            ended.append((await settled_call(journal, fee=1)).id)

    async def many(journal: Journal) -> None:
        for _ in range(30):
            await one(journal)

    settings = at(server, tmp_path)
    async with open_journal(settings) as journal, open_journal(settings) as other:
        async with anyio.create_task_group() as group:
            for through in (journal, other) * 3:
                group.start_soon(many, through)
            await anyio.sleep(0.3)
            group.start_soon(_restart, server)
        budget = await journal.budget(ACCOUNT, CAPS)
        async with journal.lane(ACCOUNT) as lane:
            in_doubt = {open_.call_id for open_ in lane.open}
            nonces = [open_.nonce for open_ in lane.open]
        found = await journal.list_calls("local", 1000)

    settled = {call.id for call in found if call.status == "done"}
    assert set(ended) <= settled
    assert budget.spent == len(settled)
    assert in_doubt == {call.id for call in found if call.stage is Stage.SENT_UNKNOWN}
    used = nonces + [call.nonce for call in found if call.nonce is not None and call.id in settled]
    assert sorted(used) == list(range(len(used)))


async def test_whoever_is_in_a_lane_when_the_server_restarts_cannot_collide(
    server: Postgres, tmp_path: Path
) -> None:
    settings = at(server, tmp_path)
    async with open_journal(settings) as journal, open_journal(settings) as other:
        mine = await opened(journal)
        async with journal.lane(ACCOUNT) as lane:
            await lane.reserve(mine.id, 0, FEE, CAPS)
            await _restart(server)
            theirs = await signed_call(other)
            with pytest.raises(JournalError):
                await lane.signed(mine.id, 0, new_hash(), "0x", FEE)

        async with journal.lane(ACCOUNT) as lane:
            assert [open_.call_id for open_ in lane.open] == [theirs.id]


async def test_lanes_that_nobody_else_wants_take_no_connection_each(
    server: Postgres, tmp_path: Path
) -> None:
    async with open_journal(at(server, tmp_path)) as journal, AsyncExitStack() as lanes:
        for number in range(50):
            account = Account(network="local:0xabc", chain_id=7, address=f"0x{number:040x}")
            await lanes.enter_async_context(journal.lane(account))
        with psycopg.connect(server.url) as connection:
            counted = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'og-mcp'"
            ).fetchone()

    assert counted == (2,)


async def test_a_server_that_stays_away_stops_calls_before_they_send(
    server: Postgres, tmp_path: Path
) -> None:
    async with open_journal(at(server, tmp_path)) as journal:
        await to_thread.run_sync(server.kill)

        with anyio.fail_after(60), pytest.raises(JournalError, match="OG_JOURNAL_URL"):
            await _open_until_it_fails(journal)
        with anyio.fail_after(30), pytest.raises(JournalError):
            async with journal.lane(ACCOUNT):
                pass
