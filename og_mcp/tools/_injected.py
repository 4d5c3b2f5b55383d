"""Parameters that the server fills in; they are absent from a tool's input schema."""

from __future__ import annotations

from typing import Annotated, Any

from mcp.server.context import ServerRequestContext
from mcp.server.mcpserver import Context, Resolve

from og_mcp.client import Session
from og_mcp.types import HTTP_PRINCIPAL, LOCAL_PRINCIPAL

Call = Context[Session, Any]
"""Parameter type of a tool that reports progress."""


def session_of(call: Call) -> Session:
    """Return the session that the server answers through."""
    return call.request_context.lifespan_context


OG = Annotated[Session, Resolve(session_of)]
"""Parameter type of a tool that talks to the network."""


def principal_of(request: ServerRequestContext[Session, Any]) -> str:
    """Return whose calls a request may make, see and join (threats.md T21).

    A message that came over HTTP carries its HTTP request. Two signs must agree that this one came
    over stdio, so that a transport which loses the request is not taken for the owner.
    """
    over_stdio = request.lifespan_context.settings.transport == "stdio"
    return LOCAL_PRINCIPAL if over_stdio and request.request is None else HTTP_PRINCIPAL


def _principal(call: Call) -> str:
    return principal_of(call.request_context)


Principal = Annotated[str, Resolve(_principal)]
"""Parameter type of a tool whose calls belong to whoever makes them."""
