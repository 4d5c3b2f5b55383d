"""The part `tee` of a receipt: what a TEE signed, and who vouched for it.

Source: interface.md section 4. Bytes are 0x-hex, and `digest` is the SHA-256 of the part's other
fields in canonical JSON: a change that no signature would show is found by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from og_mcp.client.tee.registry import TEE
from og_mcp.client.wire.canonical_json import digest

CONTENT: Final = frozenset({"canonical_request", "content", "answer"})
"""Fields that hold what was asked and answered."""


def section(tee: TEE, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Put the part together.

    Args:
        tee: Who was asked.
        facts: What was asked, answered and signed: `canonical_request`, `content`, `request_hash`,
            `output_hash`, `timestamp`, `signature`; for an answer that did not match
            `mismatch`, which says why, and `answer`, what came as JSON text.
    """
    return _digested(
        {
            "tee_id": tee.tee_id,
            "endpoint": tee.endpoint,
            "pcr_hash": tee.pcr_hash,
            "public_key": "0x" + tee.public_key.hex(),
            **facts,
            "registry": tee.source.model_dump(),
        }
    )


def without_content(part: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what was asked and answered; hashes and signature stay (OG_RECEIPTS=hashes)."""
    return _digested({name: part[name] for name in part if name not in CONTENT})


def section_digest(part: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a part's other fields, 64 hexadecimal digits.

    Raises:
        ValueError: It holds what JSON does not know.
    """
    return digest({name: part[name] for name in part if name != "digest"})


def _digested(part: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in part.items() if name != "digest"}
    return {**kept, "digest": digest(kept)}
