"""The receipt of a call that is a transaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from og_mcp.client.calls.context import CallContext
from og_mcp.client.chain.chain import Receipt
from og_mcp.client.receipts import receipts
from og_mcp.networks import Network


def transaction_receipt(  # noqa: PLR0913 - the facts of one call
    call: CallContext,
    network: Network,
    request: Mapping[str, Any],
    mined: Receipt,
    response: Mapping[str, Any] | None,
    *,
    keep_content: bool,
) -> str:
    """Make the receipt of a call that was mined, as canonical JSON.

    Args:
        call: With all that was signed for it.
        network: Of the chain.
        request: Canonical.
        mined: The chain's own receipt.
        response: What the call gave; `None`: nothing.
        keep_content: False with OG_RECEIPTS=hashes.
    """
    signed = next(s for s in call.signed if s.transaction_hash == mined.transaction_hash)
    receipt = receipts.build(
        call_id=call.call_id,
        network=network.name,
        tool=request["tool"],
        created_at=call.created_at,
        request=request,
        response=response,
        raw_transaction=signed.raw,
        receipt=mined,
        contract=signed.transaction.to,
        chain_id=network.chain_id,
        keep_content=keep_content,
    )
    return receipts.canonical(receipt)
