"""Row: what a call costs with 10 and with 10,000 calls in the journal, on SQLite.

Draws the cost over the number of calls beside the benchmarks' environments: `journal_growth.svg`.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from itertools import pairwise
from math import log10
from pathlib import Path
from typing import Final

import anyio

from og_mcp.journal import open_journal
from tests.benchmarks._frame import Answer, Bench, Measurement, Row, within
from tests.benchmarks._journal import account, one_call, settings

HISTORY: Final = 10_000
SAMPLE: Final = 200
"""Calls at either end that are compared."""

PARTS: Final = 5
WIDTH, HEIGHT, MARGIN = 640, 320, 40


def measure(bench: Bench) -> Measurement:
    """Compare the last calls of 10,000 with those after the first ten."""
    with (
        tempfile.TemporaryDirectory() as folder,
        bench.worker(history, Path(sys.executable)) as worker,
    ):
        times = worker.ask(folder=folder)["milliseconds"]
    bench.home.mkdir(parents=True, exist_ok=True)
    path = bench.home / "journal_growth.svg"
    path.write_text(plot(times), encoding="utf-8")
    early, late = medians(times[10 : 10 + SAMPLE]), medians(times[-SAMPLE:])
    return Measurement(late, early, unit="ms", note=f"after 10,000 beside after 10 calls; {path}")


def history() -> Callable[[str], Answer]:
    """Set up: all calls, one after the other, in one journal."""

    async def all_calls(folder: str) -> list[float]:
        async with open_journal(settings(folder)) as journal:
            return [await one_call(journal, account(1)) for _ in range(HISTORY)]

    def run(folder: str) -> Answer:
        return {"milliseconds": [time * 1e3 for time in anyio.run(all_calls, folder)]}

    return run


def medians(times: Sequence[float]) -> list[float]:
    """Return the medians of equal parts."""
    size = len(times) // PARTS
    return [statistics.median(times[part * size : (part + 1) * size]) for part in range(PARTS)]


def plot(times: Sequence[float]) -> str:
    """Draw medians over the number of calls, which grows by the same factor with each step."""
    edges = [round(10 ** (1 + step / 4)) for step in range(13)]
    points = [(high, statistics.median(times[low:high])) for low, high in pairwise(edges)]
    top = 2 * max(cost for _, cost in points)
    marks = [
        (
            MARGIN + (log10(calls) - 1) / 3 * (WIDTH - 2 * MARGIN),
            HEIGHT - MARGIN - cost / top * (HEIGHT - 2 * MARGIN),
        )
        for calls, cost in points
    ]
    line = " ".join(f"{x:.0f},{y:.0f}" for x, y in marks)
    dots = "".join(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="3"/>' for x, y in marks)
    labels = "".join(
        f'<text x="{MARGIN + step / 3 * (WIDTH - 2 * MARGIN):.0f}" y="{HEIGHT - 15}">{calls:,}</text>'
        for step, calls in enumerate((10, 100, 1_000, 10_000))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
        f'font-family="sans-serif" font-size="12" text-anchor="middle">'
        f'<text x="{WIDTH / 2:.0f}" y="20">ms a call (median) by calls in the journal</text>'
        f'<text x="20" y="{MARGIN}">{top:.1f}</text><text x="20" y="{HEIGHT - MARGIN}">0</text>'
        f'<polyline points="{line}" fill="none" stroke="black"/>{dots}{labels}</svg>\n'
    )


ROW: Final = Row("journal, a call after 10,000 calls beside after 10", within(1.5), measure)
