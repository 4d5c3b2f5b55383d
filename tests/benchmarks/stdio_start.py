"""Row: from spawning the stdio server to its first answer, beside a bare one-tool MCPServer.

A round starts each side twice, once in either era of the protocol, and counts the mean.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, Final

from tests.benchmarks._frame import (
    Answer,
    Bench,
    Measurement,
    Row,
    interleave,
    plain_environment,
    within,
)

ROUNDS: Final = 9

BARE: Final = """
from mcp.server import MCPServer

server = MCPServer("bare", version="1")

@server.tool()
async def add(a: int, b: int) -> int:
    "Add two numbers."
    return a + b

server.run()
"""

INITIALIZE: Final = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "benchmark", "version": "1"},
    },
}
DISCOVER: Final = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "server/discover",
    "params": {
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        }
    },
}


def measure(bench: Bench) -> Measurement:
    """Start both in turn; the bare server has the same release of mcp, and nothing else."""
    ours = starting(sys.executable, "-P", "-m", "og_mcp")
    peer = starting(str(bench.peer(f"mcp=={version('mcp')}")), "-P", "-c", BARE)
    for side in (ours, peer):
        # The first start compiles what it imports.
        side()
    return interleave(ROUNDS, ours, peer)


def starting(*command: str) -> Callable[[], Answer]:
    """Make the function that starts a server in both eras."""

    def run() -> Answer:
        (first, era), (second, versions) = (
            first_answer(command, INITIALIZE),
            first_answer(command, DISCOVER),
        )
        result = [era["protocolVersion"], versions["supportedVersions"]]
        return {"seconds": (first + second) / 2, "result": result}

    return run


def first_answer(command: tuple[str, ...], message: dict[str, Any]) -> tuple[float, dict[str, Any]]:
    """Spawn a server, ask it, and return the seconds until it has answered, and its answer."""
    start = time.perf_counter()
    with subprocess.Popen(  # noqa: S603 - our own program, or the bare server above
        command,
        env=plain_environment() | {"OG_NETWORK": "local"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(message) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        seconds = time.perf_counter() - start
        process.stdin.close()
    answer: dict[str, Any] = json.loads(line)
    return seconds, answer["result"]


ROW = Row(
    "first answer on stdio beside a bare MCPServer, both with compiled bytecode",
    within(1.2),
    measure,
)
