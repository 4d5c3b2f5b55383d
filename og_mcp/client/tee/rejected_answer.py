"""An answer that is not what its TEE signed: withheld, and kept as evidence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from og_mcp.client.tee.registry import TEE
from og_mcp.client.tee.section import section
from og_mcp.errors import VerificationError

SIGNED_FIELDS: Final = (
    *("tee_signature", "tee_request_hash", "tee_output_hash"),
    *("tee_timestamp", "tee_id"),
)
"""Fields of an answer that say what was signed."""

_KEPT: Final = ("choices", "completion", "content", *SIGNED_FIELDS)


def verification_error(
    what: str, canonical: bytes, answer: Mapping[str, Any], tee: TEE
) -> VerificationError:
    """Make the error of an answer that does not match.

    Args:
        what: Does not match, in words.
        canonical: The canonical request.
        answer: As it came.
        tee: Who was asked.
    """
    kept = {name: answer[name] for name in _KEPT if name in answer}
    if isinstance(kept.get("choices"), list):
        kept["choices"] = [_without_images(choice) for choice in kept["choices"]]
    facts = {"canonical_request": canonical.decode(), "mismatch": what, "answer": _as_text(kept)}
    return VerificationError(what, tee.tee_id, evidence=section(tee, facts))


def _without_images(choice: object) -> object:
    """Leave out fields that no signature covers and that may be large."""
    message = choice.get("message") if isinstance(choice, Mapping) else None
    if not isinstance(choice, Mapping) or not isinstance(message, Mapping):
        return choice
    rest = {name: value for name, value in message.items() if name != "images"}
    return {**choice, "message": rest}


def _as_text(value: object) -> str:
    """Write what came as JSON text, also where it holds what JSON does not know."""
    try:
        return json.dumps(value)
    except (RecursionError, TypeError, ValueError):
        return ""
