"""How a call ends. Each step is one guarded statement, so that two processes may take it at once.

What a step finds already done, it leaves; what contradicts it, is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Text, and_, bindparam, case, exists, func, or_, select, update

from og_mcp.errors import CallStateError
from og_mcp.journal import _schema as s
from og_mcp.journal._moments import moment
from og_mcp.journal._paying import tell_cost
from og_mcp.journal._records import STAGES, by_id, call_of, rivals_of
from og_mcp.journal._sql import Row, Statement, now
from og_mcp.journal._steps import Query, Steps, change, changes, row
from og_mcp.types import Stage

calls, transactions = s.calls, s.transactions

_call = bindparam("call_id", type_=Text)
_my_id = bindparam("of_call", type_=Text)
_new_fee = bindparam("new_fee_wei", type_=Text)
_new_stage = bindparam("new_stage", type_=Text)

_is_signed = s.holds(*s.UNPAID)
"""What was signed may be mined, whatever an RPC has said of it."""
_is_paid = s.holds(s.SETTLED, s.COUNTED)
_is_free = and_(calls.c.hold == s.FREE, _new_fee == "0")
"""A call that signed nothing has nothing to pay."""


def _once(column: ColumnElement[object], value: object) -> ColumnElement[object]:
    """Set what settling sets: the first time counts."""
    return case((_is_signed, value), else_=column)


_payment: Final = {
    "stage": case(
        (calls.c.stage == Stage.CONFIRMED.value, calls.c.stage),
        # What pays for it has its end already.
        (calls.c.cap_status == s.CAP_SETTLED, Stage.CONFIRMED.value),
        (calls.c.cap_status == s.CAP_VOID, Stage.CONFIRMED.value),
        else_=_new_stage,
    ),
    "hold": _once(calls.c.hold, s.SETTLED),
    "fee_wei": _once(calls.c.fee_wei, _new_fee),
    "settled_at": _once(calls.c.settled_at, now()),
    "updated_at": now(),
}

_other = calls.alias("other")
_is_repeated = exists().where(
    _other.c.joinable,
    *(
        _other.c[name] == calls.c[name]
        for name in ("principal", "tool", "network", "request_hash", "idempotency_key")
    ),
)
_settle: Final = Statement(
    update(calls)
    .where(
        calls.c.id == _call,
        or_(
            calls.c.status == s.RUNNING,
            and_(calls.c.status == s.FAILED, calls.c.stage != Stage.NOT_SENT.value),
        ),
        or_(_is_signed, _is_paid, _is_free),
    )
    .values(
        **_payment,
        status=s.DONE,
        # What was delivered was the failure: whoever repeats the request gets its answer, too.
        delivered_at=case(
            (and_(calls.c.status == s.FAILED, ~_is_repeated), None), else_=calls.c.delivered_at
        ),
        error="",
        result=bindparam("new_result"),
        result_hash=bindparam("new_result_hash"),
        receipt=bindparam("new_receipt"),
    )
)
# The nonce has its end: what else was signed under it can no longer be mined.
_end_rivals: Final = Statement(
    update(calls)
    .where(
        rivals_of,
        exists(select(_other.c.id).where(_other.c.id == _my_id, _other.c.hold == s.SETTLED)),
    )
    .values(
        status=s.FAILED,
        hold=s.ENDED,
        error=bindparam("rival_error", type_=Text),
        updated_at=now(),
    )
)
_fail_charged: Final = Statement(
    update(calls)
    .where(
        calls.c.id == _call,
        or_(
            calls.c.status == s.RUNNING,
            and_(calls.c.status == s.FAILED, calls.c.stage == Stage.SENT_UNKNOWN.value),
        ),
        or_(_is_signed, _is_free),
    )
    .values(
        **_payment,
        status=s.FAILED,
        error=bindparam("new_error"),
        receipt=bindparam("new_receipt"),
    )
)
_fail_unknown: Final = Statement(
    update(calls)
    .where(
        calls.c.id == _call,
        calls.c.status == s.RUNNING,
        or_(_is_signed, calls.c.hold == s.FREE),
        or_(calls.c.stage == Stage.NOT_SENT.value, calls.c.stage == Stage.SENT_UNKNOWN.value),
    )
    .values(
        status=s.FAILED,
        stage=case(
            (calls.c.cap_status == s.CAP_VOID, Stage.NOT_SENT.value),
            else_=Stage.SENT_UNKNOWN.value,
        ),
        error=case((calls.c.cap_status == s.CAP_VOID, s.NEVER_TAKEN), else_=bindparam("new_error")),
        receipt=bindparam("new_receipt"),
        updated_at=now(),
    )
)
_new_status = bindparam("new_status", type_=Text)
_fail_unsent: Final = Statement(
    update(calls)
    .where(
        calls.c.id == _call,
        calls.c.stage == Stage.NOT_SENT.value,
        s.holds(*s.UNSIGNED),
        or_(
            calls.c.status == s.RUNNING,
            # What its failure told is over: that it may still be mined.
            and_(
                calls.c.status == s.FAILED,
                calls.c.hold == s.GIVEN_BACK,
                _new_status == s.FAILED,
            ),
        ),
    )
    .values(
        status=_new_status,
        hold=s.FREE,
        nonce=None,
        max_fee_wei="0",
        error=bindparam("new_error"),
        receipt=bindparam("new_receipt"),
        updated_at=now(),
    )
)
_repeat: Final = Statement(
    update(calls)
    .where(
        calls.c.id == _call,
        calls.c.status == s.FAILED,
        calls.c.stage == Stage.SENT_UNKNOWN.value,
        calls.c.hold == s.FREE,
        calls.c.owner == bindparam("my_id", type_=Text),
        calls.c.cap_id == bindparam("of_cap", type_=Text),
        calls.c.cap_status == s.CAP_OPEN,
        exists().where(s.caps.c.id == calls.c.cap_id, s.caps.c.cancelled_at.is_(None)),
    )
    .values(status=s.RUNNING, error="", receipt="", delivered_at=None, updated_at=now())
)
_confirm: Final = Statement(
    update(calls)
    # What a payment authorization pays for is confirmed by the end of that one alone.
    .where(calls.c.id == _call, calls.c.charged, calls.c.cap_id.is_(None))
    .values(stage=Stage.CONFIRMED.value, updated_at=now())
)
_deliver: Final = Statement(
    update(calls)
    .where(calls.c.id == _call, calls.c.status != s.RUNNING, calls.c.delivered_at.is_(None))
    .values(delivered_at=now())
)
_adopt: Final = Statement(
    update(calls)
    .where(
        calls.c.id == _call,
        calls.c.status == s.RUNNING,
        calls.c.owner == bindparam("old_owner"),
    )
    .values(owner=bindparam("new_owner"), updated_at=now())
)
NO_LASTS_US: Final = 600 * 10**6
"""How long a person's no holds for the same request, microseconds (threats.md T48)."""

_decline: Final = Statement(
    update(calls)
    .where(calls.c.id == _call, calls.c.status == s.WAITING_APPROVAL)
    .values(
        status=s.FAILED,
        error=bindparam("new_error"),
        declined_at=now(),
        # The person has heard of it.
        delivered_at=func.coalesce(calls.c.delivered_at, now()),
        updated_at=now(),
    )
)
_declined: Final = Statement(
    select(func.max(_other.c.declined_at).label("declined_at"))
    .select_from(
        calls.join(
            _other,
            and_(
                *(
                    _other.c[name] == calls.c[name]
                    for name in ("principal", "tool", "network", "request_hash")
                )
            ),
        )
    )
    .where(calls.c.id == _call, _other.c.declined_at > now() - NO_LASTS_US)
)
_forget_raw: Final = Statement(
    update(transactions).where(transactions.c.call_id == _call).values(raw="")
)
_state: Final = Statement(
    select(calls.c.status, calls.c.stage, calls.c.hold, calls.c.cap_status).where(
        calls.c.id == _call
    )
)


@dataclass(frozen=True)
class SettleStep:
    """A good end, with its documents as they are stored."""

    call_id: str
    stage: Stage
    fee_wei: int
    result: str
    result_hash: str
    receipt: str
    keep_raw: bool
    """Whether the signed bytes, which hold the request, are kept."""

    told_opg: int | None = None
    """What the gateway told that it cost, base units."""

    def __call__(self) -> Steps[None]:
        """Settle, or find it settled."""
        settling = {
            "call_id": self.call_id,
            "new_stage": self.stage.value,
            "new_fee_wei": str(self.fee_wei),
            "new_result": self.result,
            "new_result_hash": self.result_hash,
            "new_receipt": self.receipt,
        }
        ending = Query(_end_rivals, {"of_call": self.call_id, "rival_error": s.NONCE_TAKEN})
        changed, _ = yield from changes(Query(_settle, settling), ending)
        if not changed:
            state = yield from _state_of(self.call_id)
            if state["status"] != s.DONE:
                raise CallStateError(self.call_id, "be settled", _told(state))
            yield from _confirm_if(self.call_id, self.stage)
        if self.told_opg is not None:
            yield from tell_cost(self.call_id, self.told_opg)
        if not self.keep_raw:
            yield from change(_forget_raw, call_id=self.call_id)


@dataclass(frozen=True)
class FailStep:
    """A bad end."""

    call_id: str
    stage: Stage
    error: str
    fee_wei: int = 0
    receipt: str = ""
    status: str = s.FAILED

    def __call__(self) -> Steps[None]:
        """Fail, or find it failed or further."""
        if not (yield from self._change()):
            state = yield from _state_of(self.call_id)
            if not self._is_behind(state):
                raise CallStateError(self.call_id, f"fail at {self.stage}", _told(state))
            yield from _confirm_if(self.call_id, self.stage)

    def _change(self) -> Steps[int]:
        what = {
            "call_id": self.call_id,
            "new_error": self.error,
            "new_receipt": self.receipt,
        }
        if self.stage is Stage.NOT_SENT:
            return (yield from change(_fail_unsent, **what, new_status=self.status))
        if self.stage is Stage.SENT_UNKNOWN:
            return (yield from change(_fail_unknown, **what))
        new = {"new_stage": self.stage.value, "new_fee_wei": str(self.fee_wei)}
        failing = Query(_fail_charged, {**what, **new})
        ending = Query(_end_rivals, {"of_call": self.call_id, "rival_error": s.NONCE_TAKEN})
        changed, _ = yield from changes(failing, ending)
        return changed

    def _is_behind(self, state: Row) -> bool:
        """Whether the call has ended as far along, or further, in a way that this may be."""
        if state["status"] == s.FAILED:
            # What could not cost anything after all went back to `not_sent`.
            if state["cap_status"] == s.CAP_VOID and self.stage is Stage.SENT_UNKNOWN:
                return True
            return _rank(state["stage"]) >= min(_rank(self.stage), _rank(Stage.CHARGED))
        return bool(state["status"] == s.DONE and _rank(self.stage) < _rank(Stage.CHARGED))


def repeat(call_id: str, cap_id: str, owner: str) -> Steps[None]:
    """Run a call again that failed at `sent_unknown`, under the same open cap."""
    if not (yield from change(_repeat, call_id=call_id, of_cap=cap_id, my_id=owner)):
        raise CallStateError(call_id, "be repeated", _told((yield from _state_of(call_id))))


def confirm(call_id: str) -> Steps[None]:
    """Move a call from `charged` to `confirmed`."""
    if not (yield from change(_confirm, call_id=call_id)):
        state = yield from _state_of(call_id)
        if state["stage"] != Stage.CONFIRMED:
            raise CallStateError(call_id, "be confirmed", _told(state))


def deliver(call_id: str) -> Steps[None]:
    """Note that the caller has the call's end."""
    yield from change(_deliver, call_id=call_id)


def adopt(call_id: str, owner: str) -> Steps[bool]:
    """Take over a running call whose process died."""
    found = yield from row(by_id, call_id=call_id)
    if found is None or found["status"] != s.RUNNING:
        return False
    if found["owner"] == owner:
        return True
    if not call_of(found).orphaned:
        return False
    who = {"old_owner": found["owner"], "new_owner": owner}
    return (yield from change(_adopt, call_id=call_id, **who)) == 1


def decline(call_id: str, error: str) -> Steps[None]:
    """End a call that waits for approval, because a person said no."""
    if not (yield from change(_decline, call_id=call_id, new_error=error)):
        raise CallStateError(call_id, "be declined", _told((yield from _state_of(call_id))))


def no_until(call_id: str) -> Steps[datetime | None]:
    """Return until when a person's no to this request holds, `None` where it does not."""
    found = yield from row(_declined, call_id=call_id)
    at = found["declined_at"] if found else None
    return None if at is None else moment(at + NO_LASTS_US)


def _confirm_if(call_id: str, stage: Stage) -> Steps[None]:
    if stage is Stage.CONFIRMED:
        yield from change(_confirm, call_id=call_id)


def _state_of(call_id: str) -> Steps[Row]:
    state = yield from row(_state, call_id=call_id)
    return state or {"status": "unknown", "stage": "no stage", "hold": s.FREE, "cap_status": ""}


def _told(state: Row) -> str:
    return f"it is {state['status']} at {state['stage']}, its nonce {state['hold']}"


def _rank(stage: str) -> int:
    return STAGES.index(Stage(stage))
