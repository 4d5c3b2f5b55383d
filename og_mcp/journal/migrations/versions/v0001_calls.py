"""Calls, their transactions, lanes, spending, owners and approvals."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the first tables."""
    op.create_table(
        "owners",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("lease_until", sa.BigInteger, nullable=False),
    )
    _make_calls()
    _make_transactions()
    _make_lanes()
    _make_spending()
    op.create_table(
        "approvals",
        sa.Column("call_id", sa.Text, primary_key=True),
        _text("asked"),
        _text("approved", ""),
        _text("taken_by", ""),
    )


def _make_calls() -> None:
    op.create_table(
        "calls",
        sa.Column("id", sa.Text, primary_key=True),
        *(_text(name) for name in ("principal", "tool", "network", "request_hash")),
        *(_text(name, "") for name in ("request", "idempotency_key")),
        sa.Column("key_slot", sa.Text),
        *(_text(name) for name in ("status", "stage")),
        _text("hold", "none"),
        _text("owner"),
        *(_text(name, "") for name in ("lane", "account_network", "account_address", "chain_id")),
        sa.Column("nonce", sa.BigInteger),
        _text("transaction_hashes", ""),
        *(_text(name, "0") for name in ("max_fee_wei", "fee_wei", "max_opg", "amount_opg")),
        *(_text(name, "") for name in ("error", "result", "result_hash", "receipt")),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("created_at", "updated_at")),
        *(sa.Column(name, sa.BigInteger) for name in ("settled_at", "delivered_at")),
        _state(
            "joinable",
            "status IN ('running', 'waiting_approval')"
            " OR (delivered_at IS NULL AND (status = 'done' OR stage <> 'not_sent'))",
        ),
        _state("active", "status = 'running' OR hold IN ('signed', 'settled')"),
        _state("charged", "stage = 'charged'"),
    )
    if op.get_bind().dialect.name == "postgresql":
        # Room on each page for the rows that a call's steps leave behind.
        op.execute("ALTER TABLE calls SET (fillfactor = 60)")
    op.create_index("calls_by_principal", "calls", ["principal", "created_at", "id"])
    op.create_index(
        "calls_by_key",
        "calls",
        ["principal", "tool", "key_slot"],
        unique=True,
        sqlite_where=sa.text("key_slot IS NOT NULL"),
        postgresql_where=sa.text("key_slot IS NOT NULL"),
    )
    op.create_index(
        "calls_joinable",
        "calls",
        ["principal", "tool", "network", "request_hash", "idempotency_key"],
        unique=True,
        **_where("joinable"),
    )
    op.create_index("calls_active", "calls", ["lane"], **_where("active"))
    op.create_index("calls_charged", "calls", ["lane", "created_at"], **_where("charged"))


def _make_transactions() -> None:
    op.create_table(
        "transactions",
        *(_text(name) for name in ("call_id", "hash")),
        sa.Column("nonce", sa.BigInteger, nullable=False),
        *(_text(name) for name in ("raw", "max_fee_wei")),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("call_id", "hash"),
    )


def _make_lanes() -> None:
    op.create_table(
        "lanes",
        sa.Column("id", sa.Text, primary_key=True),
        *(_text(name) for name in ("network", "chain_id", "address")),
        sa.Column("next_nonce", sa.BigInteger),
        sa.Column("epoch", sa.BigInteger, nullable=False, server_default="0"),
        _text("window_wei", "0"),
        sa.Column("window_floor", sa.BigInteger, nullable=False, server_default="0"),
    )


def _make_spending() -> None:
    op.create_table(
        "spending",
        *(_text(name) for name in ("lane", "principal")),
        sa.Column("bucket", sa.BigInteger, nullable=False),
        _text("fee_wei"),
        sa.PrimaryKeyConstraint("lane", "principal", "bucket"),
    )
    op.create_index("spending_by_principal", "spending", ["principal"])


def _text(name: str, default: str | None = None) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, nullable=False, server_default=default)


def _state(name: str, condition: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Boolean, sa.Computed(condition, persisted=True))


def _where(column: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(f"{column} = 1"), "postgresql_where": sa.text(column)}
