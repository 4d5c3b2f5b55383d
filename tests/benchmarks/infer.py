"""Row: one `infer` with 50 ms added to each RPC round trip, beside the public SDK."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Final

from tests.benchmarks._frame import Bench, Measurement, Row, faster, interleave
from tests.benchmarks._infer import SDK, ours, sdk
from tests.localnet_client import running

ADDED_S: Final = 0.05
ROUNDS: Final = 7


def measure(bench: Bench) -> Measurement:
    """Infer in turns on one local network, each side with its own account."""
    with (
        running() as network,
        bench.worker(ours, Path(sys.executable)) as our,
        bench.worker(sdk, bench.peer(SDK)) as peer,
    ):
        request = {"ready_file": str(network.ready_file), "count": 1}
        our.ask(**request)
        peer.ask(**request)
        network.latency(ADDED_S)
        return interleave(ROUNDS, partial(our.ask, **request), partial(peer.ask, **request))


ROW: Final = Row("infer with 50 ms added to each RPC round trip", faster(2.5), measure)
