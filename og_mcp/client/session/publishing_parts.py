"""The part of a session that publishes: opened with the first call that needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from og_mcp.client.session.loading import load
from og_mcp.client.session.part import Part
from og_mcp.client.session.parts import Parts

if TYPE_CHECKING:
    from og_mcp.client.hub.publishing import Publishing


class PublishingParts:
    """What writes to the hub.

    Args:
        parts: The rest of the session.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.publishing = Part(self._open_publishing)

    async def _open_publishing(self) -> Publishing:
        publishing: Publishing = (await load("hub.publishing")).Publishing(
            await self._parts.http.get(),
            await self._parts.network.get(),
            await self._parts.account.get(),
            await self._parts.hub.get(),
            upload_s=self._parts.timeouts.upload_s,
        )
        return publishing
