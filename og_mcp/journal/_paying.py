"""Signed maxima, and the calls that they pay for, before anything leaves.

A call names the newest signed maximum that pays for it, and a row of `payments` each one under
which something of it may have left.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Text, and_, bindparam, delete, exists, func, or_, select, update

from og_mcp.errors import CallStateError
from og_mcp.journal import _schema as s
from og_mcp.journal._cap_records import cap_of, row_of
from og_mcp.journal._opg_window import open_amount, positive, take_turn
from og_mcp.journal._sql import InsertInto, Row, Statement, now
from og_mcp.journal._steps import Steps, change, row, rows
from og_mcp.journal._sums import amount
from og_mcp.types import Call, Cap, CapRequest, OPGCaps, Stage

calls, caps, payments = s.calls, s.caps, s.payments

_call = bindparam("call_id", type_=Text)
_cap = bindparam("of_cap", type_=Text)
_me = bindparam("my_id", type_=Text)

_GIVEN: Final = ("resource", "asset", "pay_to", "nonce", "deadline", "facilitator", "principal")


def _new(insert: InsertInto) -> Any:  # noqa: ANN401 - either database's insert
    account = ("lane", "account_network", "account_address", "chain_id")
    names = (*_GIVEN, *account, "max_opg")
    into = insert(caps).values(
        id=_cap,
        opened_by=_call,
        status=s.CAP_OPEN,
        created_at=now(),
        **{name: bindparam(f"new_{name}", type_=caps.c[name].type) for name in names},
    )
    return into.on_conflict_do_nothing()


def _note(insert: InsertInto) -> Any:  # noqa: ANN401 - either database's insert
    into = insert(payments).values(call_id=_call, cap_id=_cap, paid_at=now())
    return into.on_conflict_do_update(
        index_elements=["call_id", "cap_id"], set_={"paid_at": into.excluded.paid_at}
    )


_put_told: Final = Statement(
    update(payments)
    .where(
        payments.c.call_id == _call,
        payments.c.cap_id == select(calls.c.cap_id).where(calls.c.id == _call).scalar_subquery(),
    )
    .values(told_opg=bindparam("new_told_opg"))
)
_told_costs: Final = Statement(select(payments.c.told_opg).where(payments.c.cap_id == _cap))
_caps_of_call: Final = Statement(
    select(caps.c.id, caps.c.status, caps.c.amount_opg)
    .join(payments, payments.c.cap_id == caps.c.id)
    .where(payments.c.call_id == _call)
)
_by_nonce: Final = Statement(
    select(caps.c.id).where(
        caps.c.lane == bindparam("of_lane", type_=Text),
        caps.c.nonce == bindparam("of_nonce", type_=Text),
    )
)
_insert: Final = Statement(_new)
_note_payment: Final = Statement(_note)
_of_call: Final = Statement(select(caps).where(caps.c.opened_by == _call))
_pay: Final = Statement(
    update(calls)
    .where(
        calls.c.id == _call,
        calls.c.status == s.RUNNING,
        calls.c.owner == _me,
        # A call that signs transactions is paid by those.
        calls.c.hold == s.FREE,
        or_(calls.c.stage == Stage.NOT_SENT.value, calls.c.stage == Stage.SENT_UNKNOWN.value),
        exists().where(
            caps.c.id == _cap,
            caps.c.status == s.CAP_OPEN,
            # Nobody is paid for by another principal (threats.md T21).
            caps.c.principal == calls.c.principal,
        ),
    )
    .values(stage=Stage.SENT_UNKNOWN.value, cap_id=_cap, cap_status=s.CAP_OPEN, updated_at=now())
)
# Changes nothing: the row is locked until the commit, so that nobody ends it meanwhile.
_lock_cap: Final = Statement(
    update(caps)
    .where(caps.c.id == _cap)
    .values(status=caps.c.status)
    .returning(caps.c.status, caps.c.cancelled_at)
)
_cancel: Final = Statement(
    update(caps)
    .where(caps.c.id == _cap, caps.c.status == s.CAP_OPEN)
    .values(cancelled_at=func.coalesce(caps.c.cancelled_at, now()))
)
_unpay: Final = Statement(
    update(calls)
    .where(
        calls.c.id == _call,
        calls.c.status == s.RUNNING,
        calls.c.owner == _me,
        and_(calls.c.cap_id.is_not(None), calls.c.stage == Stage.SENT_UNKNOWN.value),
    )
    .values(stage=Stage.NOT_SENT.value, cap_id=None, cap_status="", updated_at=now())
)
_forget_payments: Final = Statement(delete(payments).where(payments.c.call_id == _call))
_state: Final = Statement(
    select(calls.c.status, calls.c.stage, calls.c.hold, calls.c.principal, calls.c.owner).where(
        calls.c.id == _call
    )
)


@dataclass(frozen=True)
class AuthorizeStep:
    """One request to sign a maximum. Its id is drawn once, so that repeating the work is safe."""

    cap_id: str
    call_id: str
    owner: str
    request: CapRequest
    limits: OPGCaps

    @classmethod
    def of(cls, call_id: str, owner: str, request: CapRequest, limits: OPGCaps) -> AuthorizeStep:
        """Draw an id of 128 random bits.

        Raises:
            ValueError: The amount is negative.
        """
        positive(request.max_opg)
        return cls(secrets.token_hex(16), call_id, owner, request, limits)

    def __call__(self) -> Steps[Cap]:
        """Check the limits, and record it."""
        request = self.request
        purse = yield from take_turn(request.account.key)
        signed = yield from rows(_of_call, call_id=self.call_id)
        for one in signed:
            if self._is_same(one):
                return cap_of(one)
        of_call = sum(amount(one["max_opg"]) for one in signed if one["status"] != s.CAP_VOID)
        open_opg = yield from open_amount(request.account.key)
        purse.check(request.max_opg, of_call, open_opg, self.limits)
        if not (yield from change(_insert, **self._values())):
            raise CallStateError(self.call_id, "sign a payment", "its nonce was signed before")
        yield from _pay_by(self.call_id, self.cap_id, self.owner, "sign a payment")
        signed = yield from rows(_of_call, call_id=self.call_id)
        return next(cap_of(one) for one in signed if one["id"] == self.cap_id)

    def _is_same(self, row: Row) -> bool:
        """Whether the request was recorded before, and its answer lost."""
        found = cap_of(row)
        return found.status == s.CAP_OPEN and all(
            getattr(found, name) == getattr(self.request, name)
            for name in ("account", "max_opg", *_GIVEN)
        )

    def _values(self) -> Row:
        request = self.request
        return {
            "of_cap": self.cap_id,
            "call_id": self.call_id,
            "new_lane": request.account.key,
            "new_account_network": request.account.network,
            "new_account_address": request.account.address,
            "new_chain_id": str(request.account.chain_id),
            "new_max_opg": str(request.max_opg),
            **{f"new_{name}": getattr(request, name) for name in _GIVEN},
        }


def pay_by(call_id: str, cap_id: str, owner: str) -> Steps[None]:
    """Record that a call is paid by an open signed maximum."""
    found = yield from row(_lock_cap, of_cap=cap_id)
    if found is None or found["status"] != s.CAP_OPEN:
        why = "the journal does not have it" if found is None else f"it is {found['status']}"
        raise CallStateError(call_id, f"be paid by {cap_id}", why)
    if found["cancelled_at"] is not None:
        raise CallStateError(call_id, f"be paid by {cap_id}", "its owner has cancelled it")
    yield from _pay_by(call_id, cap_id, owner, f"be paid by {cap_id}")


def _pay_by(call_id: str, cap_id: str, owner: str, step: str) -> Steps[None]:
    if not (yield from change(_pay, call_id=call_id, of_cap=cap_id, my_id=owner)):
        raise CallStateError(call_id, step, (yield from _told(call_id, owner)))
    yield from change(_note_payment, call_id=call_id, of_cap=cap_id)


def cancel(cap_id: str) -> Steps[None]:
    """Let an open one pay for no later call; it counts as open all the same."""
    if not (yield from change(_cancel, of_cap=cap_id)):
        found = yield from row_of(cap_id)
        raise CallStateError(found["opened_by"], "be cancelled", f"{cap_id} is {found['status']}")


def paid_calls(cap_id: str) -> Steps[int]:
    """Count the calls under which something may have left under one."""
    return len((yield from rows(_told_costs, of_cap=cap_id)))


def tell_cost(call_id: str, told_opg: int) -> Steps[None]:
    """Keep what the gateway told that a call's answer cost."""
    yield from change(_put_told, call_id=call_id, new_told_opg=str(positive(told_opg)))


def told_costs(cap_id: str) -> Steps[tuple[int, bool]]:
    """Sum up what was told of the calls that one pays for, and whether it was told of all."""
    told = [one["told_opg"] for one in (yield from rows(_told_costs, of_cap=cap_id))]
    return sum(amount(one) for one in told if one), bool(told) and all(told)


def was_not_charged(call: Call) -> Steps[bool]:
    """Tell whether all that was signed for a lost call has ended without paying for it.

    What has settled for no more than the answered calls under it were told to cost has paid for
    those alone. It settles once.
    """
    if call.status != "failed" or call.stage is not Stage.SENT_UNKNOWN or call.cap is None:
        return False
    found = yield from rows(_caps_of_call, call_id=call.id)
    for one in found:
        told, _ = yield from told_costs(one["id"])
        is_settled = one["status"] == s.CAP_SETTLED and amount(one["amount_opg"]) <= told
        if not (is_settled or one["status"] == s.CAP_VOID):
            return False
    # A journal from before payments were noted does not tell.
    return call.cap.id in {one["id"] for one in found}


def forget_payments(call_id: str) -> Steps[None]:
    """Forget what was signed for a call, once that has ended without paying for it."""
    yield from change(_forget_payments, call_id=call_id)


def known_nonces(lane: str, nonces: Sequence[str]) -> Steps[frozenset[str]]:
    """Return those that were signed for an account."""
    known: set[str] = set()
    for nonce in nonces:
        if (yield from row(_by_nonce, of_lane=lane, of_nonce=nonce)):
            known.add(nonce)
    return frozenset(known)


def unpay(call_id: str, owner: str) -> Steps[None]:
    """Undo every payment of a call of which nothing left."""
    if (yield from change(_unpay, call_id=call_id, my_id=owner)):
        yield from forget_payments(call_id)
        return
    state = yield from row(_state, call_id=call_id)
    is_undone = state is not None and (state["status"], state["owner"], state["stage"]) == (
        s.RUNNING,
        owner,
        Stage.NOT_SENT,
    )
    if not is_undone:
        raise CallStateError(call_id, "be unpaid", (yield from _told(call_id, owner)))


def _told(call_id: str, owner: str) -> Steps[str]:
    """Say what keeps a call from being paid."""
    state = yield from row(_state, call_id=call_id)
    if state is None:
        return "the journal does not have it"
    if state["status"] == s.RUNNING and state["owner"] != owner:
        return "another process runs it"
    if state["hold"] != s.FREE:
        return f"it pays by transaction, its nonce {state['hold']}"
    if state["status"] == s.RUNNING:
        return "its payment is over, or another principal's"
    return f"it is {state['status']} at {state['stage']}"
