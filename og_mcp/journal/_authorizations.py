"""The steps of payments in OPG, each in one transaction that is on disk on return."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TypeVar

from og_mcp.journal import _cap_ends, _cap_records, _opg_window, _paying
from og_mcp.journal._steps import Work
from og_mcp.journal._store import Store
from og_mcp.types import Account, Budget, Cap, CapRequest, OPGCaps

T = TypeVar("T")


class Authorizations:
    """Signed maxima of one journal; `og_mcp.calls.Journal` says what each step does.

    Args:
        store: The journal's.
        owner: Id of this process.
    """

    def __init__(self, store: Store, owner: str) -> None:
        self._store, self._owner = store, owner

    async def open_cap(self, call_id: str, request: CapRequest, limits: OPGCaps) -> Cap:
        """Record one before it is signed."""
        return await self._pay(_paying.AuthorizeStep.of(call_id, self._owner, request, limits))

    async def drop_cap(self, cap_id: str) -> None:
        """Undo one whose signature never left."""
        await self._pay(partial(_cap_ends.drop, cap_id))

    async def settle_cap(self, cap_id: str, amount_opg: int, transaction_hash: str) -> None:
        """Record what one was settled for."""
        settled = _opg_window.positive(amount_opg)
        await self._pay(partial(_cap_ends.settle, cap_id, settled, transaction_hash))

    async def reopen_cap(self, cap_id: str) -> None:
        """Record that the settlement of one is gone."""
        await self._pay(partial(_cap_ends.reopen, cap_id))

    async def reversible_caps(self, account: Account, now_s: int) -> tuple[Cap, ...]:
        """Return settled ones whose deadline is not past."""
        work = partial(_cap_records.read_reversible, account, now_s)
        return await self._store.run(work, durable=False)

    async def void_cap(self, cap_id: str, counted_opg: int = 0) -> None:
        """Record that one can never be taken any more."""
        await self._pay(partial(_cap_ends.void, cap_id, _opg_window.positive(counted_opg)))

    async def cancel_cap(self, cap_id: str) -> None:
        """Let an open one pay for no later call."""
        await self._pay(partial(_paying.cancel, cap_id))

    async def paid_calls(self, cap_id: str) -> int:
        """Count the calls that one pays for."""
        return await self._store.run(partial(_paying.paid_calls, cap_id), durable=False)

    async def told_costs(self, cap_id: str) -> tuple[int, bool]:
        """Return what gateways told of the calls that one pays for, and whether of all."""
        return await self._store.run(partial(_paying.told_costs, cap_id), durable=False)

    async def pay_by(self, call_id: str, cap_id: str, *, durable: bool = True) -> None:
        """Record that a call is paid by an open one."""
        work = partial(_paying.pay_by, call_id, cap_id, self._owner)
        if durable:
            await self._pay(work)
        else:
            self._store.database.check()
            await self._store.run_ahead(work, atomic=True, alone=True)

    async def unpay(self, call_id: str) -> None:
        """Undo every payment of a call of which nothing left."""
        await self._pay(partial(_paying.unpay, call_id, self._owner))

    async def known_nonces(self, account: Account, nonces: Sequence[str]) -> frozenset[str]:
        """Return those that were signed for an account."""
        work = partial(_paying.known_nonces, account.key, nonces)
        return await self._store.run(work, durable=False)

    async def cap(self, cap_id: str) -> Cap:
        """Return one."""
        return await self._store.run(partial(_cap_records.read, cap_id), durable=False)

    async def open_caps(self, account: Account | None = None) -> tuple[Cap, ...]:
        """Return those without an end, the oldest first."""
        return await self._store.run(partial(_cap_records.read_open, account))

    async def opg_budget(self, account: Account, limits: OPGCaps) -> Budget:
        """Return what is spent, open and left of 24 hours."""
        return await self._store.run(partial(_opg_window.budget_of, account.key, limits))

    async def opg_totals(
        self, principal: str | None = None, account: Account | None = None
    ) -> tuple[int, int]:
        """Return what was settled since the journal began, and what is open."""
        return await self._store.run(partial(_cap_records.totals_of, principal, account))

    async def _pay(self, work: Work[T]) -> T:
        # Nothing is signed on the word of a journal that was moved away (threats.md T6).
        self._store.database.check()
        # In a shared transaction no lock of the database would keep two of one process apart, and
        # those of several processes could wait for each other.
        return await self._store.run(work, atomic=True, alone=True)
