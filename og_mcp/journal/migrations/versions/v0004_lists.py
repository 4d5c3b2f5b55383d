"""What lists of calls tell of each one, and which requests a person has declined (T48)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; calls from before tell neither model nor first words."""
    for name in ("model", "first_words"):
        op.add_column("calls", sa.Column(name, sa.Text, nullable=False, server_default=""))
    op.add_column("calls", sa.Column("declined_at", sa.BigInteger, nullable=True))
    is_declined = sa.text("declined_at IS NOT NULL")
    op.create_index(
        "calls_declined",
        "calls",
        ["principal", "tool", "network", "request_hash"],
        sqlite_where=is_declined,
        postgresql_where=is_declined,
    )
