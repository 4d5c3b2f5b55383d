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
from og_mcp.client.chain.answers import (
    attempts,
    is_accepted,
    is_passing,
    is_refused,
)
from og_mcp.client.chain.chain import Chain, Quote, Receipt
from og_mcp.client.chain.delivery import Delivery, NonceTakenError
from og_mcp.client.chain.outcomes import Outcomes
from og_mcp.client.chain.rpc import RPCError
from og_mcp.client.chain.signer import Signer
from og_mcp.client.chain.ticket import Ticket
from og_mcp.client.chain.wallet import FeeGuard, Signed, Transaction, Wallet
from og_mcp.client.wire.timeouts import Timeouts
from og_mcp.errors import (
    BudgetExceededError,
    CallStateError,
    InsufficientFundsError,
    OGError,
    ServiceRejectedError,
    TransactionPendingError,
    TransactionRefusedError,
)
from og_mcp.types import Account, Budget, OpenNonce, Stage

DAY_CAP_VARIABLE: Final = "OG_MAX_FEE_PER_DAY"

GAS_MARGIN: Final = 3
"""Gas limit over estimate for `run`, as the network's own client has it; unused gas is not paid."""

GAS_SALT: Final = 2**16
"""Gas units that the limit varies by."""

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
        self._chain, self._guard, self._journal = chain, guard, journal
        self._faucet_url = faucet_url
        self._signer = Signer(chain, wallet, guard, journal)
        self._delivery = Delivery(chain, timeouts)
        self.outcomes = Outcomes(chain, self._signer, journal, timeouts)
        """What becomes of what was sent."""

        self._next: int | None = None
        self._used = False
        self.left_open = False
        """Whether the lane held interrupted calls, whose end can now be found."""

    async def account(self) -> Account:
        """Return whose lane and budget are used."""
        return await self._signer.account()

    async def budget(self) -> Budget:
        """Return what is spent, open and left of 24 hours, as the next signature is held to it.

        Raises:
            ServiceError: Chain or journal do not tell.
        """
        account = await self._signer.account()
        return await self._journal.budget(account, await self._signer.caps(account))

    async def check_budget(self, fee: int) -> Budget:
        """Check a fee, wei, against the cap of 24 hours, as a signature would be; returns `budget`.

        Raises:
            BudgetExceededError: It would pass the cap.
            ServiceError: Chain or journal do not tell.
        """
        budget = await self.budget()
        if fee > budget.left:
            raise BudgetExceededError(
                DAY_CAP_VARIABLE,
                cap=budget.cap,
                spent=budget.spent,
                open_=budget.open,
                asked=fee,
            )
        return budget

    async def offer(
        self, to: str, data: bytes, *, max_retries: int, gas_margin: float = GAS_MARGIN
    ) -> tuple[Quote, Transaction]:
        """Simulate a call and price it: what `send` would sign, but for its nonce.

        Raises:
            As `send`, up to the signature.
        """
        self._guard.check_endpoint()
        sender = await self._signer.address()
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
        receipt = await self._broadcast_once(ticket, offer, transaction, max_retries)
        return await self.outcomes.judge(ticket, receipt or await self.outcomes.wait(ticket))

    async def _broadcast_once(
        self,
        ticket: Ticket,
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
            async with self._signer.lane() as lane:
                nonce = await self._reserve(lane, offer)
                try:
                    # From the signature on, its fate is found out, cancelled or not.
                    with anyio.CancelScope(shield=True):
                        ticket.committed = True
                        signed = await self._signer.sign(
                            ticket, lane, transaction.with_nonce(nonce), already_signed=signed_wei
                        )
                        signed_wei += transaction.max_fee
                        return await self._deliver(signed, max_retries)
                except NonceTakenError as exc:
                    refusal = str(exc)
                    await self._give_back(ticket, lane)
                except OGError as exc:
                    if not isinstance(exc, TransactionPendingError):
                        await self._give_back(ticket, lane)
                    raise
        raise TransactionRefusedError(refusal, "Another program uses this wallet; repeat the call.")

    async def _give_back(self, ticket: Ticket, lane: Lane) -> None:
        """Undo what can never be mined; the call is free to be cancelled again."""
        with anyio.CancelScope(shield=True):
            # It has none where nothing was reserved yet.
            with suppress(CallStateError):
                await lane.give_back(ticket.call_id)
            ticket.signed.clear()
            ticket.committed = False

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
        """Bring a transaction to the node; returns once it has it."""
        # Whoever comes next asks the chain, unless the node turns out to have it.
        self._next = None
        receipt = await self._delivery.deliver(signed, max_retries)
        self._next = signed.nonce + 1
        return receipt
