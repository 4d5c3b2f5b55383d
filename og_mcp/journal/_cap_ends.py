"""How a signed maximum ends, and what that says of the calls that it paid for.

Each end takes the account's turn first, like each beginning: so one that is settled is in the
sums, or open, and never neither.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Text, bindparam, case, exists, select, update

from og_mcp.errors import CallStateError
from og_mcp.journal import _schema as s
from og_mcp.journal._cap_records import row_of
from og_mcp.journal._opg_window import take_turn
from og_mcp.journal._sql import Row, Statement, now
from og_mcp.journal._steps import Steps, change
from og_mcp.journal._sums import amount
from og_mcp.types import Stage

calls, caps, payments = s.calls, s.caps, s.payments

_cap = bindparam("of_cap", type_=Text)

_settle: Final = Statement(
    update(caps)
    .where(caps.c.id == _cap, caps.c.status != s.CAP_SETTLED)
    .values(
        status=s.CAP_SETTLED,
        amount_opg=bindparam("new_amount_opg"),
        transaction_hash=bindparam("new_hash"),
        ended_at=now(),
    )
)
_void: Final = Statement(
    update(caps)
    .where(caps.c.id == _cap, caps.c.status == s.CAP_OPEN)
    .values(status=s.CAP_VOID, ended_at=now())
)
_others = (
    select(caps.c.id)
    .join(payments, payments.c.cap_id == caps.c.id)
    .where(payments.c.call_id == calls.c.id, caps.c.status != s.CAP_VOID)
)
_newest = _others.order_by(payments.c.paid_at.desc(), caps.c.id).limit(1).scalar_subquery()
_newest_status = (
    _others.with_only_columns(caps.c.status)
    .order_by(payments.c.paid_at.desc(), caps.c.id)
    .limit(1)
    .scalar_subquery()
)
# What left under an older signed maximum may still cost that one.
_turn_to_older: Final = Statement(
    update(calls)
    .where(calls.c.cap_id == _cap, exists(_others))
    .values(
        cap_id=_newest,
        cap_status=_newest_status,
        stage=case(
            (
                (calls.c.stage == Stage.CHARGED.value) & (_newest_status == s.CAP_SETTLED),
                Stage.CONFIRMED.value,
            ),
            else_=calls.c.stage,
        ),
        updated_at=now(),
    )
)
# It failed, and its payment was void before.
_is_believed_unpaid = (calls.c.stage == Stage.NOT_SENT.value) & (calls.c.status == s.FAILED)
_confirm_calls: Final = Statement(
    update(calls)
    # All of them, whatever their stage: one that is answered in this moment waits for its row, and
    # reads there that what paid for it has ended.
    .where(calls.c.cap_id == _cap)
    .values(
        cap_status=s.CAP_SETTLED,
        stage=case(
            (calls.c.stage == Stage.CHARGED.value, Stage.CONFIRMED.value),
            (_is_believed_unpaid, Stage.SENT_UNKNOWN.value),
            else_=calls.c.stage,
        ),
        error=case((_is_believed_unpaid, s.TAKEN_AFTER_ALL), else_=calls.c.error),
        updated_at=now(),
    )
)
_reopen: Final = Statement(
    update(caps)
    .where(caps.c.id == _cap)
    .values(status=s.CAP_OPEN, amount_opg="0", transaction_hash="", ended_at=None)
)
_unconfirm_calls: Final = Statement(
    update(calls)
    .where(calls.c.cap_id == _cap)
    .values(
        cap_status=s.CAP_OPEN,
        stage=case(
            (calls.c.stage == Stage.CONFIRMED.value, Stage.CHARGED.value), else_=calls.c.stage
        ),
        updated_at=now(),
    )
)
_is_unknown = calls.c.stage == Stage.SENT_UNKNOWN.value
_is_lost = _is_unknown & (calls.c.status == s.FAILED)
_release_calls: Final = Statement(
    update(calls)
    .where(calls.c.cap_id == _cap)
    .values(
        cap_status=s.CAP_VOID,
        stage=case(
            (calls.c.stage == Stage.CHARGED.value, Stage.CONFIRMED.value),
            (_is_lost, Stage.NOT_SENT.value),
            else_=calls.c.stage,
        ),
        error=case((_is_lost, s.NEVER_TAKEN), else_=calls.c.error),
        updated_at=now(),
    )
)
_take_back_calls: Final = Statement(
    update(calls)
    .where(calls.c.cap_id == _cap, calls.c.status == s.RUNNING, _is_unknown)
    .values(stage=Stage.NOT_SENT.value, cap_id=None, cap_status="", updated_at=now())
)


def settle(cap_id: str, amount_opg: int, transaction_hash: str) -> Steps[None]:
    """Count what the chain says was paid; the first time counts.

    Even where it was void: the chain is right, and the signature has left after all.
    """
    found = yield from row_of(cap_id)
    purse = yield from take_turn(found["lane"])
    new = {"new_amount_opg": str(amount_opg), "new_hash": transaction_hash}
    if (yield from change(_settle, of_cap=cap_id, **new)):
        yield from purse.add(found["principal"], amount_opg)
        yield from change(_confirm_calls, of_cap=cap_id)


def reopen(cap_id: str) -> Steps[None]:
    """Record that a settlement is gone from the chain: it may be taken for more."""
    found = yield from row_of(cap_id)
    purse = yield from take_turn(found["lane"])
    found = yield from row_of(cap_id)
    if found["status"] == s.CAP_SETTLED:
        yield from purse.take_back(
            found["principal"], amount(found["amount_opg"]), found["ended_at"]
        )
        yield from change(_reopen, of_cap=cap_id)
        yield from change(_unconfirm_calls, of_cap=cap_id)


def void(cap_id: str, counted_opg: int) -> Steps[None]:
    """Record that it can never be taken, by a chain's word; an amount counts all the same."""
    yield from _end_unpaid(cap_id, "take back a payment", counted_opg)
    yield from change(_turn_to_older, of_cap=cap_id)
    yield from change(_release_calls, of_cap=cap_id)


def drop(cap_id: str) -> Steps[None]:
    """Record that its signature never left."""
    yield from _end_unpaid(cap_id, "drop a payment")
    yield from change(_turn_to_older, of_cap=cap_id)
    yield from change(_take_back_calls, of_cap=cap_id)
    yield from change(_release_calls, of_cap=cap_id)


def _end_unpaid(cap_id: str, step: str, counted_opg: int = 0) -> Steps[Row]:
    """Make it void, or find it so."""
    found = yield from row_of(cap_id)
    purse = yield from take_turn(found["lane"])
    if (yield from change(_void, of_cap=cap_id)) and counted_opg:
        yield from purse.add(found["principal"], counted_opg)
    found = yield from row_of(cap_id)
    if found["status"] != s.CAP_VOID:
        raise CallStateError(found["opened_by"], step, f"{cap_id} is {found['status']}")
    return found
