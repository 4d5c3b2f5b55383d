"""What gateways asked to be paid last, remembered across restarts, so that none need ask first.

Kept in the journal under its seal (threats.md T25), and checked again at every signature.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from pydantic_core import from_json, to_json

from og_mcp.calls import Journal
from og_mcp.client.payments.requirement import Requirement
from og_mcp.errors import JournalError

logger = logging.getLogger(__name__)

KEPT: Final = 16
"""Gateways remembered for one path."""


@dataclass
class Known:
    """A price that a gateway has asked for, and whether it keeps sessions."""

    requirement: Requirement
    sessions: bool | None = None
    """`None` until it has answered a payment."""


class Requirements:
    """The prices known to one payer.

    Args:
        journal: Where they are kept.
        account: Key of the payer's account; networks and wallets do not mix.
    """

    def __init__(self, journal: Journal, account: str) -> None:
        self._journal, self._account = journal, account
        self._read: dict[str, dict[str, Known]] = {}

    async def find(self, tee_id: str, path: str) -> Known | None:
        """Return what a gateway asked for last, on one of its paths."""
        return (await self._of(path)).get(tee_id)

    async def preferred(self, path: str) -> str:
        """Return the TEE that was paid last on a path; empty where none was."""
        return next(reversed(await self._of(path)), "")

    async def least(self, paths: Iterable[str]) -> int:
        """Return the lowest cap that any gateway asked for on some paths; 0 where none is known."""
        known = [one for path in paths for one in (await self._of(path)).values()]
        return min((one.requirement.amount for one in known), default=0)

    async def keep(self, tee_id: str, path: str, known: Known) -> None:
        """Remember a price, as the newest."""
        found = await self._of(path)
        found.pop(tee_id, None)
        found[tee_id] = known
        while len(found) > KEPT:
            found.pop(next(iter(found)))
        await self._write(path, found)

    async def forget(self, tee_id: str, path: str) -> None:
        """Let a gateway be asked anew."""
        found = await self._of(path)
        if found.pop(tee_id, None) is not None:
            await self._write(path, found)

    async def _write(self, path: str, found: dict[str, Known]) -> None:
        try:
            await self._journal.remember(self._name(path), _written(found))
        except JournalError as exc:
            # It saves a request; the answer that is being waited for is worth more.
            logger.warning("a price is remembered by this process alone: %s", exc)

    async def _of(self, path: str) -> dict[str, Known]:
        if path not in self._read:
            self._read[path] = _read(await self._journal.recall(self._name(path)))
        return self._read[path]

    def _name(self, path: str) -> str:
        return f"requirements {self._account} {path}"


def _written(found: dict[str, Known]) -> str:
    entries = {
        tee_id: {"requirement": known.requirement.to_json(), "sessions": known.sessions}
        for tee_id, known in found.items()
    }
    return to_json(entries).decode()


def _read(document: str) -> dict[str, Known]:
    """Read what was remembered; what an older version wrote and this one cannot read is dropped."""
    try:
        entries: dict[str, Any] = from_json(document) if document else {}
        return {
            tee_id: Known(Requirement.from_json(entry["requirement"]), entry["sessions"])
            for tee_id, entry in entries.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
