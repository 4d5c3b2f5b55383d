"""Calls that failed without knowing what became of what was signed for them."""

from __future__ import annotations

from og_mcp.types import Call, Stage


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
