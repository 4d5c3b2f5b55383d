"""The receipt of a gateway call: request, answer, the TEE's evidence, the payment.

Source: interface.md section 4. No signature over a payment, no session and no payment header is in
it: those are bearer secrets (threats.md T29).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from og_mcp.client.receipts.checks import digested
from og_mcp.client.receipts.fields import SCHEMA
from og_mcp.client.tee.section import without_content
from og_mcp.client.wire.canonical_json import canonical, digest
from og_mcp.client.wire.offloading import off_loop
from og_mcp.errors import coins
from og_mcp.networks import UPTO_PROXY
from og_mcp.types import Cap, Shape

if TYPE_CHECKING:
    from og_mcp.client.calls.context import CallContext

ANSWER: Final = frozenset({"content", "tool_calls", "text", "images"})
"""Fields of a result that are the answer; the rest is in other parts of the receipt."""

WORDS: Final = frozenset({"finish_reason", "usage", "cost", "citations", "moderation"})
"""Fields of a result that only the gateway says; they go to the part `claims`."""

OF_CONTENT: Final = frozenset({"citations", "moderation"})
"""Those fields of `claims` that tell what was asked and answered."""


async def build(  # noqa: PLR0913 - the facts of one call, each told by name
    call: CallContext,
    *,
    network: str,
    request: Mapping[str, Any],
    result: Shape | None,
    tee: Mapping[str, Any],
    cap: Cap | None,
    settlement: Mapping[str, str],
    keep_content: bool,
) -> str:
    """Make the receipt of a gateway call, as canonical JSON.

    Args:
        call: The call.
        network: Name of the network.
        request: The canonical request.
        result: What the tool returns; `None` where the answer is withheld.
        tee: The evidence's part `tee`; empty where nothing was signed.
        cap: What it was paid by.
        settlement: Where the gateway says that it settles hashes; nobody vouches for it.
        keep_content: False with OG_RECEIPTS=hashes: hashes and the signature alone.
    """
    content: dict[str, Any] = {"request": dict(request)}
    if result is not None:
        content["response"] = _answer(result)
    left_out: frozenset[str] = frozenset() if keep_content else OF_CONTENT
    claims: dict[str, Any] = {"settlement": dict(settlement)} if settlement else {}
    if result is not None:
        kept = set(WORDS - left_out)
        claims |= result.model_dump(mode="json", include=kept, exclude_defaults=True)

    def make() -> str:
        hashes = {f"{name}_hash": digest(value) for name, value in content.items()}
        receipt: dict[str, Any] = {
            "schema": SCHEMA,
            "call_id": call.call_id,
            "network": network,
            "tool": request["tool"],
            "created_at": call.created_at,
            **(content if keep_content else {}),
            **hashes,
        }
        if tee:
            receipt["tee"] = dict(tee) if keep_content else without_content(tee)
        if cap is not None:
            receipt["payment"] = payment_section(cap)
        if claims:
            receipt["claims"] = claims
        return canonical(digested(receipt))

    # Hashing a long answer takes over 10 ms.
    return await off_loop(make, content, tee)


def _answer(result: Shape) -> dict[str, Any]:
    answer = result.model_dump(mode="json", include=set(ANSWER))
    for image in answer.get("images", ()):
        # The path of the file concerns this machine only.
        del image["path"], image["original"]["path"], image["saved"]
    return answer


def payment_section(cap: Cap) -> dict[str, Any]:
    """Write what was signed and how it ended, without bearer secrets."""
    section = {
        "scheme": "upto",
        "network": f"eip155:{cap.account.chain_id}",
        "asset": cap.asset,
        "payer": cap.account.address,
        "pay_to": cap.pay_to,
        "spender": UPTO_PROXY,
        "nonce": cap.nonce,
        "deadline": cap.deadline,
        "max_opg": coins(cap.max_opg),
        "cap_id": cap.id,
    }
    if cap.status != "open":
        section["amount_opg"] = coins(cap.amount_opg)
        section["transaction_hash"] = cap.transaction_hash
    return section
