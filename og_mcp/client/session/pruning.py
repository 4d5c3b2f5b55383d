"""Removing old calls, and the images that no call names any more."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Final

from og_mcp.calls import Journal
from og_mcp.client.images.images import Images
from og_mcp.types import ImageResult, Pruned

PAGE: Final = 1000
"""Calls that are read at a time."""


async def prune(journal: Journal, images: Images, before: datetime) -> Pruned:
    """Remove delivered calls that ended before a time, and images that are older and not named."""
    pruned = await journal.prune(before)
    removed = await images.prune(await _named(journal), before)
    return replace(pruned, files=pruned.files + removed)


async def _named(journal: Journal) -> set[str]:
    """Find the hashes of the images that calls name, whoever made them."""
    named: set[str] = set()
    last = ""
    while calls := await journal.list_calls(None, PAGE, "done", "generate_image", last):
        for call in calls:
            result = (await journal.get(call.id, None)).result
            images = ImageResult.model_validate_json(result).images if result else []
            named |= {one.sha256 for image in images for one in (image, image.original)}
        last = calls[-1].id
    return named
