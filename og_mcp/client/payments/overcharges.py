"""Recipients that took more than they told, or told more than a request can cost (threats.md T46).

Nothing more is signed for one until the wallet's owner says so at a terminal.
"""

from __future__ import annotations

from typing import Final

from pydantic_core import from_json, to_json

from og_mcp.calls import Journal
from og_mcp.errors import in_opg
from og_mcp.types import Account, Cap

MARGIN_PERCENT: Final = 5
"""How much more than told, or than the catalogue's price, is no overcharge."""


class Overcharges:
    """What recipients of one wallet overcharged.

    Args:
        journal: Knows what was told; remembers who overcharged, under its seal.
        account: Whose.
    """

    def __init__(self, journal: Journal, account: Account) -> None:
        self._journal, self._name = journal, f"overcharges {account.key}"

    async def all(self) -> dict[str, str]:
        """Return who overcharged, in small letters, and by what, in words."""
        document = await self._journal.recall(self._name)
        found: dict[str, str] = from_json(document) if document else {}
        return found

    async def check(self, cap: Cap, taken: int) -> None:
        """Note a settlement that is above what its calls' costs were told to be.

        Where the gateway told of some calls alone, or an answer was lost, nobody knows how much it
        may take below the maximum.
        """
        told, is_whole = await self._journal.told_costs(cap.id)
        if is_whole and taken * 100 > told * (100 + MARGIN_PERCENT):
            words = f"it took {in_opg(taken)} by payment {cap.id} and had told {in_opg(told)}"
            await self.note(cap.pay_to, words)

    async def note(self, recipient: str, words: str) -> None:
        """Remember that a recipient overcharged."""
        found = await self.all()
        await self._write({**found, recipient.lower(): words})

    async def forgive(self, recipient: str) -> str:
        """Sign for a recipient again; returns what it had done, empty where nothing."""
        found = await self.all()
        words = found.pop(recipient.lower(), "")
        if words:
            await self._write(found)
        return words

    async def _write(self, found: dict[str, str]) -> None:
        await self._journal.remember(self._name, to_json(found).decode())
