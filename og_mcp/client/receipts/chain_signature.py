"""The signed transaction in a receipt of hashes: the hash that was signed, and the signer.

Call data repeats the request, so OG_RECEIPTS=hashes leaves the transaction out (threats.md T29).
Hash and signature still show who signed; the chain has the content.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from og_mcp.client.chain.signature import WORD, read_fields, recover
from og_mcp.client.receipts.reading import MismatchError, equal, read_hex

if TYPE_CHECKING:
    from og_mcp.client.receipts.checks import ReceiptParts

FIELDS: Final = ("signed_hash", "signature", "sender")
_LENGTH: Final = 2 * WORD + 1


def kept_signature(raw: bytes) -> dict[str, str]:
    """Write hash, signature (r, s, parity) and sender of a signed legacy transaction.

    Raises:
        ValueError: It is not a signed legacy transaction.
    """
    fields = read_fields(raw)
    parity, r, s = fields.signature
    signature = r.to_bytes(WORD, "big") + s.to_bytes(WORD, "big") + bytes([parity])
    sender = recover(fields.signed_hash, *fields.signature)
    told = ("0x" + fields.signed_hash.hex(), "0x" + signature.hex(), sender)
    return dict(zip(FIELDS, told, strict=True))


def check_signature(parts: ReceiptParts) -> str:
    """Return who signed, from the transaction or from its hash and signature."""
    part: Any = parts.part("chain")
    if "raw_transaction" not in part and "signature" in part:
        return _check_kept_signature(parts)
    signed = parts.signed
    equal(signed.chain_id, parts.part("chain", "chain_id"), "the chain that was signed for")
    told = [name for name in FIELDS if name in part]
    if told:
        kept = kept_signature(read_hex(part["raw_transaction"]))
        for name in told:
            equal(kept[name], part[name], f"the transaction's {name}")
    return f"signed by {signed.sender} for chain {signed.chain_id}"


def _check_kept_signature(parts: ReceiptParts) -> str:
    signed_hash, signature = (read_hex(parts.part("chain", name)) for name in FIELDS[:2])
    if len(signed_hash) != WORD or len(signature) != _LENGTH:
        raise MismatchError("the hash or the signature has the wrong length")
    r, s = (int.from_bytes(signature[at : at + WORD], "big") for at in (0, WORD))
    sender = recover(signed_hash, signature[-1], r, s)
    equal(sender, parts.part("chain", "sender"), "the signer")
    return (
        f"{sender} signed a transaction of this hash; its content is on the chain, not in this file"
    )
