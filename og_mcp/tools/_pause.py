"""The state of a call while it waits for a person's answer.

A client of protocol 2026-07-28 gets the question as a result and calls again with the answer; what
it brings back was sealed by mcp, so that it can neither be read nor changed. mcp's resolvers keep
their own progress in there. What is kept here goes beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext

from og_mcp.types import Approval

_KEY: Final = "og-mcp/pause"
"""Name under which a request's `_meta` holds its pause; a client's own value is overwritten."""


@dataclass
class Pause:
    """One question, from being asked to being answered."""

    call_id: str = ""
    """The journalled call that needs an answer; empty while there is nothing to ask."""

    asked_at: float = 0.0
    """When the question was sent, Unix seconds; 0 before that."""

    shown: Approval | None = None
    """What the question says; each request reads it anew."""

    is_asking: bool = False
    """Whether this request waits for the answer, or reads it."""

    is_given_up: bool = False
    """Whether the answer could not be read; nobody is asked again then."""


def pause_of(request: ServerRequestContext[Any, Any]) -> Pause | None:
    """Return the pause of a tool call; `None` where the server runs without `keep_pauses`."""
    meta: Mapping[str, Any] = request.meta or {}
    pause = meta.get(_KEY)
    return pause if isinstance(pause, Pause) else None


async def keep_pauses(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """Give each tool call its pause; a middleware of mcp, which runs inside mcp's seal."""
    if ctx.method != "tools/call":
        return await call_next(ctx)
    pause, params = _taken_up(ctx.params or {})
    # A mutable object among JSON: the request's own bag is the one place resolvers can reach too.
    meta: Any = {**(ctx.meta or {}), _KEY: pause}
    result = await call_next(replace(ctx, params=params, meta=meta))
    if isinstance(result, dict) and result.get("resultType") == "input_required":
        kept = {"call_id": pause.call_id, "asked_at": pause.asked_at}
        state = {"pause": kept, "mcp": result.get("requestState")}
        return {**result, "requestState": json.dumps(state)}
    return result


def _taken_up(params: Mapping[str, Any]) -> tuple[Pause, dict[str, Any]]:
    """Split what was sealed into our part and the params with mcp's own."""
    rest = {name: value for name, value in params.items() if name != "requestState"}
    if params.get("requestState") is None:
        return Pause(), rest
    # Only this middleware writes what mcp has sealed.
    state = json.loads(params["requestState"])
    return Pause(**state["pause"]), {**rest, "requestState": state["mcp"]}
