"""Sessions: one signed cap that pays for many requests.

The rules are the public gateway's (protocol.md section 4, "Sessions"): one settles once it was
idle, and by force well before the deadline of its signature. Time is this process's, and can be
moved ahead (`advance`).
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from og_mcp.localnet.payments.payment import Payment

FORCED_S: Final = 120.0
"""Seconds before its deadline at which a session is settled, idle or not; at most half of them."""


class Place(NamedTuple):
    """Where a request goes."""

    gateway: int
    """Port: each gateway keeps sessions of its own, as enclaves do."""

    method: str
    path: str


@dataclass(kw_only=True, eq=False)
class Session:
    """One session."""

    payment: Payment
    place: Place
    """The only one whose requests may name the session."""

    id: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    """A bearer secret."""

    spent: int = 0
    """Base units charged so far."""

    ended: bool = False
    """Whether it takes no more requests."""

    forced_at: float = 0.0
    due_at: float = 0.0
    """When it settles whatever happens, and when it settles unless it is charged before."""

    def charge(self, cost: int) -> bool:
        """Add what an answer cost; False, and nothing added, where it ended or would overshoot."""
        if self.ended or self.spent + cost > self.payment.cap:
            return False
        self.spent += cost
        return True

    def as_json(self) -> dict[str, Any]:
        """Describe it without its id's secret."""
        return {
            "session": self.id[:8],
            "payer": self.payment.payer,
            "nonce": self.payment.nonce,
            "path": self.place.path,
            "cap": str(self.payment.cap),
            "spent": str(self.spent),
            "open": not self.ended,
        }


class Sessions:
    """All sessions of a gateway, each settled once.

    Args:
        settle: Takes on chain what a session spent.
        idle_s: Seconds between the last charge of a session, or its start, and its settlement.
    """

    idle_s: float
    """Another value holds from the next charge of each session on."""

    def __init__(
        self, settle: Callable[[Session], Coroutine[Any, Any, None]], idle_s: float
    ) -> None:
        self.idle_s = idle_s
        self._ahead_s = 0.0
        self._settle = settle
        self._by_id: dict[str, Session] = {}
        self._by_payment: dict[tuple[int, bytes], Session] = {}
        self._timers: dict[Session, asyncio.TimerHandle] = {}
        self._settling: dict[Session, asyncio.Task[None]] = {}

    def named(self, session_id: str, place: Place) -> Session | None:
        """Return the session that a request names, if it may use it."""
        session = self._by_id.get(session_id)
        if session is None or session.ended or session.place != place:
            return None
        return session

    def paid_by(self, payment: Payment, gateway: int) -> Session | None:
        """Return the session that this same payment opened at a gateway, ended or not."""
        return self._by_payment.get((gateway, payment.digest))

    def open(self, payment: Payment, place: Place) -> Session:
        """Open a session for a verified payment."""
        left_s = payment.deadline - time.time()
        forced_at = self._now() + left_s - min(FORCED_S, left_s / 2)
        session = Session(payment=payment, place=place, forced_at=forced_at)
        self._by_id[session.id] = session
        self._by_payment[place.gateway, payment.digest] = session
        self._wait(session)
        return session

    def charge(self, session: Session, cost: int) -> bool:
        """Charge an answer; a cap that is reached exactly settles at once."""
        if not session.charge(cost):
            return False
        if session.spent == session.payment.cap:
            self._end(session)
        else:
            self._wait(session)
        return True

    def end_all(self) -> None:
        """Let no session take more requests; each settles when its time has come."""
        for session in self._by_id.values():
            session.ended = True

    async def settle_all(self) -> None:
        """End every session and settle what it spent."""
        for session in self._by_id.values():
            self._end(session)
        await self.settled()

    async def settled(self) -> None:
        """Wait for the settlements that have begun."""
        await asyncio.gather(*self._settling.values())

    def advance(self, seconds: float) -> None:
        """Move the time of all sessions ahead; what is due then settles."""
        self._ahead_s += seconds
        for session in list(self._timers):
            self._schedule(session)

    async def close(self) -> None:
        """Stop all waiting and settling."""
        for timer in self._timers.values():
            timer.cancel()
        for task in self._settling.values():
            task.cancel()
        await asyncio.gather(*self._settling.values(), return_exceptions=True)

    def as_json(self) -> list[dict[str, Any]]:
        """Describe every session, oldest first."""
        return [session.as_json() for session in self._by_id.values()]

    def _now(self) -> float:
        return asyncio.get_running_loop().time() + self._ahead_s

    def _wait(self, session: Session) -> None:
        session.due_at = min(self._now() + self.idle_s, session.forced_at)
        self._schedule(session)

    def _schedule(self, session: Session) -> None:
        self._stop_waiting(session)
        left_s = session.due_at - self._now()
        if left_s <= 0:
            self._end(session)
        else:
            loop = asyncio.get_running_loop()
            self._timers[session] = loop.call_later(left_s, self._end, session)

    def _stop_waiting(self, session: Session) -> None:
        if timer := self._timers.pop(session, None):
            timer.cancel()

    def _end(self, session: Session) -> None:
        session.ended = True
        self._stop_waiting(session)
        if session not in self._settling:
            self._settling[session] = asyncio.create_task(self._settle(session))
