"""What is left of the operator's caps, told as the next signature will be held to them.

That takes a chain, which shows what a journal may not know (threats.md T6). Where it does not answer
in time, the journal's own figure is told, and that it is no more than that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final

import anyio
from anyio import to_thread

from og_mcp.client.llm.question import CHAT, COMPLETION
from og_mcp.client.payments.data_folders import other_folder
from og_mcp.client.payments.requirements import Requirements
from og_mcp.client.resources import ChainResources, Resources
from og_mcp.errors import JournalError, OGError, ServiceError, quote
from og_mcp.types import Account, Budget, FeeCaps, OPGCaps

ASK_S: Final = 6.0
"""Seconds that a chain has to show what was spent."""


@dataclass(frozen=True)
class Left:
    """One budget, as far as it is known."""

    budget: Budget | None = None
    note: str = ""
    """What of it could not be counted."""


class Budgets:
    """The budgets of one session's wallets.

    Args:
        resources: What the session opens.
    """

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    async def fees(self, chain: ChainResources) -> Left:
        """Tell of fees on a chain, wei of its coin."""
        what = "the network's chain"
        if chain is self._resources.base:
            what = "the payment chain's fees"

        async def seen() -> Budget:
            return await (await chain.sender.get()).budget()

        async def recorded() -> Budget:
            settings, journal = self._resources.settings, await self._resources.journal.get()
            caps = FeeCaps(per_call=settings.max_fee_per_call, per_day=settings.max_fee_per_day)
            return await journal.budget(await self._account(chain), caps)

        return await _left(what, seen, recorded)

    async def opg(self) -> Left:
        """Tell of payments in OPG, base units; what has settled meanwhile is looked up first."""
        resources = self._resources
        journal = await resources.journal.get()

        async def seen() -> Budget:
            tracker = await resources.settlements.get()
            await tracker.look()
            return await journal.opg_budget(tracker.account, await self._opg_limits())

        async def recorded() -> Budget:
            return await journal.opg_budget(await self._account(resources.base), resources.limits)

        left = await _left("the payment chain's OPG", seen, recorded)
        elsewhere = resources.elsewhere.opened
        notes = (
            left.note,
            elsewhere.note if elsewhere is not None else "",
            await self._other_folder(),
        )
        return replace(left, note="; ".join(filter(None, notes)))

    async def _other_folder(self) -> str:
        """Tell that the wallet was last paid from another data folder (threats.md T34)."""
        settings = self._resources.settings
        if settings.local:
            return ""
        address = await (await self._resources.base.wallet.get()).address()
        other = await to_thread.run_sync(other_folder, address, settings.data_dir)
        if not other:
            return ""
        return (
            f"this wallet was last paid from another data folder, {quote(other)}: each has a day's "
            "cap of its own; use one, by OG_DATA_DIR"
        )

    async def _opg_limits(self) -> OPGCaps:
        """Return the caps on OPG, with what the journal does not know of.

        Raises:
            ServiceError: Neither chain nor journal tell.
        """
        unrecorded = await (await self._resources.elsewhere.get()).amount()
        return replace(self._resources.limits, unrecorded=unrecorded)

    async def price(self) -> int:
        """Return the least that gateways asked to be covered, base units; 0 where none is known."""
        tracker, journal = (
            await self._resources.settlements.get(),
            await self._resources.journal.get(),
        )
        return await Requirements(journal, tracker.account.key).least((CHAT, COMPLETION))

    async def _account(self, chain: ChainResources) -> Account:
        """Name an account without asking its chain, which a local one cannot be named without.

        Raises:
            ServiceError: It is a local one.
        """
        network = await chain.network()
        if network.local:
            raise ServiceError("local chains are told apart by their first block")
        address = await (await chain.wallet.get()).address()
        return Account(network=network.name, chain_id=network.chain_id, address=address)


async def _left(
    what: str, seen: Callable[[], Awaitable[Budget]], recorded: Callable[[], Awaitable[Budget]]
) -> Left:
    """Tell a budget.

    Args:
        what: It concerns.
        seen: Asks chain and journal.
        recorded: Asks the journal alone.

    Raises:
        OGError: Something is wrong that other calls meet, too.
    """
    try:
        with anyio.fail_after(ASK_S):
            return Left(await seen())
    except TimeoutError:
        why = f"did not answer within {ASK_S:g} s"
    except JournalError:
        raise
    except ServiceError:
        why = "cannot be asked"
    try:
        return Left(await recorded(), f"{what}: as the journal has it alone; the chain {why}")
    except OGError:
        return Left(None, f"{what}: not known; the chain {why}")
