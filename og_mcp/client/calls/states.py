"""What the journal's record of a call says of its state (docs/architecture.md, "States of a call")."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from og_mcp.types import Call, Stage

BROKEN_OFF: Final = (
    "The process ended during the call. get_model shows what was published; the same call again "
    "continues from there."
)
"""The error of a publication that stopped half way; repeated, it goes on from there."""

COUNTS_S: Final = 2_400
"""Seconds after its deadline for which an open payment still counts: 1,800 by the chain's clock, and a
second check 600 later."""


def is_lost(call: Call) -> bool:
    """Tell whether a call failed after something was signed for it, without an answer."""
    failed = call.status == "failed" and call.stage is Stage.SENT_UNKNOWN
    return failed and (bool(call.transaction_hashes) or call.cap is not None)


def is_in_doubt(call: Call) -> bool:
    """Tell whether a payment for this failed call may still be (or has been) collected."""
    if not is_lost(call):
        return False
    if call.cap is not None:
        return call.cap.status == "open"
    return call.fee_state in {"open", "superseded"}


def has_ended(call: Call) -> bool:
    """Whether a lost call's transaction was given up; its own error says by whose word."""
    return is_lost(call) and call.fee_state in {"released", "ended"}


def counts_until(deadline: int) -> datetime:
    """Return when an open payment with this deadline (Unix seconds) no longer counts."""
    return datetime.fromtimestamp(deadline + COUNTS_S, UTC)
