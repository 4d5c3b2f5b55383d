"""What a node's answers to a sending mean, and which questions are worth asking again.

The words are geth's (protocol.md section 3.3): its error code is the same for all of them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from typing import Final

import stamina

from og_mcp.client.chain.rpc import RPCError
from og_mcp.errors import ServiceError, ServiceRejectedError, ServiceUnreachableError

ATTEMPTS_TIMEOUT_S: Final = 20.0

_ACCEPTED: Final = ("already known", "already imported")
_NONCE_TAKEN: Final = ("nonce too low", "nonce too high", "replacement transaction underpriced")
_REFUSED: Final = (
    "insufficient funds",
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


def is_accepted(error: RPCError) -> bool:
    """Whether the node has the transaction, in spite of its error."""
    return _says(error, _ACCEPTED)


def is_nonce_taken(error: RPCError) -> bool:
    """Whether another transaction stands in the way: this one can never be mined."""
    return _says(error, _NONCE_TAKEN)


def is_refused(error: RPCError) -> bool:
    """Whether the node has not taken the transaction."""
    return _says(error, _REFUSED)


def is_unsent(exc: Exception) -> bool:
    """Whether nothing can have arrived."""
    return isinstance(exc, ServiceUnreachableError)


def is_passing(exc: Exception) -> bool:
    """Whether a question, which changes nothing, is worth asking again."""
    if isinstance(exc, ServiceRejectedError):
        return exc.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return isinstance(exc, ServiceError)


def attempts(max_retries: int, on: Callable[[Exception], bool]) -> AsyncIterator[stamina.Attempt]:
    """Repeat what was not sent, or only asks: bounded in number and in time."""
    return aiter(
        stamina.retry_context(
            on=on,
            attempts=max_retries + 1,
            timeout=ATTEMPTS_TIMEOUT_S,
            wait_initial=0.1,
            wait_max=2.0,
        )
    )


def _says(error: RPCError, words: tuple[str, ...]) -> bool:
    text = error.message.lower()
    return any(word in text for word in words)
