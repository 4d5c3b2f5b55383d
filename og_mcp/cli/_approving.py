"""A person's agreement at a terminal (threats.md T22)."""

from __future__ import annotations

import hashlib
import json
import sys
from datetime import UTC, datetime
from typing import Final

import click

from og_mcp.calls import Journal
from og_mcp.cli._calls_shown import cut, print_rows
from og_mcp.client.calls.consent import ALWAYS_ASKED
from og_mcp.client.calls.states import counts_until
from og_mcp.consent import effect_of, max_cost
from og_mcp.errors import CallStateError, SealBrokenError, coins, in_opg
from og_mcp.settings import Settings
from og_mcp.types import Account, Approval, Call, CancellationOffer

PUBLISH: Final = "publish"
"""The word that is typed where nothing is paid."""


async def approve_call(journal: Journal, call: Call) -> None:
    """Show what a call asks for, and record the agreement once the amount is typed.

    Raises:
        CallNotFoundError: It needs no approval.
        CallStateError: It does not wait for one, or what it asks for has changed meanwhile.
        SealBrokenError: Somebody else has written the question (threats.md T25).
        click.ClickException: Something else was typed.
    """
    asked = await journal.approval(call.id)
    if call.declined:
        raise click.ClickException(call.error)
    if not call.waiting_approval:
        raise CallStateError(call.id, "be approved", f"it is {call.status} at stage {call.stage}")
    if _is_good(asked):
        click.echo(f"Approved already, until {asked.expires_at:%H:%M} UTC; repeat the request.")
        return
    _check_request(call, asked)
    tool = _tool_of(call)
    others = effect_of(tool, asked)
    print_rows(
        {
            "call": call.id,
            "tool": tool,
            "network": asked.network,
            **({"wallet": _wallet(asked.payer)} if asked.payer else {}),
            **({"does": others} if others else {}),
            "costs": f"at most {max_cost(tool, asked)}",
            **({"does": f"{asked.what}; this cannot be undone"} if asked.what else {}),
            "request": cut(call.request) or f"not kept; its SHA-256 is {asked.request_hash}",
        }
    )
    amount, unit = _typed_back(asked)
    if click.prompt(f"Type {unit} to approve it, {amount}").strip() != amount:
        raise click.ClickException(f"That is not {unit}; nothing was approved.")
    approved = await journal.approve(call.id, asked)
    click.echo(f"Approved for one try until {approved.expires_at:%H:%M} UTC; repeat the request.")


def agree_to_replace(settings: Settings, call: Call, *, cancel: bool) -> None:
    """Ask a person before a stuck transaction is signed again, where they were asked before.

    A replacement stays within the caps on fees and repeats its call or does nothing. Whoever may make
    the call without a person may therefore replace it too. Where a person agreed to an amount, an
    assistant with a shell must not raise it (threats.md T22).

    Raises:
        click.ClickException: There is no terminal, or something else was typed.
    """
    if settings.confirm_above != 0 and call.tool not in ALWAYS_ASKED:
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.ClickException(
            f"A person was asked before {call.tool}, and its fee may rise: this needs a terminal on "
            "stdin and stdout, where they type the amount."
        )
    most = coins(settings.max_fee_per_call)
    does = (
        "cancels it: its nonce is used for an empty transfer"
        if cancel
        else "sends it again at a higher price"
    )
    print_rows(
        {
            "call": call.id,
            "tool": call.tool,
            "does": does,
            "costs": f"at most {most} coins in fees, in place of {coins(call.max_fee_wei)}",
        }
    )
    if click.prompt(f"Type the amount in coins to agree, {most}").strip() != most:
        raise click.ClickException("That is not the amount; nothing was signed.")


def agree_to_cancel_payment(offer: CancellationOffer) -> None:
    """Ask a person before a payment authorization is made void.

    Raises:
        click.ClickException: Something else was typed.
    """
    cap, most = offer.cap, coins(offer.max_fee_wei)
    calls = "1 call" if offer.calls == 1 else f"{offer.calls} calls"
    print_rows(
        {
            "call": offer.call_id,
            "wallet": _wallet(cap.account),
            "does": f"cancels the payment authorization of at most {in_opg(cap.max_opg)} for "
            f"{cap.resource}, which pays for {calls}",
            "breaks": "an honest service's settlement of answers that are finished fails, too",
            "counts": f"against your day's cap until {counts_until(cap.deadline):%H:%M} UTC all the same",
            "costs": f"at most {most} coins in fees",
        }
    )
    if click.prompt(f"Type the amount in coins to agree, {most}").strip() != most:
        raise click.ClickException("That is not the amount; nothing was signed or sent.")


def agree_to_release(call: Call) -> None:
    """Ask a person before a call is given up that may still be mined.

    Raises:
        click.ClickException: Something else was typed.
    """
    most = coins(call.max_fee_wei)
    print_rows(
        {
            "call": call.id,
            "tool": call.tool,
            "does": "gives it up; its transaction may still be mined and take effect",
            "holds": f"{most} coins in fees, for 24 hours more",
        }
    )
    if click.prompt(f"Type the amount in coins to release it, {most}").strip() != most:
        raise click.ClickException("That is not the amount; nothing was changed.")


def _is_good(approval: Approval) -> bool:
    expires = approval.expires_at
    return expires is not None and not approval.taken and datetime.now(UTC) < expires


def _check_request(call: Call, asked: Approval) -> None:
    """Make sure that the request which is shown is the one in the sealed question."""
    shown = hashlib.sha256(call.request.encode()).hexdigest() if call.request else call.request_hash
    if shown != asked.request_hash:
        raise SealBrokenError(f"the request of call {call.id}")


def _tool_of(call: Call) -> str:
    # From the request where it is kept: its hash is sealed, the journal's column is not.
    return str(json.loads(call.request)["tool"]) if call.request else call.tool


def _wallet(payer: Account) -> str:
    """Name the wallet that pays, as it was sealed with the question."""
    return f"{payer.address}, on chain {payer.chain_id} of {payer.network}"


def _typed_back(asked: Approval) -> tuple[str, str]:
    """Return what has to be typed, and its name."""
    if asked.cap_opg:
        return coins(asked.cap_opg), "the amount in OPG"
    if asked.cap_wei or not asked.what:
        return coins(asked.cap_wei), "the amount in coins"
    return PUBLISH, "the word"
