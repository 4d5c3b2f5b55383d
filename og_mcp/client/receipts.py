"""Receipts: what a call sent and got, so that anyone can check that it belongs together.

A receipt is JSON of schema `og-mcp/receipt/1` (interface.md section 4). Offline it can be shown
`consistent`: request, signed transaction, events and answer fit each other. That the transaction
stands on the chain with these events, only the chain can tell (`confirm_online`): whoever makes a
receipt can sign one with a key of their own (threats.md T14).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from anyio import to_thread

from og_mcp.client import _receipt_checks as checks
from og_mcp.client._abi import decode_run
from og_mcp.client._canonical import canonical, canonical_input, digest, request_of
from og_mcp.client._outputs import to_json
from og_mcp.client._receipt_checks import SCHEMA, Evidence
from og_mcp.client._receipt_json import (
    MismatchError,
    NotKeptError,
    log_json,
    read_logs,
    readable,
)
from og_mcp.client._signature import SignedCall, raw_of, read_signed
from og_mcp.client.chain import Chain, Receipt
from og_mcp.errors import ServiceReplyError, quote
from og_mcp.types import Check, InferenceResult, Level, Verification

__all__ = [
    "SCHEMA",
    "build",
    "canonical",
    "canonical_input",
    "confirm_online",
    "digest",
    "request_of_transaction",
    "verify",
]

_TRANSACTION_HASH: Final = re.compile(r"0x[0-9a-f]{64}")


def build(  # noqa: PLR0913 - the facts of one call, each told by name
    *,
    call_id: str,
    tool: str,
    created_at: str,
    request: Mapping[str, Any],
    result: InferenceResult,
    raw_transaction: bytes,
    receipt: Receipt,
    contract: str,
    chain_id: int,
    keep_content: bool,
) -> dict[str, Any]:
    """Make the receipt of an on-chain inference.

    Args:
        call_id: The call.
        tool: What was called.
        created_at: ISO 8601.
        request: `tool`, `model_cid`, `model_input` as `canonical_input` gives it, `inference_mode`.
        result: What the call gave; without an output, the receipt claims no answer.
        raw_transaction: As signed.
        receipt: The chain's own.
        contract: What was called on the chain.
        chain_id: Where.
        keep_content: False with OG_RECEIPTS=hashes: neither request and answer are kept, nor what
            repeats them, call data and events.

    Source: interface.md section 4.
    """
    content: dict[str, Any] = {"request": dict(request)}
    if result.model_output:
        content["response"] = result.model_output
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
    return {
        "schema": SCHEMA,
        "call_id": call_id,
        "network": result.network,
        "tool": tool,
        "created_at": created_at,
        **(content if keep_content else {}),
        **{f"{name}_hash": digest(value) for name, value in content.items()},
        "chain": evidence,
    }


def request_of_transaction(raw_transaction: bytes, tool: str) -> dict[str, Any]:
    """Read the request back from what was signed for it.

    Returns:
        The request as `build` takes it; another one where a tensor came from a file, whose name
        does not travel.

    Raises:
        ValueError: It is no call of `run` in a signed legacy transaction.
    """
    return request_of(decode_run(read_signed(raw_transaction).data), tool)


def verify(receipt: object) -> Verification:
    """Check that the parts of a receipt belong together; asks nobody.

    Never raises for what the receipt holds: a part that cannot be read is a failed check.

    Args:
        receipt: JSON of any origin.
    """
    unasked = Check(
        name="inclusion",
        result="not_checked",
        source=checks.MAKER,
        detail="that the chain holds the transaction, with these events: online, the chain tells",
    )
    return _verdict(receipt, [*_offline(receipt, checks.FILE), unasked])


async def confirm_online(receipt: object, chain: Chain) -> Verification:
    """Check a receipt, and ask the chain for its transaction and events.

    What a receipt leaves out (OG_RECEIPTS=hashes) is taken from the chain and held to the hashes.

    Args:
        receipt: JSON of any origin.
        chain: Of the network that is believed; the receipt must be of that chain.

    Raises:
        WrongChainError: The RPC serves another chain than its network's.
        ServiceError: The RPC cannot be used.
    """
    offline = await to_thread.run_sync(verify, receipt)
    found, source = offline.checks[:-1], f"RPC {chain.rpc_shown}"
    if not isinstance(receipt, dict) or found[0].result == "failed":
        return offline
    try:
        signed, raw, sender, mined = await _ask(receipt.get("chain"), chain)
        completed = await to_thread.run_sync(_complete, receipt, raw, mined)
        if completed != receipt:
            both = f"this file, completed by {source}"
            found = await to_thread.run_sync(_offline, completed, both)
        detail = _compare(receipt, signed, sender, mined)
        inclusion = Check(name="inclusion", result="ok", source=source, detail=detail)
    except MismatchError as exc:
        inclusion = Check(name="inclusion", result="failed", source=source, detail=str(exc))
    return _verdict(receipt, [*found, inclusion])


def _offline(receipt: object, source: str) -> list[Check]:
    """Carry out every check that asks nobody; the schema's comes first."""
    try:
        readable(receipt)
    except MismatchError as exc:
        return [Check(name="schema", result="failed", source=source, detail=str(exc))]
    if not isinstance(receipt, dict):
        return [Check(name="schema", result="failed", source=source, detail="it is no object")]
    evidence = Evidence(receipt)
    tests = dict(checks.EVERY)
    for part, of_part in checks.OF_PART.items():
        tests |= of_part if part in receipt else {}
    return [checks.run(evidence, name, test, source) for name, test in tests.items()]


def _verdict(receipt: object, found: list[Check]) -> Verification:
    """Sum checks up: no word stronger than what they showed (T14)."""
    results = {check.name: check.result for check in found}
    level: Level = "none"
    if "failed" not in results.values() and _is_bound(receipt, results):
        level = "confirmed" if results["inclusion"] == "ok" else "consistent"
    return Verification(valid="failed" not in results.values(), level=level, checks=found)


def _is_bound(receipt: object, results: Mapping[str, str]) -> bool:
    """Tell whether some part binds request, evidence and answer, where one is claimed."""
    assert isinstance(receipt, dict)  # noqa: S101 - else a check failed
    answered = "response" in receipt or "response_hash" in receipt
    return any(
        all(results[name] == "ok" for name in (needed if answered else needed - checks.OF_ANSWER))
        for part, needed in checks.BINDING.items()
        if part in receipt
    )


async def _ask(part: object, chain: Chain) -> tuple[SignedCall, bytes, str, Receipt]:
    """Get a transaction from the chain: what was signed, its bytes, sender and receipt.

    Raises:
        MismatchError: The chain cannot have it, or has not.
    """
    claimed = part if isinstance(part, Mapping) else {}
    transaction_hash, chain_id = claimed.get("transaction_hash"), claimed.get("chain_id")
    if chain_id != chain.chain_id:
        raise MismatchError(
            f"the receipt is of chain {quote(chain_id)}, and the network that was asked is chain "
            f"{chain.chain_id}: OG_NETWORK and OG_CHAIN_ID choose another"
        )
    if not isinstance(transaction_hash, str) or not _TRANSACTION_HASH.fullmatch(transaction_hash):
        raise MismatchError("its transaction_hash is none")
    await chain.check()
    sent = await chain.transaction(transaction_hash)
    mined = await chain.receipt(transaction_hash)
    if sent is None or mined is None:
        raise MismatchError("the chain has no such mined transaction")
    try:
        raw = raw_of(sent)
    except ValueError as exc:
        raise ServiceReplyError(chain.service, "a transaction is malformed") from exc
    try:
        signed = read_signed(raw)
    except ValueError as exc:
        raise MismatchError(f"the chain's transaction is another kind: {exc}") from exc
    if signed.transaction_hash != transaction_hash:
        raise ServiceReplyError(chain.service, "a transaction does not have the hash asked for")
    return signed, raw, str(sent.get("from")), mined


def _complete(receipt: Mapping[str, Any], raw: bytes, mined: Receipt) -> dict[str, Any]:
    """Put in what a receipt leaves out and the chain has, where it fits the hashes."""
    part = {
        "raw_transaction": "0x" + raw.hex(),
        "logs": [log_json(log) for log in mined.logs],
        **receipt["chain"],
    }
    completed = {**receipt, "chain": part}
    if "request" not in receipt:
        request = _request_in(raw, receipt["tool"])
        if digest(request) == receipt["request_hash"]:
            completed["request"] = request
    if "response" not in receipt and "response_hash" in receipt:
        response, is_exact = _response_in(Evidence(completed))
        if is_exact or digest(response) == receipt["response_hash"]:
            completed["response"] = response
    return completed


def _request_in(raw: bytes, tool: str) -> dict[str, Any]:
    try:
        return request_of_transaction(raw, tool)
    except ValueError:
        return {}


def _response_in(evidence: Evidence) -> tuple[dict[str, Any], bool]:
    """Read the answer from the events, and whether there is no other way to write it."""
    try:
        output = evidence.output
    except (MismatchError, NotKeptError, ServiceReplyError):
        return {}, False
    # Texts travel without their shape.
    return to_json(output), not output.strings


def _compare(receipt: Mapping[str, Any], signed: SignedCall, sender: str, mined: Receipt) -> str:
    """Compare what a receipt claims with what the chain says; returns it in words.

    Raises:
        MismatchError: They differ.
    """
    part = receipt["chain"]
    wrong = [
        words
        for words, differs in {
            "the transaction reverted": "response_hash" in receipt and not mined.succeeded,
            f"it is in block {mined.block_hash}": part.get("block_hash") != mined.block_hash,
            f"its block is {mined.block_number}": part.get("block_number") != mined.block_number,
            "its events differ": "logs" in part and read_logs(part["logs"]) != mined.logs,
            f"its sender is {quote(sender)}": sender.lower() != signed.sender.lower(),
        }.items()
        if differs
    ]
    if wrong:
        raise MismatchError("; ".join(wrong))
    ended = "" if mined.succeeded else "; it reverted"
    return f"in block {mined.block_number}, {mined.block_hash}, sent by {signed.sender}{ended}"
