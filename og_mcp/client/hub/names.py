"""Names of models on the hub, offered while a person types one."""

from __future__ import annotations

import time
from typing import Final

import anyio

from og_mcp.client.hub.hub import Hub

KEPT_S: Final = 60.0
"""Seconds for which the names are kept: every letter that is typed asks for them."""

PATIENCE_S: Final = 3.0
"""Seconds to wait for the names."""


class ModelNames:
    """The names on the first page of the hub's list.

    Args:
        hub: Where they are listed.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._names: list[str] = []
        self._until = 0.0
        self._asking = anyio.Lock()

    async def get(self) -> list[str]:
        """Return the names, each once, in the hub's order; none where it does not answer soon.

        Raises:
            ServiceError: The hub cannot be used.
        """
        with anyio.move_on_after(PATIENCE_S):
            async with self._asking:
                if time.monotonic() > self._until:
                    self._names = await self._hub.names()
                    self._until = time.monotonic() + KEPT_S
        return self._names
