"""Something that is opened once, by whoever needs it first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from anyio import Lock

T = TypeVar("T")


class Lazy(Generic[T]):
    """Opened once, by whoever needs it first; a failure is tried again."""

    def __init__(self, opening: Callable[[], Awaitable[T]]) -> None:
        self._opening = opening
        self._lock = Lock()
        self.opened: T | None = None
        """What was opened; `None` before that."""

    async def get(self) -> T:
        """Return it, opened."""
        if self.opened is not None:
            # Every call asks for a dozen of these, and the lock would let others run each time.
            return self.opened
        async with self._lock:
            if self.opened is None:
                self.opened = await self._opening()
            return self.opened
