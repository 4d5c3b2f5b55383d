"""Progress of long calls: that one goes on, and for how long; never what it says."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final, TypeVar

import anyio

from og_mcp.errors import OGError
from og_mcp.tools._injected import Call

R = TypeVar("R")

EVERY_S: Final = 2.0
"""Seconds between two notifications; hosts that reset their time-out on progress wait longer."""


async def with_progress(call: Call, work: Awaitable[R], *, every_s: float = EVERY_S) -> R:
    """Await `work`, telling a client that asked for progress how many seconds have passed.

    Raises:
        OGError: What `work` raised.
    """
    # A task group wraps what leaves it in an exception group, so the outcome is carried out by hand.
    failure: OGError | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(_beat, call, every_s)
        try:
            result = await work
        except OGError as exc:
            failure = exc
        group.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return result


async def _beat(call: Call, every_s: float) -> None:
    start = anyio.current_time()
    while True:
        await anyio.sleep(every_s)
        passed = round(anyio.current_time() - start, 1)
        await call.report_progress(passed, message=f"{passed:g} s")
