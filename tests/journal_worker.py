"""A process that infers and chats for others and can be killed at any moment, as a server can.

Reads a request a line, `{"key": idempotency key, "model_cid", "inputs": {...}}` or
`{"key", "model", "text"}`, carries all of them out at once,
and writes a line for each: `{"key", "call_id", "status", "stage"}`. Its lease is short, so that
tests need not wait long until it counts as dead.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import anyio
from anyio import to_thread

from og_mcp.client import Session
from og_mcp.errors import OGError
from og_mcp.journal import open_journal
from og_mcp.settings import Settings
from og_mcp.types import ChatResult, InferenceResult
from tests.server_process import clean

LEASE_S: Final = 1.0


class Worker:
    """The process as a test sees it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def ask(self, model_cid: str, inputs: Mapping[str, Any], *, key: str = "") -> None:
        """Hand it an inference."""
        self._write({"model_cid": model_cid, "inputs": inputs, "key": key})

    def ask_chat(self, model: str, text: str, *, key: str = "") -> None:
        """Hand it a chat of one message."""
        self._write({"model": model, "text": text, "key": key})

    def _write(self, request: Mapping[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Wait for its next line."""
        assert self.process.stdout is not None
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def kill(self) -> None:
        """End it at once, without a chance to tidy up."""
        self.process.kill()
        self.process.wait()


@contextmanager
def running(environ: Mapping[str, str], *, lease_s: float = LEASE_S) -> Iterator[Worker]:
    """Run a worker, ready to be asked, for as long as the context is open.

    Args:
        environ: Its environment.
        lease_s: Seconds of silence after which others take it for dead.
    """
    process = subprocess.Popen(  # noqa: S603 - this very file
        [sys.executable, "-m", __name__, str(lease_s)],
        env=clean(environ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        worker = Worker(process)
        try:
            assert worker.answer() == {"ready": True}
            yield worker
        finally:
            worker.kill()


async def _serve(lease_s: float) -> None:
    settings = Settings.from_env(os.environ)
    async with (
        open_journal(settings, lease_s=lease_s) as journal,
        Session(settings, journal=journal) as og,
        anyio.create_task_group() as group,
    ):
        _tell({"ready": True})
        while line := await to_thread.run_sync(sys.stdin.readline):
            group.start_soon(_carry_out, og, json.loads(line))


async def _carry_out(og: Session, request: Mapping[str, Any]) -> None:
    key = request["key"]
    _tell({"key": key, "status": "asked"})
    try:
        result = await _asked(og, request, key)
    except OGError as exc:
        _tell({"key": key, "status": "failed", "stage": exc.stage, "error": str(exc)})
    else:
        _tell({"key": key, "status": result.status, "call_id": result.call_id})


async def _asked(og: Session, request: Mapping[str, Any], key: str) -> ChatResult | InferenceResult:
    if "text" in request:
        messages = [{"role": "user", "content": request["text"]}]
        return await og.chat(request["model"], messages, idempotency_key=key)
    return await og.infer(request["model_cid"], request["inputs"], idempotency_key=key)


def _tell(line: Mapping[str, object]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    anyio.run(_serve, float(sys.argv[1]))
