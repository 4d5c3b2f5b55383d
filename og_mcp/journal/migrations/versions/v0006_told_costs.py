"""What gateways told that answers cost, and who alone may take a payment."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add both; of what is there already neither is known."""
    for table, column in (("caps", "facilitator"), ("payments", "told_opg")):
        op.add_column(table, sa.Column(column, sa.Text, nullable=False, server_default=""))
    op.create_index("caps_by_deadline", "caps", ["lane", "deadline"])
