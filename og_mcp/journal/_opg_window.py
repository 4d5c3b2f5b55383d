"""What an account has paid in OPG in the last 24 hours, and what is signed and still open.

The window's sum is kept in the account's row, so that a payment costs the same after ten and after
ten thousand. A payment enters it in the moment it is settled.

Whoever opens or ends a signed maximum locks the account's row first, so among all processes of one
journal the account's limits are checked one at a time.

Whoever can write to the database can delete rows here, as with the whole journal (threats.md T6):
what is left then are the limit of one call, and the day's less what the chain itself shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import BigInteger, Text, bindparam, select, update

from og_mcp.errors import BudgetExceededError, OPGCapError, in_opg
from og_mcp.journal import _schema as s
from og_mcp.journal._sql import InsertInto, Row, Statement, now
from og_mcp.journal._steps import Steps, change, row, rows
from og_mcp.journal._sums import BUCKET_US, Sums, amount, floor_at, total
from og_mcp.types import Budget, OPGCaps

caps, purses = s.caps, s.purses

PER_CALL: Final = "OG_MAX_PER_CALL"
PER_DAY: Final = "OG_MAX_PER_DAY"

_lane = bindparam("of_lane", type_=Text)
_floor = bindparam("floor", type_=BigInteger)


def _take_turn(insert: InsertInto) -> Any:  # noqa: ANN401 - either database's insert
    """Make the account's row, or change it: either way it is locked until the commit."""
    into = insert(purses).values(id=_lane)
    return into.on_conflict_do_update(
        index_elements=["id"], set_={"epoch": purses.c.epoch + 1}
    ).returning(purses.c.window_opg, purses.c.window_floor, now().label("now"))


_lock: Final = Statement(_take_turn)
_read: Final = Statement(
    select(purses.c.window_opg, purses.c.window_floor, now().label("now")).where(
        purses.c.id == _lane
    )
)
_open: Final = Statement(select(caps.c.max_opg).where(caps.c.is_open, caps.c.lane == _lane))
_put_window: Final = Statement(
    update(purses)
    .where(purses.c.id == _lane)
    .values(window_opg=bindparam("new_window_opg"), window_floor=_floor)
)
_paid: Final = Sums(s.opg_spending, "amount_opg")


def positive(amount_opg: int) -> int:
    """Refuse an amount that could not be read again.

    Raises:
        ValueError: It is negative.
    """
    if amount_opg < 0:
        raise ValueError(f"an amount of {amount_opg} base units")
    return amount_opg


@dataclass(frozen=True)
class OPGWindow:
    """An account's sum over the window, where it belongs at this moment."""

    lane: str
    window_opg: int
    floor: int
    """The oldest bucket of the window."""

    now: int

    def check(self, asked: int, of_call: int, open_opg: int, limits: OPGCaps) -> None:
        """Refuse a signature that could pass a limit; amounts in base units.

        Args:
            asked: What would be signed.
            of_call: What is signed for the same call already.
            open_opg: What is signed in all, and has no end yet.
            limits: The operator's.

        Raises:
            OPGCapError: For one call.
            BudgetExceededError: Together with what is spent and open.
        """
        if of_call + asked > limits.per_call:
            raise OPGCapError(PER_CALL, of_call + asked, limits.per_call)
        spent = self.window_opg + limits.unrecorded
        is_alone = limits.alone_until is not None and open_opg > 0
        if is_alone or spent + open_opg + asked > limits.per_day:
            raise BudgetExceededError(
                PER_DAY,
                cap=limits.per_day,
                spent=spent,
                open_=open_opg,
                asked=asked,
                write=in_opg,
                alone_until=limits.alone_until if is_alone else None,
            )

    def add(self, principal: str, amount_opg: int) -> Steps[None]:
        """Count a settled payment; only in a turn that `take_turn` began."""
        yield from _paid.add(self.lane, principal, self.now // BUCKET_US, amount_opg)
        window = self.window_opg + amount_opg
        yield from _keep(self.lane, window, self.floor)

    def take_back(self, principal: str, amount_opg: int, at: int) -> Steps[None]:
        """Count a settled payment no more; where its row is not found, it counts on."""
        # The row is that of the turn that counted it, a moment before the settlement was written.
        for bucket in (at // BUCKET_US, at // BUCKET_US - 1):
            if (yield from _paid.take(self.lane, principal, bucket, amount_opg)):
                window = self.window_opg - (amount_opg if bucket >= self.floor else 0)
                yield from _keep(self.lane, window, self.floor)
                return


def take_turn(lane: str) -> Steps[OPGWindow]:
    """Wait until nobody else changes the account's payments; the transaction's end ends the turn."""
    found = yield from row(_lock, of_lane=lane)
    if found is None:
        raise RuntimeError("an upsert returned nothing")
    purse = yield from _moved(lane, found)
    if purse.floor != found["window_floor"]:
        yield from _paid.gather_old(lane, purse.floor)
        yield from _keep(lane, purse.window_opg, purse.floor)
    return purse


def open_amount(lane: str) -> Steps[int]:
    """Return what is signed and has no end yet, base units; however old."""
    return total(one["max_opg"] for one in (yield from rows(_open, of_lane=lane)))


def budget_of(lane: str, limits: OPGCaps) -> Steps[Budget]:
    """Return what is spent, open and left."""
    found = yield from row(_read, of_lane=lane)
    spent = (yield from _moved(lane, found)).window_opg if found else 0
    spent, open_opg = spent + limits.unrecorded, (yield from open_amount(lane))
    left = max(limits.per_day - spent - open_opg, 0)
    return Budget(cap=limits.per_day, spent=spent, open=open_opg, left=left)


def _moved(lane: str, found: Row) -> Steps[OPGWindow]:
    """Read an account's row, with the window where it belongs."""
    floor, window = floor_at(found["now"]), amount(found["window_opg"])
    if floor != found["window_floor"]:
        window = yield from _paid.since(lane, floor)
    return OPGWindow(lane, window, floor, found["now"])


def _keep(lane: str, window_opg: int, floor: int) -> Steps[None]:
    yield from change(_put_window, of_lane=lane, new_window_opg=str(window_opg), floor=floor)
