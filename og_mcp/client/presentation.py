"""Calls and their receipts as they are told: with what the chain has said since about payments."""

from __future__ import annotations

import json
from typing import Any, Final

from anyio import to_thread

from og_mcp.client.files.pruning import prune
from og_mcp.client.files.roots import FileRoots
from og_mcp.client.payments.told import payment_of, settlement_note
from og_mcp.client.receipts import receipts
from og_mcp.client.receipts.gateway_receipt import payment_section
from og_mcp.client.receipts.receipts import verify
from og_mcp.client.receipts.saved import MAX_BYTES, read_receipt
from og_mcp.errors import InputError, fee_text, quote
from og_mcp.types import Call, CallInfo

__all__ = ["info_of", "prune", "receipt_of", "saved_receipt", "verify"]

NOT_KEPT: Final = (
    "Its answer was handed over and is not kept: OG_RECEIPTS=hashes keeps hashes. Asking, and "
    "paying, again takes a new idempotency_key."
)


def info_of(call: Call, *, is_whole: bool = True) -> CallInfo:
    """Tell a call as tools show it, with what the chain has said since about its payment.

    Args:
        call: As the journal has it.
        is_whole: Whether it was read with its request, result and receipt; lists are read without.
    """
    result = json.loads(call.result) if call.result else {}
    is_kept = not is_whole or call.status != "done" or bool(call.result)
    if call.cap is not None and "payment" in result:
        result["payment"] = payment_of(call.cap).shown()
    return CallInfo(
        call_id=call.id,
        network=call.network,
        status=call.status,
        stage=call.stage,
        tool=call.tool,
        created_at=call.created_at.isoformat(),
        model=call.model,
        first_words=call.first_words,
        transaction_hash=call.transaction_hashes[-1] if call.transaction_hashes else "",
        fee=fee_text(call.fee_wei),
        fee_wei=call.fee_wei,
        payment=payment_of(call.cap),
        result=result,
        error=call.error,
        note=settlement_note(call.cap) if is_kept else NOT_KEPT,
    )


def receipt_of(call: Call) -> dict[str, Any]:
    """Return a call's receipt, with what the chain has said since about its payment."""
    receipt: dict[str, Any] = json.loads(call.receipt)
    if call.cap is not None and "payment" in receipt:
        receipt["payment"] |= payment_section(call.cap)
        receipt = receipts.digested(receipt)
    return receipt


async def saved_receipt(files: FileRoots, path: object) -> Any:  # noqa: ANN401 - JSON of any origin
    """Read a receipt from a file below the roots.

    Raises:
        InputError: It may not be read, or is not JSON.
    """
    if not isinstance(path, str):
        raise InputError(
            f"receipt's file is {quote(path)}, which is not a path.",
            'Give {"file": "/path/receipt.json"}, or the receipt itself.',
        )

    def read() -> Any:  # noqa: ANN401 - as above
        with files.open(path, max_bytes=MAX_BYTES) as stream:
            return read_receipt(stream, path)

    return await to_thread.run_sync(read)
