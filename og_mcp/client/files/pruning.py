"""Removing old calls, and the files that no call names any more."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime
from typing import Final, Protocol

from og_mcp.calls import Journal
from og_mcp.types import Pruned

PAGE: Final = 1000
"""Calls that are read at a time."""

NAMED: Final = re.compile(r"og://(?:images|outputs)/([0-9a-f]{64})")
"""How a result names a file: by its SHA-256."""

NAMING_TOOLS: Final = ("generate_image", "infer")
"""The tools whose results name files."""


class Files(Protocol):
    """One kind of files that results name: images or outputs."""

    async def prune(self, named: set[str], before: datetime) -> int:
        """Remove older files that are not named; returns how many."""
        ...


async def prune(journal: Journal, kinds: tuple[Files, ...], before: datetime) -> Pruned:
    """Remove delivered calls that ended before a time, and files that are older and not named."""
    pruned = await journal.prune(before)
    named = await _named_files(journal)
    removed = sum([await files.prune(named, before) for files in kinds])
    return replace(pruned, files=pruned.files + removed)


async def _named_files(journal: Journal) -> set[str]:
    """Find the hashes of the files that any call names."""
    named: set[str] = set()
    for tool in NAMING_TOOLS:
        last = ""
        while calls := await journal.list_calls(None, PAGE, "done", tool, last):
            for call in calls:
                named |= set(NAMED.findall((await journal.get(call.id, None)).result))
            last = calls[-1].id
    return named
