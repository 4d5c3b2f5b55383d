"""What was spent since the journal began, from running sums."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from sqlalchemy import Boolean, Text, bindparam, or_, select

from og_mcp.journal import _schema as s
from og_mcp.journal._sql import Statement, now
from og_mcp.journal._steps import Steps, rows
from og_mcp.journal._sums import WINDOW_US
from og_mcp.types import Account, Totals

calls, lanes, spending = s.calls, s.lanes, s.spending

_any_principal = bindparam("any_principal", type_=Boolean)
_any_lane = bindparam("any_lane", type_=Boolean)
_principal = bindparam("of_principal", type_=Text)
_lane = bindparam("of_lane", type_=Text)

_lanes: Final = Statement(
    select(lanes.c.id, lanes.c.network, lanes.c.chain_id, lanes.c.address)
    .where(or_(_any_lane, lanes.c.id == _lane))
    .order_by(lanes.c.id)
)
_spent: Final = Statement(
    select(spending.c.lane, spending.c.fee_wei).where(
        or_(_any_principal, spending.c.principal == _principal),
        or_(_any_lane, spending.c.lane == _lane),
    )
)
_live: Final = Statement(
    select(calls.c.lane, calls.c.hold, calls.c.fee_wei, calls.c.max_fee_wei).where(
        s.live,
        or_(calls.c.hold != s.RELEASED, calls.c.settled_at > now() - WINDOW_US),
        or_(_any_principal, calls.c.principal == _principal),
        or_(_any_lane, calls.c.lane == _lane),
    )
)


def totals_of(principal: str | None, account: Account | None) -> Steps[tuple[Totals, ...]]:
    """Sum up by account; accounts on which nothing was spent or is open are left out."""
    chosen = {
        "any_principal": principal is None,
        "of_principal": principal or "",
        "any_lane": account is None,
        "of_lane": account.key if account else "",
    }
    fees: dict[str, int] = defaultdict(int)
    open_: dict[str, int] = defaultdict(int)
    for row in (yield from rows(_spent, **chosen)):
        fees[row["lane"]] += int(row["fee_wei"])
    for row in (yield from rows(_live, **chosen)):
        if row["hold"] == s.SETTLED:
            fees[row["lane"]] += int(row["fee_wei"])
        else:
            open_[row["lane"]] += int(row["max_fee_wei"])
    found = yield from rows(_lanes, **chosen)
    return tuple(
        Totals(
            network=row["network"],
            chain_id=int(row["chain_id"]),
            address=row["address"],
            fees_wei=fees[row["id"]],
            open_wei=open_[row["id"]],
        )
        for row in found
        if fees[row["id"]] or open_[row["id"]]
    )
