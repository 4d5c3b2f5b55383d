"""Compares a receipt's transaction with the chain's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from og_mcp.client.chain.chain import Chain, Receipt
from og_mcp.client.chain.signature import SignedCall, raw_of, read_signed
from og_mcp.client.receipts.checks import ReceiptParts
from og_mcp.client.receipts.functions import function_of
from og_mcp.client.receipts.reading import MismatchError, NotKeptError, log_json, read_logs
from og_mcp.client.receipts.settlement import held_to_time
from og_mcp.client.wire.canonical_json import digest
from og_mcp.errors import ServiceReplyError, quote

FOR_EVER: Final = 2**63
_TRANSACTION_HASH: Final = re.compile(r"0x[0-9a-f]{64}")


@dataclass(frozen=True)
class MinedTransaction:
    """A transaction as the chain has it."""

    signed: SignedCall
    raw: bytes
    sender: str
    """As the RPC tells it."""

    receipt: Receipt
    block_time: int
    """Unix seconds."""


async def look_up(part: object, chain: Chain) -> MinedTransaction:
    """Get the transaction of a receipt's part `chain`, of any origin.

    Raises:
        MismatchError: The chain does not have it.
        WrongChainError: The RPC serves another chain than its network's.
        ServiceError: The RPC cannot be used.
    """
    claimed = part if isinstance(part, Mapping) else {}
    transaction_hash, chain_id = claimed.get("transaction_hash"), claimed.get("chain_id")
    if chain_id != chain.chain_id:
        raise MismatchError(
            f"the receipt is of chain {quote(chain_id)}, and the network that was asked is chain "
            f"{chain.chain_id}: OG_NETWORK and OG_CHAIN_ID choose another"
        )
    if not isinstance(transaction_hash, str) or not _TRANSACTION_HASH.fullmatch(transaction_hash):
        raise MismatchError("its transaction_hash is not a hash")
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
    block = await chain.block(hex(mined.block_number))
    if block is None:
        raise ServiceReplyError(chain.service, "it does not have the transaction's block")
    return MinedTransaction(signed, raw, str(sent.get("from")), mined, block[1])


def complete(receipt: Mapping[str, Any], mined: MinedTransaction) -> dict[str, Any]:
    """Add what the receipt leaves out from the chain, where it fits the hashes."""
    part = {
        "raw_transaction": "0x" + mined.raw.hex(),
        "logs": [log_json(log) for log in mined.receipt.logs],
        **receipt["chain"],
    }
    completed = {**receipt, "chain": part}
    if "request" not in receipt:
        request, is_exact = _request_in(mined.signed)
        if is_exact or digest(request) == receipt["request_hash"]:
            completed["request"] = request
    if "response" not in receipt and "response_hash" in receipt:
        response, is_exact = _response_in(ReceiptParts(completed))
        if is_exact or digest(response) == receipt["response_hash"]:
            completed["response"] = response
    return completed


def _request_in(signed: SignedCall) -> tuple[dict[str, Any], bool]:
    """Read the request from what was signed, and whether that is its only form."""
    try:
        function = function_of(signed.data)
        return function.request_of(signed), function.has_one_request
    except (MismatchError, LookupError, ValueError):
        return {}, False


def _response_in(parts: ReceiptParts) -> tuple[dict[str, Any], bool]:
    """Read the answer from the events, and whether that is its only form."""
    try:
        return parts.function.response_of(parts.answer)
    except (MismatchError, NotKeptError, ServiceReplyError):
        return {}, False


UNBOUND: Final = (
    "; its request has another hash than the receipt's, as one has with a tensor from a file, whose "
    "name does not travel"
)


def compare(receipt: Mapping[str, Any], found: MinedTransaction) -> str:
    """Compare what a receipt claims with what the chain says; returns it in words.

    Raises:
        MismatchError: They differ.
    """
    part, mined, sender = receipt["chain"], found.receipt, found.sender
    # A stuck transaction may be mined at any time after.
    held_to_time(ReceiptParts(receipt), found.block_time, "its block", 900, FOR_EVER)
    wrong = [
        words
        for words, differs in {
            "the transaction reverted": "response_hash" in receipt and not mined.succeeded,
            f"it is in block {mined.block_hash}": part.get("block_hash") != mined.block_hash,
            f"its block is {mined.block_number}": part.get("block_number") != mined.block_number,
            "its events differ": "logs" in part and read_logs(part["logs"]) != mined.logs,
            f"its sender is {quote(sender)}": sender.lower() != found.signed.sender.lower(),
        }.items()
        if differs
    ]
    if wrong:
        raise MismatchError("; ".join(wrong))
    ended = "" if mined.succeeded else "; it reverted"
    return (
        f"in block {mined.block_number}, {mined.block_hash}, sent by {found.signed.sender}{ended}"
    )
