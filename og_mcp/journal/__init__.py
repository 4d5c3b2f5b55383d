"""The journal: remembers every call that can cost something, in SQLite or PostgreSQL.

`open_journal` gives what `og_mcp.calls.Journal` describes. Importing this package loads no
database library; opening a journal does.
"""

from __future__ import annotations

import importlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from anyio import CancelScope, to_thread

from og_mcp.calls import Journal
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
    opening = await to_thread.run_sync(importlib.import_module, "og_mcp.journal._opened")
    journal: Journal = await opening.opened(settings, lease_s)
    try:
        yield journal
    finally:
        with CancelScope(shield=True):
            await journal.aclose()
