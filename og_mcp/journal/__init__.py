"""The journal: remembers every call that can cost something, in SQLite or PostgreSQL.

`open_journal` gives what `og_mcp.calls.Journal` describes. Importing this package loads
SQLAlchemy.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from anyio import CancelScope

from og_mcp.calls import Journal
from og_mcp.journal._opened import opened
from og_mcp.settings import Settings

__all__ = ["open_journal"]


@asynccontextmanager
async def open_journal(settings: Settings, *, lease_s: float = 10.0) -> AsyncGenerator[Journal]:
    """Open the journal, made and brought up to date where needed, and close it with the block.

    Args:
        settings: Where it is (`journal_url`, `data_dir`) and what it keeps (`receipts`).
        lease_s: How long this process counts as alive once it is silent.

    Raises:
        JournalError: It cannot be read or written, or a newer og-mcp wrote it.
    """
    journal = await opened(settings, lease_s)
    try:
        yield journal
    finally:
        with CancelScope(shield=True):
            await journal.aclose()
