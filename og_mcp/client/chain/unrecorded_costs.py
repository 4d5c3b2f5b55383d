"""What a wallet has spent in the last 24 hours that its journal does not know (threats.md T6).

A journal that is new may have been deleted to reset the day's cap: the chain still shows what was
spent. It is found out once, and counts for a day on top of what the journal records.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from anyio import Lock
from pydantic_core import from_json, to_json

from og_mcp.calls import Journal
from og_mcp.types import Budget

DAY_S: Final = 24 * 3600


@dataclass(frozen=True)
class _Costs:
    at: int
    """Unix seconds."""

    amount: int
    """Wei, or base units."""


class UnrecordedCosts:
    """What one wallet has spent in one currency, and its journal does not know.

    Args:
        journal: Remembers it, under its seal.
        name: Under what.
        recorded: Tells what the journal holds, whatever the caps are.
        shown: Tells what the chain shows as spent in 24 hours.
    """

    def __init__(
        self,
        journal: Journal,
        name: str,
        recorded: Callable[[], Awaitable[Budget]],
        shown: Callable[[], Awaitable[int]],
    ) -> None:
        self._journal, self._name = journal, name
        self._recorded, self._shown = recorded, shown
        self._finding = Lock()
        self._found: _Costs | None = None

    async def amount(self) -> int:
        """Return its sum.

        Raises:
            ServiceError: Neither chain nor journal tell.
        """
        async with self._finding:
            if self._found is None:
                self._found = await self._find()
        return self._found.amount if time.time() - self._found.at < DAY_S else 0

    async def _find(self) -> _Costs:
        budget = await self._recorded()
        found = _read(await self._journal.recall(self._name))
        if found is not None and (budget.spent or budget.open):
            return found
        found = _Costs(int(time.time()), max(await self._shown() - budget.spent, 0))
        await self._journal.remember(self._name, _written(found))
        return found


def _written(found: _Costs) -> str:
    # As text: amounts are beyond what JSON's numbers carry everywhere.
    return to_json({"at": found.at, "amount": str(found.amount)}).decode()


def _read(document: str) -> _Costs | None:
    if not document:
        return None
    try:
        entry: dict[str, Any] = from_json(document)
        return _Costs(int(entry["at"]), int(entry["amount"]))
    except (ValueError, KeyError, TypeError):
        return None
