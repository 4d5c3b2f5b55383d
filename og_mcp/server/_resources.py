"""The resources: what a host can read without calling a tool."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any, Final

from mcp.server import MCPServer
from mcp.server.lowlevel.helper_types import ReadResourceContents
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError
from mcp.server.mcpserver.resources import FunctionResource, Resource

from og_mcp.client import Session
from og_mcp.client.files.kind import kind_of
from og_mcp.errors import NotFoundError, OGError, quote
from og_mcp.tools import principal_of

CALLS: Final = "og://calls/{call_id}"
RECEIPTS: Final = "og://receipts/{call_id}"
IMAGES: Final = "og://images/{sha256}"
OUTPUTS: Final = "og://outputs/{sha256}"
MODEL: Final = "og://models/{+model}"
"""The name alone, or provider/name."""

_JSON: Final = "application/json"

Read = Context[Session, Any]
"""Parameter type of a resource whose content belongs to the principal who asks."""


@contextmanager
def _as_resource_error() -> Iterator[None]:
    """Pass our own errors on with their text; mcp masks every other exception."""
    try:
        yield
    except NotFoundError as exc:
        raise ResourceNotFoundError(str(exc)) from exc
    except OGError as exc:
        raise ResourceError(str(exc)) from exc


def typed(contents: Iterable[ReadResourceContents]) -> list[ReadResourceContents]:
    """Give each image its own media type: mcp has one type for all resources of a template."""
    return [
        replace(each, mime_type=kind.mime_type)
        if isinstance(each.content, bytes) and (kind := kind_of(each.content[:12]))
        else each
        for each in contents
    ]


def resources(session: Session) -> list[Resource]:
    """Return the resources that are the same for everyone."""

    async def network() -> str:
        with _as_resource_error():
            return (await session.network_info()).shown_json()

    async def models() -> str:
        found = [entry.facts() for entry in session.models(retired=True)]
        told = {"network": session.settings.network_name, "models": found}
        # Prices are decimal text, as amounts are everywhere; dates are ISO 8601.
        return json.dumps(told, default=str)

    return [
        FunctionResource.from_function(
            models,
            uri="og://models",
            name="models",
            title="Language and image models",
            description="Each with its kind, prices in USD and abilities, where they are known.",
            mime_type=_JSON,
        ),
        FunctionResource.from_function(
            network,
            uri="og://network",
            name="network",
            title="Network in use",
            description="Chain ids, endpoints and contract addresses; on local, sample models.",
            mime_type=_JSON,
        ),
    ]


@cache
def templates() -> MCPServer[Session]:
    """Return what holds the resources with a variable in their address.

    It is built once in a process, and asked by every server: schemas take milliseconds. The
    request that it is given tells the session and the principal.
    """
    server: MCPServer[Session] = MCPServer("templates")
    _add_model_resource(server)
    _add_call_resources(server)
    return server


def _add_model_resource(server: MCPServer[Session]) -> None:
    """Add the models of the network one by one."""

    @server.resource(
        MODEL,
        name="model",
        title="Language or image model",
        description="One model of og://models, by provider/name, bare name or enum member.",
        mime_type=_JSON,
    )
    async def model(model: str, read: Read) -> str:
        session = read.request_context.lifespan_context
        for entry in session.models(retired=True):
            if entry.is_named(model):
                return json.dumps(entry.facts(), default=str)
        raise ResourceNotFoundError(f"There is no model {quote(model)}; og://models lists all.")


def _add_call_resources(server: MCPServer[Session]) -> None:
    """Add the calls, receipts and images of the principal who asks (threats.md T21)."""

    @server.resource(
        CALLS,
        name="call",
        title="Call",
        description="Status, stage, result and error of one call, as get_call tells them.",
        mime_type=_JSON,
    )
    async def call(call_id: str, read: Read) -> str:
        request = read.request_context
        with _as_resource_error():
            info = await request.lifespan_context.get_call(
                call_id, 0.0, principal=principal_of(request)
            )
        return info.shown_json()

    @server.resource(
        RECEIPTS,
        name="receipt",
        title="Receipt",
        description="What a call leaves as proof; verify_receipt and og-mcp verify check it.",
        mime_type=_JSON,
    )
    async def receipt(call_id: str, read: Read) -> str:
        request = read.request_context
        with _as_resource_error():
            document = await request.lifespan_context.receipt(
                call_id, principal=principal_of(request)
            )
        return json.dumps(document, ensure_ascii=False)

    @server.resource(
        IMAGES,
        name="image",
        title="Image",
        description="An image that generate_image made, whole; named by the SHA-256 of its bytes.",
        mime_type="application/octet-stream",
    )
    async def image(sha256: str, read: Read) -> bytes:
        request = read.request_context
        with _as_resource_error():
            kept = await request.lifespan_context.image(sha256, principal=principal_of(request))
        return kept.data

    @server.resource(
        OUTPUTS,
        name="output",
        title="Output",
        description="A large output of infer, whole: .npy, or JSON; named by its SHA-256.",
        mime_type="application/octet-stream",
    )
    async def output(sha256: str, read: Read) -> bytes:
        request = read.request_context
        with _as_resource_error():
            return await request.lifespan_context.output(sha256, principal=principal_of(request))
