"""The resources: what a host can read without calling a tool."""

from __future__ import annotations

from mcp.server.mcpserver.exceptions import ResourceError
from mcp.server.mcpserver.resources import FunctionResource, Resource

from og_mcp.client import Session
from og_mcp.errors import OGError


def resources(session: Session) -> list[Resource]:
    """Give the resources that read from `session`."""

    async def network() -> str:
        try:
            info = await session.network_info()
        except OGError as exc:
            # As in the tools: only our own text leaves, mcp masks every other exception.
            raise ResourceError(str(exc)) from exc
        return info.model_dump_json()

    return [
        FunctionResource.from_function(
            network,
            uri="og://network",
            name="network",
            title="Network in use",
            description="Chain ids, endpoints and contract addresses; on local, sample models.",
            mime_type="application/json",
        )
    ]
