"""Row: upload of a 2 GiB ONNX file through the tool, beside `curl -F` to the same local hub.

TEST_UPLOAD_BYTES makes the file smaller for a quick run. Memory is that of the server's process,
read from /proc: at rest before its first call, and at its peak.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Self

from tests import server_process
from tests.benchmarks._frame import (
    Answer,
    Bench,
    DisagreementError,
    Measurement,
    Row,
    Target,
    interleave,
)
from tests.localnet_client import LocalNetwork, running
from tests.onnx_files import small, write_large

SIZE: Final = int(os.environ.get("TEST_UPLOAD_BYTES") or 2**31 - 2**20)
"""Protocol buffers, and so ONNX files, end before 2 GiB."""

ROUNDS: Final = 5
MOST_GROWTH_MIB: Final = 64
LEAST_SHARE: Final = 0.9
MODEL: Final = "benchmark-upload"


@dataclass(frozen=True)
class Uploaded(Measurement):
    """Times, and what the server's process held."""

    growth_mib: float = 0.0
    """Peak while it uploaded, above what it held at rest."""


def measure(bench: Bench) -> Measurement:
    """Upload in turns, each time to a version of its own."""
    assert bench is not None
    curl = shutil.which("curl")
    if curl is None:
        raise DisagreementError("there is no curl to measure beside")
    with TemporaryDirectory() as folder, running() as network:
        path = Path(folder, "large.onnx")
        write_large(path, SIZE)
        with _server(network, Path(folder)) as server:
            at_rest = server.memory("VmRSS")
            server.call("create_model", model_name=MODEL, model_desc="Large.")
            # Neither side is to wait for imports, nor for the disk to take the file in.
            _ours(server, _small(Path(folder)))
            os.sync()
            times = interleave(
                ROUNDS, lambda: _ours(server, path), lambda: _curl(curl, network, server, path)
            )
            growth = server.memory("VmHWM") - at_rest
    note = (
        f"{SIZE / 2**20:.0f} MiB, peak {growth:.0f} MiB above {at_rest:.0f} at rest; {times.note}"
    )
    return Uploaded(times.ours, times.peer, note=note, growth_mib=growth)


def _small(folder: Path) -> Path:
    path = folder / "small.onnx"
    path.write_bytes(small())
    return path


class _Server:
    """`og-mcp serve` on stdio, asked line by line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process, self._id = process, 0

    def __enter__(self) -> Self:
        about = {"name": "benchmark", "version": "1"}
        self._ask(
            "initialize",
            {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": about},
        )
        self._write({"jsonrpc": "2.0", "method": "notifications/initialized"})
        self._ask("tools/list", {})
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()

    def call(self, tool: str, **arguments: object) -> dict[str, Any]:
        """Call a tool and wait for its call's end."""
        result = self._ask("tools/call", {"name": tool, "arguments": arguments})
        if result.get("isError"):
            raise DisagreementError(result["content"][0]["text"])
        told: dict[str, Any] = result["structuredContent"]
        while told.get("status") == "running":
            told = self.call("get_call", call_id=told["call_id"])
        return dict(told.get("result") or told)

    def memory(self, field: str) -> float:
        """Read a line of the process's memory, MiB."""
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        found = re.search(rf"{field}:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) / 2**10

    def _ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._id += 1
        self._write({"jsonrpc": "2.0", "id": self._id, "method": method, "params": params})
        assert self._process.stdout is not None
        for line in self._process.stdout:
            message = json.loads(line)
            if message.get("id") == self._id:
                answer: dict[str, Any] = message["result"]
                return answer
        raise DisagreementError("the server has ended")

    def _write(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")


@contextmanager
def _server(network: LocalNetwork, folder: Path) -> Iterator[_Server]:
    environ = {**network.environ, "OG_UPLOAD_ROOTS": str(folder), "OG_LOG_LEVEL": "ERROR"}
    with (
        server_process.ending(server_process.start(environ)) as process,
        _Server(process) as server,
    ):
        yield server


def _ours(server: _Server, path: Path) -> Answer:
    version = server.call("create_version", model_name=MODEL)["version"]
    start = time.perf_counter()
    result = server.call("upload", model_path=str(path), model_name=MODEL, version=version)
    return {"seconds": time.perf_counter() - start, "result": result["model_cid"]}


def _curl(curl: str, network: LocalNetwork, server: _Server, path: Path) -> Answer:
    version = server.call("create_version", model_name=MODEL)["version"]
    url = f"{network.ready['hub_url']}/api/v0/models/{MODEL}/versions/{version}/files"
    bearer = f"Authorization: Bearer {network.sign_in()}"
    start = time.perf_counter()
    done = subprocess.run(  # noqa: S603 - the peer
        [curl, "-sS", "-H", bearer, "-F", f"file=@{path}", url],
        capture_output=True,
        text=True,
        check=True,
    )
    return {"seconds": time.perf_counter() - start, "result": json.loads(done.stdout)["ipfsCid"]}


def _held(figures: Measurement) -> bool:
    grown = figures.growth_mib if isinstance(figures, Uploaded) else float("inf")
    return figures.ratio >= LEAST_SHARE and grown <= MOST_GROWTH_MIB


ROW: Final = Row(
    "upload of one large file beside curl -F",
    Target(f"at least {LEAST_SHARE}x as fast, at most {MOST_GROWTH_MIB} MiB above rest", _held),
    measure,
)
