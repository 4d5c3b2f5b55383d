"""From rows to the records that callers see, and the statements that read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Select,
    Text,
    and_,
    bindparam,
    case,
    exists,
    or_,
    select,
    tuple_,
)

from og_mcp.journal import _cap_records as cap_records
from og_mcp.journal import _schema as s
from og_mcp.journal._moments import moment
from og_mcp.journal._sql import Row, Statement, now
from og_mcp.types import Account, Call, CallStatus, Cap, FeeState, Stage

calls, caps, owners, transactions = s.calls, s.caps, s.owners, s.transactions

DOCUMENTS: Final = ("request", "result", "receipt")
STAGES: Final = tuple(Stage)
"""In the order in which a call goes through them."""

_alive = exists().where(owners.c.id == calls.c.owner, owners.c.lease_until > now()).label("alive")
_with_cap = calls.outerjoin(caps, caps.c.id == calls.c.cap_id)
_facts: Select[Any] = select(
    *(c for c in calls.c if c.name not in DOCUMENTS), _alive, *cap_records.columns
).select_from(_with_cap)
_status = bindparam("of_status", type_=Text)
_tool = bindparam("of_tool", type_=Text)

by_id: Final = Statement(
    select(*calls.c, _alive, *cap_records.columns)
    .select_from(_with_cap)
    .where(calls.c.id == bindparam("call_id"))
)
_principal = bindparam("of_principal", type_=Text)
created_at: Final = Statement(
    select(calls.c.created_at).where(
        calls.c.id == bindparam("call_id"),
        or_(_principal == "", calls.c.principal == _principal),
    )
)
_listed_of_all: Select[Any] = (
    _facts.where(
        tuple_(calls.c.created_at, calls.c.id)
        < tuple_(bindparam("before_at", type_=BigInteger), bindparam("before_id", type_=Text)),
        calls.c.created_at >= bindparam("since_at", type_=BigInteger),
        or_(_tool == "", calls.c.tool == _tool),
        or_(
            _status == "",
            calls.c.status == _status,
            and_(_status == s.FAILED, calls.c.status == s.WAITING_APPROVAL),
        ),
    )
    .order_by(calls.c.created_at.desc(), calls.c.id.desc())
    .limit(bindparam("at_most", type_=BigInteger))
    .offset(bindparam("passed_over", type_=BigInteger))
)
listed_of_all: Final = Statement(_listed_of_all)
listed: Final = Statement(_listed_of_all.where(calls.c.principal == _principal))
_prefix = bindparam("prefix", type_=Text)
beginning_with: Final = Statement(
    _facts.where(
        # Ids are hexadecimal: what begins like this sorts before the same with a "g" behind it.
        calls.c.id >= _prefix,
        calls.c.id < _prefix + "g",
        or_(_principal == "", calls.c.principal == _principal),
    )
    .order_by(calls.c.created_at.desc())
    .limit(bindparam("at_most", type_=BigInteger))
)
unfinished: Final = Statement(_facts.where(s.unfinished).order_by(calls.c.created_at))
unfinished_of_lane: Final = Statement(
    _facts.where(
        s.unfinished,
        or_(calls.c.lane == bindparam("of_lane"), caps.c.lane == bindparam("of_lane")),
    ).order_by(calls.c.created_at)
)
unconfirmed: Final = Statement(
    _facts.where(calls.c.charged, calls.c.lane == bindparam("of_lane"))
    .order_by(calls.c.created_at)
    .limit(bindparam("at_most", type_=BigInteger))
)
transactions_of: Final = Statement(
    select(transactions)
    .where(transactions.c.call_id == bindparam("of_call"))
    .order_by(transactions.c.created_at)
)
_mine = calls.alias("mine")
_my_id = bindparam("of_call", type_=Text)
_my_lane = select(_mine.c.lane).where(_mine.c.id == _my_id).scalar_subquery()
_holder = (
    select(case((_mine.c.superseded_by == "", _mine.c.id), else_=_mine.c.superseded_by))
    .where(_mine.c.id == _my_id)
    .scalar_subquery()
)
rivals_of: Final = and_(
    calls.c.active,
    calls.c.lane == _my_lane,
    calls.c.id != _my_id,
    s.holds(s.SIGNED, s.SUPERSEDED),
    or_(calls.c.id == _holder, calls.c.superseded_by == _holder),
)
"""Calls that were signed under the nonce of the call `of_call`, of which none is decided yet."""

transactions_under: Final = Statement(
    select(transactions)
    .where(
        or_(
            transactions.c.call_id == _my_id,
            transactions.c.call_id.in_(select(calls.c.id).where(rivals_of)),
        )
    )
    .order_by(transactions.c.created_at)
)

_FEE_STATES: Final[Mapping[str, FeeState]] = {
    s.FREE: "none",
    s.GIVEN_BACK: "none",
    s.SIGNED: "open",
    s.SUPERSEDED: "superseded",
    s.RELEASED: "released",
    s.ENDED: "ended",
    s.SETTLED: "paid",
    s.COUNTED: "paid",
}


def call_of(row: Row) -> Call:
    """Read a call; documents that the row lacks are empty, those in files are references."""
    cap = _cap(row)
    return Call(
        id=row["id"],
        tool=row["tool"],
        principal=row["principal"],
        network=row["network"],
        request_hash=row["request_hash"],
        idempotency_key=row["idempotency_key"],
        stage=Stage(row["stage"]),
        status=_shown(row["status"]),
        waiting_approval=row["status"] == s.WAITING_APPROVAL,
        orphaned=row["status"] == s.RUNNING and not row["alive"],
        declined=row["status"] == s.FAILED and row["declined_at"] is not None,
        error=row["error"],
        account=_account(row),
        nonce=row["nonce"],
        transaction_hashes=tuple(row["transaction_hashes"].split()),
        superseded_by=row["superseded_by"],
        max_fee_wei=int(row["max_fee_wei"]),
        fee_wei=int(row["fee_wei"]),
        fee_state=_FEE_STATES[row["hold"]],
        max_opg=int(row["max_opg"]),
        amount_opg=cap.amount_opg if cap else int(row["amount_opg"]),
        result_hash=row["result_hash"],
        created_at=moment(row["created_at"]),
        updated_at=moment(row["updated_at"]),
        delivered_at=None if row["delivered_at"] is None else moment(row["delivered_at"]),
        owner=row["owner"],
        cap=cap,
        model=row["model"],
        first_words=row["first_words"],
        **{name: row.get(name, "") for name in DOCUMENTS},
    )


def _shown(status: str) -> CallStatus:
    if status == s.RUNNING:
        return "running"
    return "done" if status == s.DONE else "failed"


def _cap(row: Row) -> Cap | None:
    # A call that was recorded in this moment has none, and its row is not joined.
    if row.get(f"{cap_records.PREFIX}id") is None:
        return None
    return cap_records.cap_of(row, cap_records.PREFIX)


def _account(row: Row) -> Account | None:
    if not row["lane"]:
        return None
    return Account(
        network=row["account_network"],
        chain_id=int(row["chain_id"]),
        address=row["account_address"],
    )
