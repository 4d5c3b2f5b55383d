"""A clock that a test moves."""

from __future__ import annotations

from og_mcp.client.payments.clock import Clock, Moment


class MovedClock(Clock):
    """The machine's clock, ahead by what a test says."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def now(self) -> Moment:
        now = super().now()
        return Moment(now.wall + self.ahead_s, now.steady + self.ahead_s)
