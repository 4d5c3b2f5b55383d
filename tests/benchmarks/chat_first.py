"""Row: the first chat of a client with 50 ms added to each round trip, beside the public SDK.

From the making of the client to the answer, imports aside: its registry read counts, so does ours.
Our journal remembers the price from an earlier session.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import Final

from tests.benchmarks._chat import BASE_CHAIN_ID, SDK, ours, sdk
from tests.benchmarks._frame import Bench, Measurement, Row, faster, interleave
from tests.localnet_client import running

ADDED_S: Final = 0.05
ROUNDS: Final = 7
SERVICES: Final = ("rpc", "base_rpc", "gateway")


def measure(bench: Bench, count: int = 1) -> Measurement:
    """Chat in turns through one gateway, each side with its own account.

    Args:
        bench: Where peers are.
        count: Chats of one client; the last is measured.
    """
    with running("--base-chain-id", BASE_CHAIN_ID) as network:
        os.environ["TEST_READY_FILE"] = str(network.ready_file)
        with (
            bench.worker(ours, Path(sys.executable)) as our,
            bench.worker(sdk, bench.peer(SDK)) as peer,
        ):
            request = {"ready_file": str(network.ready_file), "count": count}
            our.ask(**request)
            peer.ask(**request)
            for service in SERVICES:
                network.latency(ADDED_S, service=service)
            return interleave(ROUNDS, partial(our.ask, **request), partial(peer.ask, **request))


# At most 0.8 of its latency.
ROW: Final = Row("first chat with 50 ms added to each round trip", faster(1.25), measure)
