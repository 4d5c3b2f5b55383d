"""Row: 100,000 float32 to the call data of `run`, beside the public SDK."""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.benchmarks._frame import Answer, Bench, Measurement, Row, faster, interleave

COUNT: Final = 100_000
SDK: Final = "opengradient==1.1.4"
MODEL_CID: Final = "hJD2Ja3akZFt1A2LT-D_1oxOCz_OtuGYw4V9eE1m39M"


def measure(bench: Bench) -> Measurement:
    """Encode the same numbers on both sides; the call data is compared by its hash."""
    with (
        bench.worker(ours, Path(sys.executable)) as our,
        bench.worker(sdk, bench.peer(SDK)) as peer,
    ):
        return interleave(3, our.ask, peer.ask)


def ours() -> Callable[[], Answer]:
    """Set up our side."""
    numpy = importlib.import_module("numpy")
    abi = importlib.import_module("og_mcp.client.codec.abi")
    tensors = importlib.import_module("og_mcp.client.codec.tensors")
    values = numpy.random.default_rng(1).standard_normal(COUNT, numpy.float32)

    def run() -> Answer:
        start = time.perf_counter()
        data = abi.encode_run(MODEL_CID, 0, tensors.parse_inputs({"x": values}))
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "result": hashlib.sha256(data).hexdigest()}

    return run


def sdk() -> Callable[[], Answer]:
    """Set up the public SDK's side: what its `infer` does up to the call data."""
    numpy = importlib.import_module("numpy")
    web3 = importlib.import_module("web3")
    conversions = importlib.import_module("opengradient.client._conversions")
    folder = Path(importlib.import_module("opengradient").__file__ or "").parent
    abi = json.loads((folder / "abi" / "inference.abi").read_text(encoding="utf-8"))
    contract = web3.Web3().eth.contract(abi=abi)
    values = numpy.random.default_rng(1).standard_normal(COUNT, numpy.float32)

    def run() -> Answer:
        start = time.perf_counter()
        model_input = conversions.convert_to_model_input({"x": values})
        data = contract.encode_abi("run", [MODEL_CID, 0, model_input])
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "result": hashlib.sha256(bytes.fromhex(data[2:])).hexdigest()}

    return run


ROW: Final = Row("encode 100,000 float32 to call data, byte-identical", faster(60), measure)
