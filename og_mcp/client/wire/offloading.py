"""Runs work on JSON: long texts in a thread, short ones at once.

The way to a thread and back takes a few tenths of a millisecond, more than hashing a short text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from anyio import to_thread

T = TypeVar("T")

SHORT: Final = 32 * 2**10
"""Length up to which JSON is short, in characters."""

VALUE: Final = 32
"""Characters that each value adds to its text: reading it takes time, too."""


async def off_loop(work: Callable[[], T], *read: object) -> T:
    """Do a piece of work without holding up the event loop.

    Args:
        work: It may run in a thread.
        read: The JSON that it reads, which decides.
    """
    return work() if is_short(*read) else await to_thread.run_sync(work)


def is_short(*values: object) -> bool:
    """Tell whether JSON values are short together; stops looking once they are not."""
    room, waiting = SHORT, list(values)
    while waiting:
        value = waiting.pop()
        room -= VALUE
        if isinstance(value, str | bytes):
            room -= len(value)
        elif isinstance(value, Mapping):
            # Count before listing: there may be millions.
            if len(value) * VALUE > room:
                return False
            waiting += (*value.keys(), *value.values())
        elif isinstance(value, list | tuple):
            if len(value) * VALUE > room:
                return False
            waiting += value
        elif value is not None and not isinstance(value, int | float):
            return False
        if room < 0:
            return False
    return True
