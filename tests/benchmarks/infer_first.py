"""Row: how much longer the first `infer` of a server takes than a later one.

Asked three seconds after the server's first answer, as a person would at the earliest, with a local
network running. What calls need is loaded meanwhile (`og_mcp/server/_warm_up.py`).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from typing import IO, Any, Final

from tests.benchmarks._frame import Bench, Measurement, Row, at_most, plain_environment
from tests.benchmarks.stdio_start import INITIALIZE
from tests.localnet_client import LocalNetwork, running

AFTER_S: Final = 3.0
ROUNDS: Final = 5


def measure(_bench: Bench) -> Measurement:
    """Start a server for each round, and ask it twice."""
    with running() as network:
        first_and_later(network)
        pairs = [first_and_later(network) for _ in range(ROUNDS)]
    later = max(later for _, later in pairs)
    return Measurement(
        [first - later for first, later in pairs], note=f"a later one takes {later:.2f} s at most"
    )


def first_and_later(network: LocalNetwork) -> tuple[float, float]:
    """Return the seconds of a server's first inference, and of its second."""
    sample = network.ready["sample_models"][0]
    arguments = {"model_cid": sample["cid"], "model_input": sample["model_input"]}
    ask = {"method": "tools/call", "params": {"name": "infer", "arguments": arguments}}
    with tempfile.TemporaryDirectory() as folder:
        environ = {**plain_environment(), **network.environ, "OG_DATA_DIR": folder}
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "og_mcp"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environ,
            text=True,
        )
        with process:
            assert process.stdin is not None
            assert process.stdout is not None
            ends = process.stdin, process.stdout
            exchange(*ends, INITIALIZE)
            tell(process.stdin, {"jsonrpc": "2.0", "method": "notifications/initialized"})
            time.sleep(AFTER_S)
            took = [exchange(*ends, {"jsonrpc": "2.0", "id": n, **ask}) for n in (2, 3)]
            process.stdin.close()
    return took[0], took[1]


def exchange(stdin: IO[str], stdout: IO[str], message: dict[str, Any]) -> float:
    """Send a request and wait for its answer; returns the seconds that it took."""
    began = time.perf_counter()
    tell(stdin, message)
    while True:
        answer = json.loads(stdout.readline())
        if answer.get("id") == message["id"]:
            break
    took = time.perf_counter() - began
    if "error" in answer or answer["result"].get("isError"):
        raise RuntimeError(str(answer)[:500])
    return took


def tell(stdin: IO[str], message: dict[str, Any]) -> None:
    """Send a message."""
    stdin.write(json.dumps(message) + "\n")
    stdin.flush()


ROW: Final = Row(
    "first infer of a server, 3 s after its first answer, over a later one",
    at_most(0.3, "s"),
    measure,
)
