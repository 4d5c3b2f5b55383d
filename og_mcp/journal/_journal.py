"""The journal: puts the parts together behind `og_mcp.calls.Journal`."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from hashlib import sha256 as digest
from typing import Final

from anyio import to_thread

from og_mcp.errors import InputError, JournalError
from og_mcp.journal import _owners, _stages
from og_mcp.journal._authorizations import Authorizations
from og_mcp.journal._call_reader import CallReader
from og_mcp.journal._consents import Consents
from og_mcp.journal._database import Database
from og_mcp.journal._documents import Documents, sha256, storable
from og_mcp.journal._gate import Gate
from og_mcp.journal._lane import HeldLane
from og_mcp.journal._moments import microseconds
from og_mcp.journal._open_step import OpenStep
from og_mcp.journal._pruning import lanes_to_count, remove_batch, remove_caps
from og_mcp.journal._seal import Seal
from og_mcp.journal._stages import FailStep, SettleStep
from og_mcp.journal._store import Store
from og_mcp.types import (
    Account,
    CallRequest,
    Opened,
    Pruned,
    Stage,
)

LEASE_S: Final = 10.0
"""How long a process that is silent counts as alive."""

KEY_LENGTH: Final = 256
"""Characters of an idempotency key."""

UNKEPT_RESULTS: Final = 256
"""Results that are not kept on disk and wait in memory for whoever asked for them."""


class SQLJournal(CallReader, Authorizations, Consents):
    """An open journal; implements `og_mcp.calls.Journal`, whose docstrings say what each step does.

    Args:
        database: Prepared.
        keep_documents: False with OG_RECEIPTS=hashes.
        lease_s: How long this process counts as alive after its last sign of life.
    """

    def __init__(
        self, database: Database, *, keep_documents: bool = True, lease_s: float = LEASE_S
    ) -> None:
        # First of all: where it has no key, nothing is opened.
        seal, owner = Seal(database.folder), secrets.token_hex(16)
        renew = partial(_owners.renew, owner=owner, lease_s=lease_s)
        store = Store(database, renew, lease_s / 4)
        CallReader.__init__(self, store, Documents(database.folder))
        Authorizations.__init__(self, store, owner)
        Consents.__init__(self, store, self._waiters, seal, database.folder)
        self._lease_s, self._keep = lease_s, keep_documents
        self._gates: dict[str, Gate] = {}

    async def arrive(self) -> None:
        """Begin to live as a process that runs calls."""
        arrive = partial(_owners.arrive, owner=self._owner, lease_s=self._lease_s)
        await self._store.run(arrive, durable=False)

    async def look_through(self) -> None:
        """Raise JournalError where the journal is damaged."""
        await to_thread.run_sync(self._store.database.look_through)

    async def aclose(self) -> None:
        """Close the journal; what runs then is orphaned."""
        depart = partial(_owners.depart, owner=self._owner)
        try:
            await self._store.run(depart, durable=False)
        except JournalError:
            # Closed before, or the database is gone: the lease ends by itself.
            pass
        finally:
            await self._store.aclose()

    async def open_call(self, request: CallRequest) -> Opened:
        """Record a call, or join the one that it repeats."""
        _check_key(request.idempotency_key)
        opening = OpenStep.of(request, self._owner)
        if self._keep:
            document = await self._documents.put(opening.call_id, request.request)
            opening = replace(opening, document=document)
        opened = await self._store.run(opening, durable=False, order=opening.order)
        return replace(opened, call=await self._with_documents(opened.call))

    @asynccontextmanager
    async def lane(self, account: Account) -> AsyncGenerator[HeldLane]:
        """Wait for the account's lane, and leave it with the block."""
        self._store.check_open()
        gate = self._gate(account)
        await gate.enter()
        held = HeldLane(self._store, account, self._owner)
        try:
            await held.enter()
            yield held
        finally:
            held.leave()
            await gate.leave(lost=held.lost)

    async def settle(  # noqa: PLR0913 - the facts of an end
        self,
        call_id: str,
        stage: Stage,
        fee_wei: int,
        result: str,
        receipt: str = "",
        *,
        told_opg: int | None = None,
    ) -> None:
        """End a call well."""
        keep = partial(self._documents.put, call_id)
        settling = SettleStep(
            call_id,
            stage,
            fee_wei,
            result=await keep(result) if self._keep else "",
            result_hash=sha256(result),
            receipt=await keep(receipt),
            keep_raw=self._keep,
            told_opg=told_opg,
        )
        await self._store.run_ahead(settling)
        if not self._keep:
            self._unkept[call_id] = result
            while len(self._unkept) > UNKEPT_RESULTS:
                self._unkept.popitem(last=False)
        self._waiters.wake(call_id)

    async def fail(
        self, call_id: str, stage: Stage, error: str, fee_wei: int = 0, receipt: str = ""
    ) -> None:
        """End a call badly."""
        stored = await self._documents.put(call_id, receipt)
        failing = FailStep(call_id, stage, storable(error), fee_wei=fee_wei, receipt=stored)
        # What never left needs no disk: forgotten, it is as if it had not been asked for.
        await self._store.run(failing, durable=stage is not Stage.NOT_SENT)
        self._waiters.wake(call_id)

    async def repeat(self, call_id: str, cap_id: str) -> None:
        """Run a call again that failed at `sent_unknown`, under the same open cap."""
        repeating = partial(_stages.repeat, call_id, cap_id, self._owner)
        await self._store.run(repeating, durable=False)

    async def confirm(self, call_id: str) -> None:
        """Move a call from `charged` to `confirmed`."""
        await self._store.run(partial(_stages.confirm, call_id=call_id), durable=False)

    async def deliver(self, call_id: str) -> None:
        """Note that the caller has the call's end."""
        await self._store.run(partial(_stages.deliver, call_id=call_id), durable=False)
        self._unkept.pop(call_id, None)

    async def adopt(self, call_id: str) -> bool:
        """Take over a running call whose process died."""
        return await self._store.run(
            partial(_stages.adopt, call_id=call_id, owner=self._owner), durable=False
        )

    async def prune(self, before: datetime) -> Pruned:
        """Remove delivered calls that ended before a time."""
        for network, chain_id, address in await self._store.run(lanes_to_count):
            account = Account(network=network, chain_id=chain_id, address=address)
            async with self.lane(account) as lane:
                await lane.count_settled()
        removed: set[str] = set()
        remove = partial(remove_batch, before=microseconds(before))
        while batch := await self._store.run(remove, atomic=True):
            removed |= batch
        while await self._store.run(partial(remove_caps, microseconds(before)), atomic=True):
            pass
        return Pruned(len(removed), await self._documents.remove(removed))

    def _gate(self, account: Account) -> Gate:
        key = account.key
        if key not in self._gates:
            # Keys hold what file names may not.
            mutex = self._store.mutexes.mutex(digest(key.encode()).hexdigest()[:16])
            self._gates[key] = Gate(mutex)
        return self._gates[key]


def _check_key(idempotency_key: str) -> None:
    if len(idempotency_key) > KEY_LENGTH or not idempotency_key.isprintable():
        raise InputError(
            "The idempotency_key is too long, or holds characters that cannot be printed.",
            f"Use up to {KEY_LENGTH} printable characters, such as a UUID.",
        )
