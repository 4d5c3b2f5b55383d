"""What was paid, summed by ten minutes, so that a day's sum never needs the single payments.

Ten minutes count until the last payment in them is a day old: the window is never shorter than
24 hours.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import BigInteger, Table, Text, bindparam, delete, select

from og_mcp.errors import JournalError, quote
from og_mcp.journal._sql import InsertInto, Statement
from og_mcp.journal._steps import Steps, change, row, rows

BUCKET_US: Final = 600 * 10**6
WINDOW_US: Final = 24 * 3600 * 10**6
KEPT_BUCKETS: Final = 6 * 144
"""Before the window, so that a clock that was wrong for days and is set right loses nothing."""

OLD: Final = 0
"""The bucket of everything before those."""

_lane = bindparam("of_lane", type_=Text)
_floor = bindparam("floor", type_=BigInteger)


def amount(text: str) -> int:
    """Read an amount of base units.

    Whoever can write to the database can delete what was spent (threats.md T6); an amount below
    nothing would let them spend without end.

    Raises:
        JournalError: It is none.
    """
    if not (text.isascii() and text.isdigit()):
        raise JournalError(
            f"The journal holds {quote(text)} where an amount belongs.",
            "Check who can write to the journal's database; nothing is paid until it is mended.",
        )
    return int(text)


def total(texts: Iterable[str]) -> int:
    """Sum up amounts, base units."""
    return sum(amount(text) for text in texts)


def floor_at(now: int) -> int:
    """Return the oldest bucket of the window that ends at a time, microseconds."""
    return (now - WINDOW_US) // BUCKET_US


class Sums:
    """The sums of one kind of payment.

    Args:
        table: Has the columns `lane`, `principal`, `bucket`, and the amount.
        column: The amount's.
    """

    def __init__(self, table: Table, column: str) -> None:
        self._table, self._column = table, column
        sums, one_lane = table.c, table.c.lane == _lane
        paid = sums[column].label("paid")
        self._since = Statement(select(paid).where(one_lane, sums.bucket >= _floor))
        self._one = Statement(
            select(paid).where(
                one_lane,
                sums.principal == bindparam("of_principal"),
                sums.bucket == bindparam("of_bucket"),
            )
        )
        self._take_old = Statement(
            delete(table)
            .where(one_lane, sums.bucket < _floor, sums.bucket > OLD)
            .returning(sums.principal, paid)
        )
        self._put = Statement(self._upsert)

    def since(self, lane: str, floor: int) -> Steps[int]:
        """Sum up from a bucket on."""
        return total(
            one["paid"] for one in (yield from rows(self._since, of_lane=lane, floor=floor))
        )

    def add(self, lane: str, principal: str, bucket: int, paid: int) -> Steps[None]:
        """Add to a row; the caller sees to it that nobody comes in between."""
        where = {"of_lane": lane, "of_principal": principal, "of_bucket": bucket}
        found = yield from row(self._one, **where)
        before = amount(found["paid"]) if found else 0
        yield from change(self._put, **where, new_paid=str(before + paid))

    def take(self, lane: str, principal: str, bucket: int, paid: int) -> Steps[bool]:
        """Take off a row again; false where it holds less, and stays as it is."""
        where = {"of_lane": lane, "of_principal": principal, "of_bucket": bucket}
        found = yield from row(self._one, **where)
        if found is None or amount(found["paid"]) < paid:
            return False
        yield from change(self._put, **where, new_paid=str(amount(found["paid"]) - paid))
        return True

    def gather_old(self, lane: str, floor: int) -> Steps[None]:
        """Put what no window that ends after now will need into one row for each principal."""
        sums: dict[str, int] = defaultdict(int)
        old = {"of_lane": lane, "floor": floor - KEPT_BUCKETS}
        for one in (yield from rows(self._take_old, **old)):
            sums[one["principal"]] += amount(one["paid"])
        for principal, paid in sums.items():
            yield from self.add(lane, principal, OLD, paid)

    def _upsert(self, insert: InsertInto) -> Any:  # noqa: ANN401 - either database's insert
        values = {
            "lane": _lane,
            "principal": bindparam("of_principal", type_=Text),
            "bucket": bindparam("of_bucket", type_=BigInteger),
            self._column: bindparam("new_paid", type_=Text),
        }
        into = insert(self._table).values(values)
        return into.on_conflict_do_update(
            index_elements=["lane", "principal", "bucket"],
            set_={self._column: into.excluded[self._column]},
        )
