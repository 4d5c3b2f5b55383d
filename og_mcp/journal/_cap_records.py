"""From rows to signed maxima as callers see them, and the statements that read them."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Boolean, Text, bindparam, or_, select

from og_mcp.errors import CallNotFoundError
from og_mcp.journal import _schema as s
from og_mcp.journal._moments import moment
from og_mcp.journal._sql import Row, Statement
from og_mcp.journal._steps import Steps, row, rows
from og_mcp.journal._sums import amount, total
from og_mcp.types import Account, Cap

caps, spending = s.caps, s.opg_spending

PREFIX: Final = "of_cap_"
"""Before the columns of a signed maximum in a call's row."""

columns: Final = tuple(column.label(f"{PREFIX}{column.name}") for column in caps.c)

_deadline = bindparam("past_deadline", type_=BigInteger)
_any_lane = bindparam("any_lane", type_=Boolean)
_any_principal = bindparam("any_principal", type_=Boolean)
_lane = bindparam("of_lane", type_=Text)
_principal = bindparam("of_principal", type_=Text)

_by_id: Final = Statement(select(caps).where(caps.c.id == bindparam("of_cap")))
_open: Final = Statement(
    select(caps)
    .where(caps.c.is_open, or_(_any_lane, caps.c.lane == _lane))
    .order_by(caps.c.created_at, caps.c.id)
)
_reversible: Final = Statement(
    select(caps).where(
        caps.c.status == s.CAP_SETTLED, caps.c.lane == _lane, caps.c.deadline > _deadline
    )
)
_open_amounts: Final = Statement(
    select(caps.c.max_opg).where(
        caps.c.is_open,
        or_(_any_lane, caps.c.lane == _lane),
        or_(_any_principal, caps.c.principal == _principal),
    )
)
_settled_amounts: Final = Statement(
    select(spending.c.amount_opg).where(
        or_(_any_lane, spending.c.lane == _lane),
        or_(_any_principal, spending.c.principal == _principal),
    )
)


def cap_of(row: Row, prefix: str = "") -> Cap:
    """Read a signed maximum."""
    found = {column.name: row[f"{prefix}{column.name}"] for column in caps.c}
    return Cap(
        id=found["id"],
        account=Account(
            network=found["account_network"],
            chain_id=int(found["chain_id"]),
            address=found["account_address"],
        ),
        principal=found["principal"],
        resource=found["resource"],
        asset=found["asset"],
        pay_to=found["pay_to"],
        max_opg=amount(found["max_opg"]),
        nonce=found["nonce"],
        deadline=found["deadline"],
        facilitator=found["facilitator"],
        status=found["status"],
        amount_opg=amount(found["amount_opg"]),
        transaction_hash=found["transaction_hash"],
        cancelled=found["cancelled_at"] is not None,
        created_at=moment(found["created_at"]),
    )


def row_of(cap_id: str) -> Steps[Row]:
    """Read a signed maximum's row.

    Raises:
        CallNotFoundError: There is none of that id.
    """
    found = yield from row(_by_id, of_cap=cap_id)
    if found is None:
        raise CallNotFoundError(cap_id)
    return found


def read(cap_id: str) -> Steps[Cap]:
    """Return a signed maximum."""
    return cap_of((yield from row_of(cap_id)))


def read_open(account: Account | None) -> Steps[tuple[Cap, ...]]:
    """Return those without an end, the oldest first."""
    found = yield from rows(_open, **_chosen(None, account))
    return tuple(cap_of(one) for one in found)


def read_reversible(account: Account, now_s: int) -> Steps[tuple[Cap, ...]]:
    """Return settled ones whose deadline is not past: without that settlement they could be taken."""
    found = yield from rows(_reversible, of_lane=account.key, past_deadline=now_s)
    return tuple(cap_of(one) for one in found)


def totals_of(principal: str | None, account: Account | None) -> Steps[tuple[int, int]]:
    """Return what was settled since the journal began, and what is open, base units."""
    chosen = _chosen(principal, account)
    settled = yield from rows(_settled_amounts, **chosen)
    open_ = yield from rows(_open_amounts, **chosen)
    return total(one["amount_opg"] for one in settled), total(one["max_opg"] for one in open_)


def _chosen(principal: str | None, account: Account | None) -> Row:
    return {
        "any_principal": principal is None,
        "of_principal": principal or "",
        "any_lane": account is None,
        "of_lane": account.key if account else "",
    }
