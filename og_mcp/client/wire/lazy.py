"""Resources that are opened once, when first needed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from anyio import Lock

T = TypeVar("T")


class Lazy(Generic[T]):
    """Opens something once, when it is first needed; after a failure the next caller tries again."""

    def __init__(self, opening: Callable[[], Awaitable[T]]) -> None:
        self._opening = opening
        self._lock = Lock()
        self.opened: T | None = None
        """The open resource; `None` before that."""

    async def get(self) -> T:
        """Return it, open."""
        if self.opened is not None:
            # Every call asks for a dozen of these, and the lock would let others run each time.
            return self.opened
        async with self._lock:
            if self.opened is None:
                self.opened = await self._opening()
            return self.opened
