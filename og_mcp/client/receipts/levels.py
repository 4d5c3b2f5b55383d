"""The level of a receipt says no more than what was checked (threats.md T14).

Something in a receipt must be signed, and cover what the receipt keeps. The level of the whole is the
lowest of request, answer and payment. Parts that are only claimed are named instead: what
is left out (OG_RECEIPTS=hashes), images that no TEE signs, a payment that has not settled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Literal

from og_mcp.client.receipts.named_network import name_of
from og_mcp.client.receipts.tee_checks import IMAGES
from og_mcp.networks import LOCAL
from og_mcp.types import Check, Level, PartLevel, PartStatus, Verification

SIGNED: Final = {
    "chain": frozenset({"signature"}),
    "tee": frozenset({"tee_digest", "tee_id", "tee_signature"}),
}
"""Part -> its checks that must pass, whatever else a receipt keeps."""

OF_TRANSACTION: Final = frozenset({"transaction_hash", "contract"})
"""Checks that must pass where the signed transaction is kept."""

OF_REQUEST: Final = {
    "chain": frozenset({"request_hash", "call_data"}),
    "tee": frozenset({"request_hash", "tee_request", "tee_request_hash"}),
}
"""Part -> the checks that bind a kept request to it."""

OF_ANSWER: Final = {
    "chain": frozenset({"response_hash", "output"}),
    "tee": frozenset({"response_hash", "tee_response", "tee_output_hash"}),
}
"""Part -> the checks that bind a kept answer to it."""

OF_PAYMENT: Final = frozenset({"payment_terms"})
OF_HASHES: Final = ("request_hash", "response_hash")
SETTLEMENT: Final = "settlement"

WORDS: Final = {
    "confirmed": "confirmed by the network",
    "consistent": "consistent with what is signed or settled, by the file alone",
    "claimed": "only claimed by whoever made the file",
}
"""Level -> what it says about a part."""

_ORDER: Final = ("claimed", "consistent", "confirmed")


def verdict(
    receipt: object,
    found: Sequence[Check],
    online: frozenset[str],
    to_ask: frozenset[str] = frozenset(),
) -> Verification:
    """Sum up the checks.

    Args:
        receipt: As it was checked, with what the chain has of what it leaves out.
        found: Every check of it.
        online: Names of the checks that ask somebody, and that make a receipt `confirmed`.
        to_ask: Names of the checks that were not asked about, and can be.
    """
    results = {check.name: check.result for check in found}
    level: Level = "none"
    if (
        "failed" not in results.values()
        and isinstance(receipt, dict)
        and all(results[name] == "ok" for name in _needed(receipt))
    ):
        asked = {name for name in online if name in results} | _told_by_chain(receipt)
        level = "confirmed" if all(results[name] == "ok" for name in asked) else "consistent"
    parts = _parts(receipt, results, level) if isinstance(receipt, dict) else []
    if level == "confirmed" and any(part.level == "consistent" for part in parts):
        level = "consistent"
    network = name_of(receipt)
    return Verification(
        network=network,
        valid=level != "none",
        level=level,
        shows=_summary(parts, level, is_failed="failed" in results.values()),
        parts=parts,
        summary=_counted(found, to_ask, "local" if network == LOCAL else "public"),
        checks=list(found),
    )


def _counted(found: Sequence[Check], to_ask: frozenset[str], network: str) -> str:
    """Count the checks by their result."""
    counts = Counter(
        "to_ask" if check.result == "not_checked" and check.name in to_ask else check.result
        for check in found
    )
    passed = f"{counts['ok']} check{'' if counts['ok'] == 1 else 's'} passed"
    told = [passed, f"{counts['failed']} failed"]
    if needing := counts["to_ask"]:
        told.append(f"{needing} need{'s' if needing == 1 else ''} the {network} network")
    if unknown := counts["not_checked"]:
        told.append(f"{unknown} could not be checked")
    return ", ".join(told)


def _needed(receipt: Mapping[str, Any]) -> set[str]:
    """Return the checks that must pass for the parts to belong together."""
    needed = {"schema"}
    for part in SIGNED.keys() & receipt.keys():
        needed |= SIGNED[part]
        if "raw_transaction" in receipt[part]:
            needed |= OF_TRANSACTION
        if "request" in receipt:
            needed |= OF_REQUEST[part]
        if "response" in receipt:
            needed |= OF_ANSWER[part]
            if isinstance(receipt["response"], Mapping) and {*receipt["response"]} == IMAGES:
                needed -= {"tee_response"}
    return needed


def _parts(receipt: Mapping[str, Any], results: Mapping[str, str], level: Level) -> list[PartLevel]:
    """Return the levels of request, answer and payment; none is above the evidence's level."""
    of_part = SIGNED.keys() & receipt.keys()
    bound: tuple[tuple[Literal["request", "answer"], Mapping[str, frozenset[str]], str], ...] = (
        ("request", OF_REQUEST, "request_hash"),
        ("answer", OF_ANSWER, "response_hash"),
    )
    found = [
        PartLevel(
            name=name,
            level="claimed"
            if level == "none" or not all(_holds(of[part], results) for part in of_part)
            else level,
        )
        for name, of, kept in bound
        if kept in receipt
    ]
    if "payment" in receipt:
        paid: PartStatus = "claimed"
        if level != "none" and _holds(OF_PAYMENT, results):
            paid = "confirmed" if results.get(SETTLEMENT) == "ok" else "consistent"
        found.append(PartLevel(name="payment", level=paid))
    return found


def _holds(names: Collection[str], results: Mapping[str, str]) -> bool:
    return all(results.get(name) == "ok" for name in names)


def _summary(parts: Sequence[PartLevel], level: Level, *, is_failed: bool) -> str:
    """Say in one sentence what is shown of each part, and what a receipt cannot show."""
    if is_failed:
        return "The receipt is not valid."
    if level == "none":
        return (
            "Nothing failed, but not enough could be checked to say that the parts belong together."
        )
    told = [
        f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} {WORDS[one]}"
        for one in reversed(_ORDER)
        if (names := [part.name for part in parts if part.level == one])
    ]
    said = "; ".join(
        [*told, "call id, time and which call a payment was for are what the file says"]
    )
    return f"{said[0].upper()}{said[1:]}."


def _told_by_chain(receipt: Mapping[str, Any]) -> set[str]:
    """Return the hashes that the chain's request and answer must fit."""
    return {name for name in OF_HASHES if name in receipt} if "chain" in receipt else set()
