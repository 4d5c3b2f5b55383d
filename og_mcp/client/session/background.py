"""What a session does of itself, beside the calls; whatever becomes of it, the calls go on."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Final

import anyio

from og_mcp.errors import OGError
from og_mcp.types import ModelGraph

if TYPE_CHECKING:
    from og_mcp.client.session.parts import Parts

Told = Callable[[str, ModelGraph], Awaitable[None]]
"""Hears what a model takes."""

logger = logging.getLogger(__name__)

LOOK_BACK_AFTER_S: Final = 2.0


async def look_back(parts: Parts) -> None:
    """Begin to settle what an earlier process left, unless it cannot have left anything."""
    if not parts.has_past:
        return

    async def look() -> None:
        # The host's first questions are answered before anything heavy is imported.
        await anyio.sleep(LOOK_BACK_AFTER_S)
        if await (await parts.journal.get()).unfinished():
            await parts.reconciled.get()

    (await parts.tasks.get()).start_soon(quietly, look)


async def learn(parts: Parts, cids: Iterable[str], told: Told) -> None:
    """Begin to find out what models take; starts no network for it.

    Args:
        parts: What a session consists of.
        cids: Of published models.
        told: Hears each answer.
    """
    network = parts.settings.network
    served = network is None or network.hub_file_url != ""
    if not (served and parts.has_network):
        return

    async def ask() -> None:
        graphs = await parts.graphs.get()
        for cid in tuple(cids):
            graph = await graphs.find(cid, from_file=True)
            if graph is not None:
                await told(cid, graph)

    (await parts.tasks.get()).start_soon(quietly, ask, "published models")


async def quietly(work: Callable[[], Awaitable[None]], what: str = "interrupted calls") -> None:
    """Look something up; what fails is logged.

    Args:
        work: Looks it up.
        what: What it looks up, for the log.
    """
    try:
        await work()
    except OGError as exc:
        logger.warning("%s were not looked up: %s", what, exc)
    except Exception:
        # The top of a background task: a mistake of ours here must not end the task group.
        logger.exception("%s were not looked up", what)
