"""The sender: signs and broadcasts the transactions of one wallet on one chain, one at a time.

A nonce is taken in the journal's lane, once everything before the signature has held, and the next
is taken only once the node has this one, so that no gap can open. What is in doubt is never signed
again under another nonce: whoever comes next looks it up, and where the node does not have it, sends
the same bytes once more, which can be mined only once.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import Final

import anyio

from og_mcp.calls import Journal, Lane
from og_mcp.client._answers import (
    attempts,
    is_accepted,
    is_nonce_taken,
    is_passing,
    is_refused,
    is_unsent,
)
from og_mcp.client._rpc import RPCError
from og_mcp.client._ticket import Ticket
from og_mcp.client._timeouts import Timeouts
from og_mcp.client.chain import Chain, Quote, Receipt
from og_mcp.client.wallet import FeeGuard, Signed, Transaction, Wallet, read_transaction
from og_mcp.errors import (
    CallStateError,
    FeeCapError,
    InsufficientFundsError,
    OGError,
    ServiceError,
    ServiceRejectedError,
    ServiceUnreachableError,
    TransactionCancelledError,
    TransactionPendingError,
    TransactionRefusedError,
    TransactionRevertedError,
    quote,
)
from og_mcp.types import Account, FeeCaps, OpenNonce, Stage

GAS_MARGIN: Final = 3
"""Gas limit over estimate for `run`, as the network's own client has it; unused gas is not paid."""

GAS_SALT: Final = 2**16
"""Gas units that the limit varies by."""

LOOK_UPS: Final = 3
"""Times that the node must say that it does not know a hash before it is believed."""

REFUSED_LATE: Final = "The node did not take its transaction; nothing was paid."


class Sender:
    """Sends the transactions of one wallet on one chain.

    Args:
        chain: Where to.
        wallet: Whose.
        guard: What a signature may cost and where it may go.
        journal: Every signature is on its disk before a byte leaves.
        timeouts: How long to wait for the chain.
        faucet_url: Named where funds are missing.
    """

    def __init__(  # noqa: PLR0913 - the parts it drives
        self,
        chain: Chain,
        wallet: Wallet,
        guard: FeeGuard,
        journal: Journal,
        *,
        timeouts: Timeouts,
        faucet_url: str = "",
    ) -> None:
        self._chain, self._wallet, self._guard, self._journal = chain, wallet, guard, journal
        self._timeouts, self._faucet_url = timeouts, faucet_url
        self._turn = anyio.Lock()
        self._next: int | None = None
        self._used = False
        self._chain_spent: int | None = None
        self.left_open = False
        """Whether the lane held interrupted calls, whose end can now be found."""

    async def account(self) -> Account:
        """Return whose lane and budget are used; a local network counts by its genesis block."""
        await self._chain.check()
        network = self._guard.network
        name = f"{network.name}:{self._chain.genesis_hash}" if network.local else network.name
        return Account(
            network=name, chain_id=network.chain_id, address=await self._wallet.address()
        )

    async def offer(
        self, to: str, data: bytes, *, max_retries: int, gas_margin: float = GAS_MARGIN
    ) -> tuple[Quote, Transaction]:
        """Simulate a call and price it: what `send` would sign, but for its nonce.

        Raises:
            As `send`, up to the signature.
        """
        self._guard.check_endpoint()
        sender = await self._wallet.address()
        async for attempt in attempts(max_retries, is_passing):
            with attempt:
                offer = await self._chain.quote(sender, to, data)
        # Unused gas is free, and the salt gives each call a hash of its own: what the node says
        # about a hash is then about this call, even where another program makes the same one.
        most = self._chain.block_gas_limit - GAS_SALT
        gas_limit = min(int(offer.gas * gas_margin), most) + secrets.randbelow(GAS_SALT)
        transaction = Transaction(self._chain.chain_id, 0, to, data, gas_limit, offer.gas_price)
        self._guard.check(transaction, 0)
        if offer.balance < transaction.max_fee:
            faucet = self._faucet_url.format(address=sender)
            raise InsufficientFundsError(sender, transaction.max_fee, offer.balance, faucet)
        return offer, transaction

    async def send(
        self,
        ticket: Ticket,
        to: str,
        data: bytes,
        *,
        max_retries: int,
        gas_margin: float = GAS_MARGIN,
    ) -> Receipt:
        """Call a contract in one transaction and wait until it is mined.

        Args:
            ticket: The call, open in the journal.
            to: Contract address.
            data: Call data.
            max_retries: Further tries after nonce or connection trouble, as long as the node has
                accepted nothing.
            gas_margin: Gas limit over estimate.

        Returns:
            The receipt of a transaction that succeeded.

        Raises:
            UnsafeEndpointError: The RPC is not fit for this network's signatures.
            SimulationRevertedError: The contract refuses the call; nothing was sent.
            InsufficientFundsError: The balance is below `gas_limit * gas_price`; nothing was sent.
            FeeCapError: That product is above the cap; nothing was signed.
            BudgetExceededError: It would pass the cap of 24 hours; nothing was signed.
            TransactionRefusedError: The node did not take it.
            TransactionRevertedError: Mined and reverted.
            TransactionPendingError: Not known to be mined; it may still be.
            JournalError: It could not be recorded; nothing was sent.
            ServiceError: The node cannot be used; nothing was sent.
        """
        offer, transaction = await self.offer(
            to, data, max_retries=max_retries, gas_margin=gas_margin
        )
        account = await self.account()
        receipt = await self._broadcast_once(ticket, account, offer, transaction, max_retries)
        return await self.finish(ticket, receipt or await self._mined(ticket))

    async def finish(self, ticket: Ticket, receipt: Receipt) -> Receipt:
        """Judge a receipt of the call.

        Raises:
            TransactionRevertedError: The contract refused.
            TransactionCancelledError: The nonce was used up on request, in place of the call.
        """
        signed = next(s for s in ticket.signed if s.transaction_hash == receipt.transaction_hash)
        transaction = read_transaction(signed.raw)
        sender = await self._wallet.address()
        if transaction.to.lower() == sender.lower():
            raise TransactionCancelledError(receipt.transaction_hash, receipt.fee_wei)
        if not receipt.succeeded:
            to, data, block = transaction.to, transaction.data, receipt.block_number
            reason = await self._reason(sender, to, data, block)
            raise TransactionRevertedError(receipt.transaction_hash, reason, receipt.fee_wei)
        return receipt

    async def replace(self, ticket: Ticket, *, cancel: bool = False) -> Signed:
        """Sign a call's newest transaction again: same nonce, higher price (threats.md T11).

        Args:
            ticket: With all that was signed for the call.
            cancel: Send nothing to oneself instead, so that the nonce is used up.

        Raises:
            FeeCapError: The higher price passes a cap; nothing was signed.
            TransactionRefusedError: The node did not take it, e.g. since the nonce is spent.
        """
        newest = read_transaction(ticket.signed[-1].raw)
        sender = await self._wallet.address()
        price = max(newest.gas_price * 9 // 8 + 1, await self._chain.gas_price())
        again = newest.cancelled(price, sender) if cancel else newest.replaced(price)
        account = await self.account()
        async with self._turn, self._journal.lane(account) as lane:
            with anyio.CancelScope(shield=True):
                signed = await self._sign(ticket, lane, again, already_signed=0)
                try:
                    await self._chain.broadcast(signed.raw, signed.transaction_hash)
                except RPCError as exc:
                    if not is_accepted(exc):
                        raise TransactionRefusedError(
                            exc.message, "The earlier transaction may still be mined."
                        ) from exc
        return signed

    async def _broadcast_once(
        self,
        ticket: Ticket,
        account: Account,
        offer: Quote,
        transaction: Transaction,
        max_retries: int,
    ) -> Receipt | None:
        """Sign and send; sign anew only while the node has accepted nothing."""
        signed_wei = 0
        refusal = ""
        for again in range(max_retries + 1):
            if again:
                await anyio.sleep(min(0.1 * 2**again, 2.0))
            async with self._turn, self._journal.lane(account) as lane:
                nonce = await self._reserve(lane, offer)
                try:
                    # From the signature on, its fate is found out, cancelled or not.
                    with anyio.CancelScope(shield=True):
                        ticket.committed = True
                        signed = await self._sign(
                            ticket, lane, transaction.with_nonce(nonce), already_signed=signed_wei
                        )
                        signed_wei += transaction.max_fee
                        return await self._deliver(signed, max_retries)
                except _NonceTakenError as exc:
                    refusal = str(exc)
                    await self._give_back(ticket, lane)
                except OGError as exc:
                    if not isinstance(exc, TransactionPendingError):
                        await self._give_back(ticket, lane)
                    raise
        raise TransactionRefusedError(refusal, "Another program uses this wallet; repeat the call.")

    async def _sign(
        self, ticket: Ticket, lane: Lane, transaction: Transaction, *, already_signed: int
    ) -> Signed:
        """Set the fee aside, sign, and record the signature, in this order."""
        fee = transaction.max_fee
        caps = await self._caps(lane.account)
        self._guard.check(transaction, already_signed)
        if ticket.most_wei is not None and fee > ticket.most_wei:
            raise FeeCapError("the approval", fee, ticket.most_wei)
        await lane.reserve(ticket.call_id, transaction.nonce, fee, caps)
        signed = await self._wallet.sign(transaction, self._guard, already_signed=already_signed)
        raw = "0x" + signed.raw.hex()
        await lane.signed(ticket.call_id, signed.nonce, signed.transaction_hash, raw, fee)
        ticket.signed.append(signed)
        return signed

    async def _give_back(self, ticket: Ticket, lane: Lane) -> None:
        """Undo what can never be mined; the call is free to be cancelled again."""
        with anyio.CancelScope(shield=True):
            # It has none where nothing was reserved yet.
            with suppress(CallStateError):
                await lane.give_back(ticket.call_id)
            ticket.signed.clear()
            ticket.committed = False

    async def _caps(self, account: Account) -> FeeCaps:
        """Return the caps, with what the chain itself shows as spent (threats.md T6)."""
        caps = FeeCaps(per_call=self._guard.max_fee_per_call, per_day=self._guard.max_fee_per_day)
        if self._chain_spent is None:
            self._chain_spent = 0
            if (await self._journal.budget(account, caps)).spent == 0:
                # Nothing in the journal: it is new, or it was deleted to reset the cap.
                self._chain_spent = await self._chain.spent_in_a_day(account.address)
        return FeeCaps(per_call=caps.per_call, per_day=caps.per_day, chain_spent=self._chain_spent)

    async def _reserve(self, lane: Lane, offer: Quote) -> int:
        """Return the next nonce; asked of the chain at the start, after trouble, after others."""
        fresh, self._used = not self._used, True
        recorded = lane.next_nonce or 0
        if fresh and offer.nonce is not None and offer.nonce >= recorded and not lane.open:
            self._next = offer.nonce
        elif self._next is None or self._next != lane.next_nonce:
            self._next = await self._next_on_chain(lane)
        return self._next

    async def _next_on_chain(self, lane: Lane) -> int:
        count = await self._chain.pending_nonce(lane.account.address)
        self.left_open = bool(lane.open)
        for entry in lane.open:
            # A node behind a balancer may not count what another one has accepted.
            if entry.nonce == count and await self._fill(lane, entry):
                count += 1
        return count

    async def _fill(self, lane: Lane, entry: OpenNonce) -> bool:
        """Make sure that the node has what an interrupted call signed for the next nonce.

        The very bytes that were signed go out again: they can be mined at most once, and without
        them whatever comes behind would wait for ever. Tells whether the nonce is taken.
        """
        for transaction_hash in entry.transaction_hashes:
            if await self._chain.knows(transaction_hash):
                return True
        newest = (await self._journal.transactions(entry.call_id))[-1]
        raw = bytes.fromhex(newest.raw_transaction[2:])
        try:
            await self._chain.broadcast(raw, newest.transaction_hash)
        except RPCError as exc:
            if is_accepted(exc):
                return True
            if is_refused(exc):
                await lane.give_back(entry.call_id)
                await self._journal.fail(entry.call_id, Stage.NOT_SENT, REFUSED_LATE)
                return False
            raise ServiceRejectedError(self._chain.service, exc.code, exc.message) from exc
        return True

    async def _deliver(self, signed: Signed, max_retries: int) -> Receipt | None:
        """Broadcast and find out what became of it; returns once the node has it."""
        receipt = None
        # Whoever comes next asks the chain, unless the node turns out to have it.
        self._next = None
        try:
            async for attempt in attempts(max_retries, is_unsent):
                with attempt:
                    receipt = await self._chain.broadcast(signed.raw, signed.transaction_hash)
        except ServiceUnreachableError:
            raise  # nothing was sent: the nonce is still the next one
        except RPCError as exc:
            await self._after_error(signed, exc)
        except ServiceError as exc:
            await self._after_silence(signed, str(exc))
        self._next = signed.nonce + 1
        return receipt

    async def _after_error(self, signed: Signed, error: RPCError) -> None:
        """Return if the node has the transaction in spite of its error reply."""
        if is_accepted(error):
            return
        refused = is_nonce_taken(error) or is_refused(error)
        known = await self._look_up(signed, times=1 if refused else LOOK_UPS)
        if known:
            return
        if known is None or not refused:
            raise self._in_doubt(signed, f"the node answered {quote(error.message)}")
        if is_nonce_taken(error):
            raise _NonceTakenError(error.message)
        raise TransactionRefusedError(error.message)

    async def _after_silence(self, signed: Signed, why: str) -> None:
        if not await self._look_up(signed, times=LOOK_UPS):
            raise self._in_doubt(signed, why)

    def _in_doubt(self, signed: Signed, why: str) -> TransactionPendingError:
        return TransactionPendingError(signed.transaction_hash, self._timeouts.look_up_s, why)

    async def _look_up(self, signed: Signed, *, times: int) -> bool | None:
        """Ask whether the node knows the hash; `None` where it could not be asked."""
        denied = 0
        with anyio.move_on_after(self._timeouts.look_up_s):
            while denied < times:
                try:
                    if await self._chain.knows(signed.transaction_hash):
                        return True
                    denied += 1
                except ServiceError:
                    pass
                if denied < times:
                    await anyio.sleep(0.5)
            return False
        return None

    async def _mined(self, ticket: Ticket) -> Receipt:
        """Wait until one of the call's transactions is mined; speed it up where it is stuck."""
        started, why, pause = anyio.current_time(), "", 0.1
        replace_at = started + self._timeouts.stuck_after_s
        with anyio.move_on_after(self._timeouts.receipt_s):
            while True:
                try:
                    receipt = await self.find_receipt(ticket)
                    if receipt is not None:
                        return receipt
                    if anyio.current_time() > replace_at:
                        replace_at += self._timeouts.stuck_after_s
                        await self._replace_if_cheap(ticket)
                except ServiceError as exc:
                    why = str(exc)
                await anyio.sleep(pause)
                pause = min(pause * 1.5, 2.0)
        waited = anyio.current_time() - started
        raise TransactionPendingError(ticket.signed[-1].transaction_hash, waited, why)

    async def find_receipt(self, ticket: Ticket) -> Receipt | None:
        """Return the receipt of whichever of the call's transactions is mined."""
        await self._learn_replacements(ticket)
        for signed in reversed(ticket.signed):
            receipt = await self._chain.receipt(signed.transaction_hash)
            if receipt is not None:
                return receipt
        return None

    async def _learn_replacements(self, ticket: Ticket) -> None:
        """Take in what another process, e.g. `og-mcp calls speed-up`, signed for the call."""
        recorded = await self._journal.transactions(ticket.call_id)
        if len(recorded) > len(ticket.signed):
            ticket.signed = [
                Signed(bytes.fromhex(one.raw_transaction[2:]), one.transaction_hash, one.nonce)
                for one in recorded
            ]

    async def _replace_if_cheap(self, ticket: Ticket) -> None:
        newest = read_transaction(ticket.signed[-1].raw)
        if await self._chain.gas_price() < newest.gas_price * 9 // 8:
            return
        try:
            await self.replace(ticket)
        except OGError:
            # Above a cap, or too late: the earlier transaction goes on waiting.
            return

    async def _reason(self, sender: str, to: str, data: bytes, block: int) -> str:
        try:
            return await self._chain.revert_reason(sender, to, data, block)
        except ServiceError:
            return "the node did not say why"


class _NonceTakenError(Exception):
    """The nonce belongs to another transaction; this one can never be mined."""
