"""A process that takes the steps of one payment up to a given one, and waits for its death."""

from __future__ import annotations

import sys
from typing import Final

import anyio

from og_mcp.calls import Journal
from og_mcp.types import CallRequest, Stage
from tests.journal import dying
from tests.journal.paying import LIMITS, wanting

STEPS: Final = ("open", "cap", "answer", "end")
REQUEST: Final = CallRequest(tool="chat", principal="local", network="local", request_hash="aa")
PAID: Final = 7


async def _steps(journal: Journal, done: dying.Done) -> None:
    call = (await journal.open_call(REQUEST)).call
    await done("open")
    cap = await journal.open_cap(call.id, wanting(), LIMITS)
    await done("cap")
    await journal.settle(call.id, Stage.CHARGED, 0, '{"content": "hi"}')
    await done("answer")
    await journal.settle_cap(cap.id, PAID, "0xaa")
    await done("end")


if __name__ == "__main__":
    anyio.run(dying.run, _steps, *sys.argv[1:])
