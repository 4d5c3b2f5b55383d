"""A call's payment, as results and lists tell it."""

from __future__ import annotations

from og_mcp.errors import coins
from og_mcp.types import Cap, Payment


def payment_of(cap: Cap | None) -> Payment:
    """Tell what pays for a call, and what came of it so far."""
    if cap is None:
        return Payment()
    settled = cap.status != "open"
    return Payment(
        scheme="upto",
        network=f"eip155:{cap.account.chain_id}",
        asset=cap.asset,
        max_opg=coins(cap.max_opg),
        cap_id=cap.id,
        amount_opg=coins(cap.amount_opg) if settled else "",
        transaction_hash=cap.transaction_hash,
    )
