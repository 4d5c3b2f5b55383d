"""The journal's tables. Migrations make them; a test holds the two equal.

Amounts are decimal text, since SQLite has no integers of 256 bits; times are microseconds since
1970 by the database's clock. Generated columns name the states that queries ask for, so that a
partial index and the queries it serves cannot differ.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Computed,
    Index,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    and_,
    or_,
    text,
)

metadata = MetaData()

RUNNING: Final = "running"
DONE: Final = "done"
FAILED: Final = "failed"
WAITING_APPROVAL: Final = "waiting_approval"
"""Values of `status`."""

FREE: Final = "none"
SIGNED: Final = "signed"
SETTLED: Final = "settled"
COUNTED: Final = "counted"
GIVEN_BACK: Final = "given_back"
SUPERSEDED: Final = "superseded"
RELEASED: Final = "released"
ENDED: Final = "ended"
"""Values of `hold`: what of the account's budget a call has. `counted` is settled and contained in
the account's spending rows; `settled` is not yet. `superseded`: another call has signed under the
same nonce, and its row holds the larger fee. `released`: ended without effect; the fee counts for 24
hours more. `ended`: the same, and nothing counts."""


CAP_OPEN: Final = "open"
CAP_SETTLED: Final = "settled"
CAP_VOID: Final = "void"
"""Values of a signed maximum's `status`."""

NONCE_TAKEN: Final = (
    "The node did not take this call's transaction, and another call's was mined under the same "
    "nonce: this one ended without effect. Repeat it with a new idempotency_key."
)
"""The error of a call whose nonce another call's transaction took."""

NEVER_TAKEN: Final = (
    "The request was sent and its answer is lost; its payment was never taken and can no longer "
    "be, so that nothing was paid. The same request makes a new call."
)
"""The error of a call whose signed maximum is void: what it had told before is over."""

TAKEN_AFTER_ALL: Final = (
    "The request was sent and its answer is lost; its payment was taken although the chain had "
    "said that it no longer could be. Asking, and paying, again takes a new idempotency_key."
)
"""The error of a call whose signed maximum was believed void, and is settled."""


def _text(name: str, default: str | None = None) -> Column[Any]:
    return Column(name, Text, nullable=False, server_default=default)


def _when(name: str, *, nullable: bool = False) -> Column[Any]:
    return Column(name, BigInteger, nullable=nullable)


def _state(name: str, condition: str) -> Column[Any]:
    return Column(name, Boolean, Computed(condition, persisted=True))


def _where(column: str) -> dict[str, Any]:
    """Restrict an index to rows where a state holds, in the words queries will use."""
    return {"sqlite_where": text(f"{column} = 1"), "postgresql_where": text(column)}


owners = Table(
    "owners",
    metadata,
    Column("id", Text, primary_key=True),
    _when("lease_until"),
)
"""Processes that run calls; alive until the lease ends."""

calls = Table(
    "calls",
    metadata,
    Column("id", Text, primary_key=True),
    _text("principal"),
    _text("tool"),
    _text("network"),
    _text("request_hash"),
    _text("request", ""),
    _text("idempotency_key", ""),
    _text("model", ""),
    _text("first_words", ""),
    # The key while it is known; a column of its own, so that an old one can be used again.
    Column("key_slot", Text),
    _text("status"),
    _text("stage"),
    _text("hold", FREE),
    _text("owner"),
    _text("lane", ""),
    _text("account_network", ""),
    _text("account_address", ""),
    _text("chain_id", ""),
    Column("nonce", BigInteger),
    # Separated by spaces, the newest last.
    _text("transaction_hashes", ""),
    # The call that has taken its nonce over.
    _text("superseded_by", ""),
    _text("max_fee_wei", "0"),
    _text("fee_wei", "0"),
    _text("max_opg", "0"),
    _text("amount_opg", "0"),
    _text("error", ""),
    _text("result", ""),
    _text("result_hash", ""),
    _text("receipt", ""),
    _when("created_at"),
    _when("updated_at"),
    _when("settled_at", nullable=True),
    _when("delivered_at", nullable=True),
    # When a person said no to it.
    _when("declined_at", nullable=True),
    # The newest signed maximum that pays for it.
    Column("cap_id", Text),
    # That one's status, which settling a call must read together with the call's own row.
    _text("cap_status", ""),
    # An identical request without a key gets such a call instead of a new one.
    _state(
        "joinable",
        "status IN ('running', 'waiting_approval')"
        " OR (delivered_at IS NULL AND (status = 'done' OR stage <> 'not_sent'))",
    ),
    # Runs, or counts against the budget without being in the spending rows yet. Computed when read
    # in SQLite, which adds no stored column to a table.
    Column(
        "active",
        Boolean,
        Computed("status = 'running' OR hold IN ('signed', 'settled', 'superseded', 'released')"),
    ),
    _state("charged", "stage = 'charged'"),
    # What was signed for it may still be taken; whoever repeats the request joins it, delivered or
    # not. Computed like `active`.
    Column(
        "in_doubt",
        Boolean,
        Computed(
            "status = 'failed' AND stage = 'sent_unknown'"
            " AND (hold IN ('signed', 'superseded') OR cap_status = 'open')"
        ),
    ),
)

Index("calls_by_principal", calls.c.principal, calls.c.created_at, calls.c.id)
Index(
    "calls_by_key",
    calls.c.principal,
    calls.c.tool,
    calls.c.key_slot,
    unique=True,
    sqlite_where=text("key_slot IS NOT NULL"),
    postgresql_where=text("key_slot IS NOT NULL"),
)
# Unique, since an identical request without a key joins, and keys are unique themselves.
Index(
    "calls_joinable",
    calls.c.principal,
    calls.c.tool,
    calls.c.network,
    calls.c.request_hash,
    calls.c.idempotency_key,
    unique=True,
    **_where("joinable"),
)
# Not unique: under keys of their own, and in older journals, several may be in doubt.
Index(
    "calls_in_doubt",
    calls.c.principal,
    calls.c.tool,
    calls.c.network,
    calls.c.request_hash,
    **_where("in_doubt"),
)
Index(
    "calls_declined",
    calls.c.principal,
    calls.c.tool,
    calls.c.network,
    calls.c.request_hash,
    sqlite_where=text("declined_at IS NOT NULL"),
    postgresql_where=text("declined_at IS NOT NULL"),
)
Index("calls_active", calls.c.lane, **_where("active"))
Index("calls_charged", calls.c.lane, calls.c.created_at, **_where("charged"))
Index(
    "calls_by_cap",
    calls.c.cap_id,
    sqlite_where=text("cap_id IS NOT NULL"),
    postgresql_where=text("cap_id IS NOT NULL"),
)

transactions = Table(
    "transactions",
    metadata,
    _text("call_id"),
    _text("hash"),
    Column("nonce", BigInteger, nullable=False),
    _text("raw"),
    _text("max_fee_wei"),
    _when("created_at"),
    PrimaryKeyConstraint("call_id", "hash"),
)

lanes = Table(
    "lanes",
    metadata,
    Column("id", Text, primary_key=True),
    _text("network"),
    _text("chain_id"),
    _text("address"),
    Column("next_nonce", BigInteger),
    # Grows with every step in the lane: who has read an older one has lost the lane.
    Column("epoch", BigInteger, nullable=False, server_default="0"),
    _text("window_wei", "0"),
    Column("window_floor", BigInteger, nullable=False, server_default="0"),
)
"""One row for each account; `window_wei` is the sum of its spending rows from `window_floor` on."""

spending = Table(
    "spending",
    metadata,
    _text("lane"),
    _text("principal"),
    Column("bucket", BigInteger, nullable=False),
    _text("fee_wei"),
    PrimaryKeyConstraint("lane", "principal", "bucket"),
    Index("spending_by_principal", "principal"),
)
"""Settled fees by ten minutes; bucket 0 holds all that the last 24 hours do not need."""

caps = Table(
    "caps",
    metadata,
    Column("id", Text, primary_key=True),
    _text("lane"),
    _text("account_network"),
    _text("account_address"),
    _text("chain_id"),
    _text("principal"),
    _text("resource"),
    _text("asset"),
    _text("pay_to"),
    _text("max_opg"),
    _text("nonce"),
    Column("deadline", BigInteger, nullable=False),
    _text("facilitator", ""),
    # Whose per-call limit it counts against; others may be paid by it too.
    _text("opened_by"),
    _text("status"),
    _text("amount_opg", "0"),
    _text("transaction_hash", ""),
    _when("created_at"),
    _when("ended_at", nullable=True),
    # When its owner began to cancel it: no later call is paid by it.
    _when("cancelled_at", nullable=True),
    _state("is_open", "status = 'open'"),
)
"""Signed maxima; never the signature, nor the gateway's name for its session (threats.md T29)."""

Index("caps_open", caps.c.lane, **_where("is_open"))
Index("caps_by_call", caps.c.opened_by)
Index("caps_by_deadline", caps.c.lane, caps.c.deadline)
Index("caps_by_nonce", caps.c.lane, caps.c.nonce, unique=True)

payments = Table(
    "payments",
    metadata,
    _text("call_id"),
    _text("cap_id"),
    _when("paid_at"),
    # What the gateway told that the answer cost; empty where no answer told.
    _text("told_opg", ""),
    PrimaryKeyConstraint("call_id", "cap_id"),
    Index("payments_by_cap", "cap_id"),
)
"""Every signed maximum under which something of a call may have left."""

purses = Table(
    "purses",
    metadata,
    Column("id", Text, primary_key=True),
    # Grows with every turn; changing it locks the row.
    Column("epoch", BigInteger, nullable=False, server_default="0"),
    _text("window_opg", "0"),
    Column("window_floor", BigInteger, nullable=False, server_default="0"),
)
"""One row for each account that pays in OPG; as `lanes` is for fees."""

opg_spending = Table(
    "opg_spending",
    metadata,
    _text("lane"),
    _text("principal"),
    Column("bucket", BigInteger, nullable=False),
    _text("amount_opg"),
    PrimaryKeyConstraint("lane", "principal", "bucket"),
    Index("opg_spending_by_principal", "principal"),
)
"""Settled payments by ten minutes, as `spending` has fees."""

LIVE: Final = (SIGNED, SETTLED, RELEASED)
UNSIGNED: Final = (FREE, GIVEN_BACK)
UNPAID: Final = (SIGNED, SUPERSEDED, RELEASED, ENDED)
"""Something was signed that may still be mined, whatever was said about it."""


def holds(*which: str) -> ColumnElement[bool]:
    """Whether a call's hold is one of a few."""
    return or_(*(calls.c.hold == hold for hold in which))


live: Final = and_(calls.c.active, holds(*LIVE))
"""Calls that count against a budget beside its spending rows."""

unfinished: Final = and_(calls.c.active, or_(calls.c.status == RUNNING, holds(SIGNED, SUPERSEDED)))
"""Calls that run, or whose nonce is open."""

approvals = Table(
    "approvals",
    metadata,
    Column("call_id", Text, primary_key=True),
    # Both sealed; what they say counts, not what stands beside them.
    _text("asked"),
    _text("approved", ""),
    _text("taken_by", ""),
)

notes = Table(
    "notes",
    metadata,
    Column("name", Text, primary_key=True),
    _text("sealed"),
)
"""Small documents that only this installation can write (threats.md T25)."""
