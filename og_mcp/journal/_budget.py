"""What an account has spent in the last 24 hours, and what is still open.

Settled fees are summed by ten minutes, and the sum over the window is kept in the lane's row, so
that a signature costs the same after ten calls and after ten thousand. Ten minutes count until the
last call in them is a day old: the window is never shorter than 24 hours.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import Text, bindparam, select, update

from og_mcp.errors import BudgetExceededError, FeeCapError
from og_mcp.journal import _schema as s
from og_mcp.journal._sql import Row, Statement, now
from og_mcp.journal._steps import Steps, change, rows
from og_mcp.journal._sums import BUCKET_US, WINDOW_US, Sums, amount, floor_at
from og_mcp.types import Budget, FeeCaps

calls, lanes = s.calls, s.lanes

COUNT_AT: Final = 8
"""Settled calls of one lane that may wait to be added to the spending rows."""

PER_CALL: Final = "OG_MAX_FEE_PER_CALL"
PER_DAY: Final = "OG_MAX_FEE_PER_DAY"

_lane = bindparam("of_lane", type_=Text)

_lane_and_live_calls: Final = Statement(
    select(
        lanes.c.next_nonce,
        lanes.c.epoch,
        lanes.c.window_wei,
        lanes.c.window_floor,
        now().label("now"),
        calls.c.id,
        calls.c.hold,
        calls.c.nonce,
        calls.c.transaction_hashes,
        calls.c.max_fee_wei,
        calls.c.fee_wei,
        calls.c.settled_at,
    )
    .select_from(lanes.outerjoin(calls, s.live & (calls.c.lane == lanes.c.id)))
    .where(lanes.c.id == _lane)
)
_end_released: Final = Statement(
    update(calls)
    .where(
        s.live,
        calls.c.lane == _lane,
        calls.c.hold == s.RELEASED,
        calls.c.settled_at <= now() - WINDOW_US,
    )
    .values(hold=s.ENDED)
)
_count: Final = Statement(
    update(calls)
    .where(s.live, calls.c.lane == _lane, calls.c.hold == s.SETTLED)
    .values(hold=s.COUNTED)
    .returning(calls.c.principal, calls.c.fee_wei, calls.c.settled_at)
)
_fees: Final = Sums(s.spending, "fee_wei")


@dataclass(frozen=True)
class LaneSnapshot:
    """One lane's row and the calls that count beside it, at one moment."""

    lane: str
    next_nonce: int | None
    epoch: int
    window_wei: int
    window_floor: int
    now: int
    live: tuple[Row, ...]
    """Signed, released, and settled without being in the spending rows."""

    @property
    def floor(self) -> int:
        """The oldest bucket of the window."""
        return floor_at(self.now)

    @property
    def uncounted(self) -> tuple[Row, ...]:
        """Calls that are settled and not in the spending rows."""
        return tuple(row for row in self.live if row["hold"] == s.SETTLED)

    def open_wei(self, nonce: int | None = None, fee: int = 0) -> int:
        """Return what may still be taken: of each nonce the largest fee that was signed for it.

        Args:
            nonce: Of a signature that is asked for.
            fee: The most that it can cost.
        """
        largest: dict[int, int] = defaultdict(int)
        for row in self.live:
            if row["hold"] == s.SIGNED or self._is_released(row):
                largest[row["nonce"]] = max(largest[row["nonce"]], amount(row["max_fee_wei"]))
        if nonce is not None:
            largest[nonce] = max(largest[nonce], fee)
        return sum(largest.values())

    def _is_released(self, row: Row) -> bool:
        """Whether a call ended without effect within the last 24 hours."""
        return bool(row["hold"] == s.RELEASED and row["settled_at"] > self.now - WINDOW_US)

    @property
    def is_due(self) -> bool:
        """Whether settled calls should be counted, or the window has moved."""
        return len(self.uncounted) >= COUNT_AT or self.floor != self.window_floor

    def spent_wei(self) -> int:
        """Return what was settled within the window; more where the window has moved since."""
        recent = (row for row in self.uncounted if row["settled_at"] // BUCKET_US >= self.floor)
        return self.window_wei + sum(amount(row["fee_wei"]) for row in recent)

    def moved(self) -> Steps[LaneSnapshot]:
        """Return the same with the window where it belongs."""
        if self.floor == self.window_floor:
            return self
        window = yield from _fees.since(self.lane, self.floor)
        return replace(self, window_wei=window, window_floor=self.floor)


def read_standing(lane: str) -> Steps[LaneSnapshot | None]:
    """Read a lane in one statement; `None` where it was never used."""
    found = yield from rows(_lane_and_live_calls, of_lane=lane)
    if not found:
        return None
    first = found[0]
    return LaneSnapshot(
        lane=lane,
        next_nonce=first["next_nonce"],
        epoch=first["epoch"],
        window_wei=amount(first["window_wei"]),
        window_floor=first["window_floor"],
        now=first["now"],
        live=tuple(one for one in found if one["id"] is not None),
    )


def check_caps(standing: LaneSnapshot, nonce: int, fee: int, caps: FeeCaps) -> None:
    """Refuse a signature that could pass a cap.

    Raises:
        FeeCapError: By itself.
        BudgetExceededError: Together with what is spent and open.
    """
    if fee > caps.per_call:
        raise FeeCapError(PER_CALL, fee, caps.per_call)
    spent = standing.spent_wei() + caps.unrecorded
    open_wei = standing.open_wei(nonce, fee)
    if spent + open_wei > caps.per_day:
        raise BudgetExceededError(
            PER_DAY, cap=caps.per_day, spent=spent, open_=max(open_wei - fee, 0), asked=fee
        )


def count_settled(standing: LaneSnapshot) -> Steps[int]:
    """Add the lane's settled calls to its spending rows; returns the window's sum after it."""
    window = (yield from standing.moved()).window_wei
    yield from change(_end_released, of_lane=standing.lane)
    sums: dict[tuple[str, int], int] = defaultdict(int)
    for one in (yield from rows(_count, of_lane=standing.lane)):
        sums[one["principal"], one["settled_at"] // BUCKET_US] += amount(one["fee_wei"])
    for (principal, bucket), fee_wei in sums.items():
        yield from _fees.add(standing.lane, principal, bucket, fee_wei)
        window += fee_wei if bucket >= standing.floor else 0
    if standing.floor != standing.window_floor:
        yield from _fees.gather_old(standing.lane, standing.floor)
    return window


def budget_of(lane: str, caps: FeeCaps) -> Steps[Budget]:
    """Return what is spent, open and left."""
    standing = yield from read_standing(lane)
    spent = (yield from standing.moved()).spent_wei() if standing else 0
    spent, open_wei = spent + caps.unrecorded, standing.open_wei() if standing else 0
    left = max(caps.per_day - spent - open_wei, 0)
    return Budget(cap=caps.per_day, spent=spent, open=open_wei, left=left)
