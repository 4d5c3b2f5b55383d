"""What people agreed to, and what else is sealed, in the steps of a journal."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from og_mcp.errors import ApprovalDeclinedError
from og_mcp.journal import _schema as s
from og_mcp.journal._approvals import Approvals, new_token
from og_mcp.journal._documents import storable
from og_mcp.journal._notes import Notes
from og_mcp.journal._seal import Seal
from og_mcp.journal._stages import NO_LASTS_US, FailStep, decline, no_until
from og_mcp.journal._steps import Steps
from og_mcp.journal._store import Store
from og_mcp.journal._waiting import Waiters
from og_mcp.types import Approval, ConsentRequest, Stage


class Consents:
    """Approvals, seals and notes of one journal; `og_mcp.calls.Journal` says what each step does.

    Args:
        store: The journal's.
        waiters: Those who wait for a call's end.
        seal: With the journal's key.
        folder: Where it is noted which approvals were used.
    """

    def __init__(self, store: Store, waiters: Waiters, seal: Seal, folder: Path) -> None:
        self._store, self._waiters, self._seal = store, waiters, seal
        self._approvals, self._notes = Approvals(seal, folder), Notes(seal)

    async def request_approval(self, call_id: str, error: str, consent: ConsentRequest) -> None:
        """End a running call at `not_sent` until a person approves what it may cost, or does."""
        failing = FailStep(call_id, Stage.NOT_SENT, storable(error), status=s.WAITING_APPROVAL)
        consent = replace(consent, what=storable(consent.what))

        def work() -> Steps[None]:
            yield from failing()
            yield from self._approvals.ask(call_id, consent)

        await self._store.run(work, atomic=True)
        self._waiters.wake(call_id)

    async def approval(self, call_id: str) -> Approval:
        """Return what a person is asked to agree to."""
        return await self._store.run(partial(self._approvals.read, call_id=call_id))

    async def approve(self, call_id: str, shown: Approval | None = None) -> Approval:
        """Record that a person agreed."""

        def work() -> Steps[Approval]:
            until = yield from no_until(call_id)
            if until is not None:
                raise ApprovalDeclinedError(call_id, until)
            return (yield from self._approvals.approve(call_id, new_token(), shown))

        return await self._store.run(work, atomic=True)

    async def decline(self, call_id: str) -> datetime:
        """Record that a person said no."""
        until = datetime.now(UTC) + timedelta(microseconds=NO_LASTS_US)
        error = str(ApprovalDeclinedError(call_id, until))
        await self._store.run(partial(decline, call_id, error), atomic=True)
        self._waiters.wake(call_id)
        return until

    async def take_approval(self, call_id: str, consent: ConsentRequest) -> bool:
        """Use up an approval."""
        consent = replace(consent, what=storable(consent.what))
        taker = new_token()

        def work() -> Steps[bool | ApprovalDeclinedError]:
            until = yield from no_until(call_id)
            if until is None:
                return (yield from self._approvals.take(call_id, consent, taker))
            declined = ApprovalDeclinedError(call_id, until)
            yield from FailStep(call_id, Stage.NOT_SENT, str(declined))()
            return declined

        taken = await self._store.run(work, atomic=True)
        if isinstance(taken, ApprovalDeclinedError):
            self._waiters.wake(call_id)
            raise taken
        return taken

    def seal(self, purpose: str, data: bytes) -> str:
        """Authenticate data that is kept where others can write."""
        return self._seal.seal(purpose, data)

    def unseal(self, purpose: str, sealed: str) -> bytes:
        """Return what `seal` was given."""
        return self._seal.unseal(purpose, sealed)

    async def remember(self, name: str, document: str) -> None:
        """Keep a small document under a name, sealed."""
        await self._store.run(partial(self._notes.remember, name, document), durable=False)

    async def recall(self, name: str) -> str:
        """Return what was remembered, or nothing."""
        return await self._store.run(partial(self._notes.recall, name), durable=False)
