"""Signed maxima of payments in OPG, what they pay for and settled for, and sealed notes."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them."""
    op.add_column("calls", sa.Column("cap_id", sa.Text))
    op.add_column("calls", _text("cap_status", ""))
    paid = sa.text("cap_id IS NOT NULL")
    op.create_index("calls_by_cap", "calls", ["cap_id"], sqlite_where=paid, postgresql_where=paid)
    _make_caps()
    _make_payments()
    _make_sums()
    op.create_table("notes", sa.Column("name", sa.Text, primary_key=True), _text("sealed"))


def _make_caps() -> None:
    op.create_table(
        "caps",
        sa.Column("id", sa.Text, primary_key=True),
        *(_text(name) for name in ("lane", "account_network", "account_address", "chain_id")),
        *(_text(name) for name in ("principal", "resource", "asset", "pay_to", "max_opg", "nonce")),
        sa.Column("deadline", sa.BigInteger, nullable=False),
        *(_text(name) for name in ("opened_by", "status")),
        _text("amount_opg", "0"),
        _text("transaction_hash", ""),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("is_open", sa.Boolean, sa.Computed("status = 'open'", persisted=True)),
    )
    op.create_index(
        "caps_open",
        "caps",
        ["lane"],
        sqlite_where=sa.text("is_open = 1"),
        postgresql_where=sa.text("is_open"),
    )
    op.create_index("caps_by_call", "caps", ["opened_by"])
    op.create_index("caps_by_nonce", "caps", ["lane", "nonce"], unique=True)


def _make_payments() -> None:
    op.create_table(
        "payments",
        *(_text(name) for name in ("call_id", "cap_id")),
        sa.Column("paid_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("call_id", "cap_id"),
    )
    op.create_index("payments_by_cap", "payments", ["cap_id"])


def _make_sums() -> None:
    op.create_table(
        "purses",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("epoch", sa.BigInteger, nullable=False, server_default="0"),
        _text("window_opg", "0"),
        sa.Column("window_floor", sa.BigInteger, nullable=False, server_default="0"),
    )
    op.create_table(
        "opg_spending",
        *(_text(name) for name in ("lane", "principal")),
        sa.Column("bucket", sa.BigInteger, nullable=False),
        _text("amount_opg"),
        sa.PrimaryKeyConstraint("lane", "principal", "bucket"),
    )
    op.create_index("opg_spending_by_principal", "opg_spending", ["principal"])


def _text(name: str, default: str | None = None) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, nullable=False, server_default=default)
