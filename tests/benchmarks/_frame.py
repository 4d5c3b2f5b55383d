"""What a benchmark row is made of; standard library only, as peers' environments import it too."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

REPOSITORY: Final = Path(__file__).parents[2]

Answer = dict[str, Any]
"""What a worker gives for one run: `seconds`, and `result` for comparing."""


class DisagreementError(Exception):
    """Ours and the peer gave different results, so that their times mean nothing."""


@dataclass(frozen=True)
class Measurement:
    """The figures of one row."""

    ours: list[float]
    peer: list[float] = field(default_factory=list)
    """In the same order as `ours`, each taken beside it; empty where there is no peer."""

    unit: str = "s"
    note: str = ""

    @property
    def ratio(self) -> float:
        """How often ours fits into the peer's figure, by medians."""
        ours = statistics.median(self.ours)
        return statistics.median(self.peer) / ours if ours else float("inf")

    @property
    def spread(self) -> tuple[float, float]:
        """Least and greatest of the pairs' ratios, or of ours where there is no peer."""
        figures = self.ours
        if self.peer:
            figures = [
                peer / ours if ours else float("inf")
                for ours, peer in zip(self.ours, self.peer, strict=True)
            ]
        return min(figures), max(figures)


@dataclass(frozen=True)
class Target:
    """What a row promises."""

    text: str
    held: Callable[[Measurement], bool]


def faster(times: float) -> Target:
    """Promise that the peer takes at least so many times as long."""
    return Target(f"at least {times:g}x faster", lambda figures: figures.ratio >= times)


def within(times: float) -> Target:
    """Promise at most so many times the peer's figure."""
    return Target(f"at most {times:g}x the peer", lambda figures: figures.ratio >= 1 / times)


def at_most(limit: float, unit: str) -> Target:
    """Promise that no figure of ours is above a limit."""
    return Target(f"at most {limit:g} {unit}", lambda figures: max(figures.ours) <= limit)


def at_least(limit: float, unit: str) -> Target:
    """Promise that no figure of ours is below a limit."""
    return Target(f"at least {limit:g} {unit}", lambda figures: min(figures.ours) >= limit)


class Worker:
    """A process that runs one side of a row again and again; see `_loop.py` for its side."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, **request: object) -> Answer:
        """Run once and return what the worker's function returned.

        Args:
            request: Its keyword arguments, JSON.

        Raises:
            RuntimeError: The worker has ended; its own words are on stderr.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args!r} ended with {self._process.wait()}")
        answer: Answer = json.loads(line)
        return answer


@dataclass(frozen=True)
class Bench:
    """What a row measures with."""

    home: Path
    """Keeps the peers' environments."""

    def peer(self, *requirements: str) -> Path:
        """Return the Python of an environment that holds these packages alone.

        Args:
            requirements: Pinned, e.g. "opengradient==1.1.4".
        """
        version = ".".join(map(str, sys.version_info[:2]))
        folder = self.home / "-".join([*requirements, version]).replace("=", "")
        python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
        ready = folder / "ready"
        if not ready.exists():
            _run([sys.executable, "-m", "venv", "--clear", str(folder)])
            _run([str(python), "-m", "pip", "install", "-qq", *requirements])
            ready.touch()
        return python

    @contextmanager
    def worker(self, setup: Callable[[], Callable[..., Answer]], python: Path) -> Iterator[Worker]:
        """Start a process that calls `setup` and then, for each `ask`, what it returned.

        Args:
            setup: A function of a row's module; it imports what it needs inside.
            python: Of the environment to run in.
        """
        command = [str(python), "-m", "tests.benchmarks._loop", setup.__module__, setup.__name__]
        with subprocess.Popen(  # noqa: S603 - our own module
            command,
            cwd=REPOSITORY,
            env=plain_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield Worker(process)
            finally:
                # The end of its input is the worker's end.
                assert process.stdin is not None
                process.stdin.close()


@dataclass(frozen=True)
class Row:
    """One benchmark."""

    title: str
    target: Target
    measure: Callable[[Bench], Measurement]


def interleave(rounds: int, ours: Callable[[], Answer], peer: Callable[[], Answer]) -> Measurement:
    """Time both sides in turn, and take turns in going first.

    Raises:
        DisagreementError: Their results differ.
    """
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        answers = {}
        for side in (number % 2, 1 - number % 2):
            answers[side] = (ours, peer)[side]()
            times[side].append(answers[side]["seconds"])
        if answers[0]["result"] != answers[1]["result"]:
            raise DisagreementError(f"ours {answers[0]['result']}, peer {answers[1]['result']}")
    return Measurement(times[0], times[1], note=f"{rounds} rounds, results agree")


def plain_environment() -> dict[str, str]:
    """Return the environment without variables that would change what is measured.

    Those of og-mcp, and the one that keeps Python from writing its bytecode down: every start would
    compile everything anew.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("OG_") and name != "PYTHONDONTWRITEBYTECODE"
    }


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, env=plain_environment())  # noqa: S603 - venv and pip
