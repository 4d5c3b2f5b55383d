"""What keeps calls from being paid, in words, each with its mend."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from shutil import disk_usage
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Final

from og_mcp.errors import ConfigurationError, OGError, coins, quote
from og_mcp.networks import Network
from og_mcp.settings import Settings, can_be_read_by_others
from og_mcp.types import Budget, OPGCaps, Trouble

if TYPE_CHECKING:
    from og_mcp.client.payments.opg import Holdings

PROBE_BYTES: Final = 64 * 1024
"""Of the file that shows whether the disk takes any."""

MIN_FREE_BYTES: Final = 32 * 2**20
"""Below it a few answers, or one picture, may fill the disk."""

LATER: Final = "Wait until what was spent is a day old, or have the operator raise {}."


def of(error: OGError) -> Trouble:
    """Tell what an error is about."""
    if isinstance(error, ConfigurationError):
        variables = [problem.variable for problem in error.problems]
        if "OG_KEYSTORE" in variables:
            variables.append("OG_KEYSTORE_PASSWORD")
        what = "; ".join(map(str, error.problems))
        return Trouble(what=f"{what}.", fix=f"Correct {' or '.join(variables)}, and start again.")
    return Trouble(what=str(error.args[0]), fix=error.hint)


def no_answer(what: str, variable: str, after_s: float) -> Trouble:
    """Tell that a chain keeps silent."""
    fix = f"Try again later, or set {variable} to another RPC."
    return Trouble(what=f"The {what} did not answer within {after_s:g} s.", fix=fix)


def no_coins(network: Network, address: str) -> Trouble:
    """Tell that a wallet can pay no gas on the network's own chain."""
    fix = "Send it some of the network's coin."
    if network.faucet_url:
        fix = f"Fund it at {network.faucet_url.format(address=address)}."
    return Trouble(what=f"Wallet {address} holds no coins to pay gas with.", fix=fix)


def of_fees(settings: Settings, budget: Budget | None) -> list[Trouble]:
    """Tell which cap keeps every transaction of the network's chain from being signed."""
    for name, cap in (
        ("OG_MAX_FEE_PER_CALL", settings.max_fee_per_call),
        ("OG_MAX_FEE_PER_DAY", settings.max_fee_per_day),
    ):
        if cap == 0:
            what = f"{name} is 0, so that no transaction is signed."
            return [Trouble(what=what, fix=f"Have the operator raise {name}.")]
    if budget is not None and budget.spent >= budget.cap:
        what = (
            f"{coins(budget.spent)} coins of fees were spent in the last 24 hours: nothing is left "
            f"of the {coins(budget.cap)} that OG_MAX_FEE_PER_DAY allows."
        )
        return [Trouble(what=what, fix=LATER.format("OG_MAX_FEE_PER_DAY"))]
    return []


def of_opg_caps(limits: OPGCaps, budget: Budget | None, price: int) -> list[Trouble]:
    """Tell which cap keeps every gateway from being paid.

    What is open is left out: it counts for calls of the same session, and soon settles for less.

    Args:
        limits: The operator's.
        budget: Of 24 hours, where it is known.
        price: The least that gateways asked to be covered; 0 where that is not known.
    """
    least = max(price, 1)
    asked = (
        f"and gateways ask for {coins(price)} OPG to be covered"
        if price
        else "so that no gateway is paid"
    )
    for name, cap in (("OG_MAX_PER_CALL", limits.per_call), ("OG_MAX_PER_DAY", limits.per_day)):
        if cap < least:
            what = f"{name} is {coins(cap)} OPG, {asked}."
            to = f" to {coins(price)} or more" if price else ""
            return [Trouble(what=what, fix=f"Have the operator raise {name}{to}.")]
    if budget is not None and budget.cap - budget.spent < least:
        left = max(budget.cap - budget.spent, 0)
        what = (
            f"{coins(left)} OPG are left of the {coins(budget.cap)} that OG_MAX_PER_DAY allows in 24 "
            f"hours, {asked}."
        )
        return [Trouble(what=what, fix=LATER.format("OG_MAX_PER_DAY"))]
    return []


def of_overcharges(found: Mapping[str, str]) -> list[Trouble]:
    """Tell for whom nothing is signed any more (threats.md T46)."""
    return [
        Trouble(
            what=f"Nothing more is signed for the recipient {recipient}: {what}.",
            fix=f"To pay it all the same, run og-mcp calls trust {recipient} at a terminal.",
        )
        for recipient, what in found.items()
    ]


def of_opg(address: str, held: Holdings, price: int) -> Trouble | None:
    """Tell that a wallet holds too little to pay any gateway.

    Args:
        address: Its.
        held: What it holds.
        price: The least that gateways asked to be covered; 0 where that is not known.
    """
    if held.opg >= max(price, 1):
        return None
    holds = f"{coins(held.opg)} OPG" if held.opg else "no OPG"
    fix = "Send it OPG on the payment chain: chats, completions and images are paid with it."
    return Trouble(what=f"Wallet {address} holds {holds}.{_price_words(price)}", fix=fix)


def of_allowance(address: str, held: Holdings, price: int) -> Trouble | None:
    """Tell that too little may be taken from a wallet to pay any gateway; else as `of_opg`."""
    if held.allowance >= max(price, 1):
        return None
    may = f"{coins(held.allowance)} OPG alone" if held.allowance else "no OPG"
    what = f"Permit2 may take {may} from wallet {address}, so that no gateway can be paid."
    fix = "Call approve_opg with what may be spent from now on."
    return Trouble(what=f"{what}{_price_words(price)}", fix=fix)


def _price_words(price: int) -> str:
    return f" Gateways ask for {coins(price)} OPG to be covered." if price else ""


def of_disk(folder: Path) -> Trouble | None:
    """Tell that no call can be recorded in the data folder; writes a small file there, and removes it.

    Blocks.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with TemporaryFile(dir=folder) as file:
            file.write(bytes(PROBE_BYTES))
            file.flush()
        free = disk_usage(folder).free
    except OSError as exc:
        return Trouble(
            what=f"Nothing can be written to the data folder {quote(folder)}: {exc.strerror}.",
            fix="Make room there, or set OG_DATA_DIR to a folder of yours; no call is made before it "
            "is recorded.",
        )
    if free >= MIN_FREE_BYTES:
        return None
    return Trouble(
        what=f"The disk of the data folder {quote(folder)} has {free // 2**20} MiB left.",
        fix="Make room there: no call is made before it is recorded.",
    )


def of_keys(settings: Settings) -> list[Trouble]:
    """Tell what is odd about configured keys; it keeps nothing from working."""
    told = []
    if settings.unused_keys:
        names = " and ".join(settings.unused_keys)
        told.append(
            Trouble(
                what=f"{names}: set and not used, since OG_NETWORK=local has wallets of its own.",
                fix=f"Set OG_NETWORK=opengradient to use the real network, or unset {names}.",
            )
        )
    source = settings.wallet
    if source is not None and source.kind != "key":
        path = Path(source.secret.get_secret_value())
        if can_be_read_by_others(path):
            told.append(
                Trouble(
                    what=f"{source.variable}: other users of this machine can read {quote(path)}.",
                    fix="Mount the secret with mode 0400, or make sure that nobody else is there.",
                )
            )
    return told
