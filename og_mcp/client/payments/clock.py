"""The clock of this machine, held against the payment chain's: deadlines are written by it."""

from __future__ import annotations

from typing import Final

from og_mcp.client.payments.requirement import LONGEST_DEADLINE_S
from og_mcp.errors import ClockError

SLACK_S: Final = 120
"""Seconds for the way of a block to us, and for RPCs that lag a little."""


def check_clock(ahead_s: int, timeout_s: int, *, is_idle: bool) -> None:
    """Refuse where a signature would be good for longer than is meant (threats.md T3), or for less.

    Args:
        ahead_s: Seconds that the clock was ahead of the newest block.
        timeout_s: Seconds from now to the deadline.
        is_idle: Whether the chain makes blocks only where something is sent, so that an old one
            tells nothing: the local network's.

    Raises:
        ClockError: It is too far ahead, or behind; nothing was signed.
    """
    most = max(LONGEST_DEADLINE_S - timeout_s, SLACK_S)
    if ahead_s < -SLACK_S or (ahead_s > most and not is_idle):
        raise ClockError(ahead_s)
