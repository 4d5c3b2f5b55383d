"""Calls as a person reads them, and as JSON.

What a model or a network wrote is printed without characters that a terminal would act on.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from og_mcp.client.payments.told import payment_of
from og_mcp.errors import COIN, coins, fee_text, in_opg
from og_mcp.types import Call, Cap, SignedTransaction, Totals

PIPED_WIDTH: Final = 180
"""Width of the output where there is no terminal, in characters."""

DOCUMENT_LIMIT: Final = 4000
"""Characters of a document that are shown; `--json` has all of them."""


SHORT_ID: Final = 12
"""Characters of an id that fit a terminal; commands take shortened ids too."""

CSV_COLUMNS: Final = (
    "created_at",
    "call_id",
    "tool",
    "model",
    "first_words",
    "state",
    "stage",
    "fee",
    "amount_opg",
    "max_opg",
    "transaction_hash",
    "principal",
    "network",
    "error",
)


@dataclass(frozen=True)
class Listed:
    """One page of calls."""

    calls: Sequence[Call]
    next_page: int
    """0 on the last page."""


@dataclass(frozen=True)
class Spent:
    """What calls have cost since the journal began."""

    fees: Sequence[Totals]
    settled_opg: int
    """Base units."""

    open_opg: int
    """Maxima of payment authorizations that are not settled, base units."""

    payments: Sequence[Cap]
    """Those authorizations, the oldest first."""


def plain(text: str) -> str:
    """Escape control characters, and those that change the direction of writing."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def cut(document: str) -> str:
    """Escape a document and cut it to a length that can be read."""
    text = plain(document)
    if len(text) <= DOCUMENT_LIMIT:
        return text
    return f"{text[:DOCUMENT_LIMIT]}… ({len(text) - DOCUMENT_LIMIT} more characters)"


def console() -> Console:
    """Open the console; lines in a pipe are wide."""
    width = None if sys.stdout.isatty() else PIPED_WIDTH
    return Console(width=width, highlight=False, markup=False)


def print_list(listed: Listed, spent: Spent) -> None:
    """Print a table of calls, what was spent by account, and the payments that are open."""
    out = console()
    table = Table(title="Calls", title_justify="left")
    for heading in ("time (UTC)", "call", "tool", "model", "first words", "status"):
        table.add_column(heading, no_wrap=heading == "call")
    table.add_column("fee", justify="right")
    table.add_column("OPG", justify="right")
    id_length = SHORT_ID if out.is_terminal else None
    for call in listed.calls:
        table.add_row(*(Text(plain(cell)) for cell in _cells(call, id_length)))
    out.print(table)
    if not listed.calls:
        out.print("There are no such calls.")
    if listed.next_page:
        out.print(f"There are more: --page {listed.next_page}")
    for total in spent.fees:
        out.print(
            f"{plain(total.network)}, {total.address}: {coins(total.fees_wei)} {COIN} paid in fees, "
            f"{coins(total.open_wei)} open"
        )
    if spent.settled_opg or spent.payments:
        out.print(f"{in_opg(spent.settled_opg)} settled, {in_opg(spent.open_opg)} open")
    for cap in spent.payments:
        out.print(
            f"payment {cap.id}: at most {in_opg(cap.max_opg)} from {cap.account.address} to "
            f"{plain(cap.pay_to)}, until {_deadline(cap)}"
        )


def _deadline(cap: Cap) -> str:
    return f"{datetime.fromtimestamp(cap.deadline, UTC):%Y-%m-%d %H:%M} UTC"


def _cells(call: Call, id_length: int | None) -> tuple[str, ...]:
    return (
        f"{call.created_at:%Y-%m-%d %H:%M:%S}",
        call.id[:id_length],
        call.tool,
        call.model,
        call.first_words,
        state_of(call),
        fee_text(call.fee_wei),
        _opg(call),
    )


def _opg(call: Call) -> str:
    """Write what a call cost in OPG; calls of one gateway session share a payment."""
    if call.cap is not None and call.cap.status == "open":
        return f"at most {coins(call.cap.max_opg)}"
    return coins(call.amount_opg)


def state_of(call: Call) -> str:
    """Write status and stage in a few words."""
    if call.waiting_approval:
        return "waits for approval"
    if call.declined:
        return "declined"
    if call.orphaned:
        return f"interrupted, {call.stage}"
    return f"{call.status}, {call.stage}"


def print_list_csv(listed: Listed) -> None:
    """Print the calls as CSV with a header; amounts are coins and OPG."""
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(CSV_COLUMNS)
    for call in listed.calls:
        facts = {**_facts(call), "fee": coins(call.fee_wei), "state": state_of(call)}
        rows.writerow(_inert(plain(str(facts[name]))) for name in CSV_COLUMNS)


def _inert(cell: str) -> str:
    """Keep a spreadsheet from running a cell as a formula."""
    return f"'{cell}" if cell[:1] in set("=+-@") else cell


def print_list_json(listed: Listed, spent: Spent) -> None:
    """Print the same as JSON; amounts are decimal strings, `*_wei` in base units."""
    document = {
        "calls": [_facts(call) for call in listed.calls],
        "next_page": listed.next_page,
        "totals": [
            {
                "network": total.network,
                "chain_id": total.chain_id,
                "address": total.address,
                "fees_wei": str(total.fees_wei),
                "open_wei": str(total.open_wei),
            }
            for total in spent.fees
        ],
        "spent_opg": coins(spent.settled_opg),
        "open_opg": coins(spent.open_opg),
        "open_payments": [
            {
                **payment_of(cap).model_dump(),
                "address": cap.account.address,
                "pay_to": cap.pay_to,
                "principal": cap.principal,
                "expires_at": datetime.fromtimestamp(cap.deadline, UTC).isoformat(),
            }
            for cap in spent.payments
        ],
    }
    click.echo(json.dumps(document, indent=2))


def _facts(call: Call) -> dict[str, Any]:
    return {
        "call_id": call.id,
        "tool": call.tool,
        "model": call.model,
        "first_words": call.first_words,
        "principal": call.principal,
        "network": call.network,
        "status": call.status,
        "stage": call.stage.value,
        "waiting_approval": call.waiting_approval,
        "declined": call.declined,
        "interrupted": call.orphaned,
        "created_at": call.created_at.isoformat(),
        "delivered_at": call.delivered_at.isoformat() if call.delivered_at else "",
        "address": call.account.address if call.account else "",
        "transaction_hash": call.transaction_hashes[-1] if call.transaction_hashes else "",
        "fee_wei": str(call.fee_wei),
        "max_fee_wei": str(call.max_fee_wei),
        "amount_opg": coins(call.amount_opg),
        "max_opg": coins(call.cap.max_opg if call.cap else call.max_opg),
        "payment": payment_of(call.cap).model_dump(),
        "idempotency_key": call.idempotency_key,
        "error": call.error,
    }


def print_call(call: Call, signed: Sequence[SignedTransaction]) -> None:
    """Print everything that the journal knows about a call."""
    rows = {
        "call": call.id,
        "tool": call.tool,
        "model": call.model,
        "first_words": call.first_words,
        "principal": call.principal,
        "network": call.network,
        "status": state_of(call),
        "made": f"{call.created_at:%Y-%m-%d %H:%M:%S} UTC",
        "wallet": call.account.address if call.account else "",
        "fee": f"{coins(call.fee_wei)} {COIN} ({call.fee_wei} wei)",
        "OPG": _opg(call) if call.max_opg or call.cap else "",
        **(_payment(call.cap) if call.cap else {}),
        "idempotency key": call.idempotency_key,
        "error": call.error,
    }
    for one in signed:
        most = f"nonce {one.nonce}, at most {coins(one.max_fee_wei)} {COIN}"
        rows[f"transaction {one.nonce}"] = f"{one.transaction_hash} ({most})"
    not_kept = "not kept: OG_RECEIPTS=hashes" if call.status == "done" else ""
    rows |= {"request": cut(call.request), "result": cut(call.result) or not_kept}
    print_rows(rows)


def _payment(cap: Cap) -> dict[str, str]:
    until = f"open until {_deadline(cap)}"
    taken = f"{in_opg(cap.amount_opg)} taken"
    return {
        "payment": f"{cap.id}, at most {in_opg(cap.max_opg)} from {cap.account.address}",
        "settlement": until if cap.status == "open" else taken,
        "settled by": cap.transaction_hash,
    }


def print_rows(rows: dict[str, str]) -> None:
    """Print names with their values; those without a value are left out."""
    table = Table(show_header=False, box=None)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        if value:
            table.add_row(Text(plain(name)), Text(plain(value)))
    console().print(table)


def print_call_json(call: Call, signed: Sequence[SignedTransaction]) -> None:
    """Print the same as JSON, with documents whole."""
    documents = {
        name: json.loads(text) if text else None
        for name, text in (("request", call.request), ("result", call.result))
    }
    transactions = [
        {
            "transaction_hash": one.transaction_hash,
            "nonce": one.nonce,
            "max_fee_wei": str(one.max_fee_wei),
        }
        for one in signed
    ]
    click.echo(json.dumps({**_facts(call), "transactions": transactions, **documents}, indent=2))
