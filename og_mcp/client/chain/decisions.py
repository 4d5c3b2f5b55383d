"""One table: what may be done with a transaction whose end is not known (threats.md T31).

One call has one nonce, for ever. What an RPC says decides words and waiting, and what others may
sign; it never lets the same call be signed under a second nonce, and never frees what limits it at
once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final

RECHECK_S: Final = 60.0
"""Seconds between the two checks that end a call without effect."""


class SendResult(Enum):
    """The result of the last attempt to send, as far as we know."""

    NOTHING_LEFT = auto()
    """Our own stack says so: no byte of the body was written."""

    TAKEN = auto()
    """The node answered with the hash or `already known`, or has it by its hash."""

    REFUSED = auto()
    """Any other refusal, word, HTTP status or silence."""

    TOO_CHEAP = auto()
    """Underpriced, as a replacement or against the base fee."""

    NEVER = auto()
    """This node never takes it: intrinsic gas, block limit, oversized, chain id, sender."""


class Reservation(Enum):
    """What stays reserved for the call."""

    NOTHING = auto()
    NUMBER = auto()
    """The fee, and the nonce: nobody else signs under it, but by taking it over."""

    FEE = auto()
    """The fee alone."""

    DAY = auto()
    """The fee, for 24 hours."""

    CHARGED = auto()
    """The fee, as spent."""


class OwnAction(Enum):
    """What the call itself may do."""

    ANYTHING = auto()
    WAIT = auto()
    """Wait, or sign again under the same nonce at a higher price where it is stuck."""

    SEND_AGAIN = auto()
    """Send the same bytes again."""

    RAISE_PRICE = auto()
    """Sign again under the same nonce at a higher price, within caps and approval."""

    STOP = auto()
    """Nothing more is sent for it."""


class NonceChoice(Enum):
    """Under which nonce the wallet's next call may sign."""

    ANY = auto()
    ABOVE = auto()
    """The one above."""

    TAKE_OVER = auto()
    """The same one, once these bytes were sent again and refused again; or wait."""

    LATEST = auto()
    """The chain's latest count."""


@dataclass(frozen=True)
class Decision:
    """One row of the table."""

    held: Reservation
    own: OwnAction
    others: NonceChoice


NEVER_LEFT: Final = Decision(Reservation.NOTHING, OwnAction.ANYTHING, NonceChoice.ANY)
RUNNING: Final = Decision(Reservation.NUMBER, OwnAction.WAIT, NonceChoice.ABOVE)
REFUSED: Final = Decision(Reservation.NUMBER, OwnAction.SEND_AGAIN, NonceChoice.TAKE_OVER)
TOO_CHEAP: Final = Decision(Reservation.NUMBER, OwnAction.RAISE_PRICE, NonceChoice.TAKE_OVER)
NEVER_TAKEN: Final = Decision(Reservation.NUMBER, OwnAction.STOP, NonceChoice.TAKE_OVER)
NUMBER_USED: Final = Decision(Reservation.FEE, OwnAction.STOP, NonceChoice.LATEST)
WITHOUT_EFFECT: Final = Decision(Reservation.DAY, OwnAction.STOP, NonceChoice.LATEST)
MINED: Final = Decision(Reservation.CHARGED, OwnAction.STOP, NonceChoice.LATEST)
VANISHED: Final = Decision(Reservation.CHARGED, OwnAction.SEND_AGAIN, NonceChoice.ABOVE)


@dataclass(frozen=True)
class NonceState:
    """What the chain says about a call's nonce."""

    nonce: int
    latest: int
    """Transactions of the account at the newest block."""

    safe: int = 0
    """The same at a safe depth."""

    is_mined: bool = False
    """Whether one of the hashes that were signed under the nonce has a receipt."""

    was_mined: bool = False
    """Whether a receipt was seen before."""

    gone_s: float = 0.0
    """Seconds since checks began to find the nonce used for good, without a receipt."""

    def agreed(self, others: Sequence[NonceState]) -> NonceState:
        """Return what all RPCs agree on; where they differ, what keeps more reserved."""
        every = (self, *others)
        return replace(
            self,
            latest=min(one.latest for one in every),
            safe=min(one.safe for one in every),
            is_mined=all(one.is_mined for one in every),
        )

    @property
    def is_gone(self) -> bool:
        """Whether the nonce is used for good, without a receipt."""
        return self.safe > self.nonce and not self.is_mined


def decide(result: SendResult, seen: NonceState, *, recheck_s: float = RECHECK_S) -> Decision:
    """Return the row that holds.

    Args:
        result: What became of the last sending; `REFUSED` where the node does not know the hash.
        seen: What the chain says now.
        recheck_s: Seconds between the two checks that end a call without effect.
    """
    if result is SendResult.NOTHING_LEFT:
        return NEVER_LEFT
    if seen.is_mined:
        return MINED
    if seen.was_mined:
        return replace(VANISHED, own=OwnAction.STOP) if seen.latest > seen.nonce else VANISHED
    if seen.is_gone and seen.gone_s >= recheck_s:
        return WITHOUT_EFFECT
    if seen.latest > seen.nonce:
        return NUMBER_USED
    return {
        SendResult.TAKEN: RUNNING,
        SendResult.TOO_CHEAP: TOO_CHEAP,
        SendResult.NEVER: NEVER_TAKEN,
    }.get(result, REFUSED)
