"""Completions: what a host offers while somebody types an argument."""

from __future__ import annotations

from typing import Any, Final

from mcp.server import Server
from mcp.server.context import ServerRequestContext
from mcp.types import (
    CompleteRequestParams,
    CompleteResult,
    Completion,
    ResourceTemplateReference,
)

from og_mcp.client import Session
from og_mcp.errors import OGError
from og_mcp.server._resources import CALLS, RECEIPTS
from og_mcp.tools import principal_of

SEARCHED: Final = 1000
"""Calls looked through, the newest first."""

OFFERED: Final = 100
"""The most values that the protocol lets an answer hold."""


def add_completions(server: Server[Session]) -> None:
    """Complete `call_id` from the calls of whoever asks (threats.md T21).

    `MCPServer.completion` would not say who asks; this is what it does for itself.
    """

    async def complete(
        request: ServerRequestContext[Session, Any], params: CompleteRequestParams
    ) -> CompleteResult:
        known = isinstance(params.ref, ResourceTemplateReference) and params.ref.uri in {
            CALLS,
            RECEIPTS,
        }
        if not known or params.argument.name != "call_id":
            return _offer([])
        try:
            listed = await request.lifespan_context.list_calls(
                SEARCHED, principal=principal_of(request)
            )
        except OGError:
            # A suggestion that cannot be made is none; reading the resource says what is wrong.
            return _offer([])
        ids = (call.call_id for call in listed.calls)
        return _offer([each for each in ids if each.startswith(params.argument.value)])

    server.add_request_handler("completion/complete", CompleteRequestParams, complete)


def _offer(values: list[str]) -> CompleteResult:
    return CompleteResult(
        completion=Completion(
            values=values[:OFFERED], total=len(values), has_more=len(values) > OFFERED
        )
    )
