"""A payment session with a gateway: one signature that pays for many requests.

Its id and its signature are bearer secrets: they live in this process's memory alone (threats.md
T29).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import anyio

from og_mcp.client.payments.clock import Moment
from og_mcp.client.payments.requirement import Requirement
from og_mcp.types import Cap

SESSION_HEADER: Final = "X-Upto-Session"
SIGNATURE_HEADER: Final = "PAYMENT-SIGNATURE"

RETIRE_SHARE: Final = 0.45
"""Share of the time to its deadline after which a session is left for a new one: some gateways
never settle one that is kept busy past its deadline."""

LAST_S: Final = 150.0
"""Seconds before its deadline until which a session is used where no new one can be had: gateways
settle it by force 120 s before."""

IDLE_S: Final = 50.0
"""Seconds without use after which a session is left: gateways settle it after 60 s, older ones
after 100 s."""

LONGEST_ID: Final = 512
"""Characters of a session's id."""


def is_session_id(given: str) -> bool:
    """Whether what a gateway calls a session can be sent back to it (threats.md T38)."""
    return 0 < len(given) <= LONGEST_ID and given.isascii() and given.isprintable()


@dataclass
class GatewaySession:
    """One signature and what a gateway takes it for."""

    cap: Cap
    requirement: Requirement
    signature: str = field(repr=False)
    born: Moment
    used: Moment
    opened_by: str
    """The call that it was signed for."""

    id: str = field(default="", repr=False)
    left: bool = False
    """Whether its signature has left this process."""

    under_way: set[str] = field(default_factory=set)
    """Calls that are about to be sent under it, or are: its signature may be leaving."""

    ended: bool = False
    """Whether nothing may go out under it any more."""

    dropped: bool = False
    """Whether it ended because the gateway could not be reached, and its signature never left."""

    first: anyio.Lock = field(default_factory=anyio.Lock)
    """Held by the request that opens the session at the gateway."""

    @property
    def headers(self) -> dict[str, str]:
        """What pays for a request: the session where it is open, else the signature, never both."""
        return {SESSION_HEADER: self.id} if self.id else {SIGNATURE_HEADER: self.signature}

    def is_fit(self, requirement: Requirement, now: Moment) -> bool:
        """Whether one more request may go out under it."""
        return self._is_open(requirement, now) and not self.is_old(now)

    def can_go_on(self, requirement: Requirement, now: Moment) -> bool:
        """Whether one more request may go out under it where no new session can be had."""
        left_s = self.requirement.timeout_s - now.since(self.born)
        return self._is_open(requirement, now) and left_s > LAST_S

    def is_old(self, now: Moment) -> bool:
        """Whether it has to be left, so that it settles well before its deadline."""
        return now.since(self.born) >= RETIRE_SHARE * self.requirement.timeout_s

    def _is_open(self, requirement: Requirement, now: Moment) -> bool:
        is_idle = now.since(self.used) >= IDLE_S
        return not self.ended and self.requirement == requirement and not is_idle


@dataclass
class SessionSlot:
    """What one principal has with one path of one gateway."""

    session: GatewaySession | None = None
    turn: anyio.Lock = field(default_factory=anyio.Lock)
    """Held by whoever opens the next session (threats.md T8)."""
