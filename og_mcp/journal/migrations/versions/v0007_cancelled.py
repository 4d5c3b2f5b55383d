"""Payment authorizations that their owner has cancelled."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add when; of those that are there none was."""
    op.add_column("caps", sa.Column("cancelled_at", sa.BigInteger))
