"""Row: journalled calls a second on one PostgreSQL, from two processes.

Twenty wallets in each process: calls of one wallet wait for each other in its lane by design, and
for the chain most of the time. The server is the machine's own package, with its defaults for
writing to disk.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import anyio

from og_mcp.calls import Journal
from og_mcp.journal import open_journal
from tests.benchmarks._frame import Answer, Bench, Measurement, Row, Worker, at_least
from tests.benchmarks._journal import account, cpu_note, one_call, settings
from tests.postgres import running

ROUNDS: Final = 3
WALLETS: Final = 20
CALLS: Final = 50
"""For each wallet."""


def measure(bench: Bench) -> Measurement:
    """Let both processes work at once; the slower one's time counts."""
    python = Path(sys.executable)
    with (
        running() as server,
        tempfile.TemporaryDirectory() as folder,
        bench.worker(calls, python) as first,
        bench.worker(calls, python) as second,
        ThreadPoolExecutor(2) as pool,
    ):

        def ask(numbered: tuple[int, Worker]) -> Answer:
            number, worker = numbered
            return worker.ask(folder=folder, url=server.url, number=number)

        both = list(enumerate((first, second)))
        rounds = [list(pool.map(ask, both)) for _ in range(ROUNDS)]
    done = 2 * WALLETS * CALLS
    rates = [done / max(answer["seconds"] for answer in answers) for answers in rounds]
    cpu = cpu_note([answer for answers in rounds for answer in answers])
    note = f"{ROUNDS} x {done} calls, {2 * WALLETS} wallets; {cpu}"
    return Measurement(rates, unit="calls/s", note=note)


def calls() -> Callable[[str, str, int], Answer]:
    """Set up: many wallets' calls at once on one journal."""

    async def all_calls(folder: str, url: str, number: int) -> Answer:
        async def wallet(journal: Journal, which: int) -> None:
            for _ in range(CALLS):
                await one_call(journal, account(which))

        async with open_journal(settings(folder, url)) as journal:
            started, began = time.perf_counter(), time.process_time()
            async with anyio.create_task_group() as group:
                for which in range(WALLETS):
                    group.start_soon(wallet, journal, number * WALLETS + which)
            seconds, cpu_s = time.perf_counter() - started, time.process_time() - began
        return {"seconds": seconds, "cpu_ms": cpu_s * 1e3 / (WALLETS * CALLS)}

    def run(folder: str, url: str, number: int) -> Answer:
        return anyio.run(all_calls, folder, url, number)

    return run


ROW: Final = Row("journal, two processes, PostgreSQL", at_least(500, "calls/s"), measure)
