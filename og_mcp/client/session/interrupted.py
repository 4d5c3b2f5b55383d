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
VERSION_IN_DOUBT: Final = (
    "The process ended during the call. get_model shows whether the version was added; calling "
    "again adds one more."
)


def end_of(call: Call) -> tuple[Stage, str]:
    """Say where such a call ended and what became of it."""
    if call.tool not in PUBLISHING:
        return Stage.NOT_SENT, NEVER_SENT
    # What it had sent went to the hub, and was not recorded here.
    return Stage.SENT_UNKNOWN, VERSION_IN_DOUBT if call.tool == "create_version" else BROKEN_OFF


async def end_publication(journal: Journal, call: Call) -> bool:
    """End an interrupted publication; false where the call is none."""
    if call.tool not in PUBLISHING or not call.orphaned:
        return False
    with suppress(CallStateError):
        # Another process may have been faster.
        if await journal.adopt(call.id):
            await journal.fail(call.id, *end_of(call))
    return True
