"""Where our errors become what a model reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import CallToolResult, TextContent

from og_mcp.errors import (
    NOT_CHARGED,
    UNPAID,
    CallNotFoundError,
    IdempotencyKeyReusedError,
    InputError,
    NotFoundError,
    OGError,
)
from og_mcp.types import PUBLISHING_TOOLS, Stage

OF_ANOTHER_CALL: Final = (CallNotFoundError, IdempotencyKeyReusedError)
"""Errors that name a call without being its end."""

OF_THE_CALLER: Final = (InputError, NotFoundError)
"""Errors in the arguments, found before anything is sent."""


@contextmanager
def as_tool_error(tool: str = "", *, may_cost: bool = False) -> Iterator[None]:
    """Pass our own errors on with their text; mcp masks every other exception.

    Args:
        tool: Whose they are; a call that it journalled is told by stage and id, since a host may
            show a model nothing of an error but its text.
        may_cost: Whether it can cost or publish something; a refusal says that it did not.
    """
    try:
        yield
    except OGError as exc:
        raise ToolError(f"{exc} {_outcome(exc, tool, may_cost=may_cost)}".rstrip()) from exc


def failure(error: ToolError) -> CallToolResult:
    """Turn an error into a result: its text, and the fields that programs need."""
    raised = raised_in(error)
    facts = {
        "retryable": raised is not None and raised.may_retry,
        "stage": (raised.stage if raised else Stage.NOT_SENT).value,
        "call_id": raised.call_id if raised else "",
    }
    text = TextContent(type="text", text=str(error))
    return CallToolResult(is_error=True, content=[text], structured_content=facts)


def raised_in(error: BaseException) -> OGError | None:
    """Find our own error among the causes of an exception; `None` where there is none."""
    cause = error.__cause__
    while cause is not None and not isinstance(cause, OGError):
        cause = cause.__cause__
    return cause


def _outcome(error: OGError, tool: str, *, may_cost: bool) -> str:
    """Return whether money moved and where to look, unless the error says so itself."""
    call_id, stage, said = error.call_id, error.stage, str(error)
    is_free = any(words in said for words in ("othing was sent", "othing was paid"))
    if not call_id:
        is_refusal = may_cost and stage is Stage.NOT_SENT and isinstance(error, OF_THE_CALLER)
        return UNPAID if is_refusal and not is_free else ""
    if (call_id in said and stage in said) or isinstance(error, OF_ANOTHER_CALL):
        return ""
    if stage is Stage.NOT_SENT:
        free = "The call ended" if is_free else "Nothing was paid; the call ended"
        return f"{free} at stage {stage} (call_id {call_id})."
    if stage is Stage.SENT_UNKNOWN and NOT_CHARGED in said:
        return f"get_call with call_id {call_id} tells what it did charge (stage {stage})."
    if stage is Stage.SENT_UNKNOWN:
        done = "published" if tool in PUBLISHING_TOOLS else "paid"
        return f"It may have been {done} (stage {stage}); get_call with call_id {call_id} tells."
    return f"It was charged (stage {stage}); get_call with call_id {call_id} tells what it cost."
