"""A payment session with a gateway: one signature that pays for many requests.

Its id and its signature are bearer secrets: they live in this process's memory alone (threats.md
T29).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import anyio

from og_mcp.client.payments.requirement import Requirement
from og_mcp.types import Cap

SESSION_HEADER: Final = "X-Upto-Session"
SIGNATURE_HEADER: Final = "PAYMENT-SIGNATURE"

RETIRE_S: Final = 130.0
"""Age at which a session is left: one that is kept busy past its deadline never settles."""

RETIRE_SHARE: Final = 0.45
"""The same as a share of the time to the deadline, for shorter ones."""

IDLE_S: Final = 90.0
"""Seconds without use after which a gateway may have settled a session (100 s)."""


@dataclass
class GatewaySession:
    """One signature and what a gateway takes it for."""

    cap: Cap
    requirement: Requirement
    signature: str = field(repr=False)
    born: float
    used: float
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

    def is_fit(self, requirement: Requirement, now: float) -> bool:
        """Whether one more request may go out under it."""
        fresh = now - self.used < IDLE_S and not self.is_old(now)
        return not self.ended and self.requirement == requirement and fresh

    def is_old(self, now: float) -> bool:
        """Whether it has to be left, so that it settles well before its deadline."""
        return now - self.born >= min(RETIRE_S, RETIRE_SHARE * self.requirement.timeout_s)


@dataclass
class Line:
    """What one principal has with one path of one gateway."""

    session: GatewaySession | None = None
    turn: anyio.Lock = field(default_factory=anyio.Lock)
    """Held by whoever opens the next session (threats.md T8)."""
