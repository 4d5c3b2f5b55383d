"""T46: who takes more than it told, or tells more than a request can cost, is paid no more."""

from __future__ import annotations

import json
import sys
from functools import partial

import pytest
from anyio import to_thread

from og_mcp.client import Session
from og_mcp.errors import InputError, OverchargedError
from og_mcp.types import Stage
from tests.books import Purse
from tests.cli.program import inside
from tests.cli.terminal import Terminal
from tests.client.payments.chats import chat, settled


async def refused(og: Session) -> OverchargedError:
    """Ask for what has to be signed for anew; the dry run is refused, too."""
    with pytest.raises(OverchargedError):
        await chat(og, "dry", principal="another", dry_run=True)
    with pytest.raises(OverchargedError) as caught:
        await chat(og, "again", principal="another")
    return caught.value


async def test_a_settlement_above_the_told_costs_ends_all_payments_to_its_recipient(
    purse: Purse,
) -> None:
    purse.localnet.spoil("cost_under_told")
    async with purse.session() as og:
        await chat(og, "first")
        purse.localnet.settle()
        await og.status()
        error = await refused(og)
        status = await og.status()
    done = await to_thread.run_sync(partial(inside, "doctor", "--json", environ=purse.environ))
    async with purse.session() as og:
        # The next process knows it, too.
        await refused(og)
        what = await og.trust(error.recipient)
        after = await chat(og, "trusted", principal="another")
        with pytest.raises(InputError, match="is not a recipient that overcharged"):
            await og.trust(error.recipient)

    [took] = settled(purse)
    assert error.stage is Stage.NOT_SENT
    assert f"it took {took / 10**18:f}"[:16] in str(error)
    assert f"og-mcp calls trust {error.recipient}" in str(error)
    [problem] = status.problems
    assert (status.ready, error.recipient.lower() in problem.what) == (False, True)
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert (rows["payments"]["held"], rows["payments"]["detail"]) == (False, problem.what)
    assert what in problem.what
    assert after.status == "done"


async def test_a_told_cost_above_the_catalogues_most_ends_all_payments_to_its_recipient(
    purse: Purse,
) -> None:
    purse.localnet.spoil("cost_over_told")
    async with purse.session() as og:
        # What was paid for is handed over.
        assert (await chat(og, "first")).status == "done"
        error = await refused(og)

    assert "which costs at most" in str(error)


@pytest.mark.parametrize("how", ["", "no_cost"], ids=["told as it is", "not told"])
async def test_costs_that_are_told_as_they_are_or_not_at_all_are_no_overcharge(
    purse: Purse, how: str
) -> None:
    if how:
        purse.localnet.spoil(how)
    async with purse.session() as og:
        await chat(og, "first")
        await chat(og, "second")
        purse.localnet.settle()
        await og.status()
        again = await chat(og, "third", principal="another")

    assert again.status == "done"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
async def test_t22_whom_to_trust_again_is_typed_at_a_terminal(purse: Purse) -> None:
    purse.localnet.spoil("cost_over_told")
    async with purse.session() as og:
        await chat(og, "first")
        address = (await refused(og)).recipient
    piped = await to_thread.run_sync(
        partial(inside, "calls", "trust", address, environ=purse.environ)
    )
    with Terminal("calls", "trust", address, environ=purse.environ) as terminal:
        terminal.read_until("Type the address again")
        terminal.type(address)
        terminal.read_until("It will be paid again")
    async with purse.session() as og:
        after = await chat(og, "trusted", principal="another")

    assert (piped.returncode, "needs a terminal" in piped.stderr) == (1, True)
    assert after.status == "done"
