"""`og-mcp calls`: what was spent and on what, and which calls wait for the operator.

Reads the journal that the server writes (OG_DATA_DIR, OG_JOURNAL_URL), as the operator: calls of
every principal are seen. Only `speed-up`, `cancel` and `release` talk to a network.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

if TYPE_CHECKING:
    from og_mcp.calls import Journal
    from og_mcp.settings import Settings
    from og_mcp.types import Call, CallInfo, Pruned

T = TypeVar("T")

DAYS: Final = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])

VERBS: Final = {"list_calls": "`og-mcp calls`", "get_call": "`og-mcp calls show ID`"}
"""MCP tool -> the command that does the same."""


@dataclass(frozen=True)
class Desk:
    """The journal and settings that a command works with."""

    settings: Settings
    journal: Journal

    async def call(self, beginning: str) -> Call:
        """Return the call whose id begins so, of any principal."""
        return await self.journal.get(await self.journal.full_id(beginning, None), None)


def at_desk(work: Callable[[Desk], Awaitable[T]]) -> T:
    """Run `work` with the journal open."""
    import anyio  # noqa: PLC0415 - --help does without

    from og_mcp.errors import ConfigurationError, OGError  # noqa: PLC0415 - as above

    async def run() -> T:
        async with _desk() as desk:
            return await work(desk)

    try:
        return anyio.run(run)
    except ConfigurationError:
        raise
    except OGError as exc:
        raise click.ClickException(_at_a_terminal(str(exc))) from exc


def _at_a_terminal(text: str) -> str:
    """Replace the names of MCP tools in an error by commands."""
    for tool, verb in VERBS.items():
        text = text.replace(tool, verb)
    return text


@asynccontextmanager
async def _desk() -> AsyncIterator[Desk]:
    from og_mcp.journal import open_journal  # noqa: PLC0415 - --help does without
    from og_mcp.settings import Settings  # noqa: PLC0415 - as above

    settings = Settings.from_env(os.environ)
    async with open_journal(settings) as journal:
        yield Desk(settings, journal)


@click.group("calls", invoke_without_command=True)
@click.option("--limit", type=click.IntRange(1, 1000), default=20, help="Number of calls to list.")
@click.option(
    "--status", type=click.Choice(["done", "running", "failed"]), help="Only calls of this status."
)
@click.option("--tool", default="", help="Only calls of this tool.")
@click.option(
    "--since",
    default="",
    metavar="WHEN",
    help="Only calls since then: 24h, 7d, a date, a UTC time.",
)
@click.option(
    "--page", type=click.IntRange(0, 10_000), default=0, help="Page to show; 0 is the newest."
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(  # noqa: PLR0913, PLR0917 - the options
    context: click.Context,
    limit: int,
    status: Any,  # noqa: ANN401 - one of three words, which click has checked
    tool: str,
    since: str,
    page: int,
    as_csv: bool,
    as_json: bool,
) -> None:
    """List the calls that could cost something, the newest first, and what they cost."""
    if context.invoked_subcommand is not None:
        return
    if as_csv and as_json:
        raise click.UsageError("--csv and --json cannot be used together: choose one.")
    from og_mcp.cli import _calls_shown as shown  # noqa: PLC0415 - --help does without
    from og_mcp.client.calls.since import since_of  # noqa: PLC0415 - as above

    async def work(desk: Desk) -> None:
        journal = desk.journal
        found = await journal.list_calls(
            None, limit + 1, status, tool, since=since_of(since), skip=page * limit
        )
        listed = shown.Listed(found[:limit], page + 1 if len(found) > limit else 0)
        if as_csv:
            shown.print_list_csv(listed)
            return
        spent = shown.Spent(
            await journal.totals(), *await journal.opg_totals(), await journal.open_caps()
        )
        (shown.print_list_json if as_json else shown.print_list)(listed, spent)

    at_desk(work)


@command.command("show")
@click.argument("call_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(call_id: str, as_json: bool) -> None:
    """Show one call: its request, transactions, cost, and its result or error."""
    from og_mcp.cli import _calls_shown as shown  # noqa: PLC0415 - --help does without

    async def work(desk: Desk) -> None:
        call = await desk.call(call_id)
        signed = await desk.journal.transactions(call.id)
        (shown.print_call_json if as_json else shown.print_call)(call, signed)

    at_desk(work)


@command.command("approve")
@click.argument("call_id", metavar="ID")
def approve(call_id: str) -> None:
    """Approve a waiting call: for one try within an hour, up to the amount shown."""
    # An assistant with a shell runs what it reads, but has no terminal by itself (threats.md T22).
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        message = "approve needs a terminal on stdin and stdout: a person has to type the amount."
        raise click.ClickException(message)
    from og_mcp.cli._approving import approve_call  # noqa: PLC0415 - --help does without

    async def work(desk: Desk) -> None:
        await approve_call(desk.journal, await desk.call(call_id))

    at_desk(work)


@command.command("speed-up")
@click.argument("call_id", metavar="ID")
def speed_up(call_id: str) -> None:
    """Send a stuck transaction again with a higher gas price, within the caps.

    Where a person is asked before the call itself (OG_CONFIRM_ABOVE), it takes a terminal, too.
    """
    _replace(call_id, cancel=False)


@command.command("cancel")
@click.argument("call_id", metavar="ID")
def cancel(call_id: str) -> None:
    """Cancel a stuck transaction, or an open payment authorization; costs a small fee.

    A payment takes a terminal. A transaction takes one where a person is asked before the call
    itself (OG_CONFIRM_ABOVE).
    """
    _replace(call_id, cancel=True)


@command.command("release")
@click.argument("call_id", metavar="ID")
def release(call_id: str) -> None:
    """Give up a call whose transaction is not mined, so that other calls go on without it.

    Takes a terminal. Nothing is signed. The transaction may still be mined, so its fee stays
    reserved for 24 hours.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        message = "release needs a terminal on stdin and stdout: a person has to type the amount."
        raise click.ClickException(message)
    most = at_desk(lambda desk: _released(desk, call_id))
    click.echo(f"Released. It may still be mined; {most} coins stay reserved for 24 hours.")


async def _released(desk: Desk, call_id: str) -> str:
    from og_mcp.cli._approving import agree_to_release  # noqa: PLC0415 - as above
    from og_mcp.client import Session  # noqa: PLC0415 - --help does without

    call = await desk.call(call_id)
    _check_network(desk.settings, call)
    agree_to_release(call)
    async with Session(desk.settings, journal=desk.journal) as og:
        return await og.release(call.id, principal=call.principal)


@command.command("trust")
@click.argument("recipient", metavar="ADDRESS")
def trust(recipient: str) -> None:
    """Pay a recipient again that took more than it told. Takes a terminal."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        message = "trust needs a terminal on stdin and stdout: a person has to type the address."
        raise click.ClickException(message)
    if click.prompt("Type the address again to allow payments to it").strip() != recipient:
        raise click.ClickException("That is not the address; nothing was changed.")
    what = at_desk(lambda desk: _trusted(desk, recipient))
    click.echo(f"It will be paid again, although {what}.")


async def _trusted(desk: Desk, recipient: str) -> str:
    from og_mcp.client import Session  # noqa: PLC0415 - --help does without

    async with Session(desk.settings, journal=desk.journal) as og:
        return await og.trust(recipient)


@command.command("prune")
@click.option("--before", type=DAYS, required=True, metavar="DATE", help="A day, UTC: 2026-11-22.")
def prune(before: datetime) -> None:
    """Remove calls that ended before a day, with their documents and images.

    Calls that are unfinished, undelivered or younger than 24 hours stay, and so do those whose
    idempotency key is still known.
    """
    pruned = at_desk(lambda desk: _pruned(desk, before.replace(tzinfo=UTC)))
    click.echo(f"Removed {pruned.calls} calls and {pruned.files} files.")


async def _pruned(desk: Desk, before: datetime) -> Pruned:
    from og_mcp.client import Session  # noqa: PLC0415 - --help does without

    async with Session(desk.settings, journal=desk.journal) as og:
        return await og.prune(before)


def _replace(call_id: str, *, cancel: bool) -> None:
    info = at_desk(lambda desk: _replaced(desk, call_id, cancel=cancel))
    if note := info.result.get("note"):
        click.echo(note)
    click.echo(f"Call {info.call_id}: {info.status} at stage {info.stage}.")
    click.echo(f"Transaction {info.transaction_hash}")


async def _replaced(desk: Desk, call_id: str, *, cancel: bool) -> CallInfo:
    from og_mcp.cli._approving import agree_to_replace  # noqa: PLC0415 - as above
    from og_mcp.client import Session  # noqa: PLC0415 - --help does without

    call = await desk.call(call_id)
    if cancel and call.cap is not None:
        return await _payment_cancelled(desk, call)
    _check_network(desk.settings, call)
    agree_to_replace(desk.settings, call, cancel=cancel)
    async with Session(desk.settings, journal=desk.journal) as og:
        step = og.cancel if cancel else og.speed_up
        return await step(call.id, principal=call.principal)


async def _payment_cancelled(desk: Desk, call: Call) -> CallInfo:
    from anyio import to_thread  # noqa: PLC0415 - as above

    from og_mcp.cli._approving import agree_to_cancel_payment  # noqa: PLC0415 - as above
    from og_mcp.client import Session  # noqa: PLC0415 - as above

    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.ClickException(
            "To cancel a payment authorization, a person has to type the amount: nothing was sent. "
            f"Run `og-mcp calls cancel {call.id}` at a terminal (stdin and stdout)."
        )
    _check_network(desk.settings, call)
    async with Session(desk.settings, journal=desk.journal) as og:
        offer = await og.cancellation(call.id, principal=call.principal)
        # Off the loop, on which the journal goes on telling others that this process lives.
        await to_thread.run_sync(agree_to_cancel_payment, offer, abandon_on_cancel=True)
        return await og.cancel(call.id, principal=call.principal, max_fee_wei=offer.max_fee_wei)


def _check_network(settings: Settings, call: Call) -> None:
    """Refuse where the configured network cannot have the call.

    Raises:
        click.ClickException: Another network is configured, or none that runs: a local network
            lives in the server that started it, and a new one would not know the call.
    """
    if call.network != settings.network_name:
        raise click.ClickException(
            f"Call {call.id} is on network {call.network}, and OG_NETWORK is "
            f"{settings.network_name}."
        )
    if settings.local and settings.localnet_ready_file is None:
        raise click.ClickException(
            f"Call {call.id} is on a local network; set OG_LOCALNET to that network's ready file."
        )
