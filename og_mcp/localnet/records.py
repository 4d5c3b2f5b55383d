"""The chain's records of blocks and transactions, by number and hash."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from eth.abc import BlockHeaderAPI, SignedTransactionAPI
from eth_typing import Address

from og_mcp.localnet.evm import Mined


@dataclass(frozen=True)
class Log:
    """One event."""

    address: bytes
    topics: tuple[bytes, ...]
    data: bytes = field(repr=False)
    index: int
    """Position among the logs of the block."""


@dataclass(frozen=True, kw_only=True)
class TransactionRecord:
    """A mined transaction with its receipt."""

    transaction: SignedTransactionAPI = field(repr=False)
    sender: Address
    index: int
    succeeded: bool
    gas_used: int
    cumulative_gas_used: int
    price: int
    """Wei for each gas unit that were paid."""

    l1_fee: int
    """Wei that were taken beside the gas."""

    created: bytes
    """Address of the contract it created, or empty."""

    logs: tuple[Log, ...]
    logs_bloom: int

    @property
    def hash(self) -> bytes:
        """Hash of the signed transaction."""
        return bytes(self.transaction.hash)


@dataclass(frozen=True)
class BlockRecord:
    """A block with its transactions."""

    header: BlockHeaderAPI
    transactions: tuple[TransactionRecord, ...]

    @property
    def number(self) -> int:
        """Height."""
        return int(self.header.block_number)

    @property
    def hash(self) -> bytes:
        """Hash of the header."""
        return bytes(self.header.hash)


class Records:
    """All blocks from the first; more can only be added."""

    def __init__(self, genesis: BlockHeaderAPI) -> None:
        self._blocks: list[BlockRecord] = []
        self._numbers: dict[bytes, int] = {}
        self._places: dict[bytes, tuple[int, int]] = {}
        self._add(BlockRecord(genesis, ()))

    @property
    def head(self) -> BlockRecord:
        """The last block."""
        return self._blocks[-1]

    def add(self, mined: Mined) -> BlockRecord:
        """Remember a new block."""
        block = BlockRecord(mined.header, tuple(_transactions(mined)))
        self._add(block)
        return block

    def _add(self, block: BlockRecord) -> None:
        self._numbers[block.hash] = block.number
        for record in block.transactions:
            self._places[record.hash] = (block.number, record.index)
        # Last: other threads find blocks through this list.
        self._blocks.append(block)

    def by_number(self, number: int) -> BlockRecord | None:
        """Return the block of a height."""
        return self._blocks[number] if 0 <= number < len(self._blocks) else None

    def by_hash(self, block_hash: bytes) -> BlockRecord | None:
        """Return the block of a hash."""
        number = self._numbers.get(block_hash)
        return None if number is None else self._blocks[number]

    def transaction(self, transaction_hash: bytes) -> tuple[BlockRecord, TransactionRecord] | None:
        """Return a mined transaction with its block."""
        place = self._places.get(transaction_hash)
        if place is None or place[0] >= len(self._blocks):
            return None
        block = self._blocks[place[0]]
        return block, block.transactions[place[1]]

    def __iter__(self) -> Iterator[BlockRecord]:
        return iter(self._blocks)


def _transactions(mined: Mined) -> Iterator[TransactionRecord]:
    before = 0
    log_index = 0
    base_fee = mined.header.base_fee_per_gas or 0
    for index, (transaction, receipt, computation, l1_fee) in enumerate(mined.executed):
        logs = tuple(
            Log(entry.address, tuple(t.to_bytes(32, "big") for t in entry.topics), entry.data, at)
            for at, entry in enumerate(receipt.logs, start=log_index)
        )
        tip = min(transaction.max_priority_fee_per_gas, transaction.max_fee_per_gas - base_fee)
        yield TransactionRecord(
            transaction=transaction,
            sender=transaction.sender,
            index=index,
            succeeded=computation.is_success,
            gas_used=receipt.gas_used - before,
            cumulative_gas_used=receipt.gas_used,
            price=base_fee + tip,
            l1_fee=l1_fee,
            created=bytes(computation.msg.storage_address) if computation.msg.is_create else b"",
            logs=logs,
            logs_bloom=receipt.bloom,
        )
        before = receipt.gas_used
        log_index += len(logs)
