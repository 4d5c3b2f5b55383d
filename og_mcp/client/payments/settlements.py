"""What a payment chain says of signed maxima, and what of that is proven.

An RPC may lie. What it says frees nothing by itself, but where the facilitator's own signature
proves a settlement; what else it says is weighed in `caps` (threats.md T7, T12, T33).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from anyio import to_thread

from og_mcp.client.payments.ledger import (
    LOG_BLOCKS,
    Block,
    Ledger,
    Transfer,
    selector,
    view,
)
from og_mcp.client.payments.requirement import LONGEST_DEADLINE_S
from og_mcp.client.payments.settlement_proof import SETTLE, proven_amount
from og_mcp.networks import PERMIT2, UPTO_PROXY
from og_mcp.types import Cap

NONCE_BITMAP: Final = selector("nonceBitmap(address,uint256)")

CLOCK_S: Final = 600
"""Further back than any signature's time, for clocks that differ."""

VOID_S: Final = 1_800
"""Seconds from a deadline, by the chain's time, after which it is taken for passed (T7)."""


@dataclass(frozen=True)
class Settlement:
    """What was taken by a signed maximum."""

    amount_opg: int
    """Base units."""

    transaction_hash: str = ""
    is_deep: bool = True
    """Whether enough blocks are on top of it."""


@dataclass(frozen=True)
class Look:
    """What one RPC says of signed maxima, by their ids."""

    newest: Block
    is_sound: bool
    """Whether its blocks `latest`, `safe` and `finalized` are in order, as far as it has them."""

    proven: Mapping[str, Settlement]
    """Settled deep enough, by the facilitator's own signature."""

    claimed: Mapping[str, Settlement]
    """Spent, and what may have been taken, by the RPC's word alone; the largest of it."""

    unspent: frozenset[str]

    def has_passed(self, cap: Cap) -> bool:
        """Whether the chain is well past a deadline."""
        return self.is_sound and self.newest.time > cap.deadline + VOID_S


@dataclass(frozen=True)
class _Taken:
    """What left a wallet, and by which transactions."""

    transfers: Sequence[Transfer]
    transactions: dict[str, dict[str, Any]]

    def naming(self, cap: Cap) -> list[Transfer]:
        """Return what was taken by calls in which the payment's nonce stands."""
        nonce = f"{int(cap.nonce):064x}"
        return [one for one in self.transfers if nonce in self._field(one, "input")]

    def possible(self, cap: Cap) -> list[Transfer]:
        """Return what may have been taken by this payment, though nothing says so.

        Facilitators may be contracts, whose calls hold whatever they like, others' payments too.
        What the owner sends is no payment.
        """
        owner = cap.account.address.lower()
        return [
            one
            for one in self.transfers
            if not self._is_settle(one) and self._field(one, "from") != owner
        ]

    def _is_settle(self, transfer: Transfer) -> bool:
        """Whether it is a call of the proxy itself, which names the one payment that it is for."""
        to, data = self._field(transfer, "to"), self._field(transfer, "input")
        return to == UPTO_PROXY.lower() and data.startswith("0x" + SETTLE.hex())

    def _field(self, transfer: Transfer, name: str) -> str:
        return str(self.transactions.get(transfer.transaction_hash, {}).get(name)).lower()


class SettlementReader:
    """Looks up signed maxima by one RPC.

    Args:
        ledger: The payment chain.
        depth: Blocks on top of a settlement before it counts.
    """

    def __init__(self, ledger: Ledger, depth: int) -> None:
        self._ledger, self._depth = ledger, depth

    async def look(self, caps: Sequence[Cap]) -> Look:
        """Look up one wallet's maxima.

        Raises:
            ServiceError: The chain does not tell.
        """
        newest, is_sound = await self._ledger.newest()
        spent = await self._spent(caps, newest)
        proven: dict[str, Settlement] = {}
        claimed: dict[str, Settlement] = {}
        left = sorted(spent, key=lambda cap: cap.deadline)
        while left:
            group, first, last = await self._group(left, newest)
            taken = await self._taken(group, first, last)
            for cap in group:
                found = await to_thread.run_sync(self._proof, cap, taken, newest)
                if found is not None:
                    proven[cap.id] = found
                else:
                    claimed[cap.id] = self._claim(cap, taken, newest)
            left = [cap for cap in left if cap not in group]
        unspent = frozenset(cap.id for cap in caps if cap not in spent)
        return Look(newest, is_sound, proven, claimed, unspent)

    async def unspent(self, caps: Sequence[Cap]) -> list[Cap]:
        """Return those whose nonces Permit2 has not used.

        Raises:
            ServiceError: The chain does not tell.
        """
        [newest] = await self._ledger.blocks("latest")
        spent = await self._spent(caps, newest)
        return [cap for cap in caps if cap not in spent]

    def _proof(self, cap: Cap, taken: _Taken, newest: Block) -> Settlement | None:
        """Return the largest settlement that its facilitator signed, deep enough."""
        found = []
        for one in taken.naming(cap):
            record = taken.transactions[one.transaction_hash]
            amount = proven_amount(record, one.transaction_hash, cap)
            if amount is not None and self._is_deep(one, newest):
                found.append(Settlement(amount, one.transaction_hash))
        return max(found, key=lambda one: one.amount_opg, default=None)

    def _claim(self, cap: Cap, taken: _Taken, newest: Block) -> Settlement:
        """Tell what was taken by an RPC's word; of several transfers, the largest errs safely."""
        transfers = taken.naming(cap) or taken.possible(cap)
        largest = max(transfers, key=lambda one: one.amount, default=None)
        if largest is None:
            return Settlement(0, is_deep=False)
        amount = min(largest.amount, cap.max_opg)
        return Settlement(amount, largest.transaction_hash, self._is_deep(largest, newest))

    def _is_deep(self, transfer: Transfer, newest: Block) -> bool:
        return transfer.block + self._depth <= newest.number

    async def _group(self, caps: Sequence[Cap], newest: Block) -> tuple[list[Cap], int, int]:
        """Choose those of which one question for events can tell, the oldest among them."""
        since = caps[0].deadline - LONGEST_DEADLINE_S - CLOCK_S
        [first] = await self._ledger.blocks(hex(max(0, newest.number - LOG_BLOCKS)))
        if first.time > since:
            first = await self._ledger.block_before(since, newest)
        last = first.number + LOG_BLOCKS
        if last >= newest.number:
            return list(caps), first.number, newest.number
        [end] = await self._ledger.blocks(hex(last))
        group = [cap for cap in caps if cap.deadline < end.time]
        return group or [caps[0]], first.number, last

    async def _taken(self, caps: Sequence[Cap], first: int, last: int) -> _Taken:
        recipients = sorted({cap.pay_to for cap in caps})
        owner = caps[0].account.address
        transfers = await self._ledger.transfers(owner, recipients, first, last)
        hashes = [one.transaction_hash for one in transfers]
        return _Taken(transfers, await self._ledger.transactions(hashes))

    async def _spent(self, caps: Sequence[Cap], at: Block) -> list[Cap]:
        """Return those whose nonces Permit2 has used, as of a block."""
        types = ["address", "uint256"]
        words = await self._ledger.ask(
            *(
                view(
                    PERMIT2,
                    NONCE_BITMAP,
                    types,
                    [cap.account.address, int(cap.nonce) >> 8],
                    hex(at.number),
                )
                for cap in caps
            )
        )
        bits = (1 << (int(cap.nonce) & 0xFF) for cap in caps)
        return [
            cap
            for cap, word, bit in zip(caps, words, bits, strict=True)
            if self._ledger.word(word) & bit
        ]
