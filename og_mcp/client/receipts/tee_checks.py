"""The checks of the part `tee` of a receipt; they ask nobody.

A check returns what it has shown, in words, and raises as those in `checks` do. Only the
registry can show that a key is a TEE's: anyone can make a receipt that is signed with a key of their
own (threats.md T14).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from eth_utils.crypto import keccak

from og_mcp.client.receipts.named_network import tee_network
from og_mcp.client.receipts.reading import (
    MAX_DEPTH,
    MismatchError,
    NotKeptError,
    equal,
    named,
    read_hex,
)
from og_mcp.client.receipts.settlement import held_to_time
from og_mcp.client.tee.canonical_request import (
    read_body,
    request_forms,
    stops_of,
)
from og_mcp.client.tee.section import section_digest
from og_mcp.client.tee.signature import is_signed, signed_message, tee_id_of
from og_mcp.client.tee.signed_content import reduced_call, until_stop
from og_mcp.client.wire.json_text import is_deeper
from og_mcp.errors import quote

if TYPE_CHECKING:
    from og_mcp.client.receipts.checks import ReceiptParts

MAX_SEARCHED: Final = 10**9
"""Limit on an answer's characters times its request's stop sequences: about a second."""

IMAGES: Final = frozenset({"images"})
"""Fields of an answer that is images; no signature covers them."""

SHOWN: Final = ("content", "text", "tool_calls")
"""Fields of an answer that a signature can cover."""


def _digest(parts: ReceiptParts) -> str:
    part = parts.part("tee")
    if not isinstance(part, Mapping):
        raise MismatchError("the part tee is not an object")
    # Every receipt has it: without one, nothing would show that a field was changed.
    equal(section_digest(part), part.get("digest"), "the SHA-256 of the part tee")
    return "SHA-256 of the part's canonical JSON"


def _tee_id(parts: ReceiptParts) -> str:
    key = read_hex(parts.part("tee", "public_key"))
    equal(tee_id_of(key), parts.part("tee", "tee_id"), "the Keccak-256 of the public key")
    return "Keccak-256 of the TEE's public key"


def _request(parts: ReceiptParts) -> str:
    """Compare the canonical request with the request that was sent."""
    canonical = _text(parts, "tee", "canonical_request").encode()
    body = _text(parts, "request", "body").encode()
    match = next((form for form in request_forms(body) if form.text == canonical), None)
    if match is None:
        raise MismatchError("the canonical request is not that of the request that was sent")
    # Fields of the request are among what a form leaves out, and anyone may have named them.
    others = [*map(quote, match.left_out), *_unsent_fields(parts.part("request"))]
    rest = f"; not covered: {', '.join(others)}" if others else ""
    return f"made of the request that was sent: {', '.join(match.fields)}{rest}"


def _request_hash(parts: ReceiptParts) -> str:
    canonical = _text(parts, "tee", "canonical_request")
    told = parts.part("tee", "request_hash")
    equal(_keccak(canonical), told, "the Keccak-256 of the canonical request")
    return "Keccak-256 of the canonical request"


def _output_hash(parts: ReceiptParts) -> str:
    content, told = _text(parts, "tee", "content"), parts.part("tee", "output_hash")
    equal(_keccak(content), told, "the Keccak-256 of the content")
    return "Keccak-256 of the signed content"


def _response(parts: ReceiptParts) -> str:
    """Compare the answer with the signed content."""
    response, content = parts.part("response"), _text(parts, "tee", "content")
    if not isinstance(response, Mapping):
        raise MismatchError("the answer is not an object")
    if {*response} == IMAGES:
        # Not a proof of them (threats.md T17), whatever text is signed beside them.
        raise NotKeptError(
            "the signature does not cover images: their SHA-256 are in the answer, which "
            "response_hash alone covers"
        )
    if not any(name in response for name in SHOWN):
        raise NotKeptError("the answer has neither content nor text nor tool_calls")
    texts = [response[name] for name in ("content", "text") if response.get(name)]
    calls = response.get("tool_calls")
    if calls:
        equal(texts, [], "the text beside tool calls, which no signature covers,")
        equal(_calls(content), [reduced_call(call) for call in calls], "the list of tool calls")
    else:
        stops = _stops(parts)
        if len(stops) * len(content) > MAX_SEARCHED:
            raise NotKeptError("the request has more stop sequences than are looked for")
        cut = until_stop(content, stops)
        if texts != ([cut] if cut else []):
            equal(texts, [content] if content else [], "the text that was signed")
    rest = sorted(name for name in response if name not in SHOWN)
    not_covered = f"; not covered: {named(rest)}" if rest else ""
    return f"{'tool calls' if calls else 'text'} of the answer are the signed content{not_covered}"


def _stops(parts: ReceiptParts) -> tuple[str, ...]:
    """Read the stop sequences from the canonical request if it is kept, else from the request."""
    try:
        request = _text(parts, "tee", "canonical_request")
    except NotKeptError:
        request = _text(parts, "request", "body")
    return stops_of(read_body(request.encode()))


def _signature(parts: ReceiptParts) -> str:
    part = parts.part("tee")
    if "mismatch" in part:
        raise MismatchError(f"when the answer came: {quote(part['mismatch'])}")
    if not any(name in part for name in ("signature", "request_hash", "output_hash")):
        raise NotKeptError("the gateway signed nothing")
    timestamp = parts.part("tee", "timestamp")
    if type(timestamp) is not int:
        raise MismatchError(f"the timestamp is not a whole number: {quote(timestamp)}")
    request_hash, output_hash, signature, key = (
        read_hex(parts.part("tee", name))
        for name in ("request_hash", "output_hash", "signature", "public_key")
    )
    if not is_signed(key, signature, signed_message(request_hash, output_hash, timestamp)):
        raise MismatchError("the signature over hashes and timestamp is not by the public key")
    return f"RSA-PSS by the TEE's key over both hashes and the time {timestamp}"


def _time(parts: ReceiptParts) -> str:
    """Compare the signed time with the time at which the file says the call was made."""
    timestamp = parts.part("tee", "timestamp")
    if type(timestamp) is not int:
        raise MismatchError(f"the timestamp is not a whole number: {quote(timestamp)}")
    held_to_time(parts, timestamp, "the time that was signed", 900, 4_500)
    return "the time that was signed fits the receipt's created_at"


def _text(parts: ReceiptParts, *path: str) -> str:
    text = parts.part(*path)
    if not isinstance(text, str):
        raise MismatchError(f"{'.'.join(path)} is not a text")
    return text


def _unsent_fields(request: Any) -> Iterator[str]:  # noqa: ANN401 - JSON
    """List fields of the receipt's request that were not sent."""
    names = [name for name in request if name not in {"tool", "body"}]
    if names:
        yield f"what the receipt says of {named(names)}"


def _calls(content: str) -> list[dict[str, Any]]:
    if is_deeper(content, MAX_DEPTH):
        raise MismatchError("the signed content is nested too deeply")
    return [reduced_call(call) for call in json.loads(content)]


def _keccak(text: str) -> str:
    return "0x" + keccak(text.encode()).hex()


CHECKS: Final[Mapping[str, Callable[[ReceiptParts], str]]] = MappingProxyType(
    {
        "tee_digest": _digest,
        "tee_id": _tee_id,
        "tee_request": _request,
        "tee_request_hash": _request_hash,
        "tee_output_hash": _output_hash,
        "tee_response": _response,
        "tee_signature": _signature,
        "tee_time": _time,
        "tee_network": tee_network,
    }
)
"""Checks of the part `tee`."""
