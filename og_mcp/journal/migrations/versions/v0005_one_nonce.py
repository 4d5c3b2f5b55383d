"""One nonce a call: calls whose nonce was taken over, or that ended without effect."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

STATES = {
    "active": "status = 'running' OR hold IN ('signed', 'settled', 'superseded', 'released')",
    "in_doubt": "status = 'failed' AND stage = 'sent_unknown'"
    " AND (hold IN ('signed', 'superseded') OR cap_status = 'open')",
}
INDEXES = {
    "active": ("calls_active", ["lane"]),
    "in_doubt": ("calls_in_doubt", ["principal", "tool", "network", "request_hash"]),
}


def upgrade() -> None:
    """Add the link to the call that took the nonce over, and make the computed states anew."""
    op.add_column("calls", sa.Column("superseded_by", sa.Text, nullable=False, server_default=""))
    # SQLite adds no stored column to a table, and PostgreSQL has no other.
    persisted = op.get_bind().dialect.name == "postgresql"
    for name, condition in STATES.items():
        index, columns = INDEXES[name]
        op.drop_index(index, "calls")
        op.drop_column("calls", name)
        state = sa.Computed(condition, persisted=persisted)
        op.add_column("calls", sa.Column(name, sa.Boolean, state))
        op.create_index(
            index,
            "calls",
            columns,
            sqlite_where=sa.text(f"{name} = 1"),
            postgresql_where=sa.text(name),
        )
