"""Progress of long calls: seconds, tokens or bytes; never content (threats.md T16)."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import anyio

from og_mcp.errors import OGError
from og_mcp.tools._injected import Call

EVERY_S: Final = 2.0
"""Seconds between two notifications; many hosts reset their time-out on each."""

SECONDS_DIVISOR: Final = 1e5
"""Divides the seconds that are added to a count, so that they never make one token or byte."""


@dataclass
class WorkCount:
    """How far a call has come; `await work(n)` sets it."""

    unit: str
    """Plural, e.g. `tokens`."""

    total: int | None = None
    count: int = 0

    async def __call__(self, count: int) -> None:
        """Set the count."""
        self.count = count


@asynccontextmanager
async def progress(
    call: Call, work: WorkCount | None = None, *, every_s: float = EVERY_S
) -> AsyncGenerator[None]:
    """Tell a client that asked for progress how far the work inside is.

    Args:
        call: Whose client.
        work: What it counts; else the seconds that have passed are told.
        every_s: Seconds between two notifications.
    """
    # A task group wraps what leaves it in an exception group, so the failure is carried out by hand.
    failure: OGError | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(_beat, call, work, every_s)
        try:
            yield
        except OGError as exc:
            failure = exc
        group.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _beat(call: Call, work: WorkCount | None, every_s: float) -> None:
    start = anyio.current_time()
    while True:
        await anyio.sleep(every_s)
        passed = round(anyio.current_time() - start, 1)
        if work is None:
            await call.report_progress(passed, message=f"{passed:g} s")
            continue
        # MCP wants progress to grow with each notification, also while nothing new has come.
        await call.report_progress(
            work.count + passed / SECONDS_DIVISOR,
            work.total,
            message=f"{work.count} {work.unit}, {passed:g} s",
        )
