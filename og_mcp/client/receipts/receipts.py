"""Receipts: what a call sent and got, so that anyone can check it.

A receipt is JSON of schema `og-mcp/receipt/2` (interface.md section 4). Offline it can be shown to be
`consistent`: request, signed transaction, events and answer fit each other. Only the chain can show
that it has the transaction with these events (`confirm_online`): anyone can make a receipt that is
signed with a key of their own (threats.md T14).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from anyio import to_thread

from og_mcp.client.chain.chain import Chain, Receipt
from og_mcp.client.chain.signature import read_signed
from og_mcp.client.codec.canonical import canonical_input
from og_mcp.client.receipts import checks
from og_mcp.client.receipts.chain_signature import kept_signature
from og_mcp.client.receipts.checks import ReceiptParts, digested
from og_mcp.client.receipts.fields import SCHEMA
from og_mcp.client.receipts.functions import function_of
from og_mcp.client.receipts.inclusion import UNBOUND, compare, complete, look_up
from og_mcp.client.receipts.levels import verdict
from og_mcp.client.receipts.reading import MismatchError, log_json, readable
from og_mcp.client.receipts.tee_online import NAME as REGISTRY
from og_mcp.client.receipts.tee_online import registry_check
from og_mcp.client.wire.canonical_json import canonical, digest
from og_mcp.networks import Network
from og_mcp.types import Check, CheckResult, Verification

__all__ = [
    "SCHEMA",
    "build",
    "canonical",
    "canonical_input",
    "confirm_online",
    "digest",
    "digested",
    "request_of_transaction",
    "verify",
]

INCLUSION: Final = "inclusion"
SETTLEMENT: Final = "settlement"

ONLINE_OF: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "chain": (
            INCLUSION,
            "that the chain holds the transaction, with these events: online, the chain tells",
        ),
        "tee": (
            REGISTRY,
            "that the registry had this TEE with endpoint, measurement and key: online, it tells",
        ),
        "payment": (
            SETTLEMENT,
            "payer, pay_to, nonce, deadline, max_opg and amount_opg: online, once it settled",
        ),
    }
)
"""Part of a receipt -> its online check, and what that would show."""

ONLINE: Final = frozenset(name for name, _ in ONLINE_OF.values())
CONFIRMING: Final = ONLINE - {SETTLEMENT}
"""Checks that make a receipt `confirmed`; a payment may settle long after, or never."""

Settlement = Callable[[object], Awaitable[Check]]
"""Asks the payment chain about a part `payment`, of any origin; returns the check `settlement`."""


def build(  # noqa: PLR0913 - the facts of one call, each told by name
    *,
    call_id: str,
    network: str,
    tool: str,
    created_at: str,
    request: Mapping[str, Any],
    response: Mapping[str, Any] | None,
    raw_transaction: bytes,
    receipt: Receipt,
    contract: str,
    chain_id: int,
    keep_content: bool,
) -> dict[str, Any]:
    """Make the receipt of a call of the inference contract.

    Args:
        call_id: The call.
        network: Name of the network.
        tool: What was called.
        created_at: ISO 8601.
        request: The canonical request: of `infer`, `tool`, `model_cid`, `model_input` as
            `canonical_input` gives it, `inference_mode`; else `LLMRequest.canonical`.
        response: What the call returned; where that is nothing, the receipt has no answer.
        raw_transaction: As signed.
        receipt: The chain's own.
        contract: What was called on the chain.
        chain_id: Where.
        keep_content: False with OG_RECEIPTS=hashes: neither request and answer are kept, nor what
            repeats them, call data and events; of the transaction, its signature stays.

    Source: interface.md section 4.
    """
    content: dict[str, Any] = {"request": dict(request)}
    if response:
        content["response"] = dict(response)
    evidence: dict[str, Any] = {
        "chain_id": chain_id,
        "transaction_hash": receipt.transaction_hash,
        "block_number": receipt.block_number,
        "block_hash": receipt.block_hash,
        "contract": contract,
    }
    if keep_content:
        evidence["raw_transaction"] = "0x" + raw_transaction.hex()
        evidence["logs"] = [log_json(log) for log in receipt.logs]
    else:
        evidence |= kept_signature(raw_transaction)
    return digested(
        {
            "schema": SCHEMA,
            "call_id": call_id,
            "network": network,
            "tool": tool,
            "created_at": created_at,
            **(content if keep_content else {}),
            **{f"{name}_hash": digest(value) for name, value in content.items()},
            "chain": evidence,
        }
    )


def request_of_transaction(raw_transaction: bytes) -> dict[str, Any]:
    """Read the request from the signed transaction.

    Returns:
        The request as `build` takes it; another one where a tensor came from a file, whose name
        does not travel.

    Raises:
        ValueError: It is not a call of the inference contract in a signed legacy transaction.
    """
    signed = read_signed(raw_transaction)
    return function_of(signed.data).request_of(signed)


def verify(receipt: object, known: Network | None = None) -> Verification:
    """Check offline that the parts of a receipt belong together.

    Never raises for what the receipt holds: a part that cannot be read is a failed check.

    Args:
        receipt: JSON of any origin.
        known: The network that is used here, where its values are not the public ones.
    """
    found = [*_offline(receipt, checks.FILE, known), *_unasked(receipt)]
    return verdict(receipt, found, CONFIRMING, to_ask=ONLINE)


async def confirm_online(
    receipt: object,
    chain: Chain,
    *,
    network: Network | None = None,
    tee_registry: str = "",
    settlement: Settlement | None = None,
) -> Verification:
    """Check a receipt, and ask the chain for its transaction and events, or for its TEE.

    What a receipt leaves out (OG_RECEIPTS=hashes) is taken from the chain and compared with the hashes.

    Args:
        receipt: JSON of any origin.
        chain: Of the network that is believed; the receipt must be of that chain.
        network: That network; the receipt must name it.
        tee_registry: Address of the network's registry; empty where it has none.
        settlement: Asks the payment chain about a receipt's part `payment`.

    Raises:
        WrongChainError: The RPC serves another chain than its network's.
        ServiceError: The RPC cannot be used.
    """
    offline = await to_thread.run_sync(verify, receipt, network)
    found = [check for check in offline.checks if check.name not in ONLINE]
    if not isinstance(receipt, dict) or found[0].result == "failed":
        return offline
    asked = {check.name: check for check in _unasked(receipt)}
    checked = receipt
    if "chain" in receipt:
        checked, found, asked[INCLUSION] = await _include(receipt, found, chain, network)
    if "tee" in receipt:
        asked[REGISTRY] = await registry_check(receipt["tee"], chain, tee_registry)
    if "payment" in receipt and settlement is not None:
        asked[SETTLEMENT] = await settlement(receipt["payment"])
    return verdict(checked, [*found, *asked.values()], CONFIRMING)


async def _include(
    receipt: dict[str, Any], found: list[Check], chain: Chain, network: Network | None
) -> tuple[dict[str, Any], list[Check], Check]:
    """Ask the chain for the transaction; it may fill in what the receipt leaves out."""
    source, completed = f"RPC {chain.rpc_shown}", receipt
    result: CheckResult = "ok"
    try:
        mined = await look_up(receipt["chain"], chain)
        completed = await to_thread.run_sync(complete, receipt, mined)
        if completed != receipt:
            both = f"this file, completed by {source}"
            again = await to_thread.run_sync(_offline, completed, both, network)
            # The digest covers the file as it was, not as completed.
            of_file = {check.name: check for check in found if check.name == checks.DIGEST}
            found = [of_file.get(check.name, check) for check in again]
        detail = compare(receipt, mined) + ("" if "request" in completed else UNBOUND)
    except MismatchError as exc:
        result, detail = "failed", str(exc)
    return completed, found, Check(name=INCLUSION, result=result, source=source, detail=detail)


def _unasked(receipt: object) -> list[Check]:
    """Return the online checks as not checked."""
    parts = receipt.keys() & ONLINE_OF.keys() if isinstance(receipt, dict) else set()
    return [
        Check(name=name, result="not_checked", source=checks.MAKER, detail=detail)
        for part, (name, detail) in ONLINE_OF.items()
        if part in (parts or {"chain"})
    ]


def _offline(receipt: object, source: str, known: Network | None) -> list[Check]:
    """Run every offline check; the schema's comes first."""
    try:
        readable(receipt)
    except MismatchError as exc:
        return [Check(name="schema", result="failed", source=source, detail=str(exc))]
    if not isinstance(receipt, dict):
        return [Check(name="schema", result="failed", source=source, detail="it is not an object")]
    parts = ReceiptParts(receipt, known)
    tests = dict(checks.EVERY)
    for part, of_part in checks.OF_PART.items():
        tests |= of_part if part in receipt else {}
    return [checks.run(parts, name, test, source) for name, test in tests.items()]
