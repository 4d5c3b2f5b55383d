"""Removing what nobody needs any more."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Text, bindparam, delete, exists, or_, select

from og_mcp.journal import _schema as s
from og_mcp.journal._open_step import KEY_LIFE_US
from og_mcp.journal._sql import Statement, now
from og_mcp.journal._steps import Steps, change, rows
from og_mcp.journal._sums import WINDOW_US

calls, caps, payments = s.calls, s.caps, s.payments

BATCH: Final = 100
"""Calls that are removed in one transaction, between which others get their turn; or signed
maxima."""

_call = bindparam("of_call", type_=Text)

_before = bindparam("before", type_=BigInteger)

_is_open = exists().where(
    payments.c.call_id == calls.c.id, caps.c.id == payments.c.cap_id, caps.c.is_open
)
"""Whether a call may still cost what was signed for it."""

_removable: Final = Statement(
    select(calls.c.id)
    .where(
        calls.c.updated_at < _before,
        calls.c.delivered_at.is_not(None),
        ~calls.c.active,
        ~_is_open,
        # The budget of 24 hours needs them, and so does whoever looks at what was just paid.
        calls.c.updated_at < now() - WINDOW_US,
        or_(calls.c.key_slot.is_(None), calls.c.created_at < now() - KEY_LIFE_US),
    )
    .limit(BATCH)
)
_removals: Final = (
    Statement(delete(s.transactions).where(s.transactions.c.call_id == _call)),
    Statement(delete(s.approvals).where(s.approvals.c.call_id == _call)),
    Statement(delete(payments).where(payments.c.call_id == _call)),
    Statement(delete(calls).where(calls.c.id == _call)),
)
# What they settled for is in the sums.
_removable_caps: Final = Statement(
    select(caps.c.id)
    .where(
        caps.c.ended_at < _before,
        caps.c.ended_at < now() - WINDOW_US,
        ~exists().where(payments.c.cap_id == caps.c.id),
    )
    .limit(BATCH)
)
_remove_cap: Final = Statement(delete(caps).where(caps.c.id == bindparam("of_cap")))
_lanes_to_count: Final = Statement(
    select(s.lanes.c.network, s.lanes.c.chain_id, s.lanes.c.address)
    .join(calls, s.live & (calls.c.lane == s.lanes.c.id))
    .where(calls.c.hold == s.SETTLED)
    .distinct()
)


def remove_batch(before: int) -> Steps[set[str]]:
    """Remove some of the calls that ended before a time; returns their ids."""
    found = {one["id"] for one in (yield from rows(_removable, before=before))}
    for call_id in found:
        for removal in _removals:
            yield from change(removal, of_call=call_id)
    return found


def remove_caps(before: int) -> Steps[int]:
    """Remove some of the signed maxima that ended before a time and have no calls any more."""
    found = yield from rows(_removable_caps, before=before)
    for one in found:
        yield from change(_remove_cap, of_cap=one["id"])
    return len(found)


def lanes_to_count() -> Steps[list[tuple[str, int, str]]]:
    """Return network, chain id and address of lanes whose budget needs single calls."""
    found = yield from rows(_lanes_to_count)
    return [(one["network"], int(one["chain_id"]), one["address"]) for one in found]
