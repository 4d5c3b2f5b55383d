"""The token's `approve` in receipts: the amount that was allowed, and the token's event.

Source: protocol.md section 7, ERC-20.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from eth_abi import abi as eth_abi
from eth_abi.exceptions import DecodingError
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from og_mcp.client.chain.chain import Log
from og_mcp.client.chain.signature import SignedCall
from og_mcp.client.payments.opg import APPROVE
from og_mcp.client.receipts.reading import MismatchError, NotKeptError, equal
from og_mcp.errors import coins

APPROVAL_TOPIC: Final = "0x" + keccak(text="Approval(address,address,uint256)").hex()


class ApproveFunction:
    """`approve(address,uint256)` of the OPG token; an answer is the amount, base units."""

    selector = bytes.fromhex(APPROVE[2:])
    tool = "approve_opg"
    has_one_request = True

    def request_of(self, signed: SignedCall) -> dict[str, Any]:
        """Read the request; the transaction calls the token."""
        spender, amount = _decoded(signed.data)
        asset = str(to_checksum_address(signed.to))
        return {
            "tool": self.tool,
            "amount_opg": coins(amount),
            "asset": asset,
            "spender": spender,
        }

    def compare_request(self, signed: SignedCall, request: Mapping[str, Any]) -> str:
        """Compare token, spender and amount."""
        told = self.request_of(signed)
        equal(sorted(told), sorted(request), "the list of fields that were signed for")
        for name, value in told.items():
            equal(value, request[name], f"the {name} that was signed for")
        return "token, spender and amount of the request are those that were signed for"

    def answer_in(self, logs: Sequence[Log], contract: str) -> int:
        """Read the token's event."""
        for log in logs:
            if log.address.lower() == contract.lower() and log.topics[:1] == (APPROVAL_TOPIC,):
                return int.from_bytes(log.data, "big")
        raise NotKeptError("the events do not hold an approval")

    def is_emitted(self, signed: SignedCall, logs: Sequence[Log]) -> bool:
        """Find the token's event with the signer as owner, and the spender."""
        spender = _decoded(signed.data)[0]
        wanted = tuple(f"0x{one[2:].lower():0>64}" for one in (signed.sender, spender))
        return any(
            log.address == signed.to and log.topics == (APPROVAL_TOPIC, *wanted) for log in logs
        )

    def response_of(self, answer: int) -> tuple[dict[str, Any], bool]:
        """Write the allowance, which has only one form."""
        return {"allowance_opg": coins(answer)}, True

    def compare_answer(self, answer: int, response: Mapping[str, Any]) -> bool:
        """Compare the allowance."""
        return dict(response) == {"allowance_opg": coins(answer)}


def _decoded(data: bytes) -> tuple[str, int]:
    try:
        spender, amount = eth_abi.decode(["address", "uint256"], data[4:])
    except DecodingError as exc:
        raise MismatchError("the call data of approve is malformed") from exc
    return str(to_checksum_address(spender)), int(amount)
