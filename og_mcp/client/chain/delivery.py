"""The delivery of a signed transaction: sent, and what the node said to it."""

from __future__ import annotations

from dataclasses import dataclass

from og_mcp.client.chain.answers import attempts, is_unsent, meaning_of
from og_mcp.client.chain.chain import Chain, Receipt
from og_mcp.client.chain.decisions import Said
from og_mcp.client.chain.rpc import RPCError
from og_mcp.client.chain.wallet import Signed
from og_mcp.errors import OGError, ServiceError, ServiceUnreachableError, quote


@dataclass(frozen=True)
class Heard:
    """What became of one sending."""

    said: Said
    words: str = ""
    """The refusal, fit for errors."""

    receipt: Receipt | None = None
    """Where the transaction was mined at once."""

    error: ServiceUnreachableError | None = None
    """Where no byte left."""


class Delivery:
    """Brings signed transactions to one chain.

    Args:
        chain: Where to.
    """

    def __init__(self, chain: Chain) -> None:
        self._chain = chain

    async def send(self, signed: Signed, max_retries: int = 0) -> Heard:
        """Send a transaction and tell what the node said; an error is held against its hash.

        Args:
            signed: What was signed, on record.
            max_retries: Further tries as long as nothing was sent.
        """
        try:
            async for attempt in attempts(max_retries, is_unsent):
                with attempt:
                    receipt = await self._chain.broadcast(signed.raw, signed.transaction_hash)
        except ServiceUnreachableError as exc:
            return Heard(Said.NOTHING_LEFT, plain(exc), error=exc)
        except RPCError as exc:
            heard = Heard(meaning_of(exc), f"the node answered {quote(exc.message)}")
        except ServiceError as exc:
            heard = Heard(Said.REFUSED, plain(exc))
        else:
            charged = receipt and receipt.charged(signed.transaction)
            return Heard(Said.TAKEN, receipt=charged)
        if heard.said is not Said.TAKEN and await self.has(signed):
            return Heard(Said.TAKEN)
        return heard

    async def send_again(self, signed: Signed) -> Heard:
        """Send what was sent before; the very same bytes can be mined only once."""
        heard = await self.send(signed)
        # They have left earlier.
        return Heard(Said.REFUSED, heard.words) if heard.error else heard

    async def has(self, signed: Signed) -> bool:
        """Tell whether the node knows a transaction by its hash; false where it cannot be asked."""
        try:
            return await self._chain.knows(signed.transaction_hash)
        except ServiceError:
            return False


def plain(error: OGError) -> str:
    """Tell an error within a sentence: without its hint."""
    return str(error.args[0]).rstrip(".")
