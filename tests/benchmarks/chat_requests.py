"""Row: HTTP requests that a chat makes at the gateway, once its price is remembered.

Each round is a new process on one journal: the first chat signs for a new session without being
asked to, later ones go on under it. The local gateway counts.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from tests.benchmarks._chat import ours
from tests.benchmarks._frame import Bench, DisagreementError, Measurement, Row, at_most
from tests.localnet_client import LocalNetwork, running

ROUNDS: Final = 3
LATER: Final = 5


def measure(bench: Bench) -> Measurement:
    """Count in new processes, after one that learns the price."""
    with running() as network:
        _counted(bench, network, 1)
        first = [_counted(bench, network, 1) for _ in range(ROUNDS)]
        whole = [_counted(bench, network, 1 + LATER) for _ in range(ROUNDS)]
    later = [(count - 1) / LATER for count in whole]
    note = f"{ROUNDS} processes of 1 chat, {ROUNDS} of {1 + LATER}"
    return Measurement([*first, *later], unit="requests", note=note)


def _counted(bench: Bench, network: LocalNetwork, chats: int) -> float:
    network.reset_counters("gateway")
    with bench.worker(ours, Path(sys.executable)) as worker:
        answer = worker.ask(ready_file=str(network.ready_file), count=chats)
    if not answer["result"]:
        raise DisagreementError("a chat was not answered")
    count: int = network.counters("gateway")["http_requests"]
    return count


ROW: Final = Row("a chat with a remembered price, at the gateway", at_most(1, "requests"), measure)
