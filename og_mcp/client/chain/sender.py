"""The sender: signs and broadcasts the transactions of one wallet on one chain, one at a time.

A nonce is taken in the journal's lane, once everything before the signature has held, and the next
is taken only once the node has this one, so that no gap can open. A call whose bytes have left is
never signed under another nonce (`decisions`): whoever comes next sends its bytes once more where the
node does not have them, and takes its nonce over where the node does not take them.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import anyio

from og_mcp.calls import Journal, Lane
from og_mcp.client.calls.context import CallContext
from og_mcp.client.chain.answers import attempts, is_passing
from og_mcp.client.chain.chain import Chain, Counts, GasQuote, Receipt
from og_mcp.client.chain.decisions import NonceChoice, NonceState, SendResult, decide
from og_mcp.client.chain.delivery import SendReport
from og_mcp.client.chain.signer import Signer
from og_mcp.client.chain.transaction_tracker import AGAIN_S, TransactionTracker
from og_mcp.client.chain.wallet import FeeGuard, Signed, Transaction, Wallet
from og_mcp.client.wire.timeouts import Timeouts
from og_mcp.errors import (
    BudgetExceededError,
    InsufficientFundsError,
    NonceHeldError,
    ServiceReplyError,
)
from og_mcp.types import Account, Budget, OpenNonce

DAY_CAP_VARIABLE: Final = "OG_MAX_FEE_PER_DAY"

GAS_MARGIN: Final = 3
"""Gas limit over estimate for `run`, as the network's own client has it; unused gas is not paid."""

GAS_SALT: Final = 2**14
"""Gas units that the limit varies by."""

Read = Callable[[bytes], Awaitable[None]]
"""Reads what a call returns; raises for what cannot be read."""

MAX_JUMP: Final = 64
"""Transactions that may wait above our record; more have to be mined to be believed."""

LOOKS: Final = 3
"""Times that a count below our record is asked for: nodes behind a balancer lag."""

MAX_PAUSE_S: Final = 8.0


class NoncePlace(NamedTuple):
    """Where the next signature goes."""

    nonce: int
    supersedes: str = ""
    """Id of the call whose nonce is taken over."""

    min_price: int = 0
    """Wei: no less than what was signed under the nonce before."""


class Sender:
    """Sends the transactions of one wallet on one chain.

    Args:
        chain: Where to.
        wallet: Whose.
        guard: Limits the cost of a signature and where it may go.
        journal: Every signature is on its disk before a byte leaves.
        timeouts: How long to wait for the chain.
        faucet_url: Named where funds are missing.
        witness: A second RPC of the same chain, which has to tell the same outcome (T35).
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
        witness: Chain | None = None,
    ) -> None:
        self._chain, self._guard, self._journal = chain, guard, journal
        self._faucet_url, self._timeouts = faucet_url, timeouts
        self._signer = Signer(chain, wallet, guard, journal)
        self.tracker = TransactionTracker(chain, self._signer, journal, timeouts, witness=witness)
        """Follows what was sent."""

        self.recheck_s = timeouts.recheck_s
        self._next: int | None = None
        self.left_open = False
        """Whether the lane held interrupted calls, whose end can now be found."""

    @property
    def rpc_shown(self) -> str:
        """The RPC, as results and errors name it."""
        return self._chain.rpc_shown

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
        self,
        to: str,
        data: bytes,
        *,
        max_retries: int,
        gas_margin: float = GAS_MARGIN,
        read: Read | None = None,
    ) -> tuple[GasQuote, Transaction]:
        """Simulate a call and price it: what `send` would sign, but for its nonce.

        Args and Raises:
            As `send`, up to the signature.
        """
        self._guard.check_endpoint()
        sender = await self._signer.address()
        async for attempt in attempts(max_retries, is_passing):
            with attempt:
                offer = await self._chain.quote(sender, to, data, with_output=read is not None)
        if read is not None and offer.output:
            await read(offer.output)
        # Unused gas is free, and the salt gives each call a hash of its own: what the node says
        # about a hash is then about this call, even where another program makes the same one.
        most = self._chain.block_gas_limit - GAS_SALT
        gas_limit = min(int(offer.gas * gas_margin), most) + secrets.randbelow(GAS_SALT)
        transaction = Transaction(
            self._chain.chain_id, 0, to, data, gas_limit, offer.gas_price, offer.l1_fee
        )
        self._guard.check(transaction)
        if offer.balance < transaction.max_fee:
            faucet = self._faucet_url.format(address=sender)
            raise InsufficientFundsError(sender, transaction.max_fee, offer.balance, faucet)
        return offer, transaction

    async def send(  # noqa: PLR0913 - what is sent, and how
        self,
        call: CallContext,
        to: str,
        data: bytes,
        *,
        max_retries: int,
        gas_margin: float = GAS_MARGIN,
        read: Read | None = None,
    ) -> Receipt:
        """Call a contract in one transaction and wait until it is mined.

        Args:
            call: The call, open in the journal.
            to: Contract address.
            data: Call data.
            max_retries: Further tries of questions, and of a sending as long as no byte has left.
            gas_margin: Gas limit over estimate.
            read: Checks what the simulated call returns, or raises; nothing is signed then.

        Returns:
            The receipt of a transaction that succeeded.

        Raises:
            UnsafeEndpointError: The RPC is not fit for this network's signatures.
            SimulationRevertedError: The contract refuses the call; nothing was sent.
            InsufficientFundsError: The balance is below `gas_limit * gas_price`; nothing was sent.
            FeeCapError: That product is above the cap; nothing was signed.
            BudgetExceededError: It would pass the cap of 24 hours; nothing was signed.
            NonceHeldError: The node does not take an earlier call's transaction; nothing was signed.
            TransactionRevertedError: Mined and reverted.
            TransactionPendingError: Not known to be mined; it may still be.
            SupersededError: Another call's transaction was mined under its nonce.
            JournalError: It could not be recorded; nothing was sent.
            ServiceError: The node cannot be used; nothing was sent.
        """
        offer, transaction = await self.offer(
            to, data, max_retries=max_retries, gas_margin=gas_margin, read=read
        )
        report = await self._sign_and_send(call, offer, transaction, max_retries)
        return await self.tracker.judge(call, await self.tracker.receipt(call, report))

    async def _sign_and_send(
        self, call: CallContext, offer: GasQuote, transaction: Transaction, max_retries: int
    ) -> SendReport:
        """Sign once, and send; waits for its turn while an earlier call's is not taken."""
        deadline, pause = anyio.current_time() + self._timeouts.receipt_s, AGAIN_S
        while True:
            try:
                async with self._signer.lane() as lane:
                    place = await self._place(lane, offer, max_retries)
                    # From the signature on, the work goes on even if the call is cancelled.
                    with anyio.CancelScope(shield=True):
                        under = transaction.under(place.nonce, min_price=place.min_price)
                        signed = await self._signer.sign(
                            call, lane, under, supersedes=place.supersedes
                        )
                        # The next call asks the chain again, unless the node turns out to have this one.
                        self._next = None
                        report = await self.tracker.delivery.send(signed, max_retries)
                        # What never left is taken back.
                        await self.tracker.keep(call, lane, signed, report)
                        if report.result is SendResult.TAKEN:
                            self._next = signed.nonce + 1
                        return report
            except NonceHeldError:
                if anyio.current_time() + pause > deadline:
                    raise
            await anyio.sleep(pause)
            pause = min(pause * 2, MAX_PAUSE_S)

    async def _place(self, lane: Lane, offer: GasQuote, max_retries: int) -> NoncePlace:
        """Choose the nonce of the next signature: the first free one, or one to take over.

        Raises:
            NonceHeldError: An earlier call has to be taken by the node first.
            ServiceError: The chain cannot be asked.
        """
        held = {entry.nonce: entry for entry in lane.open}
        knows_all = self._next is not None and self._next == lane.next_nonce
        if knows_all or not held:
            # The node has all that was signed; another program may have used the wallet since.
            count = max(offer.nonce, self._next or 0) if knows_all else offer.nonce
            nonce = await self._believed(lane, count, max_retries)
            if nonce not in held:
                return NoncePlace(nonce)
        self.left_open = True
        counts = await self._counts(lane, max_retries)
        nonce = await self._believed(lane, counts.pending, max_retries)
        while nonce in held:
            place = await self._passed(held[nonce], counts.latest)
            if place is not None:
                return place
            # A node behind a balancer may not count what another one has accepted.
            nonce += 1
        return NoncePlace(nonce)

    async def _believed(self, lane: Lane, count: int, max_retries: int) -> int:
        """Hold a count of pending transactions against our record.

        Far above it, the mined ones have to say so, too. Below it, a devnet was reset, or the node
        lags: it is asked again, and then new calls follow it down.

        Raises:
            ServiceError: It cannot be believed, or the chain not be asked; nothing was signed.
        """
        recorded = lane.next_nonce or 0
        for again in range(LOOKS):
            if count >= recorded:
                break
            await anyio.sleep(AGAIN_S if again else 0)
            count = (await self._counts(lane, max_retries)).pending
        if count > recorded + MAX_JUMP:
            latest = (await self._counts(lane, max_retries)).latest
            if count > max(latest, recorded) + MAX_JUMP or latest <= recorded + MAX_JUMP:
                what = f"it counts {count} transactions of the wallet, of which {latest} are mined"
                raise ServiceReplyError(self._chain.service, what)
        return count

    async def _counts(self, lane: Lane, max_retries: int) -> Counts:
        async for attempt in attempts(max_retries, is_passing):
            with attempt:
                counts = await self._chain.counts(lane.account.address)
        return counts

    async def _passed(self, entry: OpenNonce, latest: int) -> NoncePlace | None:
        """Make sure that the node has what an earlier call signed for a nonce, or take it over.

        The very bytes that were signed go out again: they can be mined at most once, and without
        them whatever comes behind would wait for ever.

        Returns:
            `None` where the nonce is taken; else where the next signature goes.

        Raises:
            NonceHeldError: The node does not take them, and their call still tries.
        """
        delivery = self.tracker.delivery
        recorded = await self._journal.transactions_under(entry.call_id)
        every = [Signed.recorded(one) for one in recorded]
        newest = [one for one in every if one.call_id == entry.call_id][-1]
        has_one = any([await delivery.has(one) for one in every])
        report = SendReport(SendResult.TAKEN) if has_one else await delivery.send_again(newest)
        decision = decide(report.result, NonceState(nonce=entry.nonce, latest=latest))
        if decision.others is not NonceChoice.TAKE_OVER:
            return None
        call = await self._journal.get(entry.call_id, None)
        if call.status == "running" and not call.orphaned:
            raise NonceHeldError(report.words)
        price = max(one.transaction.gas_price for one in every)
        if report.result is SendResult.TOO_CHEAP:
            price = price * 9 // 8 + 1
        return NoncePlace(entry.nonce, entry.call_id, price)
