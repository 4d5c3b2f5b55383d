"""What is left of the operator's caps, as the next signature is held to them, and what is too little.

That takes a chain, which shows what a journal may not know (threats.md T6). Where it does not answer
in time, the journal's own figure is told, and that it is no more than that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final

import anyio
from anyio import to_thread

from og_mcp.client.llm.question import CHAT, COMPLETION
from og_mcp.client.payments.data_folders import other_folder
from og_mcp.client.payments.opg import Holdings
from og_mcp.client.payments.requirements import Requirements
from og_mcp.client.resources import ChainResources, Resources
from og_mcp.errors import JournalError, OGError, ServiceError, coins, quote
from og_mcp.settings import Settings
from og_mcp.types import Account, Budget, FeeCaps, OPGCaps, Problem

ASK_S: Final = 6.0
"""Seconds that a chain has to show what was spent."""

LATER: Final = "Wait until what was spent is a day old, or have the operator raise {}."


@dataclass(frozen=True)
class BudgetReport:
    """One budget, as far as it is known."""

    budget: Budget | None = None
    note: str = ""
    """What of it could not be counted."""

    def told(self, cap: int, unit: str) -> str:
        """Tell what is left of a day's cap, for a person."""
        left = coins(self.budget.left) if self.budget is not None else "an unknown part"
        note = f" ({self.note})" if self.note else ""
        return f"{left} of {coins(cap)} {unit} left of this day's cap{note}"

    def amounts(self, name: str, write: Callable[[int], str]) -> dict[str, str]:
        """Write the amounts that `Status.budget` has; empty where they are not known.

        Args:
            name: Theirs, with `{}` for spent, open or left.
            write: Writes one.
        """
        parts = ("spent", "open", "left")
        if self.budget is None:
            return {name.format(part): "" for part in parts}
        return {name.format(part): write(getattr(self.budget, part)) for part in parts}


class Budgets:
    """The budgets of one session's wallets.

    Args:
        resources: What the session opens.
    """

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    async def fees(self, chain: ChainResources) -> BudgetReport:
        """Tell of fees on a chain, wei of its coin."""
        is_base = chain is self._resources.base
        what = "the payment chain's fees" if is_base else "the network's chain"

        async def seen() -> Budget:
            return await (await chain.sender.get()).budget()

        async def recorded() -> Budget:
            settings, journal = self._resources.settings, await self._resources.journal.get()
            caps = FeeCaps(per_call=settings.max_fee_per_call, per_day=settings.max_fee_per_day)
            return await journal.budget(await _account(chain), caps)

        return await _left(what, seen, recorded)

    async def opg(self) -> BudgetReport:
        """Tell of payments in OPG, base units; what has settled meanwhile is looked up first."""
        resources = self._resources
        journal = await resources.journal.get()

        async def seen() -> Budget:
            tracker = await resources.settlements.get()
            await tracker.look()
            unrecorded = await (await resources.elsewhere.get()).amount()
            limits = replace(resources.limits, unrecorded=unrecorded)
            return await journal.opg_budget(tracker.account, limits)

        async def recorded() -> Budget:
            return await journal.opg_budget(await _account(resources.base), resources.limits)

        left = await _left("the payment chain's OPG", seen, recorded)
        elsewhere = resources.elsewhere.opened
        others = elsewhere.note if elsewhere is not None else ""
        notes = filter(None, (left.note, others, await self._other_folder()))
        return replace(left, note="; ".join(notes))

    async def _other_folder(self) -> str:
        """Tell that the wallet was last paid from another data folder (threats.md T34)."""
        settings = self._resources.settings
        if settings.local:
            return ""
        address = await (await self._resources.base.wallet.get()).address()
        other = await to_thread.run_sync(other_folder, address, settings.data_dir)
        if not other:
            return ""
        return (
            f"this wallet was last paid from another data folder, {quote(other)}: each has a day's "
            "cap of its own; use one, by OG_DATA_DIR"
        )

    async def price(self) -> int:
        """Return the least that gateways asked to be covered, base units; 0 where none is known."""
        journal = await self._resources.journal.get()
        account = (await self._resources.settlements.get()).account
        return await Requirements(journal, account.key).least((CHAT, COMPLETION))


async def _account(chain: ChainResources) -> Account:
    """Name an account without asking its chain.

    Raises:
        ServiceError: It is a local one, whose name has the hash of its first block.
    """
    network = await chain.network()
    if network.local:
        raise ServiceError("local chains are told apart by their first block")
    address = await (await chain.wallet.get()).address()
    return Account(network=network.name, chain_id=network.chain_id, address=address)


async def _left(
    what: str, seen: Callable[[], Awaitable[Budget]], recorded: Callable[[], Awaitable[Budget]]
) -> BudgetReport:
    """Tell a budget.

    Args:
        what: It concerns.
        seen: Asks chain and journal.
        recorded: Asks the journal alone.

    Raises:
        OGError: Something is wrong that other calls meet, too.
    """
    try:
        with anyio.fail_after(ASK_S):
            return BudgetReport(await seen())
    except TimeoutError:
        why = f"did not answer within {ASK_S:g} s"
    except JournalError:
        raise
    except ServiceError:
        why = "cannot be asked"
    try:
        return BudgetReport(
            await recorded(), f"{what}: as the journal has it alone; the chain {why}"
        )
    except OGError:
        return BudgetReport(None, f"{what}: not known; the chain {why}")


def fee_problem(settings: Settings, budget: Budget | None) -> Problem | None:
    """Tell which cap keeps every transaction of the network's chain from being signed."""
    for name, cap in (
        ("OG_MAX_FEE_PER_CALL", settings.max_fee_per_call),
        ("OG_MAX_FEE_PER_DAY", settings.max_fee_per_day),
    ):
        if cap == 0:
            what = f"{name} is 0, so that no transaction is signed."
            return Problem(what=what, fix=f"Have the operator raise {name}.")
    if budget is None or budget.spent < budget.cap:
        return None
    what = (
        f"{coins(budget.spent)} coins of fees were spent in the last 24 hours: nothing is left "
        f"of the {coins(budget.cap)} that OG_MAX_FEE_PER_DAY allows."
    )
    return Problem(what=what, fix=LATER.format("OG_MAX_FEE_PER_DAY"))


def opg_problem(limits: OPGCaps, budget: Budget | None, price: int) -> Problem | None:
    """Tell which cap keeps every gateway from being paid.

    What is open is left out: it counts for calls of the same session, and soon settles for less.

    Args:
        limits: The operator's.
        budget: Of 24 hours, where it is known.
        price: As `Budgets.price` returns it, here and below.
    """
    least, asked, to = 1, "so that no gateway is paid", ""
    if price:
        least, to = price, f" to {coins(price)} or more"
        asked = f"and gateways ask for {coins(price)} OPG to be covered"
    for name, cap in (("OG_MAX_PER_CALL", limits.per_call), ("OG_MAX_PER_DAY", limits.per_day)):
        if cap < least:
            what = f"{name} is {coins(cap)} OPG, {asked}."
            return Problem(what=what, fix=f"Have the operator raise {name}{to}.")
    if budget is None or budget.cap - budget.spent >= least:
        return None
    what = (
        f"{coins(max(budget.cap - budget.spent, 0))} OPG are left of the {coins(budget.cap)} that "
        f"OG_MAX_PER_DAY allows in 24 hours, {asked}."
    )
    return Problem(what=what, fix=LATER.format("OG_MAX_PER_DAY"))


def balance_problem(address: str, held: Holdings, price: int) -> Problem | None:
    """Tell that a wallet holds too little OPG to pay any gateway."""
    if held.opg >= max(price, 1):
        return None
    holds = f"{coins(held.opg)} OPG" if held.opg else "no OPG"
    fix = "Send it OPG on the payment chain: chats, completions and images are paid with it."
    return Problem(what=f"Wallet {address} holds {holds}.{_price_words(price)}", fix=fix)


def allowance_problem(address: str, held: Holdings, price: int) -> Problem | None:
    """Tell that too little may be taken from a wallet to pay any gateway."""
    if held.allowance >= max(price, 1):
        return None
    may = f"{coins(held.allowance)} OPG alone" if held.allowance else "no OPG"
    what = f"Permit2 may take {may} from wallet {address}, so that no gateway can be paid."
    fix = "Call approve_opg with what may be spent from now on."
    return Problem(what=f"{what}{_price_words(price)}", fix=fix)


def _price_words(price: int) -> str:
    return f" Gateways ask for {coins(price)} OPG to be covered." if price else ""
