"""What a journal tells: calls with their documents, what was spent, what is unfinished."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, Final

import anyio

from og_mcp.errors import AmbiguousCallError, CallNotFoundError
from og_mcp.journal import _records as r
from og_mcp.journal._budget import budget_of
from og_mcp.journal._documents import Documents
from og_mcp.journal._moments import microseconds
from og_mcp.journal._sql import Row, Statement
from og_mcp.journal._steps import Steps, row, rows
from og_mcp.journal._store import Store
from og_mcp.journal._totals import totals_of
from og_mcp.journal._waiting import Waiters
from og_mcp.types import (
    Account,
    Budget,
    Call,
    CallStatus,
    FeeCaps,
    SignedTransaction,
    Totals,
)

MAX_LISTED: Final = 1001
"""Calls listed at once; one more than anybody asks for tells whether there are more."""

MAX_CANDIDATES: Final = 5
"""Calls that an ambiguous beginning of an id is told with."""

ID_LENGTH: Final = 32
ID_BEGINNING: Final = re.compile("[0-9a-f]{4,31}")
"""Fewer characters name nobody in particular."""

END_OF_TIME: Final = 2**62


class CallReader:
    """The half of a journal that changes nothing; `og_mcp.calls.Journal` says what each step does.

    Args:
        store: The journal's.
        documents: What lies beside it.
    """

    def __init__(self, store: Store, documents: Documents) -> None:
        self._store, self._documents = store, documents
        self._waiters = Waiters()
        self._unkept: OrderedDict[str, str] = OrderedDict()
        """Results that are not kept on disk, by call id."""

    async def wait(self, call_id: str, principal: str, timeout_s: float) -> Call:
        """Return the call once it has ended or is orphaned, or as it is after `timeout_s`."""
        with anyio.move_on_after(timeout_s):
            await self._waiters.wait(call_id, partial(self._is_running, call_id, principal))
        return await self.get(call_id, principal)

    async def get(self, call_id: str, principal: str | None) -> Call:
        """Return a call with its documents."""
        return await self._with_documents(await self._read(call_id, principal))

    async def full_id(self, beginning: str, principal: str | None) -> str:
        """Return the id of the one call whose id begins so."""
        beginning = beginning.lower()
        if len(beginning) == ID_LENGTH:
            return beginning
        if not ID_BEGINNING.fullmatch(beginning):
            raise CallNotFoundError(beginning)
        most = {"of_principal": principal or "", "at_most": MAX_CANDIDATES + 1}
        found = _calls(await self._rows(r.beginning_with, prefix=beginning, **most))
        if not found:
            raise CallNotFoundError(beginning)
        if len(found) > 1:
            told = [
                f"{one.id} ({one.tool}, {one.created_at:%Y-%m-%d %H:%M} UTC)"
                for one in found[:MAX_CANDIDATES]
            ]
            raise AmbiguousCallError(beginning, told, has_more=len(found) > MAX_CANDIDATES)
        return found[0].id

    async def list_calls(  # noqa: PLR0913, PLR0917 - what may be asked for, by name
        self,
        principal: str | None,
        limit: int,
        status: CallStatus | None = None,
        tool: str = "",
        before: str = "",
        since: datetime | None = None,
        skip: int = 0,
    ) -> tuple[Call, ...]:
        """Return calls without their documents, the newest first."""
        chosen: Row = {"of_principal": principal or "", "of_status": status or "", "of_tool": tool}
        listed = r.listed_of_all if principal is None else r.listed
        chosen |= {"at_most": min(limit, MAX_LISTED), "passed_over": skip, "before_id": before}
        chosen["since_at"] = microseconds(since) if since else 0

        def work() -> Steps[list[Row]]:
            end = END_OF_TIME
            if before:
                whose = chosen["of_principal"]
                found = yield from row(r.created_at, call_id=before, of_principal=whose)
                if found is None:
                    raise CallNotFoundError(before)
                end = found["created_at"]
            return (yield from rows(listed, **chosen, before_at=end))

        return _calls(await self._store.run(work))

    async def transactions(self, call_id: str) -> tuple[SignedTransaction, ...]:
        """Return what was signed for a call, the oldest first."""
        return _transactions(await self._rows(r.transactions_of, of_call=call_id))

    async def transactions_under(self, call_id: str) -> tuple[SignedTransaction, ...]:
        """Return what was signed under a call's nonce, for whatever call, the oldest first."""
        return _transactions(await self._rows(r.transactions_under, of_call=call_id))

    async def totals(
        self, principal: str | None = None, account: Account | None = None
    ) -> tuple[Totals, ...]:
        """Return what was spent since the journal began, by account."""
        return await self._store.run(partial(totals_of, principal=principal, account=account))

    async def budget(self, account: Account, caps: FeeCaps) -> Budget:
        """Return what is spent, open and left of the account's cap of 24 hours."""
        return await self._store.run(partial(budget_of, lane=account.key, caps=caps))

    async def unfinished(self, account: Account | None = None) -> tuple[Call, ...]:
        """Return calls that run or whose nonce is open."""
        if account is None:
            return _calls(await self._rows(r.unfinished))
        return _calls(await self._rows(r.unfinished_of_lane, of_lane=account.key))

    async def unconfirmed(self, account: Account, limit: int = 100) -> tuple[Call, ...]:
        """Return calls that are charged and not yet confirmed."""
        return _calls(await self._rows(r.unconfirmed, of_lane=account.key, at_most=limit))

    async def _rows(self, statement: Statement, **parameters: object) -> list[Row]:
        return await self._store.run(lambda: rows(statement, **parameters))

    async def _read(self, call_id: str, principal: str | None) -> Call:
        found = await self._store.run(lambda: row(r.by_id, call_id=call_id), durable=False)
        if found is None or principal not in {None, found["principal"]}:
            raise CallNotFoundError(call_id)
        return r.call_of(found)

    async def _is_running(self, call_id: str, principal: str) -> bool:
        call = await self._read(call_id, principal)
        return call.status == "running" and not call.orphaned

    async def _with_documents(self, call: Call) -> Call:
        """Read what lies in files, and what waits in memory."""
        if call.id in self._unkept:
            call = replace(call, result=self._unkept[call.id])
        stored = {name: getattr(call, name) for name in r.DOCUMENTS}
        if not any(text.startswith("@") for text in stored.values()):
            return call
        read: dict[str, Any] = {
            name: await self._documents.get(call.id, text) for name, text in stored.items()
        }
        return replace(call, **read)


def _calls(rows: Iterable[Row]) -> tuple[Call, ...]:
    return tuple(r.call_of(row) for row in rows)


def _transactions(rows: Iterable[Row]) -> tuple[SignedTransaction, ...]:
    return tuple(
        SignedTransaction(
            call_id=row["call_id"],
            transaction_hash=row["hash"],
            raw_transaction=row["raw"],
            nonce=row["nonce"],
            max_fee_wei=int(row["max_fee_wei"]),
        )
        for row in rows
    )
