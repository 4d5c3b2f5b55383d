"""Sends signed transactions, and reports what the node said."""

from __future__ import annotations

from dataclasses import dataclass

from og_mcp.client.chain.answers import attempts, is_unsent, meaning_of
from og_mcp.client.chain.chain import Chain, Receipt
from og_mcp.client.chain.decisions import SendResult
from og_mcp.client.chain.rpc import RPCError
from og_mcp.client.chain.wallet import Signed
from og_mcp.errors import OGError, ServiceError, ServiceUnreachableError, quote


@dataclass(frozen=True)
class SendReport:
    """What became of one attempt to send."""

    result: SendResult
    words: str = ""
    """The refusal, fit for errors."""

    receipt: Receipt | None = None
    """Where the transaction was mined at once."""

    error: ServiceUnreachableError | None = None
    """Where no byte left."""


class Delivery:
    """Sends signed transactions to one chain.

    Args:
        chain: Where to.
    """

    def __init__(self, chain: Chain) -> None:
        self._chain = chain

    async def send(self, signed: Signed, max_retries: int = 0) -> SendReport:
        """Send a transaction and report what the node said; after an error, ask for it by its hash.

        Args:
            signed: What was signed, on record.
            max_retries: Further tries as long as nothing was sent.
        """
        try:
            async for attempt in attempts(max_retries, is_unsent):
                with attempt:
                    receipt = await self._chain.broadcast(signed.raw, signed.transaction_hash)
        except ServiceUnreachableError as exc:
            return SendReport(SendResult.NOTHING_LEFT, plain(exc), error=exc)
        except RPCError as exc:
            report = SendReport(meaning_of(exc), f"the node answered {quote(exc.message)}")
        except ServiceError as exc:
            report = SendReport(SendResult.REFUSED, plain(exc))
        else:
            charged = receipt and receipt.charged(signed.transaction)
            return SendReport(SendResult.TAKEN, receipt=charged)
        if report.result is not SendResult.TAKEN and await self.has(signed):
            return SendReport(SendResult.TAKEN)
        return report

    async def send_again(self, signed: Signed) -> SendReport:
        """Send what was sent before; the very same bytes can be mined only once."""
        report = await self.send(signed)
        # The bytes have left before, so `NOTHING_LEFT` would be wrong.
        return SendReport(SendResult.REFUSED, report.words) if report.error else report

    async def has(self, signed: Signed) -> bool:
        """Tell whether the node knows a transaction by its hash; false where it cannot be asked."""
        try:
            return await self._chain.knows(signed.transaction_hash)
        except ServiceError:
            return False


def plain(error: OGError) -> str:
    """Return an error's sentence without full stop and hint, to be used within another sentence."""
    return str(error.args[0]).rstrip(".")
