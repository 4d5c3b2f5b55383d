"""Published models: their tools get their arguments while the server runs, and clients are told."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final

import anyio
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.session import ServerSession
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ServerEvent,
    SubscriptionBus,
    ToolsListChanged,
)

from og_mcp.client import Session
from og_mcp.tools import ModelTool
from og_mcp.types import ModelGraph

CLIENTS: Final = 1000
"""Number of clients that are told without having asked; the oldest are forgotten."""

PATIENCE_S: Final = 2.0
"""Seconds to wait for a client that does not read its notification."""


class Changes(InMemorySubscriptionBus):
    """Tells clients that a tool has changed: those that listen, and those of older protocols.

    Before 2026-07-28 clients cannot subscribe: a server announces in `initialize` that it will send
    such notifications, and sends them to all. mcp does neither by itself.
    """

    def __init__(self) -> None:
        super().__init__()
        self._greeted: deque[ServerSession] = deque(maxlen=CLIENTS)

    async def greet(
        self, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        """Announce it to clients that initialize, and remember them; a middleware of mcp."""
        result = await call_next(ctx)
        if ctx.method == "initialize" and isinstance(result, dict):
            result["capabilities"]["tools"]["listChanged"] = True
        elif ctx.method == "notifications/initialized":
            self._greeted.append(ctx.session)
        return result

    async def publish(self, event: ServerEvent) -> None:
        """Notify the clients of a change."""
        await super().publish(event)
        if isinstance(event, ToolsListChanged):
            async with anyio.create_task_group() as group:
                for session in self._greeted:
                    group.start_soon(_tell, session)


async def _tell(session: ServerSession) -> None:
    # A client that does not read must not delay the others.
    with anyio.move_on_after(PATIENCE_S):
        await session.send_tool_list_changed()


async def learn(session: Session, models: Sequence[ModelTool], bus: SubscriptionBus) -> None:
    """Begin to read, in the background, which inputs the published models have.

    Args:
        session: Asks the hub, where that needs no network to be started.
        models: Those whose file was read before are left alone.
        bus: Where the clients that listen hear that a tool has changed.
    """
    by_cid: Mapping[str, list[ModelTool]] = {each.model.cid: [] for each in models}
    for each in models:
        if not each.from_file:
            by_cid[each.model.cid].append(each)

    async def told(cid: str, graph: ModelGraph) -> None:
        changed = [each.learn(graph) for each in by_cid[cid]]
        if any(changed):
            await bus.publish(ToolsListChanged())

    unknown = [cid for cid, waiting in by_cid.items() if waiting]
    if unknown:
        await session.learn(unknown, told)
