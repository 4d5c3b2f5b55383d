"""The resources: what a host can read without calling a tool."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError
from mcp.server.mcpserver.resources import FunctionResource, Resource

from og_mcp.client import Session
from og_mcp.errors import CallNotFoundError, OGError
from og_mcp.tools import principal_of

CALLS: Final = "og://calls/{call_id}"
RECEIPTS: Final = "og://receipts/{call_id}"

_JSON: Final = "application/json"

Read = Context[Session, Any]
"""Parameter type of a resource that answers each principal its own."""


@contextmanager
def _told() -> Iterator[None]:
    """As in the tools: only our own text leaves, mcp masks every other exception."""
    try:
        yield
    except CallNotFoundError as exc:
        raise ResourceNotFoundError(str(exc)) from exc
    except OGError as exc:
        raise ResourceError(str(exc)) from exc


def resources(session: Session) -> list[Resource]:
    """Give the resources that are the same for everyone."""

    async def network() -> str:
        with _told():
            return (await session.network_info()).model_dump_json()

    return [
        FunctionResource.from_function(
            network,
            uri="og://network",
            name="network",
            title="Network in use",
            description="Chain ids, endpoints and contract addresses; on local, sample models.",
            mime_type=_JSON,
        )
    ]


def add_call_resources(server: MCPServer[Session]) -> None:
    """Add the calls and receipts of whoever asks (threats.md T21)."""

    @server.resource(
        CALLS,
        name="call",
        title="Call",
        description="Status, stage, result and error of one call, as get_call tells them.",
        mime_type=_JSON,
    )
    async def call(call_id: str, read: Read) -> str:
        request = read.request_context
        with _told():
            info = await request.lifespan_context.get_call(
                call_id, 0.0, principal=principal_of(request)
            )
        return info.model_dump_json()

    @server.resource(
        RECEIPTS,
        name="receipt",
        title="Receipt",
        description="What a call leaves as proof; verify_receipt and og-mcp verify check it.",
        mime_type=_JSON,
    )
    async def receipt(call_id: str, read: Read) -> str:
        request = read.request_context
        with _told():
            document = await request.lifespan_context.receipt(
                call_id, principal=principal_of(request)
            )
        return json.dumps(document, ensure_ascii=False)
