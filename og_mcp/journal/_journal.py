"""The journal: puts the parts together behind `og_mcp.calls.Journal`."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from hashlib import sha256 as digest
from typing import Any, Final

import anyio

from og_mcp.errors import CallNotFoundError, InputError, JournalError
from og_mcp.journal import _owners, _stages
from og_mcp.journal import _records as r
from og_mcp.journal import _schema as s
from og_mcp.journal._approvals import Approvals, new_token
from og_mcp.journal._budget import budget_of
from og_mcp.journal._caps import Caps
from og_mcp.journal._database import Database
from og_mcp.journal._documents import Documents, sha256
from og_mcp.journal._gate import Gate
from og_mcp.journal._lane import HeldLane
from og_mcp.journal._moments import microseconds
from og_mcp.journal._notes import Notes
from og_mcp.journal._opening import Opening
from og_mcp.journal._pruning import lanes_to_count, remove_batch, remove_caps
from og_mcp.journal._seal import Seal
from og_mcp.journal._sql import Row, Statement
from og_mcp.journal._stages import Failing, Settling
from og_mcp.journal._steps import Steps, row, rows
from og_mcp.journal._store import Store
from og_mcp.journal._totals import totals_of
from og_mcp.journal._waiting import Waiters
from og_mcp.types import (
    Account,
    Approval,
    Budget,
    Call,
    CallRequest,
    CallStatus,
    Cap,
    CapRequest,
    FeeCaps,
    Opened,
    OPGCaps,
    Pruned,
    SignedTransaction,
    Stage,
    Totals,
)

LEASE_S: Final = 10.0
"""How long a process that is silent counts as alive."""

KEY_LENGTH: Final = 256
"""Characters of an idempotency key."""

MOST_LISTED: Final = 1000
END_OF_TIME: Final = 2**62

UNKEPT_RESULTS: Final = 256
"""Results that are not kept on disk and wait in memory for whoever asked for them."""


class SQLJournal:
    """An open journal; implements `og_mcp.calls.Journal`, whose docstrings say what each step does.

    Args:
        database: Prepared.
        keep_documents: False with OG_RECEIPTS=hashes.
        lease_s: How long this process counts as alive after its last sign of life.
    """

    def __init__(
        self, database: Database, *, keep_documents: bool = True, lease_s: float = LEASE_S
    ) -> None:
        self._owner, self._lease_s, self._keep = secrets.token_hex(16), lease_s, keep_documents
        self._seal = Seal(database.folder)
        self._approvals = Approvals(self._seal, database.folder)
        self._documents = Documents(database.folder)
        renew = partial(_owners.renew, owner=self._owner, lease_s=lease_s)
        self._store = Store(database, renew, lease_s / 4)
        self._caps, self._notes = Caps(self._store, self._owner), Notes(self._seal)
        self._gates: dict[str, Gate] = {}
        self._waiters = Waiters()
        self._unkept: OrderedDict[str, str] = OrderedDict()

    async def arrive(self) -> None:
        """Begin to live as a process that runs calls."""
        arrive = partial(_owners.arrive, owner=self._owner, lease_s=self._lease_s)
        await self._store.run(arrive, durable=False)

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
        opening = Opening.of(request, self._owner)
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

    async def settle(
        self, call_id: str, stage: Stage, fee_wei: int, result: str, receipt: str = ""
    ) -> None:
        """End a call well."""
        keep = partial(self._documents.put, call_id)
        settling = Settling(
            call_id,
            stage,
            fee_wei,
            result=await keep(result) if self._keep else "",
            result_hash=sha256(result),
            receipt=await keep(receipt),
            keep_raw=self._keep,
        )
        await self._store.run(settling)
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
        failing = Failing(call_id, stage, _storable(error), fee_wei=fee_wei, receipt=stored)
        # What never left needs no disk: forgotten, it is as if it had not been asked for.
        await self._store.run(failing, durable=stage is not Stage.NOT_SENT)
        self._waiters.wake(call_id)

    async def open_cap(self, call_id: str, cap: CapRequest, caps: OPGCaps) -> Cap:
        """Record a payment's signed maximum before it is signed."""
        return await self._caps.open(call_id, cap, caps)

    async def drop_cap(self, cap_id: str) -> None:
        """Undo a signed maximum whose signature never left this process."""
        await self._caps.drop(cap_id)

    async def pay_by(self, call_id: str, cap_id: str) -> None:
        """Record that a call is paid by an open cap."""
        await self._caps.pay_by(call_id, cap_id)

    async def unpay(self, call_id: str) -> None:
        """Undo the payments of a call of which nothing left."""
        await self._caps.unpay(call_id)

    async def settle_cap(self, cap_id: str, amount_opg: int, transaction_hash: str) -> None:
        """Record what the chain says a cap was settled for."""
        await self._caps.settle(cap_id, amount_opg, transaction_hash)

    async def void_cap(self, cap_id: str) -> None:
        """Record that a cap can never be taken any more."""
        await self._caps.void(cap_id)

    async def cap(self, cap_id: str) -> Cap:
        """Return a cap."""
        return await self._caps.get(cap_id)

    async def open_caps(self, account: Account | None = None) -> tuple[Cap, ...]:
        """Return the caps that are open, the oldest first."""
        return await self._caps.open_ones(account)

    async def opg_budget(self, account: Account, caps: OPGCaps) -> Budget:
        """Return what is spent, open and left of the account's cap of 24 hours."""
        return await self._caps.budget(account, caps)

    async def opg_totals(
        self, principal: str | None = None, account: Account | None = None
    ) -> tuple[int, int]:
        """Return what was settled since the journal began, and what is open."""
        return await self._caps.totals(principal, account)

    async def remember(self, name: str, document: str) -> None:
        """Keep a small document under a name, sealed."""
        await self._store.run(partial(self._notes.remember, name, document), durable=False)

    async def recall(self, name: str) -> str:
        """Return what was remembered, or nothing."""
        return await self._store.run(partial(self._notes.recall, name), durable=False)

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

    async def wait(self, call_id: str, principal: str, timeout_s: float) -> Call:
        """Return the call once it has ended or is orphaned, or as it is after `timeout_s`."""
        with anyio.move_on_after(timeout_s):
            await self._waiters.wait(call_id, partial(self._is_running, call_id, principal))
        return await self.get(call_id, principal)

    async def get(self, call_id: str, principal: str | None) -> Call:
        """Return a call with its documents."""
        return await self._with_documents(await self._read(call_id, principal))

    async def list_calls(
        self,
        principal: str | None,
        limit: int,
        status: CallStatus | None = None,
        tool: str = "",
        before: str = "",
    ) -> tuple[Call, ...]:
        """Return calls without their documents, the newest first."""
        chosen: Row = {"of_principal": principal or "", "of_status": status or "", "of_tool": tool}
        listed = r.listed_of_all if principal is None else r.listed
        chosen |= {"at_most": min(limit, MOST_LISTED), "before_id": before}

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
        found = await self._rows(r.transactions_of, of_call=call_id)
        return tuple(
            SignedTransaction(
                transaction_hash=one["hash"],
                raw_transaction=one["raw"],
                nonce=one["nonce"],
                max_fee_wei=int(one["max_fee_wei"]),
            )
            for one in found
        )

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

    async def request_approval(  # noqa: PLR0913 - as in the protocol
        self,
        call_id: str,
        request_hash: str,
        error: str,
        *,
        cap_wei: int = 0,
        cap_opg: int = 0,
        what: str = "",
    ) -> None:
        """End a running call at `not_sent` until a person approves what it may cost, or does."""
        failing = Failing(call_id, Stage.NOT_SENT, _storable(error), status=s.WAITING_APPROVAL)

        def work() -> Steps[None]:
            yield from failing()
            yield from self._approvals.ask(
                call_id, request_hash, (cap_wei, cap_opg), _storable(what)
            )

        await self._store.run(work, atomic=True)
        self._waiters.wake(call_id)

    async def approval(self, call_id: str) -> Approval:
        """Return what a person is asked to agree to."""
        return await self._store.run(partial(self._approvals.read, call_id=call_id))

    async def approve(self, call_id: str, shown: Approval | None = None) -> Approval:
        """Record that a person agreed."""
        work = partial(self._approvals.approve, call_id=call_id, token=new_token(), shown=shown)
        return await self._store.run(work, atomic=True)

    async def take_approval(
        self, call_id: str, request_hash: str, cost_wei: int = 0, cost_opg: int = 0
    ) -> bool:
        """Use up an approval."""
        work = partial(
            self._approvals.take,
            call_id=call_id,
            request_hash=request_hash,
            cost=(cost_wei, cost_opg),
            taker=new_token(),
        )
        return await self._store.run(work, atomic=True)

    def seal(self, purpose: str, data: bytes) -> str:
        """Authenticate data that is kept where others can write."""
        return self._seal.seal(purpose, data)

    def unseal(self, purpose: str, sealed: str) -> bytes:
        """Return what `seal` was given."""
        return self._seal.unseal(purpose, sealed)

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


def _check_key(idempotency_key: str) -> None:
    if len(idempotency_key) > KEY_LENGTH or not idempotency_key.isprintable():
        raise InputError(
            "The idempotency_key is too long, or holds characters that cannot be printed.",
            f"Use up to {KEY_LENGTH} printable characters, such as a UUID.",
        )


def _storable(text: str) -> str:
    """Make text from outside fit for any database: no NUL, no half characters."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")
