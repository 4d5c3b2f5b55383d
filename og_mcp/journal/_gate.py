"""Who may enter a lane: one task of one process at a time."""

from __future__ import annotations

from typing import Final

import anyio

from og_mcp.journal._database import Mutex

BURST_S: Final = 0.02
"""How long tasks of one process may hand a lane to each other while other processes wait: handing
it over between processes costs more than a turn in it."""


class Gate:
    """One lane's entrance in one process.

    Args:
        mutex: What keeps the other processes out.
    """

    def __init__(self, mutex: Mutex) -> None:
        self._mutex, self._turn = mutex, anyio.Lock(fast_acquire=True)
        self._taken: float | None = None
        """When this process took the mutex; `None` while it has not."""

    async def enter(self) -> None:
        """Wait for this process's turn, then for this task's; can be cancelled."""
        await self._turn.acquire()
        try:
            if self._taken is None:
                await self._mutex.acquire()
                self._taken = anyio.current_time()
        except BaseException:
            self._turn.release()
            raise

    async def leave(self, *, lost: bool = False) -> None:
        """Let the next one in: a task of this process, unless others have waited long enough.

        Args:
            lost: Whether the mutex may be lost: it is taken anew then.
        """
        try:
            taken = anyio.current_time() if self._taken is None else self._taken
            waiting = self._turn.statistics().tasks_waiting > 0
            if lost or not waiting or anyio.current_time() - taken > BURST_S:
                self._taken = None
                await self._mutex.release()
        finally:
            self._turn.release()
