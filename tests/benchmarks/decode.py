"""Row: an output of 100,000 numbers from its event's data, beside the public SDK."""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.benchmarks._frame import Answer, Bench, Measurement, Row, faster, interleave
from tests.benchmarks.encode import COUNT, SDK

TOPIC: Final = "0xc1396ff68bc2d8630100df29ce5561fa99078c602e8676ab72a53e37095d7168"


def measure(bench: Bench) -> Measurement:
    """Decode the same event data on both sides; the float32 arrays are compared by their hash."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "output")
        with (
            bench.worker(writer, Path(sys.executable)) as write,
            bench.worker(ours, Path(sys.executable)) as our,
            bench.worker(sdk, bench.peer(SDK)) as peer,
        ):
            write.ask(path=path, count=COUNT)
            return interleave(3, lambda: our.ask(path=path), lambda: peer.ask(path=path))


def writer() -> Callable[[str, int], Answer]:
    """Set up what writes the data of `InferenceResult` with one tensor `y`."""
    numpy = importlib.import_module("numpy")
    fixed_point = importlib.import_module("og_mcp.client.codec.fixed_point")

    def run(path: str, count: int) -> Answer:
        values = numpy.random.default_rng(2).standard_normal(count, numpy.float32)
        numbers = bytes(fixed_point.to_words(values))
        tensor = words(96, 160, 192 + len(numbers), 1) + b"y".ljust(32, b"\0")
        tensor += words(count) + numbers + words(1, count)
        after = 128 + 64 + len(tensor)
        head = words(32, 128, after, after + 32, 0)
        Path(path).write_bytes(head + words(1, 32) + tensor + words(0, 0))
        return {}

    return run


def words(*values: int) -> bytes:
    """Write ABI words."""
    return b"".join(value.to_bytes(32, "big") for value in values)


def ours() -> Callable[[str], Answer]:
    """Set up our side."""
    abi = importlib.import_module("og_mcp.client.codec.abi")

    def run(path: str) -> Answer:
        data = Path(path).read_bytes()
        start = time.perf_counter()
        output = abi.decode_result(data)
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "result": digest(output.numbers["y"].tobytes())}

    return run


def sdk() -> Callable[[str], Answer]:
    """Set up the public SDK's side: what its `infer` does with the event."""
    numpy = importlib.import_module("numpy")
    web3 = importlib.import_module("web3")
    conversions = importlib.import_module("opengradient.client._conversions")
    folder = Path(importlib.import_module("opengradient").__file__ or "").parent
    abi = json.loads((folder / "abi" / "inference.abi").read_text(encoding="utf-8"))
    event = web3.Web3().eth.contract(abi=abi).events.InferenceResult()

    def run(path: str) -> Answer:
        log = {
            "address": "0x" + "00" * 20,
            "topics": [bytes.fromhex(TOPIC[2:])],
            "data": Path(path).read_bytes(),
            **dict.fromkeys(("blockNumber", "logIndex", "transactionIndex"), 0),
            **dict.fromkeys(("blockHash", "transactionHash"), bytes(32)),
        }
        start = time.perf_counter()
        output = conversions.convert_to_model_output(event.process_log(log)["args"])
        seconds = time.perf_counter() - start
        return {
            "seconds": seconds,
            "result": digest(output["y"].astype(numpy.float32).tobytes()),
        }

    return run


def digest(data: bytes) -> str:
    """Hash a result for comparing."""
    return hashlib.sha256(data).hexdigest()


ROW: Final = Row("decode an output of 100,000 numbers to float32", faster(60), measure)
