"""Balance and allowance: what is read ahead is not asked for again, and holds nothing up."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import anyio
import anyio.lowlevel
import pytest

from og_mcp.client.chain.chain import Chain
from og_mcp.client.chain.rpc import RPC
from og_mcp.client.payments.funds import FRESH_S, Funds
from og_mcp.client.payments.opg import OPG
from og_mcp.client.wire.http import open_http
from og_mcp.networks import from_ready_file
from tests.localnet_client import LocalNetwork

HELD = 7 * 10**18


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def funds(localnet: LocalNetwork, clock: Clock) -> AsyncIterator[Funds]:
    network = from_ready_file(localnet.ready)
    address = localnet.new_wallet().address
    localnet.fund_opg(address, HELD)
    async with open_http(local=True) as http, anyio.create_task_group() as tasks:
        rpc = RPC(http, network.base_rpc_url, "payment chain's RPC", timeout_s=10.0)
        opg = OPG(rpc, Chain(rpc, network.base_chain_id), network)
        localnet.reset_counters("base_rpc")
        yield Funds(opg, address, tasks, clock=clock)
        tasks.cancel_scope.cancel()


async def test_what_is_read_ahead_is_not_asked_for_again(
    funds: Funds, localnet: LocalNetwork
) -> None:
    funds.prefetch()
    funds.prefetch()
    held = [await funds.holdings(), await funds.holdings()]

    assert [one.opg for one in held] == [HELD, HELD]
    assert localnet.counters("base_rpc")["http_requests"] == 1


async def test_it_is_read_again_when_it_is_old_or_wanted_anew(
    funds: Funds, localnet: LocalNetwork, clock: Clock
) -> None:
    await funds.holdings()
    await funds.holdings(anew=True)
    clock.now += FRESH_S + 1
    await funds.holdings()

    assert localnet.counters("base_rpc")["http_requests"] == 3


async def test_a_reading_ahead_that_fails_is_made_up_for_by_who_needs_it(
    funds: Funds, localnet: LocalNetwork
) -> None:
    localnet.fault("eth_getBalance", "error", service="base_rpc", message="not now")
    funds.prefetch()
    # It has the lock from here on, so that it meets the fault.
    await anyio.lowlevel.checkpoint()

    assert (await funds.holdings()).opg == HELD


async def test_a_clock_that_was_set_is_held_against_the_chains_anew(
    funds: Funds, localnet: LocalNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await funds.holdings()
    now = time.time() + 1000
    monkeypatch.setattr(time, "time", lambda: now)
    after = await funds.holdings()

    assert localnet.counters("base_rpc")["http_requests"] == 2
    assert 990 <= after.ahead_s - before.ahead_s <= 1010
