"""What the journal's record of a call says of its state (docs/architecture.md, "States of a call")."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from og_mcp.types import Call, Stage

BROKEN_OFF: Final = (
    "The process ended during the call. get_model shows what was published; the same call again "
    "continues from there."
)
"""How a publication ended that goes on where it stopped."""

COUNTS_S: Final = 2_400
"""Seconds from its deadline until an open payment counts no more: 1,800 by the chain's clock, and a
second look 600 later."""


def is_lost(call: Call) -> bool:
    """Whether a call has failed after something was signed for it, and gave no answer."""
    failed = call.status == "failed" and call.stage is Stage.SENT_UNKNOWN
    return failed and (bool(call.transaction_hashes) or call.cap is not None)


def is_in_doubt(call: Call) -> bool:
    """Whether what was signed for a lost call may still be taken, or was and nobody knows."""
    if not is_lost(call):
        return False
    if call.cap is not None:
        return call.cap.status == "open"
    return call.fee_state in {"open", "superseded"}


def has_ended(call: Call) -> bool:
    """Whether a lost call's transaction was given up; its own error says by whose word."""
    return is_lost(call) and call.fee_state in {"released", "ended"}


def counts_until(deadline: int) -> datetime:
    """Return when an open payment with that deadline, Unix seconds, stops to count."""
    return datetime.fromtimestamp(deadline + COUNTS_S, UTC)
