"""Completions: the values that a host offers while a person types an argument."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from mcp.server import Server
from mcp.server.context import ServerRequestContext
from mcp.types import CompleteRequestParams, CompleteResult, Completion

from og_mcp.client import Session
from og_mcp.errors import OGError
from og_mcp.tools import principal_of

SEARCHED: Final = 1000
"""Number of calls that are searched, the newest first."""

OFFERED: Final = 100
"""Maximum number of values in an answer, by the protocol."""

Request = ServerRequestContext[Session, Any]
Source = Callable[[Request], Awaitable[list[str]]]
"""Lists the values that an argument may have, for one principal (threats.md T21)."""


async def _call_ids(request: Request) -> list[str]:
    session, principal = request.lifespan_context, principal_of(request)
    return [
        call.call_id for call in (await session.list_calls(SEARCHED, principal=principal)).calls
    ]


async def _model_names(request: Request) -> list[str]:
    return await request.lifespan_context.model_names()


async def _models(request: Request) -> list[str]:
    models = request.lifespan_context.models()
    return [*(entry.id for entry in models), *(entry.name for entry in models)]


SOURCES: Final[Mapping[str, Source]] = {
    "call_id": _call_ids,
    "model": _models,
    "model_name": _model_names,
}
"""Argument -> the source of its values, the same in every prompt and template."""


def add_completions(server: Server[Session]) -> None:
    """Complete arguments of prompts and of resource templates.

    `MCPServer.completion` would not say who asks; this is what it does for itself.
    """

    async def complete(request: Request, params: CompleteRequestParams) -> CompleteResult:
        source = SOURCES.get(params.argument.name)
        if source is None:
            return _offer([])
        try:
            values = await source(request)
        except OGError:
            # Suggest nothing then; the call itself says what is wrong.
            return _offer([])
        typed = params.argument.value.casefold()
        return _offer([value for value in values if value.casefold().startswith(typed)])

    server.add_request_handler("completion/complete", CompleteRequestParams, complete)


def _offer(values: list[str]) -> CompleteResult:
    return CompleteResult(
        completion=Completion(
            values=values[:OFFERED], total=len(values), has_more=len(values) > OFFERED
        )
    )
