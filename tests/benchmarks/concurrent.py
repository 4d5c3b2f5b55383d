"""Row: 32 concurrent `infer` from one wallet, beside the public SDK; counts what was answered."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from tests.benchmarks._frame import Bench, Measurement, Row, at_least
from tests.benchmarks._infer import SDK, ours, sdk
from tests.localnet_client import running

COUNT: Final = 32
ROUNDS: Final = 3


def measure(bench: Bench) -> Measurement:
    """Infer in turns on one local network, each side with its own account."""
    answered: tuple[list[float], list[float]] = ([], [])
    seconds = []
    with (
        running() as network,
        bench.worker(ours, Path(sys.executable)) as our,
        bench.worker(sdk, bench.peer(SDK)) as peer,
    ):
        for _ in range(ROUNDS):
            for side, worker in enumerate((our, peer)):
                answer = worker.ask(ready_file=str(network.ready_file), count=COUNT)
                answered[side].append(answer["answered"])
                seconds.append(answer["seconds"])
    took = f"ours {max(seconds[::2]):.1f} s, peer {max(seconds[1::2]):.1f} s at most"
    return Measurement(answered[0], answered[1], unit="answered", note=took)


ROW: Final = Row("32 concurrent infers from one wallet", at_least(COUNT, "answered"), measure)
