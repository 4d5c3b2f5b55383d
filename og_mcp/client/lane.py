"""The nonce lane: one wallet on one chain, one broadcast at a time.

A nonce is taken only once everything before the signature has held, and the next is taken only
once the node has this one, so that no gap can open. What is in doubt is never signed again under
another nonce: the lane asks the chain for its next nonce instead, and whatever is signed under the
nonce in doubt excludes the other by the rules of the EVM.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from typing import Final

import anyio
import stamina

from og_mcp.client._rpc import RPCError
from og_mcp.client._timeouts import Timeouts
from og_mcp.client.chain import Chain, Quote, Receipt
from og_mcp.client.wallet import FeeGuard, Signed, Transaction, Wallet
from og_mcp.errors import (
    InsufficientFundsError,
    ServiceError,
    ServiceRejectedError,
    ServiceUnreachableError,
    TransactionPendingError,
    TransactionRefusedError,
    TransactionRevertedError,
    quote,
)

GAS_MARGIN: Final = 3
"""Gas limit over estimate for `run`, as the network's own client has it; unused gas is not paid."""

GAS_SALT: Final = 2**16
"""Gas units that the limit varies by."""

LOOK_UPS: Final = 3
"""Times that the node must say that it does not know a hash before it is believed."""

ACCEPTED_WORDS: Final = ("already known", "already imported")
NONCE_WORDS: Final = ("nonce too low", "nonce too high", "replacement transaction underpriced")
FUNDS_WORDS: Final = ("insufficient funds",)
REFUSED_WORDS: Final = (
    *FUNDS_WORDS,
    "intrinsic gas too low",
    "exceeds block gas limit",
    "transaction underpriced",
    "max fee per gas less than",
    "invalid sender",
    "invalid chain id",
    "oversized data",
    "txpool is full",
    "fee cap",
    "max initcode size",
)
"""What geth says when it has not taken a transaction (protocol.md section 3.3)."""


class Lane:
    """Sends the transactions of one wallet on one chain.

    Args:
        chain: Where to.
        wallet: Whose.
        guard: What a signature may cost and where it may go.
        timeouts: How long to wait for the chain.
        faucet_url: Named where funds are missing.
    """

    def __init__(
        self,
        chain: Chain,
        wallet: Wallet,
        guard: FeeGuard,
        *,
        timeouts: Timeouts,
        faucet_url: str = "",
    ) -> None:
        self._chain, self._wallet, self._guard = chain, wallet, guard
        self._timeouts, self._faucet_url = timeouts, faucet_url
        self._turn = anyio.Lock()
        self._next: int | None = None
        self._used = False
        self._outstanding: dict[int, str] = {}

    async def send(self, to: str, data: bytes, *, max_retries: int) -> Receipt:
        """Call a contract in one transaction and wait until it is mined.

        Args:
            to: Contract address.
            data: Call data.
            max_retries: Further tries after nonce or connection trouble, as long as the node has
                accepted nothing.

        Returns:
            The receipt of a transaction that succeeded.

        Raises:
            UnsafeEndpointError: The RPC is not fit for this network's signatures.
            SimulationRevertedError: The contract refuses the call; nothing was sent.
            InsufficientFundsError: The balance is below `gas_limit * gas_price`; nothing was sent.
            FeeCapError: That product is above the cap; nothing was signed.
            TransactionRefusedError: The node did not take it.
            TransactionRevertedError: Mined and reverted.
            TransactionPendingError: Not known to be mined; it may still be.
            ServiceError: The node cannot be used; nothing was sent.
        """
        self._guard.check_endpoint()
        sender = await self._wallet.address()
        offer = await self._quote(sender, to, data, max_retries)
        signed, receipt = await self._broadcast_once(to, data, offer, sender, max_retries)
        receipt = receipt or await self._mined(signed)
        self._outstanding.pop(signed.nonce, None)
        if not receipt.succeeded:
            reason = await self._reason(sender, to, data, receipt.block_number)
            raise TransactionRevertedError(receipt.transaction_hash, reason, receipt.fee_wei)
        return receipt

    async def _quote(self, sender: str, to: str, data: bytes, max_retries: int) -> Quote:
        async for attempt in _attempts(max_retries, _is_passing):
            with attempt:
                offer = await self._chain.quote(sender, to, data)
        return offer

    async def _broadcast_once(
        self, to: str, data: bytes, offer: Quote, sender: str, max_retries: int
    ) -> tuple[Signed, Receipt | None]:
        """Sign and send; sign anew only while the node has accepted nothing."""
        signed_wei = 0
        refusal = ""
        for again in range(max_retries + 1):
            if again:
                await anyio.sleep(min(0.1 * 2**again, 2.0))
            async with self._turn:
                transaction = self._transaction(await self._reserve(offer, sender), to, data, offer)
                self._check_funds(transaction, offer, sender)
                signed = await self._wallet.sign(
                    transaction, self._guard, already_signed=signed_wei
                )
                signed_wei += transaction.max_fee
                try:
                    # Once bytes may be on their way, their fate is found out, cancelled or not.
                    with anyio.CancelScope(shield=True):
                        return signed, await self._deliver(signed, max_retries)
                except _NonceTakenError as exc:
                    refusal = str(exc)
        raise TransactionRefusedError(refusal, "Another program uses this wallet; repeat the call.")

    def _transaction(self, nonce: int, to: str, data: bytes, offer: Quote) -> Transaction:
        # Unused gas is free, and the salt gives each call a hash of its own: what the node says
        # about a hash is then about this call, even where another program makes the same one.
        most = self._chain.block_gas_limit - GAS_SALT
        gas_limit = min(offer.gas * GAS_MARGIN, most) + secrets.randbelow(GAS_SALT)
        return Transaction(self._chain.chain_id, nonce, to, data, gas_limit, offer.gas_price)

    def _check_funds(self, transaction: Transaction, offer: Quote, sender: str) -> None:
        if offer.balance < transaction.max_fee:
            faucet = self._faucet_url.format(address=sender)
            raise InsufficientFundsError(sender, transaction.max_fee, offer.balance, faucet)

    async def _reserve(self, offer: Quote, sender: str) -> int:
        """Return the next nonce; asked of the chain only at the start and after trouble."""
        if self._next is None and offer.nonce is not None and not self._used:
            self._next = offer.nonce
        if self._next is None:
            self._next = await self._next_on_chain(sender)
        self._used = True
        return self._next

    async def _next_on_chain(self, sender: str) -> int:
        count = await self._chain.pending_nonce(sender)
        # A node behind a balancer may not count what another one has accepted.
        while count in self._outstanding and await self._chain.knows(self._outstanding[count]):
            count += 1
        self._outstanding = {n: h for n, h in self._outstanding.items() if n >= count}
        return count

    async def _deliver(self, signed: Signed, max_retries: int) -> Receipt | None:
        """Broadcast and find out what became of it; returns once the node has it."""
        receipt = None
        try:
            async for attempt in _attempts(max_retries, _is_unsent):
                with attempt:
                    receipt = await self._chain.broadcast(signed.raw, signed.transaction_hash)
        except ServiceUnreachableError:
            raise  # nothing was sent: the nonce is still the next one
        except RPCError as exc:
            await self._after_error(signed, exc)
        except ServiceError as exc:
            await self._after_silence(signed, str(exc))
        self._next = signed.nonce + 1
        self._outstanding[signed.nonce] = signed.transaction_hash
        return receipt

    async def _after_error(self, signed: Signed, error: RPCError) -> None:
        """Return if the node has the transaction in spite of its error reply."""
        words = error.message.lower()
        if any(word in words for word in ACCEPTED_WORDS):
            return
        refused = any(word in words for word in (*NONCE_WORDS, *REFUSED_WORDS))
        known = await self._look_up(signed, times=1 if refused else LOOK_UPS)
        if known:
            return
        if known is None or not refused:
            raise self._in_doubt(signed, f"the node answered {quote(error.message)}")
        if any(word in words for word in NONCE_WORDS):
            self._next = None
            raise _NonceTakenError(error.message)
        raise TransactionRefusedError(error.message)

    async def _after_silence(self, signed: Signed, why: str) -> None:
        if not await self._look_up(signed, times=LOOK_UPS):
            raise self._in_doubt(signed, why)

    def _in_doubt(self, signed: Signed, why: str) -> TransactionPendingError:
        self._next = None
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

    async def _mined(self, signed: Signed) -> Receipt:
        started, why, pause = anyio.current_time(), "", 0.1
        with anyio.move_on_after(self._timeouts.receipt_s):
            while True:
                try:
                    receipt = await self._chain.receipt(signed.transaction_hash)
                    if receipt is not None:
                        return receipt
                except ServiceError as exc:
                    why = str(exc)
                await anyio.sleep(pause)
                pause = min(pause * 1.5, 2.0)
        waited = anyio.current_time() - started
        raise TransactionPendingError(signed.transaction_hash, waited, why)

    async def _reason(self, sender: str, to: str, data: bytes, block: int) -> str:
        try:
            return await self._chain.revert_reason(sender, to, data, block)
        except ServiceError:
            return "the node did not say why"


class _NonceTakenError(Exception):
    """The nonce belongs to another transaction; this one can never be mined."""


def _is_unsent(exc: Exception) -> bool:
    return isinstance(exc, ServiceUnreachableError)


def _is_passing(exc: Exception) -> bool:
    """Whether a question, which changes nothing, is worth asking again."""
    if isinstance(exc, ServiceRejectedError):
        return exc.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return isinstance(exc, ServiceError)


def _attempts(
    max_retries: int, on: Callable[[Exception], bool]
) -> AsyncIterator[stamina.Attempt]:
    """Repeat what was not sent, or only asks: bounded in number and in time."""
    return aiter(
        stamina.retry_context(
            on=on, attempts=max_retries + 1, timeout=20.0, wait_initial=0.1, wait_max=2.0
        )
    )
