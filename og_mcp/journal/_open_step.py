"""Opening a call: record it, or join the one that it repeats.

A new call is one statement, which the unique indexes make safe among processes: whoever loses
looks at the winner's row. Rows change hands by comparing and setting in one statement, so that
exactly one process runs a call.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    Boolean,
    Text,
    and_,
    bindparam,
    case,
    exists,
    func,
    literal,
    or_,
    select,
    update,
)

from og_mcp.errors import IdempotencyKeyReusedError, JournalError
from og_mcp.journal import _schema as s
from og_mcp.journal._documents import storable
from og_mcp.journal._paying import forget_payments, was_not_charged
from og_mcp.journal._records import by_id, call_of
from og_mcp.journal._sql import InsertInto, Row, Statement, now
from og_mcp.journal._stages import NO_LASTS_US
from og_mcp.journal._steps import Steps, change, row
from og_mcp.types import Call, CallRequest, Opened, Stage

calls = s.calls

KEY_LIFE_US: Final = 30 * 24 * 3600 * 10**6
"""How long an idempotency key is known, microseconds."""

TRIES: Final = 5
"""Looks at a call that changes hands in between."""

_GIVEN: Final = (
    "id",
    "principal",
    "tool",
    "network",
    "request_hash",
    "request",
    "idempotency_key",
    "owner",
    "max_opg",
    "model",
    "first_words",
)
_SAME_REQUEST: Final = tuple(
    calls.c[name] == bindparam(f"new_{name}", type_=Text)
    for name in ("principal", "tool", "network", "request_hash")
)


def _new(insert: InsertInto, *, keyed: bool) -> Any:  # noqa: ANN401 - either database's insert
    """Insert a running call, unless there is one to join."""
    values: dict[str, Any] = {name: bindparam(f"new_{name}", type_=Text) for name in _GIVEN}
    values["key_slot"] = func.nullif(bindparam("new_idempotency_key", type_=Text), "")
    values |= {"status": literal(s.RUNNING), "stage": literal(Stage.NOT_SENT.value)}
    values |= {"created_at": now(), "updated_at": now()}
    row = select(*(value.label(name) for name, value in values.items()))
    if not keyed:
        for state in (calls.c.joinable, calls.c.in_doubt):
            row = row.where(~exists().where(state, *_SAME_REQUEST))
    else:
        row = row.where(literal(1) == 1)
    inserted = insert(calls).from_select(list(values), row)
    return inserted.on_conflict_do_nothing().returning(*calls.c)


_new_with_key: Final = Statement(lambda insert: _new(insert, keyed=True))
_new_without_key: Final = Statement(lambda insert: _new(insert, keyed=False))

_by_key: Final = Statement(
    select(calls.c.id, (calls.c.created_at + KEY_LIFE_US < now()).label("is_old")).where(
        calls.c.principal == bindparam("new_principal"),
        calls.c.tool == bindparam("new_tool"),
        calls.c.key_slot == bindparam("new_idempotency_key"),
    )
)
_by_request: Final = Statement(
    select(calls.c.id).where(calls.c.joinable, *_SAME_REQUEST).order_by(calls.c.created_at).limit(1)
)
_doubt_by_request: Final = Statement(
    select(calls.c.id)
    .where(calls.c.in_doubt, *_SAME_REQUEST)
    .order_by(calls.c.created_at.desc())
    .limit(1)
)
_forget_key: Final = Statement(
    update(calls)
    .where(calls.c.id == bindparam("call_id"))
    # Nobody has come for its end in all that time, and a new call under the key has its place.
    .values(
        key_slot=None,
        status=case((calls.c.status == s.WAITING_APPROVAL, s.FAILED), else_=calls.c.status),
        delivered_at=func.coalesce(calls.c.delivered_at, now()),
    )
)
_take: Final = Statement(
    update(calls)
    .where(
        calls.c.id == bindparam("call_id"),
        calls.c.owner == bindparam("old_owner"),
        calls.c.status == bindparam("old_status"),
        or_(
            calls.c.stage == Stage.NOT_SENT.value,
            # Lost, and not charged for; where its settlement is gone from the chain, no longer.
            and_(bindparam("is_uncharged", type_=Boolean), calls.c.cap_status == s.CAP_SETTLED),
        ),
        s.holds(*s.UNSIGNED),
    )
    .values(
        status=s.RUNNING,
        stage=Stage.NOT_SENT.value,
        hold=s.FREE,
        owner=bindparam("new_owner"),
        nonce=None,
        max_fee_wei="0",
        error="",
        delivered_at=None,
        # A person's no holds for the next try, too (threats.md T48).
        declined_at=case(
            (calls.c.declined_at > now() - NO_LASTS_US, calls.c.declined_at), else_=None
        ),
        cap_id=None,
        cap_status="",
        updated_at=now(),
    )
)


@dataclass(frozen=True)
class OpenStep:
    """One request to open a call. Its id is drawn once, so that repeating the work is safe."""

    request: CallRequest
    owner: str
    call_id: str
    document: str = ""
    """The request as it is stored: itself, nothing, or a reference to a file."""

    @classmethod
    def of(cls, request: CallRequest, owner: str) -> OpenStep:
        """Draw an id of 128 random bits."""
        return cls(request, owner, secrets.token_hex(16))

    @property
    def order(self) -> str:
        """See `Job.order`: what a second process could wait for."""
        key = self.request.idempotency_key or self.request.request_hash
        return f"{self.request.principal}/{self.request.tool}/{key}"

    def __call__(self) -> Steps[Opened]:
        """Insert, or join."""
        values = self._values()
        new = _new_with_key if self.request.idempotency_key else _new_without_key
        for _ in range(TRIES):
            inserted = yield from row(new, **values)
            if inserted is not None:
                return Opened(call_of({**inserted, "alive": True}), joined=False)
            found = yield from self._find(values)
            opened = None if found is None else (yield from self._join(found))
            if opened is not None:
                return opened
        raise JournalError(
            f"The call that this request repeats changed hands {TRIES} times while it was read.",
            "Repeat the call.",
        )

    def _values(self) -> Row:
        request = self.request
        return {
            "new_id": self.call_id,
            "new_principal": request.principal,
            "new_tool": request.tool,
            "new_network": request.network,
            "new_request_hash": request.request_hash,
            "new_request": self.document,
            "new_idempotency_key": request.idempotency_key,
            "new_owner": self.owner,
            "new_max_opg": str(request.max_opg),
            "new_model": storable(request.model),
            "new_first_words": storable(request.first_words),
        }

    def _find(self, values: Row) -> Steps[Call | None]:
        """Return the call in the way, if it is still there."""
        if not self.request.idempotency_key:
            same = yield from row(_by_request, **values)
            if same is None:
                same = yield from row(_doubt_by_request, **values)
            return (yield from self._read(same["id"])) if same else None
        same = yield from row(_by_key, **values)
        if same is None:
            return None
        call = yield from self._read(same["id"])
        if same["is_old"] and call.status != "running" and call.id != self.call_id:
            yield from change(_forget_key, call_id=call.id)
            return None
        return call

    def _join(self, call: Call) -> Steps[Opened | None]:
        """Join a call or take it over; `None` where somebody else was faster."""
        request = self.request
        if call.id == self.call_id:
            return Opened(call, joined=False)
        if (call.request_hash, call.network) != (request.request_hash, request.network):
            raise IdempotencyKeyReusedError(request.idempotency_key, call.id)
        is_uncharged = yield from was_not_charged(call)
        if not (is_uncharged or _is_up_for_taking(call)):
            return Opened(call, joined=True)
        status = s.WAITING_APPROVAL if call.waiting_approval else call.status
        taken = yield from change(
            _take,
            call_id=call.id,
            old_owner=call.owner,
            old_status=status,
            new_owner=self.owner,
            is_uncharged=is_uncharged,
        )
        if taken and is_uncharged:
            yield from forget_payments(call.id)
        return Opened((yield from self._read(call.id)), joined=False) if taken else None

    def _read(self, call_id: str) -> Steps[Call]:
        found = yield from row(by_id, call_id=call_id)
        if found is None:
            raise JournalError(f"Call {call_id} was removed while it was read.", "Repeat the call.")
        return call_of(found)


def _is_up_for_taking(call: Call) -> bool:
    """Whether a call has sent nothing and nobody runs it."""
    if call.stage is not Stage.NOT_SENT:
        return False
    return call.orphaned or call.status == "failed"
