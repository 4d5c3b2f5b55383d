"""Checks what a gateway's answer proves: request, content and time by a TEE's signature, or nothing.

Pure: asks nobody. That the registry names the TEE is `tee.TEE.source`, and that it still does is
`tee.Registry.is_active`. Whatever goes wrong while verifying is a mismatch (threats.md T19).

Source: protocol.md section 4, "Signature".
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from eth_utils.crypto import keccak

from og_mcp.client.tee.canonical_request import (
    Covered,
    chat_forms,
    completion_forms,
    encode_body,
    search_forms,
)
from og_mcp.client.tee.hashed_forms import UNREADABLE, HashedForms
from og_mcp.client.tee.registry import TEE
from og_mcp.client.tee.rejected_answer import SIGNED_FIELDS, verification_error
from og_mcp.client.tee.section import section
from og_mcp.client.tee.signature import is_signed, signed_message
from og_mcp.client.tee.signed_content import (
    Content,
    chat_content,
    completion_content,
    search_content,
    until_stop,
)
from og_mcp.errors import quote
from og_mcp.types import Proof, ProofStatus

__all__ = [
    "CLOCK_DRIFT_S",
    "Evidence",
    "chat_request",
    "completion_request",
    "encode_body",
    "search_request",
    "verify_chat",
    "verify_completion",
    "verify_search",
]

CLOCK_DRIFT_S: Final = 900
"""How far a TEE's clock and ours may be apart, either way.

Enclaves have no network time of their own and drift by seconds a day. An answer is signed when it
is complete, so this is also the age up to which an identical request's answer could be replayed.
"""

_HASH: Final = re.compile(r"(?:0x)?([0-9a-fA-F]{64})")
_ReadContent = Callable[[Mapping[str, Any]], Content]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A verified answer and its evidence."""

    text: str
    """What was signed, where that is text, up to the request's first stop sequence; for an
    unsigned answer, what came."""

    is_cut: bool
    """Whether the answer went on after a stop sequence."""

    tool_calls: tuple[Mapping[str, Any], ...]
    """What was signed, where these are tool calls; `text` is empty then."""

    proof: Proof
    """The field `verification` of the result."""

    tee: Mapping[str, Any] = field(repr=False)
    """The receipt's part `tee` (interface.md section 4); without a signature where there is none."""


@dataclass(frozen=True)
class _Claim:
    """The hashes, time, TEE id and signature in an answer."""

    request_hash: bytes
    output_hash: bytes
    timestamp: int
    signature: bytes
    tee_id: str


class _MismatchError(Exception):
    """Something does not fit; the message says what."""


def chat_request(body: bytes) -> HashedForms:
    """Return what an answer to a chat request is verified against.

    Args:
        body: The request as it is sent.
    """
    return HashedForms(partial(chat_forms, body))


def completion_request(body: bytes) -> HashedForms:
    """Return what an answer to a completion request is verified against.

    Args:
        body: The request as it is sent.
    """
    return HashedForms(partial(completion_forms, body))


def search_request(body: bytes) -> HashedForms:
    """Return what an answer to a request to search is verified against.

    Args:
        body: The request as it is sent.
    """
    return HashedForms(partial(search_forms, body))


def verify_chat(  # noqa: PLR0913 - what is verified, by what, and on what terms
    request: HashedForms,
    answer: Mapping[str, Any],
    tee: TEE,
    *,
    now: float,
    local: bool,
    allow_unsigned: bool = False,
) -> Evidence:
    """Verify the answer to a chat request.

    Args:
        request: What was sent.
        answer: The whole answer in the shape of one that is not streamed, with its `tee_*` fields.
        tee: The TEE that was asked: what the connection's certificate belongs to.
        now: Unix seconds by our clock, as the answer came.
        local: The network is the local one, whose signatures prove nothing.
        allow_unsigned: An answer without any signed field is shown, and said to be unsigned.

    Raises:
        VerificationError: It does not match; its content is not to be shown.
    """
    return _verify(
        request, answer, tee, chat_content, now=now, local=local, allow_unsigned=allow_unsigned
    )


def verify_completion(  # noqa: PLR0913 - what is verified, by what, and on what terms
    request: HashedForms,
    answer: Mapping[str, Any],
    tee: TEE,
    *,
    now: float,
    local: bool,
    allow_unsigned: bool = False,
) -> Evidence:
    """Verify the answer to a completion request; arguments as for `verify_chat`.

    Raises:
        VerificationError: It does not match; its content is not to be shown.
    """
    return _verify(
        request,
        answer,
        tee,
        completion_content,
        now=now,
        local=local,
        allow_unsigned=allow_unsigned,
    )


def verify_search(  # noqa: PLR0913 - what is verified, by what, and on what terms
    request: HashedForms,
    answer: Mapping[str, Any],
    tee: TEE,
    *,
    now: float,
    local: bool,
    allow_unsigned: bool = False,
) -> Evidence:
    """Verify the answer to a request to search; arguments as for `verify_chat`.

    Raises:
        VerificationError: It does not match; its content is not to be shown.
    """
    return _verify(
        request, answer, tee, search_content, now=now, local=local, allow_unsigned=allow_unsigned
    )


def _verify(  # noqa: PLR0913 - what is verified, by what, and how it is read
    request: HashedForms,
    answer: Mapping[str, Any],
    tee: TEE,
    read: _ReadContent,
    *,
    now: float,
    local: bool,
    allow_unsigned: bool,
) -> Evidence:
    try:
        content = read(answer)
        if allow_unsigned and all(answer.get(name) in (None, "") for name in SIGNED_FIELDS):
            return _unsigned(content, request.first(), tee)
        claim = _claim(answer)
        _check_claim(claim, tee, now)
        covered = _match_request(request, claim)
        _match_content(content, claim, tee)
    except _MismatchError as exc:
        raise verification_error(str(exc), request.first().text, answer, tee) from exc
    except UNREADABLE as exc:
        what = f"it cannot be read: {quote(exc)}"
        raise verification_error(what, request.first().text, answer, tee) from exc
    return _evidence(covered, content, claim, tee, local=local)


def _claim(answer: Mapping[str, Any]) -> _Claim:
    missing = [name for name in SIGNED_FIELDS if answer.get(name) in (None, "")]
    if len(missing) == len(SIGNED_FIELDS):
        # Whoever takes all of them away must not get further than who takes one (threats.md T36).
        raise _MismatchError("the gateway signed nothing, and OG_ALLOW_UNSIGNED is not set")
    if missing:
        raise _MismatchError(f"it is signed in part and lacks {', '.join(missing)}")
    return _Claim(
        request_hash=_hash(answer, "tee_request_hash"),
        output_hash=_hash(answer, "tee_output_hash"),
        timestamp=_timestamp(answer["tee_timestamp"]),
        signature=base64.b64decode(answer["tee_signature"], validate=True),
        tee_id="0x" + _hash(answer, "tee_id").hex(),
    )


def _hash(answer: Mapping[str, Any], name: str) -> bytes:
    match = _HASH.fullmatch(answer[name])
    if match is None:
        raise _MismatchError(f"its {name} is not a hash: {quote(answer[name])}")
    return bytes.fromhex(match[1])


def _timestamp(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise _MismatchError(f"its tee_timestamp is not a whole number: {quote(value)}")
    return int(value)


def _check_claim(claim: _Claim, tee: TEE, now: float) -> None:
    if claim.tee_id != tee.tee_id:
        raise _MismatchError(f"it names another TEE, {claim.tee_id}")
    apart = claim.timestamp - now
    if abs(apart) > CLOCK_DRIFT_S:
        when = "ahead of" if apart > 0 else "behind"
        raise _MismatchError(
            f"its time {claim.timestamp} is {abs(apart):.0f} s {when} this machine's clock, more "
            f"than the {CLOCK_DRIFT_S} s that clocks may differ"
        )


def _match_request(request: HashedForms, claim: _Claim) -> Covered:
    for form, its_hash in request:
        if its_hash == claim.request_hash:
            return form
    raise _MismatchError("its request hash is not that of the request that was sent")


def _match_content(content: Content, claim: _Claim, tee: TEE) -> None:
    if keccak(content.signed.encode()) != claim.output_hash:
        raise _MismatchError("its output hash is not that of the answer that came")
    message = signed_message(claim.request_hash, claim.output_hash, claim.timestamp)
    if not is_signed(tee.public_key, claim.signature, message):
        raise _MismatchError("its signature is not by the key that the registry holds for the TEE")


def _evidence(
    covered: Covered, content: Content, claim: _Claim, tee: TEE, *, local: bool
) -> Evidence:
    signed = {
        "request_hash": "0x" + claim.request_hash.hex(),
        "output_hash": "0x" + claim.output_hash.hex(),
        "timestamp": claim.timestamp,
        "signature": "0x" + claim.signature.hex(),
    }
    text = until_stop(content.text, covered.stops)
    shown = ", shown up to the first stop sequence" if text != content.text else ""
    proof = _proof(
        "local" if local else "verified",
        tee,
        timestamp=claim.timestamp,
        covers=[
            f"of the request: {', '.join(covered.fields)}",
            f"of the answer: {content.what}{shown}",
            "the time of the answer, by the TEE's clock",
        ],
        not_covered=[*covered.left_out, *content.not_covered, *_NEVER_COVERED],
    )
    return Evidence(
        text=text,
        is_cut=text != content.text,
        tool_calls=content.tool_calls,
        proof=proof,
        tee=section(tee, _content(covered.text, content) | signed),
    )


_NEVER_COVERED: Final = (
    "the answer's finish_reason, usage and model name",
    (
        "that the answer is new: there is no nonce, and an earlier answer to an identical request "
        f"would pass for {CLOCK_DRIFT_S // 60} minutes"
    ),
)


def _unsigned(content: Content, covered: Covered, tee: TEE) -> Evidence:
    text = until_stop(content.text, covered.stops)
    return Evidence(
        text=text,
        is_cut=text != content.text,
        tool_calls=content.tool_calls,
        proof=_proof("unsigned", tee, not_covered=["anything: the gateway signed nothing"]),
        tee=section(tee, _content(covered.text, content)),
    )


def _content(canonical: bytes, content: Content) -> dict[str, Any]:
    return {"canonical_request": canonical.decode(), "content": content.signed}


def _proof(status: ProofStatus, tee: TEE, **fields: Any) -> Proof:  # noqa: ANN401 - fields of Proof
    return Proof(
        status=status,
        tee_id=tee.tee_id,
        tee_endpoint=tee.endpoint,
        pcr_hash=tee.pcr_hash,
        registry=tee.source,
        **fields,
    )
