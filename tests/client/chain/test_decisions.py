"""T31: the table of what may be done with a transaction whose end is not known, row by row."""

from __future__ import annotations

import pytest

from og_mcp.client.chain.answers import meaning_of
from og_mcp.client.chain.decisions import Decision, Held, Others, Own, Said, Seen, decide
from og_mcp.client.chain.rpc import RPCError

N = 5
UNUSED = Seen(nonce=N, latest=N, safe=N)
USED = Seen(nonce=N, latest=N + 1, safe=N)
GONE = Seen(nonce=N, latest=N + 2, safe=N + 1)
ENDED = Seen(nonce=N, latest=N + 2, safe=N + 1, gone_s=60.0)
MINED = Seen(nonce=N, latest=N + 1, safe=N, is_mined=True)
VANISHED = Seen(nonce=N, latest=N, safe=N, was_mined=True)

ROWS = {
    "no byte left, whatever the chain says": (
        (Said.NOTHING_LEFT, ENDED),
        Decision(Held.NOTHING, Own.ANYTHING, Others.ANY),
    ),
    "the node has it": ((Said.TAKEN, UNUSED), Decision(Held.NUMBER, Own.WAIT, Others.ABOVE)),
    "the node refuses it": (
        (Said.REFUSED, UNUSED),
        Decision(Held.NUMBER, Own.SEND_AGAIN, Others.TAKE_OVER),
    ),
    "it is too cheap": (
        (Said.TOO_CHEAP, UNUSED),
        Decision(Held.NUMBER, Own.RAISE_PRICE, Others.TAKE_OVER),
    ),
    "this node never takes it": (
        (Said.NEVER, UNUSED),
        Decision(Held.NUMBER, Own.STOP, Others.TAKE_OVER),
    ),
    "its nonce is used, and not for good": (
        (Said.REFUSED, USED),
        Decision(Held.FEE, Own.STOP, Others.LATEST),
    ),
    "the same, though the node has it": (
        (Said.TAKEN, USED),
        Decision(Held.FEE, Own.STOP, Others.LATEST),
    ),
    "its nonce is used for good, at the first look": (
        (Said.REFUSED, GONE),
        Decision(Held.FEE, Own.STOP, Others.LATEST),
    ),
    "its nonce is used for good, at a second look a minute later": (
        (Said.REFUSED, ENDED),
        Decision(Held.DAY, Own.STOP, Others.LATEST),
    ),
    "it has a receipt, whatever was answered": (
        (Said.NEVER, MINED),
        Decision(Held.CHARGED, Own.STOP, Others.LATEST),
    ),
    "its receipt vanished": (
        (Said.REFUSED, VANISHED),
        Decision(Held.CHARGED, Own.SEND_AGAIN, Others.ABOVE),
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_t31_the_row_where(row: str) -> None:
    (said, seen), decision = ROWS[row]

    assert decide(said, seen) == decision


def test_t31_a_second_look_that_comes_too_early_ends_nothing() -> None:
    early = Seen(nonce=N, latest=N + 1, safe=N + 1, gone_s=59.9)

    assert decide(Said.TAKEN, early).held is Held.FEE


@pytest.mark.parametrize(
    ("other", "holds_more"),
    [
        (Seen(nonce=N, latest=N, safe=N, gone_s=60.0), Held.NUMBER),
        (Seen(nonce=N, latest=N + 1, safe=N, gone_s=60.0), Held.FEE),
        (Seen(nonce=N, latest=N + 2, safe=N + 1, is_mined=True, gone_s=60.0), Held.DAY),
        (ENDED, Held.DAY),
    ],
)
def test_t31_where_rpcs_differ_the_row_that_holds_more_counts(
    other: Seen, holds_more: Held
) -> None:
    assert decide(Said.REFUSED, ENDED.agreed([other])).held is holds_more
    assert decide(Said.REFUSED, MINED.agreed([USED])).held is Held.FEE


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("already known", Said.TAKEN),
        ("ALREADY_EXISTS: already known", Said.TAKEN),
        ("insufficient funds for gas * price + value", Said.REFUSED),
        ("txpool is full", Said.REFUSED),
        ("nonce too high", Said.REFUSED),
        ("nonce too low: next nonce 7, tx nonce 5", Said.REFUSED),
        ("something else", Said.REFUSED),
        ("", Said.REFUSED),
        ("replacement transaction underpriced", Said.TOO_CHEAP),
        ("transaction underpriced: gas tip cap 0", Said.TOO_CHEAP),
        ("max fee per gas less than block base fee", Said.TOO_CHEAP),
        ("intrinsic gas too low", Said.NEVER),
        ("exceeds block gas limit", Said.NEVER),
        ("oversized data", Said.NEVER),
        ("invalid chain id for signer", Said.NEVER),
        ("invalid sender", Said.NEVER),
    ],
)
def test_t31_the_words_of_a_refusal(words: str, said: Said) -> None:
    assert meaning_of(RPCError(-32000, words)) is said
