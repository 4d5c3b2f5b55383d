"""Where our errors become what a model reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mcp.server.mcpserver.exceptions import ToolError

from og_mcp.errors import OGError


@contextmanager
def told() -> Iterator[None]:
    """Let our own errors out in their words; mcp masks every other exception."""
    try:
        yield
    except OGError as exc:
        raise ToolError(str(exc)) from exc
