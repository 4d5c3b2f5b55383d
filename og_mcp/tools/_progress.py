"""Progress of long calls: that one goes on, how long, how many tokens or bytes; never what it says."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Final, TypeVar

import anyio

from og_mcp.errors import OGError
from og_mcp.tools._injected import Call

R = TypeVar("R")

EVERY_S: Final = 2.0
"""Seconds between two notifications; hosts that reset their time-out on progress wait longer."""

SLOWEST_S: Final = 1e5
"""Seconds that count less than one token or byte, however long a call takes."""


@dataclass
class Tally:
    """What a call has got through so far; `await tally(n)` sets it."""

    unit: str
    """Plural, e.g. `tokens`."""

    total: int | None = None
    count: int = 0

    async def __call__(self, count: int) -> None:
        """Set the count."""
        self.count = count


async def with_progress(
    call: Call, work: Awaitable[R], tally: Tally | None = None, *, every_s: float = EVERY_S
) -> R:
    """Await `work`, telling a client that asked for progress how far it is.

    Args:
        call: Whose client.
        work: What is awaited.
        tally: What `work` counts; else the seconds that have passed are told.
        every_s: Seconds between two notifications.

    Raises:
        OGError: What `work` raised.
    """
    # A task group wraps what leaves it in an exception group, so the outcome is carried out by hand.
    failure: OGError | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(_beat, call, tally, every_s)
        try:
            result = await work
        except OGError as exc:
            failure = exc
        group.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return result


async def _beat(call: Call, tally: Tally | None, every_s: float) -> None:
    start = anyio.current_time()
    while True:
        await anyio.sleep(every_s)
        passed = round(anyio.current_time() - start, 1)
        if tally is None:
            await call.report_progress(passed, message=f"{passed:g} s")
            continue
        # Progress has to grow with each notification (MCP), also while nothing new has come.
        await call.report_progress(
            tally.count + passed / SLOWEST_S,
            tally.total,
            message=f"{tally.count} {tally.unit}, {passed:g} s",
        )
