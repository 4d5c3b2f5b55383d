"""The outcomes of what was signed: waited for, judged, and sped up or cancelled where stuck."""

from __future__ import annotations

import anyio

from og_mcp.calls import Journal
from og_mcp.client.chain.answers import is_accepted
from og_mcp.client.chain.chain import Chain, Receipt
from og_mcp.client.chain.rpc import RPCError
from og_mcp.client.chain.signer import Signer
from og_mcp.client.chain.ticket import Ticket
from og_mcp.client.chain.wallet import Signed, read_transaction
from og_mcp.client.wire.timeouts import Timeouts
from og_mcp.errors import (
    OGError,
    ServiceError,
    ServiceRejectedError,
    TransactionCancelledError,
    TransactionPendingError,
    TransactionRefusedError,
    TransactionRevertedError,
)


class Outcomes:
    """What becomes of the transactions of one wallet on one chain.

    Args:
        chain: Tells it.
        signer: Signs replacements.
        journal: Knows what other processes signed for a call.
        timeouts: How long to wait for a receipt, and when a transaction counts as stuck.
    """

    def __init__(self, chain: Chain, signer: Signer, journal: Journal, timeouts: Timeouts) -> None:
        self._chain, self._signer, self._journal = chain, signer, journal
        self._timeouts = timeouts

    async def wait(self, ticket: Ticket, *, speed_up: bool = True) -> Receipt:
        """Wait until one of the call's transactions is mined.

        Args:
            ticket: With all that was signed for the call.
            speed_up: Sign again at a higher price where it is stuck.

        Raises:
            TransactionPendingError: Not known to be mined; it may still be.
        """
        started, why, pause = anyio.current_time(), "", 0.1
        replace_at = started + self._timeouts.stuck_after_s
        with anyio.move_on_after(self._timeouts.receipt_s):
            while True:
                try:
                    receipt = await self.find_receipt(ticket)
                    if receipt is not None:
                        return receipt
                    if speed_up and anyio.current_time() > replace_at:
                        replace_at += self._timeouts.stuck_after_s
                        await self._replace_if_cheap(ticket)
                except ServiceError as exc:
                    why = str(exc)
                await anyio.sleep(pause)
                pause = min(pause * 1.5, 2.0)
        waited = anyio.current_time() - started
        raise TransactionPendingError(ticket.signed[-1].transaction_hash, waited, why)

    async def judge(self, ticket: Ticket, receipt: Receipt) -> Receipt:
        """Judge a receipt of the call.

        Raises:
            TransactionRevertedError: The contract refused.
            TransactionCancelledError: The nonce was used up on request, in place of the call.
        """
        signed = next(s for s in ticket.signed if s.transaction_hash == receipt.transaction_hash)
        transaction = read_transaction(signed.raw)
        sender = await self._signer.address()
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
        sender = await self._signer.address()
        price = max(newest.gas_price * 9 // 8 + 1, await self._chain.gas_price())
        again = newest.cancelled(price, sender) if cancel else newest.replaced(price)
        async with self._signer.lane() as lane:
            with anyio.CancelScope(shield=True):
                signed = await self._signer.sign(ticket, lane, again, already_signed=0)
                try:
                    await self._chain.broadcast(signed.raw, signed.transaction_hash)
                except RPCError as exc:
                    if not is_accepted(exc):
                        raise TransactionRefusedError(
                            exc.message, "The earlier transaction may still be mined."
                        ) from exc
        return signed

    async def send_again(self, ticket: Ticket) -> None:
        """Send the newest of what was signed for a call once more, where the node has none of it.

        The very same bytes: they can be mined at most once. In the lane, so that nobody gives the
        nonce back or replaces them meanwhile.

        Raises:
            ServiceError: The node cannot be asked, or does not take them.
        """
        async with self._signer.lane() as lane:
            await self._learn_replacements(ticket)
            newest = ticket.signed[-1]
            for signed in ticket.signed:
                if await self._chain.knows(signed.transaction_hash):
                    return
            if await self._chain.mined_nonce(lane.account.address) > newest.nonce:
                return
            try:
                await self._chain.broadcast(newest.raw, newest.transaction_hash)
            except RPCError as exc:
                if not is_accepted(exc):
                    service = self._chain.service
                    raise ServiceRejectedError(service, exc.code, exc.message) from exc

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
