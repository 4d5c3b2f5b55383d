"""What became of signed maxima, by the payment chain's own word.

A settlement counts at a depth that the chain calls safe (threats.md T12); a maximum is void once a
finalized block is past its deadline and its nonce unspent there (T7). Time is the chain's: this
machine's clock may have been wrong when it signed, or be wrong now.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from og_mcp.client.payments.ledger import (
    LOG_BLOCKS,
    Block,
    Ledger,
    Transfer,
    event_topic,
    selector,
    topic,
    view,
)
from og_mcp.client.payments.requirement import LONGEST_DEADLINE_S
from og_mcp.networks import PERMIT2, UPTO_PROXY
from og_mcp.types import Cap

NONCE_BITMAP: Final = selector("nonceBitmap(address,uint256)")
INVALIDATION: Final = event_topic("UnorderedNonceInvalidation(address,uint256,uint256)")

SETTLE: Final = selector(
    "settle(((address,uint256),uint256,uint256),uint256,address,(address,address,uint256),bytes)"
)

CLOCK_S: Final = 600
"""How far this machine's clock may have been ahead when it signed, at first."""

FAR_CLOCK_S: Final = 24 * 3600
"""The same, before anything is taken for void that may have been settled."""


@dataclass(frozen=True)
class Fate:
    """How a signed maximum ended; `settled` false: it can never be taken any more."""

    settled: bool
    amount_opg: int = 0
    transaction_hash: str = ""


@dataclass(frozen=True)
class _Depth:
    """How deep the chain is, at one moment."""

    newest: Block
    safe: Block
    final: Block


@dataclass(frozen=True)
class _Taken:
    """What left a wallet, and by which transactions."""

    transfers: Sequence[Transfer]
    transactions: dict[str, dict[str, Any]]

    def settling(self, cap: Cap) -> list[Transfer]:
        """Return what calls of the proxy itself took by this payment: they say which it is."""
        nonce = f"{int(cap.nonce):064x}"
        return [one for one in self.transfers if self._is_call(one) and self._nonce(one) == nonce]

    def possible(self, cap: Cap) -> list[Transfer]:
        """Return what may have been taken by this payment, though nothing proves it.

        Facilitators may be contracts, whose calls hold whatever they like, others' payments too.
        What the owner sends is no payment.
        """
        owner = cap.account.address.lower()
        return [
            one
            for one in self.transfers
            if one.amount <= cap.max_opg
            and not self._is_call(one)
            and self._field(one, "from") != owner
        ]

    def names(self, transfer: Transfer, cap: Cap) -> bool:
        """Whether the nonce stands anywhere in a transfer's transaction."""
        return f"{int(cap.nonce):064x}" in self._field(transfer, "input")

    def _is_call(self, transfer: Transfer) -> bool:
        to, data = self._field(transfer, "to"), self._field(transfer, "input")
        return to == UPTO_PROXY.lower() and data.startswith(SETTLE)

    def _nonce(self, transfer: Transfer) -> str:
        """Read the third word, behind token and signed maximum."""
        return self._field(transfer, "input")[len(SETTLE) + 2 * 64 :][:64]

    def _field(self, transfer: Transfer, name: str) -> str:
        return str(self.transactions.get(transfer.transaction_hash, {}).get(name)).lower()


class Fates:
    """Finds the ends of signed maxima.

    Args:
        ledger: The payment chain.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def of(self, caps: Sequence[Cap]) -> dict[str, Fate]:
        """Find the ends of one wallet's maxima; those whose end is not certain yet are left out.

        Returns:
            Id of the cap -> its end.

        Raises:
            ServiceError: The chain does not tell.
        """
        depth = _Depth(*await self._ledger.blocks("latest", "safe", "finalized"))
        spent = await self._spent(caps, depth.newest)
        expired = [cap for cap in caps if cap not in spent and depth.final.time > cap.deadline]
        found = await self._voided(expired, depth)
        left = sorted(spent, key=lambda cap: cap.deadline)
        while left:
            group, first, last = await self._group(left, depth.newest)
            found |= await self._settled(group, first, last, depth)
            left = [cap for cap in left if cap not in group]
        return found

    async def _voided(self, expired: Sequence[Cap], depth: _Depth) -> dict[str, Fate]:
        spent = await self._spent(expired, depth.final)
        return {cap.id: Fate(settled=False) for cap in expired if cap not in spent}

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

    async def _settled(
        self, caps: Sequence[Cap], first: int, last: int, depth: _Depth
    ) -> dict[str, Fate]:
        taken = await self._taken(caps, first, last)
        found: dict[str, Fate] = {}
        unnamed: list[Cap] = []
        for cap in caps:
            settling, possible = taken.settling(cap), taken.possible(cap)
            named = settling or [one for one in possible if taken.names(one, cap)]
            if not named:
                unnamed.append(cap)
            elif named[0].block <= depth.safe.number:
                found[cap.id] = _settlement(cap, settling or possible)
        # Spent, and no transaction says so: certain only once it can no longer be taken.
        late = [cap for cap in unnamed if depth.final.time > cap.deadline]
        for cap in await self._spent(late, depth.final):
            found[cap.id] = await self._unnamed(cap, depth)
        return found

    async def _unnamed(self, cap: Cap, depth: _Depth) -> Fate:
        """Judge a nonce that was spent by no transaction that names it."""
        since = cap.deadline - LONGEST_DEADLINE_S - FAR_CLOCK_S
        first = await self._ledger.block_before(since, depth.newest)
        if await self._is_voided(cap, first.number, depth.final.number):
            return Fate(settled=False)
        taken = await self._taken([cap], first.number, depth.final.number)
        # The largest that may be it errs safely.
        possible = taken.settling(cap) or taken.possible(cap)
        return _settlement(cap, possible) if possible else Fate(settled=False)

    async def _is_voided(self, cap: Cap, first: int, last: int) -> bool:
        """Tell whether the owner has voided the nonce (`invalidateUnorderedNonces`)."""
        topics = [INVALIDATION, topic(cap.account.address)]
        nonce = int(cap.nonce)
        for event in await self._ledger.events(PERMIT2, topics, first, last):
            words = str(event.get("data")).removeprefix("0x")
            word, mask = (self._ledger.word("0x" + words[at : at + 64]) for at in (0, 64))
            if word == nonce >> 8 and mask & 1 << (nonce & 0xFF):
                return True
        return False

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


def _settlement(cap: Cap, transfers: Sequence[Transfer]) -> Fate:
    """Tell what was taken; of several transfers, the largest that the cap allows errs safely."""
    within = [one for one in transfers if one.amount <= cap.max_opg]
    largest = max(within, key=lambda one: one.amount, default=None)
    if largest is None:
        return Fate(True, cap.max_opg, transfers[0].transaction_hash)
    return Fate(True, largest.amount, largest.transaction_hash)
