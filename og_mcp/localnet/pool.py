"""Transactions that wait: for a block, for the nonce before theirs, or for a better price."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from eth.abc import SignedTransactionAPI
from eth_typing import Address

from og_mcp.localnet.node_errors import NodeError

PRICE_BUMP: Final = 10
"""Per cent by which a replacement must pay more, as in geth."""


@dataclass(frozen=True)
class Pending:
    """A transaction with what the pool needs to know of it."""

    transaction: SignedTransactionAPI = field(repr=False)
    sender: Address

    @property
    def nonce(self) -> int:
        """Nonce of the sender."""
        return int(self.transaction.nonce)

    @property
    def hash(self) -> bytes:
        """Hash of the signed transaction."""
        return bytes(self.transaction.hash)

    @property
    def cost(self) -> int:
        """The most it can take from the sender, in wei."""
        return int(self.transaction.gas * self.transaction.max_fee_per_gas + self.transaction.value)

    def may_replace(self, other: Pending) -> bool:
        """Whether it pays enough more than a transaction of the same nonce."""
        ours, theirs = self.transaction, other.transaction
        return bool(
            ours.max_fee_per_gas * 100 >= theirs.max_fee_per_gas * (100 + PRICE_BUMP)
            and ours.max_priority_fee_per_gas * 100
            >= theirs.max_priority_fee_per_gas * (100 + PRICE_BUMP)
        )


class Pool:
    """Waiting transactions by sender and nonce, senders in order of arrival."""

    def __init__(self) -> None:
        self._lanes: dict[Address, dict[int, Pending]] = {}
        self._by_hash: dict[bytes, Pending] = {}

    def __iter__(self) -> Iterator[Pending]:
        return iter(self._by_hash.values())

    def get(self, transaction_hash: bytes) -> Pending | None:
        """Return a waiting transaction by its hash."""
        return self._by_hash.get(transaction_hash)

    def senders(self) -> list[Address]:
        """List who has transactions waiting."""
        return list(self._lanes)

    def add(self, pending: Pending) -> None:
        """Let a transaction wait, in place of a cheaper one of the same nonce.

        Raises:
            NodeError: The one that waits does not pay enough less.
        """
        lane = self._lanes.setdefault(pending.sender, {})
        other = lane.get(pending.nonce)
        if other is not None:
            if not pending.may_replace(other):
                raise NodeError("replacement transaction underpriced")
            del self._by_hash[other.hash]
        lane[pending.nonce] = pending
        self._by_hash[pending.hash] = pending

    def remove(self, pending: Pending) -> None:
        """Forget a transaction that was mined or can no longer be."""
        del self._by_hash[pending.hash]
        lane = self._lanes[pending.sender]
        del lane[pending.nonce]
        if not lane:
            del self._lanes[pending.sender]

    def ready(self, sender: Address, nonce: int) -> Iterator[Pending]:
        """Yield the sender's transactions from this nonce on, up to the first gap."""
        lane = self._lanes.get(sender, {})
        while nonce in lane:
            yield lane[nonce]
            nonce += 1

    def cost(self, sender: Address, *, besides: int) -> int:
        """Add up what the sender's transactions may cost in wei, leaving out one nonce."""
        lane = self._lanes.get(sender, {})
        return sum(pending.cost for nonce, pending in lane.items() if nonce != besides)
