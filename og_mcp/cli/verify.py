"""`og-mcp verify FILE`: what a saved receipt shows, and what it does not.

Offline it needs no configuration and no network, so it works anywhere, years later.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from og_mcp.types import Verification

_MARKS: Final = {"ok": "[green]ok[/]", "failed": "[red]failed[/]", "not_checked": "not checked"}


class _UnreadableError(click.ClickException):
    """Nothing could be found out about the receipt."""

    exit_code = 2


@click.command("verify")
@click.argument(
    "file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
)
@click.option("--online", is_flag=True, help="Ask the chain too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(file: Path, online: bool, as_json: bool) -> None:
    """Verify a saved receipt (FILE, or - for stdin).

    Exit 0 if what it keeps belongs together (consistent), with --online also on the chain
    (confirmed); 1 if a check failed; 2 if that cannot be found out: the file cannot be read, nothing
    that is signed covers what it keeps, or the chain cannot be asked.
    """
    receipt = _read(file)
    verification = _verify(receipt)
    # What is not a receipt need not be asked about.
    if online and verification.checks[0].result == "ok":
        verification = _ask_chain(receipt)
    if as_json:
        click.echo(verification.model_dump_json(indent=2))
    else:
        _print(verification)
    sys.exit(_exit_code(verification, online=online))


def _exit_code(verification: Verification, *, online: bool) -> int:
    if any(check.result == "failed" for check in verification.checks):
        return 1
    return 0 if verification.level == ("confirmed" if online else "consistent") else 2


def _read(file: Path) -> Any:  # noqa: ANN401 - JSON
    from og_mcp.client.receipts.saved import read_receipt  # noqa: PLC0415 - --help does without
    from og_mcp.errors import InputError  # noqa: PLC0415 - as above

    try:
        with click.open_file(str(file), "rb") as stream:
            return read_receipt(stream, file)
    except InputError as exc:
        raise _UnreadableError(str(exc)) from exc
    except OSError as exc:
        raise _UnreadableError(f"{file} cannot be read: {exc.strerror}.") from exc


def _verify(receipt: object) -> Verification:
    from og_mcp.client.receipts import receipts  # noqa: PLC0415 - --help does without

    return receipts.verify(receipt)


def _ask_chain(receipt: Any) -> Verification:  # noqa: ANN401 - JSON
    import anyio  # noqa: PLC0415 - --help does without

    from og_mcp.client import Session  # noqa: PLC0415 - as above
    from og_mcp.errors import OGError  # noqa: PLC0415 - as above
    from og_mcp.settings import Settings  # noqa: PLC0415 - as above

    settings = Settings.from_env(_environ(receipt))
    if settings.local and settings.localnet_ready_file is None:
        raise _UnreadableError(
            "The receipt is of a local network; set OG_LOCALNET to that network's ready file."
        )

    async def ask() -> Verification:
        async with Session(settings) as og:
            return await og.verify_receipt(receipt, online=True)

    try:
        return anyio.run(ask)
    except OGError as exc:
        raise _UnreadableError(str(exc)) from exc


def _environ(receipt: Any) -> dict[str, str]:  # noqa: ANN401 - JSON
    """Use the receipt's network where none is set; its addresses come from og-mcp's own table."""
    from og_mcp.networks import NAMES  # noqa: PLC0415 - as above

    named = receipt.get("network") if isinstance(receipt, dict) else None
    chosen = {"OG_NETWORK": named} if isinstance(named, str) and named in NAMES else {}
    return {**chosen, **os.environ}


def _print(verification: Verification) -> None:
    from rich.console import Console  # noqa: PLC0415 - --help does without
    from rich.markup import escape  # noqa: PLC0415 - as above
    from rich.table import Table  # noqa: PLC0415 - as above

    table = Table()
    table.add_column("check", no_wrap=True)
    table.add_column("result", no_wrap=True)
    table.add_column("vouched for by", overflow="fold")
    table.add_column("detail", overflow="fold", ratio=1)
    for check in verification.checks:
        table.add_row(check.name, _MARKS[check.result], escape(check.source), escape(check.detail))
    console = Console(highlight=False)
    console.print(table)
    console.print(f"{verification.summary}.")
    unchecked = ", ".join(one.name for one in verification.checks if one.result == "not_checked")
    console.print(verification.shows + (f" Not checked: {unchecked}." if unchecked else ""))
