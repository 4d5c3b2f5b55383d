"""`og-mcp receipt ID`: a call's receipt as a file that anyone can verify."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import click

from og_mcp.cli.calls import Desk, at_desk

MADE_ANEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
"""Flags for a new file: an existing file or link is never written to."""


@click.command("receipt")
@click.argument("call_id", metavar="ID")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to create; without it the receipt is printed.",
)
def command(call_id: str, output: Path | None) -> None:
    """Write a call's receipt, for og-mcp verify; the first characters of the ID will do."""
    from og_mcp.client.wire.canonical_json import canonical  # noqa: PLC0415 - --help does without

    async def work(desk: Desk) -> str:
        from og_mcp.client import Session  # noqa: PLC0415 - as above

        call = await desk.call(call_id)
        async with Session(desk.settings, journal=desk.journal) as og:
            return canonical(await og.receipt(call.id, principal=call.principal))

    receipt = at_desk(work)
    if output is None:
        click.echo(receipt)
        return
    _write(output, receipt)
    click.echo(f"Receipt: {output}")
    click.echo(f"Check it: og-mcp verify {output}", err=True)


def _write(path: Path, receipt: str) -> None:
    """Create the file, for its owner alone: it may hold prompts and answers.

    Raises:
        click.ClickException: There is one already, or it cannot be made.
    """
    try:
        with open(os.open(path, MADE_ANEW, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123 - of a descriptor
            try:
                file.write(f"{receipt}\n")
            except OSError:
                with suppress(OSError):
                    path.unlink()
                raise
    except FileExistsError as exc:
        raise click.ClickException(
            f"{path} exists and was not changed. Name another file."
        ) from exc
    except OSError as exc:
        raise click.ClickException(f"{path} cannot be written: {exc.strerror}.") from exc
