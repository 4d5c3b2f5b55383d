"""Published models at the server: their tools take shape while it runs, and clients are told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mcp.server.subscriptions import SubscriptionBus, ToolsListChanged

from og_mcp.client import Session
from og_mcp.tools import ModelTool
from og_mcp.types import ModelGraph


async def learn(session: Session, models: Sequence[ModelTool], bus: SubscriptionBus) -> None:
    """Begin to find out, in the background, what the published models take.

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
