"""What the payer holds, read ahead: a signature does not wait for it where another question runs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from anyio import Lock
from anyio.abc import TaskGroup

from og_mcp.client.payments.opg import OPG, Holdings
from og_mcp.errors import OGError

logger = logging.getLogger(__name__)

FRESH_S: Final = 60.0
"""Seconds for which balance and allowance are taken for what was read."""


class Funds:
    """Balance and allowance of one wallet.

    Args:
        opg: Reads them.
        address: Whose.
        tasks: Where they are read ahead.
        clock: Seconds, ever growing.
    """

    def __init__(
        self,
        opg: OPG,
        address: str,
        tasks: TaskGroup,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._opg, self._address, self._tasks, self._clock = opg, address, tasks, clock
        self._lock = Lock()
        self._read: tuple[float, float, Holdings] | None = None
        """When by the clock that grows, when by this machine's, and what was read."""

        self._reading_ahead = False
        self._changes = 0

    def prefetch(self) -> None:
        """Begin to read in the background, unless what was read is fresh; a failure shows later."""
        if not self._reading_ahead and self._fresh() is None:
            self._reading_ahead = True
            self._tasks.start_soon(self._read_ahead)

    async def holdings(self, *, anew: bool = False) -> Holdings:
        """Return what the wallet holds.

        Args:
            anew: Read it, whatever is known.

        Raises:
            WrongChainError: The RPC serves another chain.
            ServiceError: No usable answer.
        """
        async with self._lock:
            found = None if anew else self._fresh()
            if found is None:
                started, wall, changes = self._clock(), time.time(), self._changes
                found = await self._opg.holdings(self._address)
                # What was asked for before a change tells nothing of the time after it.
                self._read = (started, wall, found) if self._changes == changes else None
            return found

    def forget(self) -> None:
        """Have it read anew: something was sent that changes it."""
        self._read = None
        self._changes += 1

    def _fresh(self) -> Holdings | None:
        if self._read is None:
            return None
        started, wall, held = self._read
        # A clock that was set meanwhile is held against the chain's anew.
        age_s = max(self._clock() - started, abs(time.time() - wall))
        return None if age_s > FRESH_S else held

    async def _read_ahead(self) -> None:
        try:
            await self.holdings()
        except OGError as exc:
            logger.info("balance and allowance were not read ahead: %s", exc)
        finally:
            self._reading_ahead = False
