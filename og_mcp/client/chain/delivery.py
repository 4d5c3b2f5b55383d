"""The delivery of a signed transaction: sent, and known to be with the node or not.

What is in doubt is looked up by its hash, and never taken for unsent.
"""

from __future__ import annotations

from typing import Final

import anyio

from og_mcp.client.chain.answers import (
    attempts,
    is_accepted,
    is_nonce_taken,
    is_refused,
    is_unsent,
)
from og_mcp.client.chain.chain import Chain, Receipt
from og_mcp.client.chain.rpc import RPCError
from og_mcp.client.chain.wallet import Signed
from og_mcp.client.wire.timeouts import Timeouts
from og_mcp.errors import (
    ServiceError,
    ServiceUnreachableError,
    TransactionPendingError,
    TransactionRefusedError,
    quote,
)

LOOK_UPS: Final = 3
"""Times that the node must say that it does not know a hash before it is believed."""


class NonceTakenError(Exception):
    """The nonce belongs to another transaction; this one can never be mined."""


class Delivery:
    """Brings signed transactions to one chain.

    Args:
        chain: Where to.
        timeouts: How long to look for what is in doubt.
    """

    def __init__(self, chain: Chain, timeouts: Timeouts) -> None:
        self._chain, self._timeouts = chain, timeouts

    async def deliver(self, signed: Signed, max_retries: int) -> Receipt | None:
        """Broadcast and find out what became of it; returns once the node has it.

        Args:
            signed: What was signed, on record.
            max_retries: Further tries as long as nothing was sent.

        Returns:
            The receipt, where the transaction was mined at once.

        Raises:
            NonceTakenError: It can never be mined.
            TransactionRefusedError: The node did not take it.
            TransactionPendingError: The node may have it.
            ServiceUnreachableError: Nothing was sent.
        """
        started = anyio.current_time()
        try:
            async for attempt in attempts(max_retries, is_unsent):
                with attempt:
                    return await self._chain.broadcast(signed.raw, signed.transaction_hash)
        except ServiceUnreachableError:
            raise  # nothing was sent: the nonce is still the next one
        except RPCError as exc:
            await self._after_error(signed, exc, started)
        except ServiceError as exc:
            await self._after_silence(signed, str(exc), started)
        return None

    async def _after_error(self, signed: Signed, error: RPCError, started: float) -> None:
        """Return if the node has the transaction in spite of its error reply."""
        if is_accepted(error):
            return
        refused = is_nonce_taken(error) or is_refused(error)
        known = await self._look_up(signed, times=1 if refused else LOOK_UPS)
        if known:
            return
        if known is None or not refused:
            raise _in_doubt(signed, f"the node answered {quote(error.message)}", started)
        if is_nonce_taken(error):
            raise NonceTakenError(error.message)
        raise TransactionRefusedError(error.message)

    async def _after_silence(self, signed: Signed, why: str, started: float) -> None:
        if not await self._look_up(signed, times=LOOK_UPS):
            raise _in_doubt(signed, why, started)

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


def _in_doubt(signed: Signed, why: str, started: float) -> TransactionPendingError:
    waited = anyio.current_time() - started
    return TransactionPendingError(signed.transaction_hash, waited, why)
