"""Waiting for a call's end: told at once by this process, looked up where another one runs it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import anyio

FIRST_PAUSE_S: Final = 0.02
LONGEST_PAUSE_S: Final = 0.5
FACTOR: Final = 1.5


class Waiters:
    """Those who wait in this process, by call id."""

    def __init__(self) -> None:
        self._events: dict[str, tuple[anyio.Event, int]] = {}

    def wake(self, call_id: str) -> None:
        """Tell those who wait that the call may have ended."""
        if call_id in self._events:
            self._events[call_id][0].set()

    async def wait(self, call_id: str, is_running: Callable[[], Awaitable[bool]]) -> None:
        """Return once `is_running` says no; asks after each wake and now and then."""
        pause = FIRST_PAUSE_S
        while True:
            event = self._join(call_id)
            try:
                # Joined before asked: an end in between wakes this waiter.
                if not await is_running():
                    return
                with anyio.move_on_after(pause):
                    await event.wait()
            finally:
                self._leave(call_id, event)
            pause = min(pause * FACTOR, LONGEST_PAUSE_S)

    def _join(self, call_id: str) -> anyio.Event:
        event, waiting = self._events.get(call_id, (anyio.Event(), 0))
        if event.is_set():
            event, waiting = anyio.Event(), 0
        self._events[call_id] = (event, waiting + 1)
        return event

    def _leave(self, call_id: str, event: anyio.Event) -> None:
        current, waiting = self._events.get(call_id, (event, 0))
        if current is not event:
            return
        if waiting > 1:
            self._events[call_id] = (event, waiting - 1)
        else:
            self._events.pop(call_id, None)
