"""Calls whose payment is in doubt, found by their request: whoever repeats it joins them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Name them, and index them."""
    in_doubt = sa.Computed(
        "status = 'failed' AND stage = 'sent_unknown' AND (hold = 'signed' OR cap_status = 'open')",
        # SQLite adds no stored column to a table, and PostgreSQL has no other.
        persisted=op.get_bind().dialect.name == "postgresql",
    )
    op.add_column("calls", sa.Column("in_doubt", sa.Boolean, in_doubt))
    # Not unique: under keys of their own, and in older journals, several may be in doubt.
    op.create_index(
        "calls_in_doubt",
        "calls",
        ["principal", "tool", "network", "request_hash"],
        sqlite_where=sa.text("in_doubt = 1"),
        postgresql_where=sa.text("in_doubt"),
    )
