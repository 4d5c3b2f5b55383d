"""`og-mcp doctor`: what is configured, what works, what was interrupted, and how to mend the rest."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import anyio
import click

from og_mcp.errors import ConfigurationError, OGError

if TYPE_CHECKING:
    from og_mcp.client import Session


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    held: bool
    detail: str
    fix: str = ""


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def command(*, as_json: bool) -> None:
    """Check configuration, wallet, chain and journal, and settle interrupted calls.

    Nothing is signed. Exit 1 where something that is needed is missing.
    """
    findings = anyio.run(_examine)
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        _show(findings)
    sys.exit(not all(finding.held for finding in findings))


async def _examine() -> list[Finding]:
    from og_mcp.client import Session  # noqa: PLC0415 - loads pydantic, which --help can do without

    try:
        session = Session.from_env(os.environ)
    except ConfigurationError as exc:
        return [
            Finding(
                "configuration", held=False, detail=problem.what, fix=f"Set {problem.variable}."
            )
            for problem in exc.problems
        ]
    async with session as og:
        configured = f"network {og.settings.network_name}, data in {og.settings.data_dir}"
        findings = [Finding("configuration", held=True, detail=configured)]
        return findings + await _wallet(og) + await _journal(og)


async def _wallet(og: Session) -> list[Finding]:
    status = await og.status()
    if status.ready:
        wei = status.balances.get("native_wei", "0")
        detail = f"{status.address} holds {wei} wei on chain {status.chain_id}"
        return [Finding("wallet and chain", held=True, detail=detail)]
    return [
        Finding("wallet and chain", held=False, detail=problem.what, fix=problem.fix)
        for problem in status.problems
    ]


async def _journal(og: Session) -> list[Finding]:
    """Open the journal, and settle by hash and nonce what an earlier process left behind."""
    try:
        calls = await og.list_calls(limit=1)
        settled = await og.reconcile() if calls.calls else []
        open_wei = (await og.list_calls(limit=1)).open_wei
    except OGError as exc:
        return [Finding("journal", held=False, detail=str(exc.args[0]), fix=exc.hint)]
    detail = f"{len(settled)} interrupted call(s) settled, {open_wei} wei of fees still open"
    return [Finding("journal", held=True, detail=detail)]


def _show(findings: list[Finding]) -> None:
    from rich.console import Console  # noqa: PLC0415 - --json can do without
    from rich.markup import escape  # noqa: PLC0415 - as above
    from rich.table import Table  # noqa: PLC0415 - as above

    table = Table("", "what", "found", "fix", title="og-mcp doctor", title_justify="left")
    for finding in findings:
        mark = "[green]✓[/]" if finding.held else "[red]✗[/]"
        table.add_row(mark, finding.name, escape(finding.detail), escape(finding.fix))
    Console(highlight=False).print(table)
