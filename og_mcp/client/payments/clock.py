"""Time as payments count it, and this machine's clock held against the payment chain's."""

from __future__ import annotations

import time
from dataclasses import dataclass
from email.utils import mktime_tz, parsedate_tz
from typing import Final

from og_mcp.client.tee.evidence import CLOCK_DRIFT_S
from og_mcp.errors import ClockError, GatewayClockError

TOLERANCE_S: Final = 120
"""How far this machine's clock and the payment chain's may be apart, for the way of a block to us
and for RPCs that lag a little. It may refuse a signature, never shift a time."""


@dataclass(frozen=True)
class Moment:
    """A point in time, by two clocks; neither is right at all times."""

    wall: float
    """Unix seconds; may be set back."""

    steady: float
    """Seconds of a clock that only grows; may stand still while the machine sleeps."""

    def since(self, earlier: Moment) -> float:
        """Return the seconds that have passed, by the clock that counted more."""
        return max(self.wall - earlier.wall, self.steady - earlier.steady)


class Clock:
    """The clock of this machine. A session takes another one, e.g. one that a test moves."""

    def now(self) -> Moment:
        """Return the time."""
        return Moment(time.time(), time.monotonic())


def check_clock(ahead_s: int, *, is_idle: bool) -> None:
    """Refuse where a signature would be good for longer than is meant (threats.md T3), or for less.

    Args:
        ahead_s: Seconds that the clock was ahead of the newest block.
        is_idle: Whether the chain makes blocks only where something is sent, so that an old one
            tells nothing: the local network's.

    Raises:
        ClockError: It is too far ahead, or behind; nothing was signed.
    """
    if ahead_s < -TOLERANCE_S or (ahead_s > TOLERANCE_S and not is_idle):
        raise ClockError(ahead_s)


def check_date(date: str, where: str) -> None:
    """Refuse to pay a gateway whose answer would be withheld for its time (threats.md T42).

    Args:
        date: Its `Date` header; one that cannot be read tells nothing.
        where: The gateway, as errors name it.

    Raises:
        GatewayClockError: It is too far from this machine's clock; nothing was signed.
    """
    try:
        parts = parsedate_tz(date)
        ahead_s = 0.0 if parts is None else time.time() - mktime_tz(parts)
    except (ValueError, OverflowError):
        return
    if abs(ahead_s) > CLOCK_DRIFT_S:
        raise GatewayClockError(where, ahead_s)
