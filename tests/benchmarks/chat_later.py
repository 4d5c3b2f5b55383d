"""Row: a later chat of a client with 50 ms added to each round trip, beside the public SDK."""

from __future__ import annotations

from functools import partial
from typing import Final

from tests.benchmarks import chat_first
from tests.benchmarks._frame import Row, faster

ROW: Final = Row(
    "later chat with 50 ms added to each round trip",
    faster(1.0),
    partial(chat_first.measure, count=3),
)
