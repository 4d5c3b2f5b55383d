"""Calls whose process died before they signed anything: no chain has to be asked about them."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from og_mcp.calls import Journal
from og_mcp.errors import CallStateError
from og_mcp.types import Call, Stage

PUBLISHING: Final = frozenset({"create_model", "create_version", "upload"})
"""Tools that sign nothing, and whose effect is on the Model Hub."""

NEVER_SENT: Final = "The process ended before anything was sent; nothing was paid."
BROKEN_OFF: Final = (
    "The process ended during the call. get_model shows what was published; the same call again "
    "continues from there."
)


def told(call: Call) -> str:
    """Say what became of such a call."""
    return BROKEN_OFF if call.tool in PUBLISHING else NEVER_SENT


async def end_publication(journal: Journal, call: Call) -> bool:
    """End an interrupted publication; false where the call is none."""
    if call.tool not in PUBLISHING or not call.orphaned:
        return False
    with suppress(CallStateError):
        # Another process may have been faster.
        if await journal.adopt(call.id):
            await journal.fail(call.id, Stage.NOT_SENT, told(call))
    return True
