"""Asks the payment chain whether a receipt's payment settled as it says.

Source: protocol.md section 7, `settle` of the upto proxy: token, signed maximum, nonce, deadline,
amount, owner and recipient stand there in this order; section 4: it makes a transfer of the token.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from og_mcp.client.chain.chain import Chain, Receipt
from og_mcp.client.payments.ledger import TRANSFER
from og_mcp.client.receipts.fields import SCHEMAS
from og_mcp.client.receipts.reading import MismatchError, NotKeptError, equal
from og_mcp.errors import coins, quote
from og_mcp.networks import UPTO_PROXY
from og_mcp.types import Check

if TYPE_CHECKING:
    from og_mcp.client.receipts.checks import ReceiptParts

NAME: Final = "settlement"
_WORD: Final = 64
"""Hexadecimal digits of an ABI word."""

_BEFORE_WORDS: Final = len("0x") + 8
"""Where words begin: after the function's selector."""

_HASH: Final = re.compile(r"0x[0-9a-f]{64}")
_NONCE: Final = re.compile(r"[0-9]{1,78}", re.ASCII)
_AMOUNT: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,18})?", re.ASCII)
_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}")
_TERMS: Final = (
    *("scheme", "network", "asset", "payer", "pay_to", "spender"),
    *("nonce", "deadline", "max_opg", "cap_id"),
)
"""Fields that every payment has."""


class SettlementCheck:
    """The check of a receipt's part `payment`.

    Args:
        chain: The payment chain.
        token: OPG there, by the profile.
    """

    def __init__(self, chain: Chain, token: str) -> None:
        self._chain, self._token = chain, token

    async def __call__(self, part: object) -> Check:
        """Ask the chain; never raises for what the part holds.

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
            raise MismatchError("its transaction_hash is not a hash")
        await self._chain.check()
        sent, mined = await self._chain.transaction(hash_), await self._chain.receipt(hash_)
        if sent is None or mined is None or not mined.succeeded:
            raise MismatchError("the payment chain has no such transaction that succeeded")
        to, at = str(sent.get("to")), str(sent.get("input")).lower().find(_signed(part))
        if at < 0 or (at - _BEFORE_WORDS) % _WORD:
            raise MismatchError(
                "the transaction does not settle a payment of these terms and amount"
            )
        amount = part.get("amount_opg")
        if amount not in {coins(one) for one in self._transfers(part, mined)}:
            raise MismatchError("the transaction does not transfer that amount to the recipient")
        if to.lower() != UPTO_PROXY.lower():
            # We cannot know what an intermediate contract does with this calldata.
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


def check_terms(parts: ReceiptParts) -> str:
    """Compare a payment's terms with each other and with the time of the call, offline.

    A deadline is at most an hour ahead. A receipt of the first schema may be of a call that was
    tried again later, under its first time.
    """
    if "chain" in parts.receipt:
        raise MismatchError("a call that is a transaction pays no gateway, and this one says so")
    part = parts.part("payment")
    missing = [name for name in _TERMS if name not in part]
    if missing:
        raise MismatchError(f"it lacks {', '.join(missing)}")
    amount, hash_ = part.get("amount_opg"), part.get("transaction_hash")
    void = (amount, hash_) == ("0", "")
    settled = isinstance(hash_, str) and _HASH.fullmatch(hash_) is not None
    if (amount is None) != (hash_ is None) or (amount is not None and not (void or settled)):
        raise MismatchError(
            "amount_opg and transaction_hash do not go together: both are there, neither, or "
            '"0" and ""'
        )
    if _base_units(amount or "0") > _base_units(part["max_opg"]):
        raise MismatchError("amount_opg is above max_opg")
    _signed({**part, "amount_opg": amount or "0"})
    held_to_time(parts, part["deadline"], "the deadline", 120, 3_720)
    if not settled:
        raise NotKeptError(
            "its terms go together; it names no settlement, so that nobody speaks for them"
        )
    return "amount, maximum, deadline and settlement go together"


def held_to_time(parts: ReceiptParts, at: int, what: str, before: int, after: int) -> None:
    """Compare a time, in Unix seconds, with the time at which the file says the call was made.

    Raises:
        MismatchError: It is too far away.
        NotKeptError: It fits only a second try, which the first schema allows.
    """
    made = parts.part("created_at")
    try:
        apart = at - datetime.fromisoformat(made).astimezone(UTC).timestamp()
    except (ArithmeticError, TypeError, ValueError) as exc:
        raise MismatchError(f"its created_at is not a time: {quote(made)}") from exc
    if apart < -before:
        raise MismatchError(f"{what} is {-apart:.0f} s before the call was made")
    if apart > after:
        words = f"{what} is {apart:.0f} s after the call was made"
        if parts.part("schema") == SCHEMAS[0]:
            raise NotKeptError(f"{words}: it may have been tried again")
        raise MismatchError(words)


def _signed(part: Mapping[str, Any]) -> str:
    """Write the signed terms as in the call data of `settle`, with the amount that was taken."""
    nonce, deadline = part.get("nonce"), part.get("deadline")
    if not isinstance(nonce, str) or not _NONCE.fullmatch(nonce):
        raise MismatchError("its nonce is not a number")
    if type(deadline) is not int or not 0 <= deadline < 2**256:
        raise MismatchError("its deadline is not a time")
    numbers = (_base_units(part.get("max_opg")), int(nonce), deadline)
    taken = _base_units(part.get("amount_opg"))
    words = (
        _topic(part.get("asset")),
        *(f"{number:064x}" for number in (*numbers, taken)),
        *(_topic(part.get(name)) for name in ("payer", "pay_to")),
    )
    return "".join(word.removeprefix("0x") for word in words)


def _base_units(amount: object) -> int:
    if isinstance(amount, str) and _AMOUNT.fullmatch(amount):
        units = int(Decimal(amount).scaleb(18))
        # In canonical form: "0.10" is not how "0.1" is written.
        if coins(units) == amount:
            return units
    raise MismatchError("one of its amounts is not an amount")


def _topic(address: object) -> str:
    if not isinstance(address, str) or not _ADDRESS.fullmatch(address):
        raise MismatchError("token, payer or recipient is not an address")
    return "0x" + address[2:].lower().rjust(64, "0")
