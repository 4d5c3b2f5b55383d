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


def end_of(call: Call) -> tuple[Stage, str]:
    """Say where such a call ended and what became of it."""
    # What it had sent went to the hub, and was not recorded here.
    publishing = call.tool in PUBLISHING
    return (Stage.SENT_UNKNOWN, BROKEN_OFF) if publishing else (Stage.NOT_SENT, NEVER_SENT)


async def end_publication(journal: Journal, call: Call) -> bool:
    """End an interrupted publication; false where the call is none."""
    if call.tool not in PUBLISHING or not call.orphaned:
        return False
    with suppress(CallStateError):
        # Another process may have been faster.
        if await journal.adopt(call.id):
            await journal.fail(call.id, *end_of(call))
    return True
