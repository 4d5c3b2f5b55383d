"""Receipts of gateway calls (interface.md section 4): what was sent, answered, signed and paid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from og_mcp.client._canonical_json import digest
from og_mcp.client._receipt_checks import SCHEMA
from og_mcp.client._tee_section import without_content


def build(  # noqa: PLR0913 - the facts of one call, each told by name
    *,
    call_id: str,
    network: str,
    tool: str,
    created_at: str,
    request: Mapping[str, Any],
    body: bytes,
    response: Mapping[str, Any] | None,
    tee: Mapping[str, Any],
    payment: Mapping[str, Any],
    keep_content: bool,
) -> dict[str, Any]:
    """Make the receipt of a call that a gateway answered.

    Args:
        call_id: The call.
        network: Name of the network.
        tool: What was called.
        created_at: ISO 8601.
        request: What is said of the request beside what was sent, e.g. `inference_mode`.
        body: What was sent. It is kept as text: its order of keys may be hashed.
        response: What the call gave; to be bound to the signature it has the signed text as
            `content` or `text`, where there is none as an empty one, or `tool_calls`. `None` where
            the answer was withheld.
        tee: `Evidence.tee` of the answer, or `VerificationError.evidence`.
        payment: As results hold it; empty where nothing was paid.
        keep_content: False with OG_RECEIPTS=hashes: hashes and signature alone are kept.
    """
    content: dict[str, Any] = {"request": {**request, "tool": tool, "body": body.decode()}}
    if response is not None:
        content["response"] = dict(response)
    return {
        "schema": SCHEMA,
        "call_id": call_id,
        "network": network,
        "tool": tool,
        "created_at": created_at,
        **(content if keep_content else {}),
        **{f"{name}_hash": digest(value) for name, value in content.items()},
        "tee": dict(tee) if keep_content else without_content(tee),
        **({"payment": dict(payment)} if payment else {}),
    }
