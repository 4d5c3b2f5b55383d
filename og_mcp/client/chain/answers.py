"""What a node's answers to a sent transaction mean, and which requests are worth repeating.

The words are geth's (protocol.md section 3.3): its error code is the same for all of them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from typing import Final

import stamina

from og_mcp.client.chain.decisions import SendResult
from og_mcp.client.chain.rpc import RPCError
from og_mcp.errors import (
    RateLimitError,
    ServiceError,
    ServiceRejectedError,
    ServiceUnreachableError,
)

ATTEMPTS_TIMEOUT_S: Final = 20.0

_MEANINGS: Final = (
    (("already known", "already imported", "known transaction"), SendResult.TAKEN),
    (("underpriced", "fee per gas less than", "less than block base fee"), SendResult.TOO_CHEAP),
    (
        (
            "intrinsic gas too low",
            "exceeds block gas limit",
            "oversized data",
            "max initcode size",
            "invalid chain id",
            "invalid sender",
        ),
        SendResult.NEVER,
    ),
)
"""Words of a refusal, and what they mean; the first row that fits counts, others are `REFUSED`."""

_PASSING: Final = (
    "header not found",
    "block not found",
    "unknown block",
    "missing trie node",
    "state not available",
    "timeout",
    "timed out",
    "try again",
    "temporarily",
    "internal error",
)
"""Words of a node that lags or is busy; the same question a moment later may be answered."""


def meaning_of(error: RPCError) -> SendResult:
    """Tell what the node's error says about a transaction that was sent."""
    text = error.message.lower()
    return next(
        (result for words, result in _MEANINGS if any(w in text for w in words)), SendResult.REFUSED
    )


def is_unsent(exc: Exception) -> bool:
    """Tell whether no byte can have arrived; our own stack says so, never the other side."""
    return isinstance(exc, ServiceUnreachableError)


def is_passing(exc: Exception) -> bool:
    """Tell whether a read is worth repeating."""
    if isinstance(exc, ServiceRejectedError):
        said = exc.detail.lower()
        return (
            exc.status >= HTTPStatus.INTERNAL_SERVER_ERROR
            or isinstance(exc, RateLimitError)
            or any(words in said for words in _PASSING)
        )
    return isinstance(exc, ServiceError)


def attempts(max_retries: int, on: Callable[[Exception], bool]) -> AsyncIterator[stamina.Attempt]:
    """Repeat reads, and requests that were not sent; bounded in number and time."""
    return aiter(
        stamina.retry_context(
            on=on,
            attempts=max_retries + 1,
            timeout=ATTEMPTS_TIMEOUT_S,
            wait_initial=0.1,
            wait_max=2.0,
        )
    )
