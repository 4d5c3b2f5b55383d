"""The journal of calls as the client layer knows it: two protocols.

A call that can cost something goes: `open_call`, then in the wallet's lane `reserve` and `signed`,
then `settle` or `fail`, then `deliver`. Each step but `reserve` is on disk when its method returns.
The implementation is `og_mcp.journal`; whoever assembles a process hands it to the session.

Every method raises JournalError where the journal cannot be read or written; nothing may be sent
then. The steps are idempotent, and a stage never goes back but where it is proven that nothing can
have been paid: `open_call` tries a call again that failed at `not_sent`; `give_back`, `drop_cap` and
`unpay` undo what never left the process; `void_cap` what can no longer be taken.

One call is signed under one nonce, for ever (threats.md T31): once a byte has left, whatever an RPC
says, it is signed again under that nonce alone. What counts as open is, for each nonce, the largest
fee that was signed for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

from og_mcp.types import (
    Account,
    Approval,
    Budget,
    Call,
    CallRequest,
    CallStatus,
    Cap,
    CapRequest,
    ConsentRequest,
    FeeCaps,
    Opened,
    OpenNonce,
    OPGCaps,
    Pruned,
    SignedTransaction,
    Stage,
    Totals,
)


class Lane(Protocol):
    """The sole right to sign for one account, among all processes of one journal.

    Bound to the `async with` that gave it. Where the lock is lost meanwhile (a database that was
    restarted), the next step raises LaneLostError, before anything can have been sent.
    """

    @property
    def account(self) -> Account:
        """Whose lane it is."""
        ...

    @property
    def next_nonce(self) -> int | None:
        """The nonce after the last one signed; `None`: ask the chain."""
        ...

    @property
    def open(self) -> tuple[OpenNonce, ...]:
        """What was signed before and is not settled, by nonce, as of entering the lane."""
        ...

    async def reserve(
        self, call_id: str, nonce: int, max_fee_wei: int, caps: FeeCaps, *, supersedes: str = ""
    ) -> None:
        """Set aside what a signature may cost, before it is made.

        For a call that is signed already and the same nonce it raises what is set aside to the
        larger fee: a replacement (threats.md T11) passes the caps like any other signature.
        Nobody else can sign before the lane is left, so the lane's holder alone keeps it; it goes
        on record with the signature, and without one it ends with the next reservation, the lane
        or the process.

        Args:
            call_id: The call.
            nonce: What is to be signed under.
            max_fee_wei: The most that the signature can cost.
            caps: What it is held to.
            supersedes: Id of the call that has the nonce, and whose transaction the node does not
                take: the nonce changes hands with the signature.

        Raises:
            FeeCapError: `max_fee_wei` is above `caps.per_call`; nothing was written.
            BudgetExceededError: Spent + open + `max_fee_wei` is above `caps.per_day`; nothing was
                written.
            CallStateError: The call has another nonce, or the nonce is another call's.
            LaneLostError: The lane's lock was lost.
        """
        ...

    async def signed(
        self,
        call_id: str,
        nonce: int,
        transaction_hash: str,
        raw_transaction: str,
        max_fee_wei: int,
    ) -> None:
        """Record a signature; the stage is `sent_unknown` from here on.

        Comes after `reserve` with the same nonce and at least that fee, and before a byte of the
        transaction leaves. Forced to disk.

        Raises:
            CallStateError: It was not reserved so, the call has ended, or another process has it;
                the transaction must not be sent.
            LaneLostError: The lane's lock was lost; the transaction must not be sent.
        """
        ...

    async def give_back(self, call_id: str, transaction_hash: str = "") -> None:
        """Undo a reservation, or a signature of which no byte left this process.

        Where it was the call's only one, the stage is `not_sent` again, and a call whose nonce it
        took over has it back. The lane's next nonce is forgotten, so that the chain is asked.

        Raises:
            CallStateError: The call is settled.
        """
        ...

    async def release(self, call_id: str, error: str) -> None:
        """End a call without effect: its fee counts for 24 hours more, its nonce is free.

        It is never signed again; where it is mined after all, it can still be settled.

        Raises:
            CallStateError: It holds no nonce.
        """
        ...


class Journal(Protocol):
    """Remembers every call that can cost something."""

    async def open_call(self, request: CallRequest) -> Opened:
        """Record a call before anything of it is sent, or join the one that it repeats.

        Within one principal and tool: the same idempotency key and request give the same call,
        whatever became of it, for 30 days. Without a key, an identical request joins a call that
        runs, or has ended past `not_sent` and was never delivered, or has failed at `sent_unknown`
        while its transaction or its signed cap is open. A call that failed at
        `not_sent` (under its key), one that waits for approval, and one at `not_sent` whose
        process died are handed to exactly one caller, with `joined` false.

        Raises:
            IdempotencyKeyReusedError: The key belongs to another request.
        """
        ...

    def lane(self, account: Account) -> AbstractAsyncContextManager[Lane]:
        """Wait for the account's lane, and leave it with the block; can be cancelled."""
        ...

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
        """End a call well: `charged`, or `confirmed` at a safe depth.

        The death of this process changes nothing of it; the disk has it about a millisecond later.
        Where the call had failed, this end has not been delivered yet. Other calls that were signed
        under its nonce end without effect.

        Args:
            call_id: The call.
            stage: How far it came. A call that signed nothing may end at any stage, with fee 0.
            fee_wei: What its transaction cost.
            result: JSON.
            receipt: JSON, as interface.md section 4.
            told_opg: What the gateway told that its answer cost, base units; `None`: nothing.

        Raises:
            CallStateError: Its nonce was given back, or it costs something and never signed.
        """
        ...

    async def fail(
        self, call_id: str, stage: Stage, error: str, fee_wei: int = 0, receipt: str = ""
    ) -> None:
        """End a call badly.

        At `sent_unknown` what was signed stays open; at `charged` the fee is settled. A call that
        came further already is left as it is; one whose signature was given back after it had
        failed tells the new error.

        Raises:
            CallStateError: It is done; or `stage` is `not_sent` and it is signed: see `give_back`.
        """
        ...

    async def open_cap(self, call_id: str, cap: CapRequest, caps: OPGCaps) -> Cap:
        """Record a payment's signed maximum before it is signed, for the call that needs it.

        From here on it counts as open, and the call is at `sent_unknown`. Forced to disk; among
        all processes of one journal, the account's caps are checked one at a time.

        Raises:
            OPGCapError: The call's signed maxima together would pass `caps.per_call`; nothing was
                written.
            BudgetExceededError: Settled + open + this one is above `caps.per_day`; nothing was
                written.
            CallStateError: The call does not run here.
        """
        ...

    async def drop_cap(self, cap_id: str) -> None:
        """Undo a signed maximum whose signature never left this process: it is void.

        Calls that run and have no other go back to `not_sent`.

        Raises:
            CallStateError: It is settled.
        """
        ...

    async def pay_by(self, call_id: str, cap_id: str, *, durable: bool = True) -> None:
        """Record that a call is paid by an open cap, before a byte of it leaves.

        The call is at `sent_unknown` from here on, and the death of this process changes nothing
        of that. The cap itself is on disk.

        Args:
            call_id: The call.
            cap_id: What pays for it.
            durable: Whether the disk has it on return; else it has it about a millisecond later.

        Raises:
            CallStateError: The call does not run here, or the cap is not open, or it is another
                principal's (threats.md T21).
        """
        ...

    async def unpay(self, call_id: str) -> None:
        """Undo `pay_by` or `open_cap` for a call of which provably nothing left: `not_sent` again.

        The cap stays as it is.

        Raises:
            CallStateError: The call has ended.
        """
        ...

    async def repeat(self, call_id: str, cap_id: str) -> None:
        """Run a call again that failed at `sent_unknown`, under the same open cap.

        Its stage stays: something of it has left.

        Raises:
            CallStateError: Another process has it, or it has not failed so, or the cap has ended.
        """
        ...

    async def settle_cap(self, cap_id: str, amount_opg: int, transaction_hash: str) -> None:
        """Record what the chain says a cap was settled for; its charged calls are `confirmed`."""
        ...

    async def known_nonces(self, account: Account, nonces: Sequence[str]) -> frozenset[str]:
        """Return those of some Permit2 nonces, decimal text, that were signed for an account."""
        ...

    async def cancel_cap(self, cap_id: str) -> None:
        """Record that its owner is about to cancel an open cap: no later call is paid by it.

        It counts as open all the same, until the chain tells its end. Forced to disk.

        Raises:
            CallStateError: It has ended.
        """
        ...

    async def paid_calls(self, cap_id: str) -> int:
        """Return how many calls a cap pays for."""
        ...

    async def told_costs(self, cap_id: str) -> tuple[int, bool]:
        """Return what gateways told of a cap's calls, base units, and whether they told of all."""
        ...

    async def reopen_cap(self, cap_id: str) -> None:
        """Record that a cap's settlement is gone from the chain: all of it counts as open again."""
        ...

    async def reversible_caps(self, account: Account, now_s: int) -> tuple[Cap, ...]:
        """Return settled caps whose deadline, Unix seconds, is not past."""
        ...

    async def void_cap(self, cap_id: str, counted_opg: int = 0) -> None:
        """Record that a cap can never be taken any more: unspent past its deadline (T7).

        That is a chain's word: what the gateway told that its calls cost counts all the same.

        Its calls cost nothing: answered ones are `confirmed`, failed ones at `sent_unknown` go
        back to `not_sent`.
        """
        ...

    async def cap(self, cap_id: str) -> Cap:
        """Return a cap.

        Raises:
            CallNotFoundError: There is none of that id.
        """
        ...

    async def open_caps(self, account: Account | None = None) -> tuple[Cap, ...]:
        """Return the caps that are open, the oldest first."""
        ...

    async def opg_budget(self, account: Account, caps: OPGCaps) -> Budget:
        """Return what is spent, open and left of the account's cap of 24 hours, OPG base units."""
        ...

    async def opg_totals(
        self, principal: str | None = None, account: Account | None = None
    ) -> tuple[int, int]:
        """Return what was settled since the journal began, and what is open, OPG base units."""
        ...

    async def remember(self, name: str, document: str) -> None:
        """Keep a small document under a name, sealed (T25); the newest counts."""
        ...

    async def recall(self, name: str) -> str:
        """Return what was remembered, or nothing where there is none, or its seal is broken."""
        ...

    async def confirm(self, call_id: str) -> None:
        """Move a call from `charged` to `confirmed`.

        Raises:
            CallStateError: It is not charged.
        """
        ...

    async def deliver(self, call_id: str) -> None:
        """Note that the caller has the call's end; does nothing while it runs."""
        ...

    async def wait(self, call_id: str, principal: str, timeout_s: float) -> Call:
        """Return the call once it has ended or is orphaned, or as it is after `timeout_s`.

        Raises:
            CallNotFoundError: The principal has no such call.
        """
        ...

    async def get(self, call_id: str, principal: str | None) -> Call:
        """Return a call with its request, result and receipt.

        Args:
            call_id: The call.
            principal: Whose; `None` for anyone's, which only the operator may see.

        Raises:
            CallNotFoundError: The principal has no such call.
        """
        ...

    async def full_id(self, beginning: str, principal: str | None) -> str:
        """Return the id of the one call whose id begins so; a whole id is not looked up.

        Args:
            beginning: At least four of its characters.
            principal: Whose; `None` for anyone's, which only the operator may see.

        Raises:
            CallNotFoundError: The principal has no such call.
            AmbiguousCallError: There are several.
        """
        ...

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
        """Return calls without their documents, the newest first.

        Args:
            principal: Whose; `None` for everyone's, which only the operator may see.
            limit: At most so many.
            status: Only those.
            tool: Only that tool's.
            before: Id of a call; only older ones are returned.
            since: Only calls that were made then or later.
            skip: Leave out so many of the newest that match.
        """
        ...

    async def transactions(self, call_id: str) -> tuple[SignedTransaction, ...]:
        """Return what was signed for a call, the oldest first."""
        ...

    async def transactions_under(self, call_id: str) -> tuple[SignedTransaction, ...]:
        """Return what was signed under a call's nonce, the oldest first.

        That is the call's own, and that of the calls from which, or by which, the nonce was taken
        over: at most one of all is mined, and settling its call ends the others.
        """
        ...

    async def totals(
        self, principal: str | None = None, account: Account | None = None
    ) -> tuple[Totals, ...]:
        """Return what was spent since the journal began, by account.

        Args:
            principal: Only that principal's calls; `None` for all.
            account: Only that account; `None` for all.
        """
        ...

    async def budget(self, account: Account, caps: FeeCaps) -> Budget:
        """Return what is spent, open and left of the account's cap of 24 hours."""
        ...

    async def unfinished(self, account: Account | None = None) -> tuple[Call, ...]:
        """Return calls that run or whose nonce is open, the oldest first, without documents."""
        ...

    async def unconfirmed(self, account: Account, limit: int = 100) -> tuple[Call, ...]:
        """Return calls that are charged and not yet confirmed, the oldest first."""
        ...

    async def adopt(self, call_id: str) -> bool:
        """Take over a running call whose process died; true for exactly one process."""
        ...

    async def request_approval(self, call_id: str, error: str, consent: ConsentRequest) -> None:
        """End a running call at `not_sent` until a person approves what it may cost, or does.

        Raises:
            CallStateError: It does not run, or has signed.
        """
        ...

    async def approval(self, call_id: str) -> Approval:
        """Return what a person is asked to agree to.

        Raises:
            CallNotFoundError: No approval was asked for.
            SealBrokenError: The record was changed.
        """
        ...

    async def approve(self, call_id: str, shown: Approval | None = None) -> Approval:
        """Record that a person agreed; good for one try within one hour.

        Args:
            call_id: The call.
            shown: What the person was shown, if it was not asked for in this moment.

        Raises:
            CallNotFoundError: No approval was asked for.
            CallStateError: What is asked is no longer what was shown.
            ApprovalDeclinedError: A person said no to the same request a short while ago.
            SealBrokenError: The record was changed.
        """
        ...

    async def decline(self, call_id: str) -> datetime:
        """Record that a person said no to a call that waits for approval (threats.md T48).

        For ten minutes the same request is refused, under whatever key; returns when that ends.

        Raises:
            CallStateError: It does not wait for one.
        """
        ...

    async def take_approval(self, call_id: str, consent: ConsentRequest) -> bool:
        """Use up an approval.

        Args:
            call_id: The call.
            consent: As it would be asked for now, with what it costs now.

        Returns:
            False where nobody has agreed to the same, or only to less.

        Raises:
            ApprovalDeclinedError: A person said no to the same request a short while ago; the call
                has ended.
        """
        ...

    def seal(self, purpose: str, data: bytes) -> str:
        """Authenticate data that is kept where others can write."""
        ...

    def unseal(self, purpose: str, sealed: str) -> bytes:
        """Return what `seal` was given.

        Raises:
            SealBrokenError: Nobody with this installation's key sealed it for that purpose.
        """
        ...

    async def prune(self, before: datetime) -> Pruned:
        """Remove delivered calls that ended before a time, with their documents.

        Calls that are unfinished, that ended within the last 24 hours, or whose idempotency key is
        still known stay.
        """
        ...

    async def look_through(self) -> None:
        """Read all of it, which takes time in proportion.

        Raises:
            JournalError: It is damaged.
        """
        ...

    async def aclose(self) -> None:
        """Close the journal; what runs then is orphaned."""
        ...
