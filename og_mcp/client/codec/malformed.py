"""The error for a malformed output (protocol.md section 3.1); imports nothing heavy."""

from __future__ import annotations

from typing import Final, NoReturn

from og_mcp.errors import ServiceReplyError

NODE: Final = "node"


def malformed(what: str) -> NoReturn:
    """Raise for an output that cannot be read.

    Raises:
        ServiceReplyError: Always.
    """
    raise ServiceReplyError(NODE, f"in the model's output {what}")
