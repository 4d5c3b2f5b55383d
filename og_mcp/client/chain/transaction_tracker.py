"""Follows what was signed to its end: waits, sends again, replaces, and reads what became of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Final

import anyio
from pydantic_core import from_json, to_json

from og_mcp.calls import Journal, Lane
from og_mcp.client.calls.context import CallContext
from og_mcp.client.chain.chain import Chain, Receipt
from og_mcp.client.chain.decisions import NonceState, OwnAction, Reservation, SendResult, decide
from og_mcp.client.chain.delivery import Delivery, SendReport, plain
from og_mcp.client.chain.signer import Signer
from og_mcp.client.chain.wallet import Signed
from og_mcp.client.wire.timeouts import Timeouts
from og_mcp.errors import (
    CallStateError,
    OGError,
    RPCsDifferError,
    ServiceError,
    SupersededError,
    TransactionCancelledError,
    TransactionPendingError,
    TransactionRefusedError,
    TransactionRevertedError,
)

AGAIN_S: Final = 0.5
"""Seconds until refused bytes are sent again, at first; doubled each time."""

SUPERSEDED: Final = "another call uses its nonce now, and one of the two is mined at most"
USED: Final = "another transaction used its nonce, which is not final yet"


class TransactionTracker:
    """Follows the transactions of one wallet on one chain.

    Args:
        chain: Tells it.
        signer: Signs replacements.
        journal: Knows what other processes signed for a call.
        timeouts: How long to wait for a receipt, and when a transaction counts as stuck.
        witness: A second RPC of the same chain, which has to tell the same (threats.md T35).
        clock: Unix seconds.
    """

    def __init__(  # noqa: PLR0913 - the parts it puts together
        self,
        chain: Chain,
        signer: Signer,
        journal: Journal,
        timeouts: Timeouts,
        *,
        witness: Chain | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._chain, self._signer, self._journal = chain, signer, journal
        self._timeouts, self._witness, self._clock = timeouts, witness, clock
        self.delivery = Delivery(chain)
        """Sends what was signed."""

    async def receipt(self, call: CallContext, report: SendReport) -> Receipt:
        """Return the receipt of a call that was just sent; waits for it where it is not mined yet.

        Raises:
            As `wait`.
        """
        if report.receipt is not None:
            try:
                return await self.compare_with_witness(report.receipt)
            except ServiceError:
                pass
        return await self.wait(call, report)

    async def wait(
        self, call: CallContext, report: SendReport, *, may_sign: bool = True
    ) -> Receipt:
        """Wait until one of the call's transactions is mined.

        What the node refused is sent again, the very same bytes, 0.5 s later, then after twice as
        long each time.

        Args:
            call: With all that was signed for the call.
            report: What became of the last sending.
            may_sign: Sign again under the same nonce, at a higher price, where it is stuck or too
                cheap.

        Raises:
            TransactionPendingError: Not known to be mined; it may still be.
            SupersededError: Another call's transaction took the nonce.
        """
        started, why, pause = anyio.current_time(), "", 0.1
        again_s, replace_at = AGAIN_S, started + self._timeouts.stuck_after_s
        again_at, given_up = started + again_s, False
        with anyio.move_on_after(self._timeouts.receipt_s):
            while not given_up:
                try:
                    receipt = await self.find_receipt(call)
                    if receipt is not None:
                        return receipt
                    now = anyio.current_time()
                    if report.result is SendResult.NEVER:
                        given_up = True
                    elif report.result is not SendResult.TAKEN and now >= again_at:
                        again_s *= 2
                        again_at = now + again_s
                        report, given_up = await self._help(call, report, may_sign=may_sign)
                        given_up = given_up and now - started > self._timeouts.look_up_s
                    elif may_sign and now > replace_at:
                        replace_at += self._timeouts.stuck_after_s
                        await self._replace_if_cheap(call)
                    why = SUPERSEDED if call.is_superseded else report.words
                except ServiceError as exc:
                    why = plain(exc)
                await anyio.sleep(pause)
                pause = min(pause * 1.5, 2.0)
        waited = anyio.current_time() - started
        raise pending(call, waited, why or report.words)

    async def judge(self, call: CallContext, receipt: Receipt) -> Receipt:
        """Judge a receipt of the call.

        Raises:
            TransactionRevertedError: The contract refused.
            TransactionCancelledError: The nonce was used up on request, in place of the call.
        """
        signed = next(s for s in call.signed if s.transaction_hash == receipt.transaction_hash)
        transaction = signed.transaction
        sender = await self._signer.address()
        if transaction.to.lower() == sender.lower():
            raise TransactionCancelledError(receipt.transaction_hash, receipt.fee_wei)
        if not receipt.succeeded:
            to, data, block = transaction.to, transaction.data, receipt.block_number
            reason = await self._reason(sender, to, data, block)
            raise TransactionRevertedError(receipt.transaction_hash, reason, receipt.fee_wei)
        return receipt

    async def replace(self, call: CallContext, *, cancel: bool = False) -> Signed:
        """Sign a call's newest transaction again: same nonce, higher price (threats.md T11).

        Args:
            call: With all that was signed for the call.
            cancel: Send nothing to oneself instead, which uses the nonce up.

        Raises:
            CallStateError: Its nonce was used, or taken over by another call.
            FeeCapError: The higher price passes a cap; nothing was signed.
            TransactionRefusedError: The node did not take it; the earlier one may still be mined.
        """
        async with self._signer.lane() as lane:
            await self._load_signed(call)
            decision = decide(SendResult.REFUSED, await self._nonce_state(call))
            if call.is_superseded or decision.held is not Reservation.NUMBER:
                step = "be cancelled" if cancel else "be sped up"
                raise CallStateError(call.call_id, step, SUPERSEDED if call.is_superseded else USED)
            signed, report = await self._sign_higher(call, lane, cancel=cancel)
        if report.result is not SendResult.TAKEN:
            raise TransactionRefusedError(report.words, "The earlier one may still be mined.")
        return signed

    async def send_again(self, call: CallContext, *, was_mined: bool = False) -> SendReport:
        """Send the newest of what was signed for a call once more, where the node has none of it.

        The very same bytes, which can be mined only once; in the lane, so that nobody takes the
        nonce over or replaces them meanwhile.

        Args:
            call: With all that was signed for the call.
            was_mined: Whether a receipt was seen before, and has vanished.

        Raises:
            ServiceError: The chain cannot be asked.
        """
        async with self._signer.lane():
            await self._load_signed(call)
            if call.is_superseded:
                return SendReport(SendResult.TAKEN, SUPERSEDED)
            report = SendReport(SendResult.REFUSED)
            return (await self._send_again(call, report, was_mined=was_mined))[0]

    async def find_receipt(self, call: CallContext) -> Receipt | None:
        """Return the receipt of whichever of the call's transactions is mined.

        Raises:
            SupersededError: Another call's transaction took the nonce.
            RPCsDifferError: The second RPC tells something else.
            ServiceError: No usable answer.
        """
        await self._load_signed(call)
        for signed in reversed(call.signed):
            receipt = await self._chain.receipt(signed.transaction_hash)
            if receipt is not None:
                return await self.compare_with_witness(
                    receipt.charged(signed.transaction) if signed.raw else receipt
                )
        for rival in reversed(call.rivals):
            if await self._chain.receipt(rival.transaction_hash) is not None:
                raise SupersededError(call.call_id, rival.call_id)
        return None

    async def compare_with_witness(self, receipt: Receipt) -> Receipt:
        """Compare a receipt with the second RPC's, if there is one (threats.md T35).

        Raises:
            RPCsDifferError: It tells something else.
            ServiceError: It cannot be asked.
        """
        if self._witness is None:
            return receipt
        other = await self._witness.receipt(receipt.transaction_hash)
        if other is None or not receipt.says_the_same(other):
            rpcs = (self._chain.rpc_shown, self._witness.rpc_shown)
            raise RPCsDifferError(receipt.transaction_hash, *rpcs, has_one=other is not None)
        both = f"{receipt.vouched_by}, {other.vouched_by}"
        return replace(receipt, vouched_by=both)

    async def keep(self, call: CallContext, lane: Lane, signed: Signed, report: SendReport) -> None:
        """Keep a signature that was just sent; one of which nothing left is taken back.

        Raises:
            ServiceUnreachableError: Nothing left.
        """
        decision = decide(report.result, NonceState(nonce=signed.nonce, latest=signed.nonce))
        if decision.held is Reservation.NOTHING and report.error is not None:
            await self._signer.undo(call, lane, signed)
            raise report.error

    async def read_nonce(self, call: CallContext) -> NonceState:
        """Ask the chain about a call's nonce, and remember since when it is used for good.

        Raises:
            ServiceError: No usable answer.
        """
        await self._load_signed(call)
        name = f"look at {call.call_id}"
        now, before = self._clock(), _Observation.read(await self._journal.recall(name))
        seen = await self._nonce_state(call, since=before, now=now)
        if self._witness is not None:
            seen = seen.agreed(
                [await self._nonce_state(call, self._witness, since=before, now=now)]
            )
        look = before.then(seen, now)
        if look != before:
            await self._journal.remember(name, look.written)
        return replace(seen, gone_s=now - look.gone_at if look.gone_at else 0.0)

    async def _nonce_state(
        self,
        call: CallContext,
        chain: Chain | None = None,
        *,
        since: _Observation | None = None,
        now: float = 0.0,
    ) -> NonceState:
        """Ask one RPC; the safe count only if there are earlier checks to compare with."""
        chain, address = chain or self._chain, await self._signer.address()
        nonce = call.signed[-1].nonce
        # Counts come before the receipts: the transaction may be mined in between.
        latest, safe = (await chain.counts(address)).latest, 0
        if latest > nonce and since is not None:
            safe = await self._safe(chain, address, latest, since, now)
        every = (*call.signed, *call.rivals)
        is_mined = any([await chain.receipt(one.transaction_hash) is not None for one in every])
        return NonceState(nonce=nonce, latest=latest, safe=safe, is_mined=is_mined)

    async def _safe(
        self, chain: Chain, address: str, latest: int, since: _Observation, now: float
    ) -> int:
        """Count at a safe depth; without a tag for it, a count that has not changed for long is."""
        safe = await chain.safe_count(address)
        if safe is not None and safe.by_tag:
            return safe.transactions
        is_steady = since.latest == latest and now - since.at >= self._timeouts.steady_s
        return latest if is_steady else (safe.transactions if safe else 0)

    async def _load_signed(self, call: CallContext) -> None:
        """Load what other processes signed under the call's nonce."""
        recorded = await self._journal.transactions_under(call.call_id)
        known = {one.transaction_hash for one in (*call.signed, *call.rivals)}
        if not recorded or known == {one.transaction_hash for one in recorded}:
            return
        every = [Signed.recorded(one) for one in recorded]
        call.signed = [one for one in every if one.call_id == call.call_id]
        call.rivals = [one for one in every if one.call_id != call.call_id]
        call.is_superseded = every[-1].call_id != call.call_id

    async def _help(
        self, call: CallContext, report: SendReport, *, may_sign: bool
    ) -> tuple[SendReport, bool]:
        """Do what the table allows for a call that the node did not take.

        Returns:
            The last report, and whether there is nothing more to be done.
        """
        async with self._signer.lane() as lane:
            await self._load_signed(call)
            if call.is_superseded:
                return report, False
            if report.result is SendResult.TOO_CHEAP and may_sign and not await self._is_used(call):
                try:
                    return (await self._sign_higher(call, lane))[1], False
                except OGError as exc:
                    # The higher price is above a cap: the same bytes go on waiting.
                    return replace(report, words=f"{report.words}; {plain(exc)}"), False
            return await self._send_again(call, report)

    async def _send_again(
        self, call: CallContext, report: SendReport, *, was_mined: bool = False
    ) -> tuple[SendReport, bool]:
        """Send the same bytes again, unless the node has them or the table says that it is over."""
        newest = call.signed[-1]
        if await self.delivery.has(newest):
            return SendReport(SendResult.TAKEN), False
        seen = replace(await self._nonce_state(call), was_mined=was_mined)
        decision = decide(report.result, seen)
        if decision.own is OwnAction.STOP and seen.latest > seen.nonce:
            return replace(report, words=USED), True
        if decision.own is OwnAction.STOP:
            return report, True
        return await self.delivery.send_again(newest), False

    async def _is_used(self, call: CallContext) -> bool:
        seen = await self._nonce_state(call)
        return seen.latest > seen.nonce

    async def _sign_higher(
        self, call: CallContext, lane: Lane, *, cancel: bool = False
    ) -> tuple[Signed, SendReport]:
        """Sign again under the same nonce at a higher price, and send it.

        Raises:
            FeeCapError: It passes a cap, or the approval; nothing was signed.
            ServiceError: Nothing was sent.
        """
        newest = call.signed[-1].transaction
        price = max(newest.gas_price * 9 // 8 + 1, await self._chain.gas_price())
        sender = await self._signer.address()
        again = newest.cancelled(price, sender) if cancel else newest.replaced(price)
        with anyio.CancelScope(shield=True):
            signed = await self._signer.sign(call, lane, again)
            report = await self.delivery.send(signed)
            await self.keep(call, lane, signed, report)
        return signed, report

    async def _replace_if_cheap(self, call: CallContext) -> None:
        if call.is_superseded:
            return
        newest = call.signed[-1].transaction
        if await self._chain.gas_price() < newest.gas_price * 9 // 8:
            return
        try:
            await self.replace(call)
        except OGError:
            # The higher price is above a cap, or it is too late: the earlier transaction goes on waiting.
            return

    async def _reason(self, sender: str, to: str, data: bytes, block: int) -> str:
        try:
            return await self._chain.revert_reason(sender, to, data, block)
        except ServiceError:
            return "the node did not say why"


@dataclass(frozen=True)
class _Observation:
    """What earlier checks of a call's nonce found."""

    latest: int = 0
    at: float = 0.0
    """Since when the account has that count, unix seconds."""

    gone_at: float = 0.0
    """Since when the nonce is used for good, without a receipt; 0: it is not."""

    @classmethod
    def read(cls, written: str) -> _Observation:
        return cls(**from_json(written)) if written else cls()

    @property
    def written(self) -> str:
        return to_json(asdict(self)).decode()

    def then(self, seen: NonceState, now: float) -> _Observation:
        """Return what is known after another check."""
        if seen.latest <= seen.nonce:
            return _Observation()
        at = self.at if self.latest == seen.latest else now
        return _Observation(seen.latest, at, (self.gone_at or now) if seen.is_gone else 0.0)


def pending(call: CallContext, waited_s: float, why: str) -> TransactionPendingError:
    """Say that a call's transaction is not known to be mined, and what stays reserved for it."""
    newest = call.signed[-1]
    most = max(one.max_fee for one in call.signed)
    return TransactionPendingError(
        newest.transaction_hash, waited_s, why, call_id=call.call_id, reserved=most
    )
