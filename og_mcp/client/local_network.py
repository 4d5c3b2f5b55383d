"""Starts the local network as a process of its own and ends it with us.

Only its ready file is known here (interface.md section 5); its code is the other side of the wire.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Any, Final

import anyio
from anyio.abc import Process

from og_mcp.errors import LocalnetError, quote

START_TIMEOUT_S: Final = 90.0
STOP_TIMEOUT_S: Final = 5.0

INHERITED: Final = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "TEMP",
    "TMP",
    "SYSTEMROOT",
    "USERPROFILE",
    "APPDATA",
    "LD_LIBRARY_PATH",
    "PYTHONPATH",
    "OPENBLAS_CORETYPE",
    "OMP_NUM_THREADS",
)
"""All that the process gets of our environment: no key, no token, no password (threats.md T27)."""

MISSING_EXTRA: Final = "Install it with: pip install 'og-mcp[local]'"


@asynccontextmanager
async def running_localnet(llm_url: str = "") -> AsyncIterator[Path]:
    """Run a local network for as long as the context is open.

    Args:
        llm_url: What answers its chats (OG_LOCAL_LLM_URL); its own responder if empty.

    Yields:
        The path of its ready file.

    Raises:
        LocalnetError: The `local` extra is missing, or the process did not get ready.
    """
    if any(importlib.util.find_spec(name) is None for name in ("eth", "onnxruntime")):
        raise LocalnetError("The local network is not installed.", MISSING_EXTRA)
    with tempfile.TemporaryDirectory(prefix="og-mcp-", ignore_cleanup_errors=True) as folder:
        ready_file, log = Path(folder, "ready.json"), Path(folder, "log")
        async with await anyio.open_file(log, "wb") as stderr:
            # -P and the empty folder: no module of the host's working folder is imported.
            process = await anyio.open_process(
                [sys.executable, "-P", "-m", "og_mcp.localnet", *_options(ready_file)],
                stdin=PIPE,
                stdout=DEVNULL,
                stderr=stderr.wrapped,
                cwd=folder,
                env=_environ(llm_url),
            )
        try:
            await _wait_for(anyio.Path(ready_file), process, anyio.Path(log))
            yield ready_file
        finally:
            await _stop(process)


def read_ready_file(path: Path) -> dict[str, Any]:
    """Read the ready file of a running local network.

    Raises:
        LocalnetError: It is not there or not one.
    """
    try:
        ready = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as exc:
        raise LocalnetError(
            f"The ready file {quote(path)} cannot be read.",
            "Start `og-mcp localnet --ready-file F` and set OG_LOCALNET to F, or unset OG_LOCALNET.",
        ) from exc
    if not isinstance(ready, Mapping) or not ready.get("accounts"):
        raise LocalnetError(
            f"{quote(path)} is not the ready file of a local network.", "Correct OG_LOCALNET."
        )
    return dict(ready)


def _environ(llm_url: str) -> dict[str, str]:
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    # Not an option: other users of the machine can read those, and a URL may hold a password.
    return {**inherited, "OG_LOCAL_LLM_URL": llm_url} if llm_url else inherited


def _options(ready_file: Path) -> list[str]:
    return ["--ready-file", str(ready_file), "--owner-stdin"]


async def _wait_for(ready_file: anyio.Path, process: Process, log: anyio.Path) -> None:
    with anyio.move_on_after(START_TIMEOUT_S):
        while process.returncode is None:
            if await ready_file.exists():
                return
            await anyio.sleep(0.02)
    tail = (await log.read_text(encoding="utf-8", errors="replace"))[-180:].strip()
    state = "took too long to start" if process.returncode is None else "ended at its start"
    raise LocalnetError(
        f"The local network {state}: {quote(tail)}.", "Run `og-mcp localnet` to see why."
    )


async def _stop(process: Process) -> None:
    with anyio.CancelScope(shield=True):
        if process.stdin is not None:
            # Its owner's end of the pipe: closing it is the request to end.
            await process.stdin.aclose()
        with anyio.move_on_after(STOP_TIMEOUT_S):
            await process.wait()
        if process.returncode is None:
            process.kill()
            await process.wait()
