"""kill -9 after every step: what is known afterwards, and who goes on."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import pytest

from og_mcp.calls import Journal
from og_mcp.journal import open_journal
from og_mcp.settings import Settings
from og_mcp.types import Call, Stage
from tests.journal.dying import LEASE_S, REQUEST, STEPS, stopped_after
from tests.journal.steps import ACCOUNT, CAPS, FEE

pytestmark = pytest.mark.process

UNSENT = ("open", "enter", "reserve")
IN_DOUBT = ("sign", "leave")
TELLING = ("reserve", "sign", "settle")
"""Steps that change what is known; each of the others leaves the same behind as one of them."""


def after(steps: Sequence[str]) -> pytest.MarkDecorator:
    """Run a test for each step, in the quick run for the telling ones."""
    each = [pytest.param(s, marks=() if s in TELLING else pytest.mark.slow) for s in steps]
    return pytest.mark.parametrize("step", each)


@pytest.mark.slow
@after(STEPS)
async def test_a_dead_process_leaves_a_call_that_can_be_accounted_for(
    settings: Settings, step: str
) -> None:
    with stopped_after(step, settings):
        pass
    async with open_journal(settings) as journal:
        with anyio.fail_after(10):
            async with journal.lane(ACCOUNT) as lane:
                in_doubt = [open_.nonce for open_ in lane.open]
        budget = await journal.budget(ACCOUNT, CAPS)
        call = await _outlived(journal)

    # The lane is free, and what was reserved and never signed is not open.
    assert in_doubt == ([0] if step in IN_DOUBT else [])
    assert budget.open == (FEE if step in IN_DOUBT else 0)
    assert budget.spent == (FEE if step in ("settle", "deliver") else 0)
    assert call.orphaned == (step in IN_DOUBT or step in UNSENT)


async def _outlived(journal: Journal) -> Call:
    """Return the call once its process no longer counts as alive."""
    with anyio.fail_after(10 * LEASE_S):
        while True:
            [call] = await journal.list_calls("local", 10)
            if call.status != "running" or call.orphaned:
                return call
            await journal.wait(call.id, "local", LEASE_S)


@after(UNSENT)
async def test_a_call_that_sent_nothing_is_run_by_exactly_one_other(
    settings: Settings, step: str
) -> None:
    with stopped_after(step, settings):
        pass
    async with open_journal(settings) as journal, open_journal(settings) as other:
        call = await _outlived(journal)
        opened = [await through.open_call(REQUEST) for through in (journal, other)]

    assert [result.call.id for result in opened] == [call.id, call.id]
    assert [result.joined for result in opened] == [False, True]


@after(IN_DOUBT)
async def test_a_call_that_may_have_been_sent_is_settled_by_who_adopts_it(
    settings: Settings, step: str
) -> None:
    with stopped_after(step, settings):
        pass
    async with open_journal(settings) as journal, open_journal(settings) as other:
        call = await _outlived(journal)
        adopted = [await through.adopt(call.id) for through in (journal, other)]
        await journal.settle(call.id, Stage.CHARGED, FEE, '{"y": 1}')
        joined = await other.open_call(REQUEST)

    assert adopted == [True, False]
    assert (joined.joined, joined.call.result) == (True, '{"y": 1}')


async def test_an_end_that_was_not_delivered_outlives_its_process(settings: Settings) -> None:
    with stopped_after("settle", settings):
        pass
    async with open_journal(settings) as journal:
        joined = await journal.open_call(REQUEST)

    assert (joined.joined, joined.call.result) == (True, '{"y": 1}')


async def test_a_living_process_keeps_others_out_of_the_lane(settings: Settings) -> None:
    async with open_journal(settings) as journal:
        with stopped_after("enter", settings), anyio.move_on_after(0.3) as scope:
            async with journal.lane(ACCOUNT):
                raise AssertionError("two processes are in the lane")
        assert scope.cancelled_caught
        with anyio.fail_after(10):
            async with journal.lane(ACCOUNT):
                pass
