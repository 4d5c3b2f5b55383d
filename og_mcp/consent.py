"""What a person is told before they agree: the same words in an assistant and at a terminal."""

from __future__ import annotations

import shlex
import shutil
import sys
from decimal import ROUND_CEILING, Context, Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Final

from og_mcp.errors import COIN, in_coins, in_opg
from og_mcp.types import ConsentRequest

if TYPE_CHECKING:
    from og_mcp.settings import Settings

_ROUNDED_UP: Final = Context(prec=3, rounding=ROUND_CEILING)


def max_cost(tool: str, asked: ConsentRequest) -> str:
    """Write the highest cost of a call, without the kinds of money that it cannot cost.

    Args:
        tool: An approval of OPG costs gas alone; `effect_of` tells what it gives away.
        asked: What is asked.
    """
    opg = 0 if tool == "approve_opg" else asked.cap_opg
    parts = [in_opg(opg)] if opg else []
    if asked.cap_wei or not parts:
        parts.append(f"{in_coins(asked.cap_wei)}{' in fees' if parts else ''}")
    return " and ".join(parts)


def effect_of(tool: str, asked: ConsentRequest) -> str:
    """Tell what a call lets others do with the wallet; empty where it lets nobody."""
    if tool != "approve_opg":
        return ""
    return f"allow chat and image services to charge up to {in_opg(asked.cap_opg)} in total"


def question(tool: str, asked: ConsentRequest) -> str:
    """Ask whether a call may be made: what may be taken, by whom, and from which wallet."""
    if asked.what:
        return f"May og-mcp {asked.what}? This cannot be undone."
    wallet = f"your wallet {asked.payer.address}" if asked.payer else "your wallet"
    fee = f"{_ROUNDED_UP.create_decimal(Decimal(asked.cap_wei).scaleb(-18)):f} {COIN}"
    if others := effect_of(tool, asked):
        asks = f"{others[0].upper()}{others[1:]} from {wallet}?"
    elif asked.cap_opg:
        asks = (
            f"Allow the service that answers this {tool} call to charge up to "
            f"{in_opg(asked.cap_opg)} from {wallet}?"
        )
    else:
        return f"Run {tool} for a network fee of at most {fee} from {wallet}?"
    return f"{asks} Network fee: at most {fee}." if asked.cap_wei else asks


def refused_words(tool: str, asked: ConsentRequest) -> str:
    """Say in a clause what a call would do that nobody has agreed to."""
    if asked.what:
        return f"would {asked.what}, which cannot be undone,"
    if others := effect_of(tool, asked):
        return f"would {others}, for a network fee of up to {in_coins(asked.cap_wei)},"
    return f"may cost up to {max_cost(tool, asked)}"


def approve_command(call_id: str, settings: Settings) -> str:
    """Write the whole command that approves a call: a terminal may have another environment.

    The URL of a journal on PostgreSQL is not told: it may hold a password.
    """
    from og_mcp.settings import default_data_dir  # noqa: PLC0415 - only where somebody is refused

    beside = Path(sys.executable).with_name("og-mcp.exe" if sys.platform == "win32" else "og-mcp")
    found = str(beside) if beside.is_file() else shutil.which("og-mcp")
    program = [found] if found else [sys.executable, "-m", "og_mcp"]
    words = [*program, "calls", "approve", call_id]
    variables = {}
    if settings.data_dir != default_data_dir():
        variables["OG_DATA_DIR"] = str(settings.data_dir)
    url = settings.journal_url.get_secret_value() if settings.journal_url else ""
    if url.startswith("sqlite:"):
        variables["OG_JOURNAL_URL"] = url
    if sys.platform == "win32":
        line = " ".join(f'"{word}"' if " " in word else word for word in words)
        return "".join(f'set "{name}={value}" && ' for name, value in variables.items()) + line
    given = [f"{name}={shlex.quote(value)}" for name, value in variables.items()]
    return " ".join([*given, shlex.join(words)])
