"""Who sits in front of an MCP client."""

from __future__ import annotations

from typing import Literal

import anyio
from mcp.client import ClientRequestContext
from mcp.types import ElicitRequestParams, ElicitResult

from og_mcp.tools._consent import READING_S


class Person:
    """Who is asked: as slow as one who reads, and always of the same mind."""

    def __init__(
        self,
        action: Literal["accept", "decline"] = "accept",
        *,
        agree: bool = True,
        after_s: float = 1.25 * READING_S,
    ) -> None:
        self.action, self.agree, self.after_s = action, agree, after_s
        self.heard: list[str] = []

    async def __call__(
        self, context: ClientRequestContext, params: ElicitRequestParams
    ) -> ElicitResult:
        assert context is not None
        self.heard.append(params.message)
        await anyio.sleep(self.after_s)
        content: dict[str, str | int | float | bool | list[str] | None] | None = (
            {"agree": self.agree} if self.action == "accept" else None
        )
        return ElicitResult(action=self.action, content=content)
