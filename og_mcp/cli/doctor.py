"""`og-mcp doctor`: what is configured, what works, what was interrupted, and how to fix problems."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict

import anyio
import click

from og_mcp.errors import ConfigurationError
from og_mcp.types import Diagnosis


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def command(*, as_json: bool) -> None:
    """Check configuration, disk, chains, wallet, gateways, hub and journal; settle interrupted calls.

    Signs nothing. Exit 1 where something that is needed is missing.
    """
    findings = anyio.run(_examine)
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        _show(findings)
    sys.exit(not all(finding.held for finding in findings))


async def _examine() -> list[Diagnosis]:
    from og_mcp.client import Session  # noqa: PLC0415 - loads pydantic, which --help can do without

    try:
        session = Session.from_env(os.environ)
    except ConfigurationError as exc:
        return [
            Diagnosis(
                "configuration", held=False, detail=problem.what, fix=f"Set {problem.variable}."
            )
            for problem in exc.problems
        ]
    async with session as og:
        configured = f"network {og.settings.network_name}, data in {og.settings.data_dir}"
        return [Diagnosis("configuration", held=True, detail=configured), *await og.examine()]


def _show(findings: list[Diagnosis]) -> None:
    from rich.console import Console  # noqa: PLC0415 - --json can do without
    from rich.markup import escape  # noqa: PLC0415 - as above
    from rich.table import Table  # noqa: PLC0415 - as above

    table = Table("", "what", title="og-mcp doctor", title_justify="left")
    for heading in ("found", "fix") if any(finding.fix for finding in findings) else ("found",):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        mark = "[green]✓[/]" if finding.held else "[red]✗[/]"
        cells = (escape(finding.detail), escape(finding.fix))
        table.add_row(mark, finding.name, *cells[: len(table.columns) - 2])
    Console(highlight=False).print(table)
