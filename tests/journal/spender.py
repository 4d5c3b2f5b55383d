"""A process that signs as many payments of one unit as it may, all at once.

Says that it is ready, waits for a line, tries, and writes how many were recorded.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from subprocess import PIPE, Popen
from typing import Final

import anyio

from og_mcp.calls import Journal
from og_mcp.errors import BudgetExceededError
from og_mcp.journal import open_journal
from og_mcp.settings import Settings
from og_mcp.types import OPGCaps
from tests.journal.paying import OPG, cap_for
from tests.journal.steps import opened

TRIES: Final = 50
PER_DAY: Final = 61
LIMITS: Final = OPGCaps(per_call=OPG, per_day=PER_DAY)


def spend_at_once(settings: Settings, processes: int) -> list[int]:
    """Run so many processes; returns how many payments each one recorded."""
    with ExitStack() as stack:
        running = [stack.enter_context(_started(settings)) for _ in range(processes)]
        for process in running:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in running:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        return [int(process.communicate(timeout=60)[0]) for process in running]


@contextmanager
def _started(settings: Settings) -> Iterator[Popen[str]]:
    url = settings.journal_url.get_secret_value() if settings.journal_url else ""
    command = [sys.executable, "-m", __name__, str(settings.data_dir), url]
    with Popen(command, stdin=PIPE, stdout=PIPE, text=True) as process:  # noqa: S603 - this very file
        try:
            yield process
        finally:
            process.kill()


async def _run(*arguments: str) -> None:
    data_dir, url = arguments
    environ = {"OG_NETWORK": "local", "OG_DATA_DIR": data_dir}
    settings = Settings.from_env(environ | ({"OG_JOURNAL_URL": url} if url else {}))
    recorded: list[str] = []

    async def one(journal: Journal) -> None:
        call = await opened(journal)
        try:
            recorded.append((await cap_for(journal, call, max_opg=1, limits=LIMITS)).id)
        except BudgetExceededError:
            return
        if len(recorded) % 2:
            await journal.settle_cap(recorded[-1], 1, "0xaa")

    async with open_journal(settings) as journal:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await anyio.to_thread.run_sync(sys.stdin.readline)
        async with anyio.create_task_group() as group:
            for _ in range(TRIES):
                group.start_soon(one, journal)
    sys.stdout.write(f"{len(recorded)}\n")


if __name__ == "__main__":
    anyio.run(_run, *sys.argv[1:])
