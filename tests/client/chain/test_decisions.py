"""T31: the table of what may be done with a transaction whose end is not known, row by row."""

from __future__ import annotations

import pytest

from og_mcp.client.chain.answers import meaning_of
from og_mcp.client.chain.decisions import (
    Decision,
    NonceChoice,
    NonceState,
    OwnAction,
    Reservation,
    SendResult,
    decide,
)
from og_mcp.client.chain.rpc import RPCError

N = 5
UNUSED = NonceState(nonce=N, latest=N, safe=N)
USED = NonceState(nonce=N, latest=N + 1, safe=N)
GONE = NonceState(nonce=N, latest=N + 2, safe=N + 1)
ENDED = NonceState(nonce=N, latest=N + 2, safe=N + 1, gone_s=60.0)
MINED = NonceState(nonce=N, latest=N + 1, safe=N, is_mined=True)
VANISHED = NonceState(nonce=N, latest=N, safe=N, was_mined=True)

ROWS = {
    "no byte left, whatever the chain says": (
        (SendResult.NOTHING_LEFT, ENDED),
        Decision(Reservation.NOTHING, OwnAction.ANYTHING, NonceChoice.ANY),
    ),
    "the node has it": (
        (SendResult.TAKEN, UNUSED),
        Decision(Reservation.NUMBER, OwnAction.WAIT, NonceChoice.ABOVE),
    ),
    "the node refuses it": (
        (SendResult.REFUSED, UNUSED),
        Decision(Reservation.NUMBER, OwnAction.SEND_AGAIN, NonceChoice.TAKE_OVER),
    ),
    "it is too cheap": (
        (SendResult.TOO_CHEAP, UNUSED),
        Decision(Reservation.NUMBER, OwnAction.RAISE_PRICE, NonceChoice.TAKE_OVER),
    ),
    "this node never takes it": (
        (SendResult.NEVER, UNUSED),
        Decision(Reservation.NUMBER, OwnAction.STOP, NonceChoice.TAKE_OVER),
    ),
    "its nonce is used, and not for good": (
        (SendResult.REFUSED, USED),
        Decision(Reservation.FEE, OwnAction.STOP, NonceChoice.LATEST),
    ),
    "the same, though the node has it": (
        (SendResult.TAKEN, USED),
        Decision(Reservation.FEE, OwnAction.STOP, NonceChoice.LATEST),
    ),
    "its nonce is used for good, at the first look": (
        (SendResult.REFUSED, GONE),
        Decision(Reservation.FEE, OwnAction.STOP, NonceChoice.LATEST),
    ),
    "its nonce is used for good, at a second look a minute later": (
        (SendResult.REFUSED, ENDED),
        Decision(Reservation.DAY, OwnAction.STOP, NonceChoice.LATEST),
    ),
    "it has a receipt, whatever was answered": (
        (SendResult.NEVER, MINED),
        Decision(Reservation.CHARGED, OwnAction.STOP, NonceChoice.LATEST),
    ),
    "its receipt vanished": (
        (SendResult.REFUSED, VANISHED),
        Decision(Reservation.CHARGED, OwnAction.SEND_AGAIN, NonceChoice.ABOVE),
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_t31_the_row_where(row: str) -> None:
    (result, seen), decision = ROWS[row]

    assert decide(result, seen) == decision


def test_t31_a_second_look_that_comes_too_early_ends_nothing() -> None:
    early = NonceState(nonce=N, latest=N + 1, safe=N + 1, gone_s=59.9)

    assert decide(SendResult.TAKEN, early).held is Reservation.FEE


@pytest.mark.parametrize(
    ("other", "holds_more"),
    [
        (NonceState(nonce=N, latest=N, safe=N, gone_s=60.0), Reservation.NUMBER),
        (NonceState(nonce=N, latest=N + 1, safe=N, gone_s=60.0), Reservation.FEE),
        (
            NonceState(nonce=N, latest=N + 2, safe=N + 1, is_mined=True, gone_s=60.0),
            Reservation.DAY,
        ),
        (ENDED, Reservation.DAY),
    ],
)
def test_t31_where_rpcs_differ_the_row_that_holds_more_counts(
    other: NonceState, holds_more: Reservation
) -> None:
    assert decide(SendResult.REFUSED, ENDED.agreed([other])).held is holds_more
    assert decide(SendResult.REFUSED, MINED.agreed([USED])).held is Reservation.FEE


@pytest.mark.parametrize(
    ("words", "result"),
    [
        ("already known", SendResult.TAKEN),
        ("ALREADY_EXISTS: already known", SendResult.TAKEN),
        ("insufficient funds for gas * price + value", SendResult.REFUSED),
        ("txpool is full", SendResult.REFUSED),
        ("nonce too high", SendResult.REFUSED),
        ("nonce too low: next nonce 7, tx nonce 5", SendResult.REFUSED),
        ("something else", SendResult.REFUSED),
        ("", SendResult.REFUSED),
        ("replacement transaction underpriced", SendResult.TOO_CHEAP),
        ("transaction underpriced: gas tip cap 0", SendResult.TOO_CHEAP),
        ("max fee per gas less than block base fee", SendResult.TOO_CHEAP),
        ("intrinsic gas too low", SendResult.NEVER),
        ("exceeds block gas limit", SendResult.NEVER),
        ("oversized data", SendResult.NEVER),
        ("invalid chain id for signer", SendResult.NEVER),
        ("invalid sender", SendResult.NEVER),
    ],
)
def test_t31_the_words_of_a_refusal(words: str, result: SendResult) -> None:
    assert meaning_of(RPCError(-32000, words)) is result
