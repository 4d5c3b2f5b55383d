"""What was taken from the wallet in the last 24 hours that the journal does not know (threats.md T6).

A journal that is new may have been deleted to reset the day's cap: the chain still shows what was
paid. That is found out once and counts for a day, on top of what the journal comes to know.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

from pydantic_core import from_json, to_json

from og_mcp.calls import Journal
from og_mcp.client.payments.opg import DAY_S, OPG
from og_mcp.types import Account, OPGCaps


@dataclass(frozen=True)
class _Found:
    at: int
    """Unix seconds."""

    amount: int
    """OPG base units."""


class Unrecorded:
    """Payments of one wallet that its journal does not hold.

    Args:
        journal: Remembers them, under its seal.
        opg: What the chain shows.
        account: The payer's.
    """

    def __init__(self, journal: Journal, opg: OPG, account: Account) -> None:
        self._journal, self._opg, self._account = journal, opg, account
        self._found: _Found | None = None
        self._name: Final = f"unrecorded payments {account.key}"

    async def amount(self) -> int:
        """Return their sum, OPG base units.

        Raises:
            ServiceError: Neither chain nor journal tell.
        """
        if self._found is None:
            self._found = await self._find()
        return self._found.amount if time.time() - self._found.at < DAY_S else 0

    async def _find(self) -> _Found:
        budget = await self._journal.opg_budget(self._account, OPGCaps(per_call=0, per_day=0))
        found = _read(await self._journal.recall(self._name))
        if found is not None and (budget.spent or budget.open):
            return found
        taken = await self._opg.taken_in_a_day(self._account.address)
        found = _Found(int(time.time()), max(taken - budget.spent, 0))
        await self._journal.remember(self._name, _written(found))
        return found


def _written(found: _Found) -> str:
    # As text: amounts are beyond what JSON's numbers carry everywhere.
    return to_json({"at": found.at, "amount_opg": str(found.amount)}).decode()


def _read(document: str) -> _Found | None:
    if not document:
        return None
    try:
        entry: dict[str, Any] = from_json(document)
        return _Found(int(entry["at"]), int(entry["amount_opg"]))
    except (ValueError, KeyError, TypeError):
        return None
