"""Signed maxima and what became of them, by the payment chain's own word."""

from __future__ import annotations

import logging
from typing import Final

import anyio
from anyio.abc import TaskGroup

from og_mcp.calls import Journal
from og_mcp.client.payments.opg import OPG
from og_mcp.errors import CallStateError, OGError
from og_mcp.types import Account

logger = logging.getLogger(__name__)

WATCH_S: Final = 20.0
"""Seconds between two looks while caps are open; gateways settle about 100 s after the last call."""


class Caps:
    """The open caps of one wallet.

    Args:
        journal: Where they are recorded.
        opg: What tells their end.
        account: Whose.
        tasks: The session's.
    """

    def __init__(self, journal: Journal, opg: OPG, account: Account, tasks: TaskGroup) -> None:
        self._journal, self._opg, self._tasks = journal, opg, tasks
        self.account = account
        self._looking = anyio.Lock()
        self._begun = self._done = self._open = 0
        """Looks are numbered: the last that began, the last that told, and what it told."""

        self._watching = False

    async def look(self) -> int:
        """Ask the chain about every open cap and record the ends it knows; one asks for all.

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
                self._open = await self._look()
                self._done = self._begun
            return self._open

    async def _look(self) -> int:
        caps = await self._journal.open_caps(self.account)
        fates = await self._opg.fates(caps) if caps else {}
        for cap_id, fate in fates.items():
            try:
                if fate.settled:
                    await self._journal.settle_cap(cap_id, fate.amount_opg, fate.transaction_hash)
                else:
                    await self._journal.void_cap(cap_id)
            except CallStateError as exc:
                # Another process was faster.
                logger.info("cap %s: %s", cap_id, exc)
        return len(caps) - len(fates)

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
