"""Signed maxima and what became of them; what may be a lie frees none (money.md section 2)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

import anyio
from anyio.abc import TaskGroup
from pydantic_core import from_json, to_json

from og_mcp.calls import Journal
from og_mcp.client.payments.clock import Clock
from og_mcp.client.payments.opg import OPG
from og_mcp.client.payments.overcharges import Overcharges
from og_mcp.client.payments.settlements import Look, Settlement, SettlementReader
from og_mcp.errors import CallStateError, OGError, ServiceError
from og_mcp.types import Account, Cap

logger = logging.getLogger(__name__)

WATCH_S: Final = 20.0
"""Seconds between two looks while caps are open; gateways settle 60 to 100 s after the last call."""

OWN_S: Final = 600.0
"""Seconds from a deadline, by this machine's clock, after which it is taken for passed; and between
the two looks that find a maximum void."""


class SettlementTracker:
    """The open caps of one wallet.

    Args:
        journal: Where they are recorded.
        opg: What tells their end.
        others: Further RPCs of the payment chain; one of them has to agree to what nothing proves.
        account: Whose.
        tasks: The session's.
        clock: This machine's.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the parts it drives
        self,
        journal: Journal,
        opg: OPG,
        others: Sequence[SettlementReader],
        account: Account,
        tasks: TaskGroup,
        clock: Clock,
    ) -> None:
        self._journal, self._opg, self._others = journal, opg, others
        self._tasks, self._clock = tasks, clock
        self.account = account
        self.overcharges = Overcharges(journal, account)
        self._looking = anyio.Lock()
        self._begun = self._done = self._open = 0
        """Looks are numbered: the last that began, the last that told, and what it told."""

        self._watching = False

    async def look(self, *, releases: bool = True) -> int:
        """Ask the chain about every open cap and record the ends that are certain.

        Args:
            releases: Whether to ask another RPC about what nothing proves; not while a call waits.

        Returns:
            How many caps are still open.

        Raises:
            ServiceError: The chain or the journal cannot be used.
        """
        before = self._begun
        async with self._looking:
            # One that began since this was asked for tells as much as another would.
            if self._done <= before:
                self._begun += 1
                self._open = await self._look(releases=releases)
                self._done = self._begun
            return self._open

    async def _look(self, *, releases: bool) -> int:
        await self._reopen()
        caps = await self._journal.open_caps(self.account)
        if not caps:
            return 0
        look = await self._opg.settlements.look(caps)
        open_ = len(caps)
        for cap in caps:
            if cap.id in look.proven:
                open_ -= await self._settle(cap, look.proven[cap.id])
        doubtful = [cap for cap in caps if cap.id not in look.proven]
        if releases and doubtful:
            open_ -= await self._release(doubtful, look)
        return open_

    async def _reopen(self) -> None:
        """Open again whose settlement is gone from the chain before its deadline."""
        now = int(self._clock.now().wall)
        settled = await self._journal.reversible_caps(self.account, now)
        for cap in await self._opg.settlements.unspent(settled) if settled else ():
            logger.warning("the settlement of payment %s is gone from the chain", cap.id)
            await self._journal.reopen_cap(cap.id)

    async def _release(self, caps: Sequence[Cap], look: Look) -> int:
        """End what nothing proves, where another RPC agrees or its deadline is long past."""
        passed = await self._passed_twice([cap for cap in caps if self._has_passed(cap, look)])
        wanted = [cap for cap in caps if cap in passed or cap.id in look.claimed]
        looks = [look, *await self._other_looks(wanted)] if wanted else []
        if len(looks) == 1 and self._others:
            # All of them are silent: that is no consent.
            return 0
        ended = 0
        for cap in wanted:
            claims = [one.claimed.get(cap.id) for one in looks]
            mine = claims[0]
            if mine is not None and mine.is_deep and claims.count(mine) > 1:
                ended += await self._settle(cap, mine)
            elif cap in passed and all(one.has_passed(cap) for one in looks):
                ended += await self._end_late(cap, [one for one in claims if one is not None])
        return ended

    async def _end_late(self, cap: Cap, claims: Sequence[Settlement]) -> int:
        """End one that nobody can take any more: what was told or claimed of it counts."""
        told, _ = await self._journal.told_costs(cap.id)
        largest = max(claims, key=lambda one: one.amount_opg, default=Settlement(0))
        if largest.transaction_hash:
            amount = min(max(largest.amount_opg, told), cap.max_opg)
            return await self._settle(cap, Settlement(amount, largest.transaction_hash))
        try:
            await self._journal.void_cap(cap.id, min(told, cap.max_opg))
        except CallStateError as exc:
            logger.info("cap %s: %s", cap.id, exc)
        return 1

    def _has_passed(self, cap: Cap, look: Look) -> bool:
        return self._clock.now().wall > cap.deadline + OWN_S and look.has_passed(cap)

    async def _passed_twice(self, caps: Sequence[Cap]) -> list[Cap]:
        """Choose those that an earlier look, long enough ago, has found past their deadline, too."""
        if not caps:
            return []
        name, now = f"passed {self.account.key}", self._clock.now().wall
        found = _read(await self._journal.recall(name))
        firsts = {cap.id: min(found.get(cap.id, now), now) for cap in caps}
        if firsts != found:
            await self._journal.remember(name, to_json(firsts).decode())
        return [cap for cap in caps if now - firsts[cap.id] >= OWN_S]

    async def _other_looks(self, caps: Sequence[Cap]) -> list[Look]:
        """Ask one further RPC; the next where it is silent."""
        for other in self._others:
            try:
                return [await other.look(caps)]
            except ServiceError as exc:
                logger.info("open payments were not looked up elsewhere: %s", exc)
        return []

    async def _settle(self, cap: Cap, settlement: Settlement) -> int:
        # First: a process that ends in between must not forget it.
        await self.overcharges.check(cap, settlement.amount_opg)
        try:
            await self._journal.settle_cap(
                cap.id, settlement.amount_opg, settlement.transaction_hash
            )
        except CallStateError as exc:
            # Another process has recorded it already.
            logger.info("cap %s: %s", cap.id, exc)
        return 1

    def watch(self) -> None:
        """Look again and again, in the background, until no cap is open."""
        if not self._watching:
            self._watching = True
            self._tasks.start_soon(self._watch)

    async def _watch(self) -> None:
        try:
            open_ = 1
            while open_:
                await anyio.sleep(WATCH_S)
                try:
                    open_ = await self.look()
                except OGError as exc:
                    logger.info("open payments were not looked up: %s", exc)
        finally:
            self._watching = False


def _read(document: str) -> dict[str, float]:
    """Read when looks have found deadlines passed; what cannot be read was never found."""
    try:
        found = from_json(document) if document else {}
        return {str(cap_id): float(at) for cap_id, at in found.items()}
    except (ValueError, TypeError, AttributeError):
        return {}
