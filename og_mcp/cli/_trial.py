"""Steps of `og-mcp try`: timed, printed as they happen, and listed in a table."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from mcp import MCPError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from og_mcp.errors import OGError


class StepFailedError(Exception):
    """A step failed; the message says why."""


def _first(error: BaseException) -> BaseException:
    """Find an error that a task group has wrapped."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@dataclass(frozen=True)
class Step:
    """One step that has ended."""

    name: str
    result: str
    seconds: float
    held: bool

    @property
    def mark(self) -> str:
        """A tick or a cross."""
        return "[green]✓[/]" if self.held else "[red]✗[/]"


@dataclass
class Trial:
    """The steps so far."""

    console: Console
    steps: list[Step] = field(default_factory=list)

    @asynccontextmanager
    async def step(self, name: str) -> AsyncIterator[list[str]]:
        """Time one step; what the body appends to the list is its result.

        Raises:
            StepFailedError: The body raised it, one of our errors, or what ends an MCP connection.
        """
        said: list[str] = []
        held, started = False, time.perf_counter()
        try:
            with self.console.status(name):
                yield said
            held = True
        except (OGError, StepFailedError, MCPError, OSError, ExceptionGroup) as exc:
            said.append(str(_first(exc)))
            raise StepFailedError(said[-1]) from exc
        finally:
            done = Step(name, "\n".join(said), time.perf_counter() - started, held)
            self.steps.append(done)
            self.console.print(f"{done.mark} {name} [dim]{done.seconds:.2f} s[/]")

    def table(self) -> Table:
        """Return the table of the steps."""
        table = Table(title="og-mcp try", title_justify="left")
        table.add_column("")
        table.add_column("step", overflow="fold")
        table.add_column("result", overflow="fold", ratio=1)
        for step in self.steps:
            table.add_row(step.mark, step.name, escape(step.result))
        return table
