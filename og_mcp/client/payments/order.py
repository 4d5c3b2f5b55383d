"""A call that is to be paid, and what has been signed for it so far."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from og_mcp.client.chain.ticket import Ticket
from og_mcp.client.payments.gateway_session import GatewaySession
from og_mcp.types import Cap


@dataclass(frozen=True)
class Sent:
    """Where a call was sent, and what paid for it."""

    session: GatewaySession
    tee_id: str
    path: str


@dataclass
class Order:
    """A call that is to be paid."""

    ticket: Ticket
    principal: str
    agree: Callable[[int], Awaitable[None]]
    """Makes sure that a person agreed to a signature over so much OPG (base units), or raises."""

    is_keyed: bool = False
    """Whether it came with an idempotency key: that it left is then on disk before it does."""

    cap: Cap | None = None
    """What pays for it; the newest."""

    left: Cap | None = None
    """Under what a byte of it may have left, at the latest; no other TEE is asked then (T9)."""

    signatures: int = 0
    sent: Sent | None = None
    """Where it was sent last."""

    attempts: int = 0
    """How often it was sent, in all."""

    repeats: bool = False
    """Whether it may go where it was `sent` alone, and nothing may be signed for it: it was sent
    before, and the gateway answered with an error of its own (money.md section 5)."""

    until: float = math.inf
    """Until when it may be sent again by itself, by the monotonic clock."""
