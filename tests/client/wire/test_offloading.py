"""What is short is worked on at once, what is long in a thread."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from og_mcp.client.wire.offloading import SHORT, VALUE, is_short, off_loop


class Unknown:
    """Nothing that JSON has."""


@pytest.mark.parametrize(
    "value",
    [None, 1.5, "x" * (SHORT - VALUE), {"a": ["b", 1, True]}, [0] * (SHORT // VALUE - 2)],
    ids=lambda value: str(value)[:20],
)
def test_short_json_is_short(value: Any) -> None:  # noqa: ANN401 - JSON
    assert is_short(value)


@pytest.mark.parametrize(
    "value",
    [
        "x" * SHORT,
        b"x" * SHORT,
        {"x" * SHORT: 1},
        [0] * SHORT,
        {str(number): number for number in range(SHORT // VALUE)},
        [["x" * (SHORT // 2)], {"y": "y" * (SHORT // 2)}],
        Unknown(),
    ],
    ids=lambda value: str(value)[:20],
)
def test_long_json_and_what_is_none_are_not(value: Any) -> None:  # noqa: ANN401 - JSON
    assert not is_short(value)


def test_several_values_are_short_together() -> None:
    half = "x" * (SHORT // 2)

    assert is_short(half)
    assert not is_short(half, half)


async def test_work_on_long_json_leaves_the_event_loop() -> None:
    here = threading.current_thread()

    assert await off_loop(threading.current_thread, "short") is here
    assert await off_loop(threading.current_thread, "x" * SHORT) is not here
