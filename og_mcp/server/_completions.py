"""Completions: what a host offers while somebody types an argument."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from mcp.server import Server
from mcp.server.context import ServerRequestContext
from mcp.types import (
    CompleteRequestParams,
    CompleteResult,
    Completion,
    PromptReference,
    ResourceTemplateReference,
)

from og_mcp.client import Session
from og_mcp.errors import OGError
from og_mcp.server._prompts import CHECK_ANSWER, PUBLISH_MODEL, RUN_MODEL
from og_mcp.server._resources import CALLS, RECEIPTS
from og_mcp.tools import principal_of

SEARCHED: Final = 1000
"""Calls looked through, the newest first."""

OFFERED: Final = 100
"""The most values that the protocol lets an answer hold."""

Request = ServerRequestContext[Session, Any]
Source = Callable[[Request], Awaitable[list[str]]]
"""Lists what an argument may be, for whoever asks (threats.md T21)."""


async def _call_ids(request: Request) -> list[str]:
    session, principal = request.lifespan_context, principal_of(request)
    return [
        call.call_id for call in (await session.list_calls(SEARCHED, principal=principal)).calls
    ]


async def _model_names(request: Request) -> list[str]:
    return await request.lifespan_context.model_names()


SOURCES: Final[Mapping[tuple[str, str], Source]] = {
    (CALLS, "call_id"): _call_ids,
    (RECEIPTS, "call_id"): _call_ids,
    (CHECK_ANSWER, "call_id"): _call_ids,
    (RUN_MODEL, "model_name"): _model_names,
    (PUBLISH_MODEL, "model_name"): _model_names,
}
"""Template or prompt, and its argument -> where the values come from."""


def add_completions(server: Server[Session]) -> None:
    """Complete arguments of prompts and of resource templates.

    `MCPServer.completion` would not say who asks; this is what it does for itself.
    """

    async def complete(request: Request, params: CompleteRequestParams) -> CompleteResult:
        source = SOURCES.get((_name(params.ref), params.argument.name))
        if source is None:
            return _offer([])
        try:
            values = await source(request)
        except OGError:
            # A suggestion that cannot be made is none; the call itself says what is wrong.
            return _offer([])
        typed = params.argument.value
        return _offer([value for value in values if value.startswith(typed)])

    server.add_request_handler("completion/complete", CompleteRequestParams, complete)


def _name(reference: PromptReference | ResourceTemplateReference) -> str:
    return reference.name if isinstance(reference, PromptReference) else reference.uri


def _offer(values: list[str]) -> CompleteResult:
    return CompleteResult(
        completion=Completion(
            values=values[:OFFERED], total=len(values), has_more=len(values) > OFFERED
        )
    )
