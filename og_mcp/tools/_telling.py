"""Where our errors become what a model reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from mcp.server.mcpserver.exceptions import ToolError

from og_mcp.errors import CallNotFoundError, IdempotencyKeyReusedError, OGError
from og_mcp.types import Stage

OF_ANOTHER_CALL: Final = (CallNotFoundError, IdempotencyKeyReusedError)
"""Errors that name a call, and are not its end."""

PUBLISHING: Final = frozenset({"create_model", "create_version", "upload"})
"""Tools that publish, and cost nothing."""


@contextmanager
def told(tool: str = "") -> Iterator[None]:
    """Let our own errors out in their words; mcp masks every other exception.

    Args:
        tool: Whose they are; a call that it journalled is told by stage and id, since a host may
            show a model nothing of an error but its text.
    """
    try:
        yield
    except OGError as exc:
        raise ToolError(f"{exc} {_fate(exc, tool)}".rstrip()) from exc


def _fate(error: OGError, tool: str) -> str:
    """Say whether money moved, and where to look; nothing where there is no call."""
    call_id, stage, said = error.call_id, error.stage, str(error)
    is_told = call_id in said and stage in said
    if not call_id or is_told or isinstance(error, OF_ANOTHER_CALL):
        return ""
    if stage is Stage.NOT_SENT:
        free = "The call ended" if "othing was paid" in said else "Nothing was paid; the call ended"
        return f"{free} at stage {stage} (call_id {call_id})."
    if stage is Stage.SENT_UNKNOWN:
        done = "published" if tool in PUBLISHING else "paid"
        return f"It may have been {done} (stage {stage}); get_call with call_id {call_id} tells."
    return f"It was charged (stage {stage}); get_call with call_id {call_id} tells what it cost."
