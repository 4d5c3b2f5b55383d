"""How far a receipt holds: no word stronger than what was checked (threats.md T14).

What a receipt keeps must be bound by what is signed, and something signed there must be. What it
leaves out (OG_RECEIPTS=hashes), and the images that no TEE signs, take nothing away: their checks say
`not_checked`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from og_mcp.client.receipts.named_network import name_of
from og_mcp.client.receipts.tee_checks import IMAGES
from og_mcp.networks import LOCAL
from og_mcp.types import Check, Level, Verification

SIGNED: Final = {
    "chain": frozenset({"signature"}),
    "tee": frozenset({"tee_digest", "tee_id", "tee_signature"}),
}
"""Part -> what of it must hold whatever else a receipt keeps."""

OF_TRANSACTION: Final = frozenset({"transaction_hash", "contract"})
"""What must hold where the signed transaction is kept."""

OF_REQUEST: Final = {
    "chain": frozenset({"request_hash", "call_data"}),
    "tee": frozenset({"request_hash", "tee_request", "tee_request_hash"}),
}
"""Part -> what binds a request that is kept to it."""

OF_ANSWER: Final = {
    "chain": frozenset({"response_hash", "output"}),
    "tee": frozenset({"response_hash", "tee_response", "tee_output_hash"}),
}
"""Part -> what binds an answer that is kept to it."""

OF_HASHES: Final = ("request_hash", "response_hash")


def verdict(
    receipt: object,
    found: Sequence[Check],
    online: frozenset[str],
    to_ask: frozenset[str] = frozenset(),
) -> Verification:
    """Sum checks up.

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
    network = name_of(receipt)
    return Verification(
        network=network,
        valid=level != "none",
        level=level,
        summary=_counted(found, to_ask, "local" if network == LOCAL else "public"),
        checks=list(found),
    )


def _counted(found: Sequence[Check], to_ask: frozenset[str], network: str) -> str:
    """Count the checks by what came of them."""
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
    """Name the checks without which a receipt's parts do not belong together."""
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


def _told_by_chain(receipt: Mapping[str, Any]) -> set[str]:
    """Name the hashes that what the chain has must fit: once it is asked, it has request and answer."""
    return {name for name in OF_HASHES if name in receipt} if "chain" in receipt else set()
