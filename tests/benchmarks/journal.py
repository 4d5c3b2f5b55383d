"""Row: what the journal adds to one call, on SQLite.

All steps of a call, one call after the other, with nothing between them: that is what a journalled
call takes longer than the same call without a journal.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import anyio

from og_mcp.journal import open_journal
from tests.benchmarks._frame import Answer, Bench, Measurement, Row, at_most
from tests.benchmarks._journal import account, cpu_note, one_call, settings

ROUNDS: Final = 5
CALLS: Final = 200


def measure(bench: Bench) -> Measurement:
    """Take the median call of each round."""
    with (
        tempfile.TemporaryDirectory() as folder,
        bench.worker(calls, Path(sys.executable)) as worker,
    ):
        rounds = [worker.ask(folder=folder) for _ in range(ROUNDS)]
    note = f"medians of {ROUNDS} x {CALLS} calls; {cpu_note(rounds)}"
    return Measurement([one["median_ms"] for one in rounds], unit="ms", note=note)


def calls() -> Callable[[str], Answer]:
    """Set up: a round of calls on one journal."""

    async def round_of_calls(folder: str) -> Answer:
        async with open_journal(settings(folder)) as journal:
            began = time.process_time()
            times = [await one_call(journal, account(1)) for _ in range(CALLS)]
            cpu_s = time.process_time() - began
        return {"median_ms": statistics.median(times) * 1e3, "cpu_ms": cpu_s * 1e3 / CALLS}

    def run(folder: str) -> Answer:
        return anyio.run(round_of_calls, folder)

    return run


ROW: Final = Row("journal, one call, SQLite", at_most(3, "ms"), measure)
