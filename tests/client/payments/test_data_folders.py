"""T34: another data folder is no way around the day's cap; what it may add has a bound."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from og_mcp.client import Session
from og_mcp.client.payments.data_folders import note_folder
from og_mcp.errors import BudgetExceededError, ServiceError
from og_mcp.networks import Network, from_ready_file
from og_mcp.settings import Settings
from og_mcp.types import Stage
from tests.books import Purse
from tests.client.payments.chats import chat, opg, settled
from tests.clock import MovedClock
from tests.lying_rpc import Asked, RefusalError, lying, refuses

AUTHORIZATION = 150 * 10**12
"""What the gateway asks for; a chat costs most of it."""

DAY = 3 * AUTHORIZATION + AUTHORIZATION // 2


class Folders:
    """Data folders of one wallet, on a network whose wallets others may have used before."""

    def __init__(self, purse: Purse) -> None:
        self.purse, self.clock = purse, MovedClock()
        purse.localnet.terms(amount=str(AUTHORIZATION), maxTimeoutSeconds=600)

    @asynccontextmanager
    async def session(self, name: str, **more: str) -> AsyncIterator[Session]:
        folder = {"OG_DATA_DIR": str(self.purse.folder / name), "OG_WAIT_S": "1"}
        settings = Settings.from_env({**self.purse.environ, **folder, **more})
        async with Session(settings, clock=self.clock) as og:
            network = replace(self.network(), limits_new_journals=True)
            (await og._resources()).network.opened = network  # noqa: SLF001 - no real network is within reach
            yield og

    def network(self) -> Network:
        ready = Path(self.purse.environ["OG_LOCALNET"]).read_text(encoding="utf-8")
        return from_ready_file(json.loads(ready))

    async def sign_all(self, name: str) -> tuple[int, BudgetExceededError]:
        """Open sessions, one for each principal, until one is refused; returns how many were."""
        async with self.session(name, OG_MAX_PER_DAY=opg(DAY)) as og:
            for number in range(9):
                try:
                    await chat(og, "Who are you?", principal=f"principal {number} of {name}")
                except BudgetExceededError as exc:
                    return number, exc
        raise AssertionError("nothing was refused")

    def signed(self, *names: str) -> int:
        """Sum what was ever signed from some folders."""
        found = 0
        for name in names:
            with sqlite3.connect(self.purse.folder / name / "journal.db") as database:
                rows = database.execute("SELECT max_opg FROM caps").fetchall()
            found += sum(int(max_opg) for (max_opg,) in rows)
        return found


@pytest.fixture
def folders(used_purse: Purse) -> Folders:
    return Folders(used_purse)


@pytest.mark.parametrize("are_settled", [True, False], ids=["settled between", "open meanwhile"])
async def test_t34_three_data_folders_in_turn_sign_for_the_cap_and_one_payment_each(
    folders: Folders, *, are_settled: bool
) -> None:
    signed = []
    # "data" is the fixture's folder, which has made the wallet's first approval.
    for name in ("data", "second", "third"):
        count, refused = await folders.sign_all(name)
        signed.append(count)
        if are_settled:
            folders.purse.localnet.settle()
        print(f"{name}: {count} signed, then: {refused}")  # noqa: T201 - the figures are wanted
    total, taken = folders.signed("data", "second", "third"), sum(settled(folders.purse))
    print(f"signed {total}, taken {taken}, cap {DAY}, one authorization {AUTHORIZATION}")  # noqa: T201 - as above

    assert signed == ([3, 0, 0] if are_settled else [3, 1, 1])
    assert total <= DAY + 2 * AUTHORIZATION
    assert taken <= DAY


async def test_t34_a_new_folder_signs_for_one_payment_at_a_time_until_older_ones_are_dead(
    folders: Folders,
) -> None:
    async with folders.session("new") as og:
        await chat(og, "first")
        with pytest.raises(
            BudgetExceededError, match=r"new to the wallet: until .* UTC"
        ) as refused:
            await chat(og, "second", principal="http")
        with pytest.raises(BudgetExceededError, match="new to the wallet"):
            await chat(og, "second", principal="http", dry_run=True)
        # The gateway's deadline, and ten minutes.
        folders.clock.ahead_s += 600 + 500
        folders.purse.localnet.settle()
        await og.status()
        await chat(og, "third")
        with pytest.raises(BudgetExceededError, match="new to the wallet"):
            await chat(og, "fourth", principal="http")
        folders.clock.ahead_s += 120
        last = await chat(og, "fifth", principal="http")

    assert refused.value.is_open_alone
    assert last.status == "done"


async def test_t34_how_new_a_folder_is_outlives_its_process(folders: Folders) -> None:
    async with folders.session("new") as og:
        await chat(og, "first")
    folders.clock.ahead_s += 600 + 500
    async with folders.session("new") as og:
        with pytest.raises(BudgetExceededError, match="new to the wallet"):
            await chat(og, "second", principal="http")
    folders.clock.ahead_s += 120
    async with folders.session("new") as og:
        assert (await chat(og, "second", principal="http")).status == "done"


# The chain's 24 hours.


async def test_a_range_that_an_rpc_refuses_is_cut_down_and_remembered(folders: Folders) -> None:
    purse, spans = folders.purse, []
    async with folders.session("data") as og:
        await chat(og, "first")
    purse.localnet.settle()
    [took] = settled(purse)
    purse.localnet.mine(700, chain="base_rpc")
    async with lying(purse.localnet.ready["base_rpc_url"]) as rpc:

        async def few(asked: Asked) -> object:
            asked_for = asked.params[0]
            span = int(asked_for["toBlock"], 16) - int(asked_for["fromBlock"], 16) + 1
            spans.append(span)
            if span > 600:
                raise RefusalError("block range is too large")
            return await asked.truth()

        rpc.on("eth_getLogs", few)
        see_through(purse, rpc.url)
        async with folders.session("another") as og:
            first = (await og.status()).budget
        refused, spans[:] = [span for span in spans if span > 600], []
        purse.localnet.mine(700, chain="base_rpc")
        folders.clock.ahead_s += 60
        async with folders.session("another") as og:
            elsewhere = await (await og._resources()).elsewhere.get()  # noqa: SLF001 - read in the background
            await elsewhere._read(anew=True)  # noqa: SLF001 - as above
            again = await elsewhere.amount()

    assert first["spent_opg"] == opg(took).rstrip("0")
    assert (len(refused) > 0, max(spans)) == (True, 500)
    assert again == took


async def test_what_was_never_read_refuses_and_what_was_read_before_counts_on(
    folders: Folders,
) -> None:
    purse = folders.purse
    async with folders.session("data") as og:
        await chat(og, "first")
    purse.localnet.settle()
    [took] = settled(purse)
    async with lying(purse.localnet.ready["base_rpc_url"]) as rpc:
        see_through(purse, rpc.url)
        rpc.on("eth_getLogs", refuses("method not available"))
        async with folders.session("another") as og:
            with pytest.raises(ServiceError, match="OG_BASE_RPC_URL") as refused:
                await chat(og, "second")
        rpc.honest()
        async with folders.session("another") as og:
            await og.status()
            purse.localnet.mine(chain="base_rpc")
            rpc.on("eth_getLogs", refuses("method not available"))
            folders.clock.ahead_s += 60
            elsewhere = await (await og._resources()).elsewhere.get()  # noqa: SLF001 - read in the background
            await elsewhere._read(anew=True)  # noqa: SLF001 - as above
            budget = (await og.status()).budget
            done = await chat(og, "third")

    assert refused.value.stage is Stage.NOT_SENT
    assert budget["spent_opg"] == opg(took).rstrip("0")
    assert "what other data folders spent was not read" in budget["note"]
    assert done.status == "done"


async def test_what_another_folder_settled_since_counts_with_the_next_blocks(
    folders: Folders,
) -> None:
    async with folders.session("data") as first, folders.session("another") as second:
        await chat(first, "first")
        before = (await second.status()).budget["spent_opg"]
        folders.purse.localnet.settle()
        [took] = settled(folders.purse)
        folders.clock.ahead_s += 60
        elsewhere = await (await second._resources()).elsewhere.get()  # noqa: SLF001 - read in the background
        await elsewhere._read(anew=True)  # noqa: SLF001 - as above
        after = (await second.status()).budget["spent_opg"]
        own = (await first.status()).budget["spent_opg"]

    assert (before, after, own) == ("0", opg(took).rstrip("0"), opg(took).rstrip("0"))


def see_through(purse: Purse, url: str) -> None:
    """Let the wallet's payment chain be seen through another RPC."""
    file = Path(purse.environ["OG_LOCALNET"])
    ready = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**ready, "base_rpc_url": url}))


# Which folder it was.


async def test_status_tells_the_data_folder_that_a_wallet_was_last_paid_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    environ = {
        "OG_NETWORK": "opengradient",
        "OG_PRIVATE_KEY": "0x" + "11" * 32,
        "OG_DATA_DIR": str(tmp_path / "mine"),
        "OG_RPC_URL": "http://127.0.0.1:9",
        "OG_CHAIN_ID": "10740",
        "OG_BASE_RPC_URL": "http://127.0.0.1:9",
        "OG_BASE_CHAIN_ID": "8453",
        "OG_ALLOW_INSECURE": "1",
    }
    async with Session.from_env(environ) as og:
        address = (await og.status()).address
        note_folder(address, tmp_path / "mine")
        alone = (await og.status()).budget["note"]
        note_folder(address, tmp_path / "theirs")
        both = (await og.status()).budget["note"]

    assert "another data folder" not in alone
    assert f"last paid from another data folder, '{tmp_path / 'theirs'}'" in both
    assert both.endswith("use one, by OG_DATA_DIR")
