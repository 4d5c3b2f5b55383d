"""A process that takes the steps of one call up to a given one, says so, and waits for its death."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import anyio

from og_mcp.calls import Journal
from og_mcp.journal import open_journal
from og_mcp.settings import Settings
from og_mcp.types import CallRequest, Stage
from tests.journal.steps import ACCOUNT, CAPS, FEE

STEPS = ("open", "enter", "reserve", "sign", "leave", "settle", "deliver")
REQUEST = CallRequest(tool="infer", principal="local", network="local", request_hash="aa")
LEASE_S = 0.4


@contextmanager
def stopped_after(step: str, settings: Settings, module: str = __name__) -> Iterator[None]:
    """Run a process up to a step; kill it, without a chance to tidy up, with the block."""
    url = settings.journal_url.get_secret_value() if settings.journal_url else ""
    process = subprocess.Popen(  # noqa: S603 - this very file, or one like it
        [sys.executable, "-m", module, step, str(settings.data_dir), url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == f"{step}\n"
            yield
        finally:
            process.kill()


Done = Callable[[str], Awaitable[None]]
"""Told of each step; does not come back from the last one."""


async def run(steps: Callable[[Journal, Done], Awaitable[None]], *arguments: str) -> None:
    """Take steps up to one of them, in the process that is to die."""
    last, data_dir, url = arguments

    async def done(step: str) -> None:
        if step == last:
            sys.stdout.write(f"{step}\n")
            sys.stdout.flush()
            await anyio.sleep_forever()

    settings = Settings.from_env(
        {"OG_NETWORK": "local", "OG_DATA_DIR": data_dir, **({"OG_JOURNAL_URL": url} if url else {})}
    )
    assert settings.data_dir == Path(data_dir)
    async with open_journal(settings, lease_s=LEASE_S) as journal:
        await steps(journal, done)
        raise AssertionError(f"no step {last}")


async def _steps(journal: Journal, done: Done) -> None:
    call = (await journal.open_call(REQUEST)).call
    await done("open")
    async with AsyncExitStack() as stack:
        lane = await stack.enter_async_context(journal.lane(ACCOUNT))
        await done("enter")
        await lane.reserve(call.id, 0, FEE, CAPS)
        await done("reserve")
        await lane.signed(call.id, 0, "0xaa", "0x02", FEE)
        await done("sign")
    await done("leave")
    await journal.settle(call.id, Stage.CHARGED, FEE, '{"y": 1}')
    await done("settle")
    await journal.deliver(call.id)
    await done("deliver")


if __name__ == "__main__":
    anyio.run(run, _steps, *sys.argv[1:])
