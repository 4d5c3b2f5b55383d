"""The checks of a receipt, part by part. They ask nobody, and read JSON that anyone may have written.

A check returns what it has shown, in words. It raises `MismatchError` where something does not fit,
and `NotKeptError` where the receipt lacks what it needs. The tables of checks stand at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final

from og_mcp.client.chain.signature import SignedCall, read_signed
from og_mcp.client.receipts import tee_checks as _tee_checks
from og_mcp.client.receipts.chain_signature import check_signature
from og_mcp.client.receipts.fields import (
    NEWER,
    SCHEMA,
    SCHEMAS,
    check_fields,
    check_labels,
    check_provider,
    check_tool,
)
from og_mcp.client.receipts.functions import Function, function_of
from og_mcp.client.receipts.named_network import SOURCE as TABLE
from og_mcp.client.receipts.named_network import chain_network, payment_network
from og_mcp.client.receipts.reading import MismatchError, NotKeptError, equal, read_hex, read_logs
from og_mcp.client.receipts.settlement import check_terms
from og_mcp.client.wire.canonical_json import digest
from og_mcp.errors import OGError, quote
from og_mcp.networks import Network
from og_mcp.types import Check, CheckResult

REQUIRED: Final = ("call_id", "network", "tool", "created_at", "request_hash")
EVIDENCE: Final = ("chain", "tee")
"""Parts that prove something; a receipt has at least one of them."""

DIGEST: Final = "digest"
_HASHED: Final = frozenset({"request", "response", DIGEST})

FILE: Final = "this file alone"
MAKER: Final = "only whoever made the file"


@dataclass(frozen=True)
class ReceiptParts:
    """One receipt and the values of its parts."""

    receipt: Mapping[str, Any]

    known: Network | None = None
    """The network that the verifier has configured."""

    def part(self, *path: str) -> Any:  # noqa: ANN401 - JSON
        """Return the value at a path of keys.

        Raises:
            NotKeptError: The receipt does not have it.
        """
        value: Any = self.receipt
        for key in path:
            if not isinstance(value, Mapping) or key not in value:
                raise NotKeptError(f"the receipt does not keep {'.'.join(path)}")
            value = value[key]
        return value

    @cached_property
    def signed(self) -> SignedCall:
        """The signed transaction."""
        raw = self.part("chain", "raw_transaction")
        try:
            return read_signed(read_hex(raw))
        except ValueError as exc:
            raise MismatchError(f"raw_transaction cannot be read: {exc}") from exc

    @cached_property
    def function(self) -> Function[Any]:
        """The function that the signed transaction calls."""
        try:
            return function_of(self.signed.data)
        except ValueError as exc:
            raise MismatchError(f"the call data cannot be read: {exc}") from exc

    @cached_property
    def answer(self) -> Any:  # noqa: ANN401 - of the function's own kind
        """The answer in the events: the contract's, else the precompile's."""
        logs = read_logs(self.part("chain", "logs"))
        return self.function.answer_in(logs, str(self.part("chain", "contract")))


def whole_digest(receipt: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a receipt without its request and answer, which have hashes of their own.

    Raises:
        ValueError: It holds a value that JSON does not have.
    """
    return digest({name: receipt[name] for name in receipt if name not in _HASHED})


def digested(receipt: Mapping[str, Any]) -> dict[str, Any]:
    """Add the digest of a receipt to it."""
    return {**receipt, DIGEST: whole_digest(receipt)}


def run(parts: ReceiptParts, name: str, test: Test, source: str) -> Check:
    """Run one check; it ends in a result, whatever the receipt holds.

    Args:
        parts: The receipt.
        name: Of the check.
        test: What is done.
        source: What an outcome rests on.
    """
    result: CheckResult
    try:
        detail, result = test(parts), "ok"
    except NotKeptError as exc:
        detail, result = str(exc), "not_checked"
    except MismatchError as exc:
        detail, result = str(exc), "failed"
    except (OGError, ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as exc:
        detail, result = f"it cannot be read: {quote(exc)}", "failed"
    source = MAKER if result == "not_checked" else SOURCES.get(name, source)
    return Check(name=name, result=result, source=source, detail=detail)


def _schema(parts: ReceiptParts) -> str:
    schema = parts.receipt.get("schema")
    if schema not in SCHEMAS:
        raise MismatchError(f"it is {quote(schema)}, not {' or '.join(SCHEMAS)}, {NEWER}")
    missing = [name for name in REQUIRED if not isinstance(parts.receipt.get(name), str)]
    if missing:
        raise MismatchError(f"it lacks {', '.join(missing)}")
    if not any(isinstance(parts.receipt.get(part), Mapping) for part in EVIDENCE):
        raise MismatchError(f"it has no evidence: none of the parts {', '.join(EVIDENCE)}")
    return f"a receipt of schema {schema}"


def _digest(parts: ReceiptParts) -> str:
    if parts.receipt.get("schema") == SCHEMA and DIGEST not in parts.receipt:
        raise MismatchError("it has no digest, which every receipt of its schema has")
    told = parts.part(DIGEST)
    equal(whole_digest(parts.receipt), told, "the SHA-256 of all but request and answer")
    return "nothing was changed by accident; a change on purpose can come with a new digest"


def _request_hash(parts: ReceiptParts) -> str:
    equal(digest(parts.part("request")), parts.part("request_hash"), "the request's SHA-256")
    return "SHA-256 of the request's canonical JSON"


def _response_hash(parts: ReceiptParts) -> str:
    told = parts.part("response_hash")
    equal(digest(parts.part("response")), told, "the answer's SHA-256")
    return "SHA-256 of the answer's canonical JSON"


def _transaction_hash(parts: ReceiptParts) -> str:
    told = parts.part("chain", "transaction_hash")
    equal(parts.signed.transaction_hash, told, "the Keccak-256 of the signed transaction")
    return "Keccak-256 of the signed transaction"


def _contract(parts: ReceiptParts) -> str:
    told = str(parts.part("chain", "contract"))
    equal(parts.signed.to, told.lower(), "the contract that is called")
    if parts.signed.value:
        raise MismatchError(f"the transaction sends {parts.signed.value} wei along")
    return f"the signed transaction calls {told}"


def _call_data(parts: ReceiptParts) -> str:
    """Compare the request with the signed call data."""
    request, function = parts.part("request"), parts.function
    try:
        return function.compare_request(parts.signed, request)
    except ValueError as exc:
        raise MismatchError(f"the call data cannot be read: {exc}") from exc


def _output(parts: ReceiptParts) -> str:
    """Compare the answer with the events."""
    response, answer = parts.part("response"), parts.answer
    if not isinstance(response, Mapping):
        raise MismatchError("the answer is not an object")
    if not parts.function.compare_answer(answer, response):
        raise MismatchError("the answer is not the output in the events")
    if not parts.function.is_emitted(parts.signed, read_logs(parts.part("chain", "logs"))):
        raise MismatchError("the request in the events is not the one that was signed for")
    return "the events decode to the answer; offline, nobody vouches for the events"


Test = Callable[[ReceiptParts], str]

EVERY: Final[Mapping[str, Test]] = MappingProxyType(
    {
        "schema": _schema,
        "fields": check_fields,
        DIGEST: _digest,
        "request_hash": _request_hash,
        "response_hash": _response_hash,
        "tool": check_tool,
        "labels": check_labels,
    }
)
"""Checks of every receipt."""

OF_PART: Final[Mapping[str, Mapping[str, Test]]] = MappingProxyType(
    {
        "chain": MappingProxyType(
            {
                "transaction_hash": _transaction_hash,
                "signature": check_signature,
                "contract": _contract,
                "call_data": _call_data,
                "output": _output,
                "network": chain_network,
            }
        ),
        "tee": MappingProxyType({**_tee_checks.CHECKS, "provider": check_provider}),
        "payment": MappingProxyType({"payment": payment_network, "payment_terms": check_terms}),
    }
)
"""Checks of the parts that a receipt may have."""

SOURCES: Final[Mapping[str, str]] = MappingProxyType(
    dict.fromkeys(("network", "tee_network", "payment"), TABLE)
)
"""Checks that need more than the receipt."""
