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

from og_mcp.client.session.loading import load
from og_mcp.client.session.parts import Parts
from og_mcp.client.session.payment_parts import PaymentParts
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
        parts: What a session consists of.
        paying: Its part that pays gateways.
    """

    def __init__(self, parts: Parts, paying: PaymentParts) -> None:
        self._parts, self._paying = parts, paying

    async def fees(self) -> Left:
        """Tell of fees on the network's own chain, wei."""
        network = await self._parts.network.get()

        async def seen() -> Budget:
            return await (await self._parts.sender.get()).budget()

        async def recorded() -> Budget:
            address = await (await self._parts.wallet.get()).address()
            return await self._fees_recorded(await self._account(network.chain_id, address))

        return await _left("the network's chain", seen, recorded)

    async def base_fees(self) -> Left:
        """Tell of fees on the payment chain, wei of its coin."""
        network = await self._parts.network.get()

        async def seen() -> Budget:
            return await (await self._paying.sender.get()).budget()

        async def recorded() -> Budget:
            address = await (await self._paying.wallet.get()).address()
            return await self._fees_recorded(await self._account(network.base_chain_id, address))

        return await _left("the payment chain's fees", seen, recorded)

    async def opg(self) -> Left:
        """Tell of payments in OPG, base units; what has settled meanwhile is looked up first."""
        network = await self._parts.network.get()
        journal = await self._parts.journal.get()

        async def seen() -> Budget:
            caps = await self._paying.caps.get()
            await caps.look()
            return await journal.opg_budget(caps.account, await self.opg_limits())

        async def recorded() -> Budget:
            address = await (await self._paying.wallet.get()).address()
            account = await self._account(network.base_chain_id, address)
            return await journal.opg_budget(account, self._paying.limits)

        left = await _left("the payment chain's OPG", seen, recorded)
        elsewhere = self._paying.elsewhere.opened
        notes = (
            left.note,
            elsewhere.note if elsewhere is not None else "",
            await self._other_folder(),
        )
        return replace(left, note="; ".join(filter(None, notes)))

    async def _other_folder(self) -> str:
        """Tell that the wallet was last paid from another data folder (threats.md T34)."""
        settings = self._parts.settings
        if settings.local:
            return ""
        address = await (await self._paying.wallet.get()).address()
        other_folder = (await load("payments.data_folders")).other_folder
        other = await to_thread.run_sync(other_folder, address, settings.data_dir)
        if not other:
            return ""
        return (
            f"this wallet was last paid from another data folder, {quote(other)}: each has a day's "
            "cap of its own; use one, by OG_DATA_DIR"
        )

    async def opg_limits(self) -> OPGCaps:
        """Return the caps on OPG, with what the journal does not know of.

        Raises:
            ServiceError: Neither chain nor journal tell.
        """
        unrecorded = await (await self._paying.elsewhere.get()).amount()
        return replace(self._paying.limits, unrecorded=unrecorded)

    async def price(self) -> int:
        """Return the least that gateways asked to be covered, base units; 0 where none is known."""
        caps, journal = await self._paying.caps.get(), await self._parts.journal.get()
        known = (await load("payments.requirements")).Requirements(journal, caps.account.key)
        question = await load("llm.question")
        least: int = await known.least((question.CHAT, question.COMPLETION))
        return least

    async def _fees_recorded(self, account: Account) -> Budget:
        settings = self._parts.settings
        caps = FeeCaps(per_call=settings.max_fee_per_call, per_day=settings.max_fee_per_day)
        return await (await self._parts.journal.get()).budget(account, caps)

    async def _account(self, chain_id: int, address: str) -> Account:
        """Name an account without its chain, which a local one cannot be named without.

        Raises:
            ServiceError: It is a local one.
        """
        network = await self._parts.network.get()
        if network.local:
            raise ServiceError("local chains are told apart by their first block")
        return Account(network=network.name, chain_id=chain_id, address=address)


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
