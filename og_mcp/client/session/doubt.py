"""Calls that failed without knowing what became of what was signed for them."""

from __future__ import annotations

from og_mcp.types import Call, Stage


def is_lost(call: Call) -> bool:
    """Whether a call has failed after something was signed for it, and gave no answer."""
    failed = call.status == "failed" and call.stage is Stage.SENT_UNKNOWN
    return failed and (bool(call.transaction_hashes) or call.cap is not None)


def is_in_doubt(call: Call) -> bool:
    """Whether what was signed for a lost call may still be taken, or was and nobody knows."""
    return is_lost(call) and (call.cap is None or call.cap.status == "open")
