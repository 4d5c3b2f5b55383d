"""A call that is to be paid, and what has been signed for it so far."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from og_mcp.client.chain.ticket import Ticket
from og_mcp.types import Cap


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
