"""Asking the payment chain whether what a receipt says of its payment is so.

Source: protocol.md section 7, `settle` of the upto proxy: token, signed maximum, nonce, deadline,
amount, owner and recipient stand there in this order; section 4: it makes a transfer of the token.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from og_mcp.client.chain.chain import Chain, Receipt
from og_mcp.client.payments.ledger import TRANSFER
from og_mcp.client.receipts.reading import MismatchError, NotKeptError, equal
from og_mcp.errors import coins, quote
from og_mcp.networks import UPTO_PROXY
from og_mcp.types import Check

NAME: Final = "settlement"
_WORD: Final = 64
"""Hexadecimal digits of an ABI word."""

_BEFORE_WORDS: Final = len("0x") + 8
"""Where words begin: behind the function's selector."""

_HASH: Final = re.compile(r"0x[0-9a-f]{64}")
_NONCE: Final = re.compile(r"[0-9]{1,78}", re.ASCII)
_AMOUNT: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,18})?", re.ASCII)
_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}")


class SettlementCheck:
    """The check of a receipt's part `payment`.

    Args:
        chain: The payment chain.
        token: OPG there, by the profile.
    """

    def __init__(self, chain: Chain, token: str) -> None:
        self._chain, self._token = chain, token

    async def __call__(self, part: object) -> Check:
        """Ask; a part of any origin never raises for what it holds.

        Raises:
            ServiceError: The chain cannot be asked.
        """
        source = f"RPC {self._chain.rpc_shown}"
        try:
            detail = await self._check(part if isinstance(part, Mapping) else {})
        except NotKeptError as exc:
            return Check(name=NAME, result="not_checked", source=source, detail=str(exc))
        except MismatchError as exc:
            return Check(name=NAME, result="failed", source=source, detail=str(exc))
        return Check(name=NAME, result="ok", source=source, detail=detail)

    async def _check(self, part: Mapping[str, Any]) -> str:
        equal(f"eip155:{self._chain.chain_id}", part.get("network"), "the payment chain")
        equal(self._token.lower(), str(part.get("asset")).lower(), "the token")
        equal("upto", part.get("scheme"), "the scheme")
        equal(UPTO_PROXY.lower(), str(part.get("spender")).lower(), "the spender")
        hash_ = part.get("transaction_hash")
        if hash_ in (None, ""):
            raise NotKeptError(
                "the receipt names no settlement: as it was made, nothing was taken for it yet, or at "
                "all; until then nobody speaks for payer, pay_to, nonce, deadline and max_opg"
            )
        if not isinstance(hash_, str) or not _HASH.fullmatch(hash_):
            raise MismatchError("its transaction_hash is none")
        await self._chain.check()
        sent, mined = await self._chain.transaction(hash_), await self._chain.receipt(hash_)
        if sent is None or mined is None or not mined.succeeded:
            raise MismatchError("the payment chain has no such transaction that succeeded")
        to, at = str(sent.get("to")), str(sent.get("input")).lower().find(_signed(part))
        if at < 0 or (at - _BEFORE_WORDS) % _WORD:
            raise MismatchError("the transaction settles no payment of these terms and amount")
        amount = part.get("amount_opg")
        if amount not in {coins(one) for one in self._transfers(part, mined)}:
            raise MismatchError("the transaction holds no transfer of that amount to the recipient")
        if to.lower() != UPTO_PROXY.lower():
            # What a contract between does with these words, nobody tells.
            raise NotKeptError(
                f"the transaction took {amount} OPG, and calls {quote(to)}, not the spender: that it "
                "was for these terms is not certain"
            )
        return (
            f"transaction {hash_} took {amount} OPG on these terms, in block {mined.block_number}; "
            "that it was for this call, cap_id alone says"
        )

    def _transfers(self, part: Mapping[str, Any], mined: Receipt) -> list[int]:
        """List the transfers from payer to recipient, base units."""
        wanted = [TRANSFER, _topic(part.get("payer")), _topic(part.get("pay_to"))]
        return [
            int.from_bytes(log.data, "big")
            for log in mined.logs
            if log.address.lower() == self._token.lower() and list(log.topics) == wanted
        ]


def _signed(part: Mapping[str, Any]) -> str:
    """Write what was signed as it stands in the call data of `settle`, with what was taken."""
    nonce, deadline = part.get("nonce"), part.get("deadline")
    if not isinstance(nonce, str) or not _NONCE.fullmatch(nonce):
        raise MismatchError("its nonce is none")
    if type(deadline) is not int or not 0 <= deadline < 2**256:
        raise MismatchError("its deadline is none")
    numbers = (_base_units(part.get("max_opg")), int(nonce), deadline)
    taken = _base_units(part.get("amount_opg"))
    words = (
        _topic(part.get("asset")),
        *(f"{number:064x}" for number in (*numbers, taken)),
        *(_topic(part.get(name)) for name in ("payer", "pay_to")),
    )
    return "".join(word.removeprefix("0x") for word in words)


def _base_units(amount: object) -> int:
    if not isinstance(amount, str) or not _AMOUNT.fullmatch(amount):
        raise MismatchError("one of its amounts is none")
    return int(Decimal(amount).scaleb(18))


def _topic(address: object) -> str:
    if not isinstance(address, str) or not _ADDRESS.fullmatch(address):
        raise MismatchError("token, payer or recipient is no address")
    return "0x" + address[2:].lower().rjust(64, "0")
