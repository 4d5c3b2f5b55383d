"""Row: peak memory of a process that encodes, or decodes, 1,000,000 numbers."""

from __future__ import annotations

import importlib
import resource
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.benchmarks._frame import Answer, Bench, Measurement, Row, at_most
from tests.benchmarks.decode import writer

COUNT: Final = 1_000_000


def measure(bench: Bench) -> Measurement:
    """Use a process for each direction: its peak is of that direction alone."""
    python = Path(sys.executable)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "output")
        with bench.worker(encode, python) as worker:
            encoded = worker.ask()["mebibytes"]
        with bench.worker(writer, python) as worker:
            worker.ask(path=path, count=COUNT)
        with bench.worker(decode, python) as worker:
            decoded = worker.ask(path=path)["mebibytes"]
    note = f"encode {encoded:.0f} MiB, decode {decoded:.0f} MiB"
    return Measurement([encoded, decoded], unit="MiB", note=note)


def encode() -> Callable[[], Answer]:
    """Set up: nested lists, as they come from JSON, to call data."""
    random = importlib.import_module("random").Random(3)
    abi = importlib.import_module("og_mcp.client.codec.abi")
    tensors = importlib.import_module("og_mcp.client.codec.tensors")

    def run() -> Answer:
        values = [[random.gauss(0, 1) for _ in range(1_000)] for _ in range(COUNT // 1_000)]
        data = abi.encode_run("Qm", 0, tensors.parse_inputs({"x": values}))
        assert len(data) > COUNT * 64
        return {"mebibytes": peak_mebibytes()}

    return run


def decode() -> Callable[[str], Answer]:
    """Set up: event data to arrays and to the nested lists of a tool's result."""
    abi = importlib.import_module("og_mcp.client.codec.abi")
    tensors = importlib.import_module("og_mcp.client.codec.tensors")

    def run(path: str) -> Answer:
        shown = tensors.to_json(abi.decode_result(Path(path).read_bytes()))
        assert len(shown["y"]) == COUNT
        return {"mebibytes": peak_mebibytes()}

    return run


def peak_mebibytes() -> float:
    """Return the most that this process has held in memory."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts kibibytes, macOS bytes.
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


ROW: Final = Row("encode and decode 1,000,000 numbers, peak memory", at_most(400, "MiB"), measure)
