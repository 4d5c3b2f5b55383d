"""Blocks, transactions, receipts and logs in the shapes of the Ethereum JSON-RPC specification."""

from __future__ import annotations

from typing import Any, cast

import rlp
from eth.abc import BlockHeaderAPI, SignedTransactionAPI
from eth.vm.forks.spurious_dragon.transactions import SpuriousDragonTransaction
from eth_utils.address import to_checksum_address

from og_mcp.localnet.pool import Pending
from og_mcp.localnet.records import BlockRecord, Log, TransactionRecord

JSON = dict[str, Any]


def quantity(number: int) -> str:
    """Write a number: 0x-hex without leading zeros."""
    return hex(number)


def data(raw: bytes) -> str:
    """Write bytes: 0x-hex, two digits each."""
    return "0x" + raw.hex()


def block_json(block: BlockRecord, *, full: bool) -> JSON:
    """Describe a mined block.

    Args:
        block: The block.
        full: Whether transactions stand in it whole, not only by hash.
    """
    transactions = [
        transaction_json(block, record) if full else data(record.hash)
        for record in block.transactions
    ]
    header = _header_json(block.header)
    size = len(rlp.encode(block.header)) + sum(
        len(record.transaction.encode()) for record in block.transactions
    )
    return {
        **header,
        "hash": data(block.hash),
        "nonce": data(block.header.nonce),
        "size": quantity(size),
        "transactions": transactions,
    }


def pending_block_json(header: BlockHeaderAPI, waiting: list[Pending], *, full: bool) -> JSON:
    """Describe the block that would be next; it has no hash yet."""
    transactions = [pending_json(each) if full else data(each.hash) for each in waiting]
    return {**_header_json(header), "hash": None, "nonce": None, "transactions": transactions}


def _header_json(header: BlockHeaderAPI) -> JSON:
    return {
        "number": quantity(header.block_number),
        "parentHash": data(header.parent_hash),
        "sha3Uncles": data(header.uncles_hash),
        "logsBloom": _bloom(header.bloom),
        "transactionsRoot": data(header.transaction_root),
        "stateRoot": data(header.state_root),
        "receiptsRoot": data(header.receipt_root),
        "miner": to_checksum_address(header.coinbase),
        "difficulty": quantity(header.difficulty),
        "totalDifficulty": quantity(0),
        "extraData": data(header.extra_data),
        "gasLimit": quantity(header.gas_limit),
        "gasUsed": quantity(header.gas_used),
        "timestamp": quantity(header.timestamp),
        "mixHash": data(header.mix_hash),
        "baseFeePerGas": quantity(header.base_fee_per_gas or 0),
        "withdrawalsRoot": data(header.withdrawals_root or b""),
        "withdrawals": [],
        "blobGasUsed": quantity(header.blob_gas_used),
        "excessBlobGas": quantity(header.excess_blob_gas),
        "parentBeaconBlockRoot": data(header.parent_beacon_block_root or b""),
        "uncles": [],
    }


def _bloom(bloom: int) -> str:
    return data(bloom.to_bytes(256, "big"))


def transaction_json(block: BlockRecord, record: TransactionRecord) -> JSON:
    """Describe a mined transaction."""
    return {
        **_transaction(record.transaction, record.sender),
        "blockHash": data(block.hash),
        "blockNumber": quantity(block.number),
        "transactionIndex": quantity(record.index),
        "gasPrice": quantity(record.price),
    }


def pending_json(pending: Pending) -> JSON:
    """Describe a transaction that waits in the pool."""
    return {
        **_transaction(pending.transaction, pending.sender),
        "blockHash": None,
        "blockNumber": None,
        "transactionIndex": None,
        "gasPrice": quantity(pending.transaction.max_fee_per_gas),
    }


def transaction_type(transaction: SignedTransactionAPI) -> int:
    """Return the envelope type; a legacy transaction has none and counts as 0."""
    return int(getattr(transaction, "type_id", None) or 0)


def _transaction(transaction: SignedTransactionAPI, sender: bytes) -> JSON:
    kind = transaction_type(transaction)
    common = {
        "type": quantity(kind),
        "hash": data(transaction.hash),
        "from": to_checksum_address(sender),
        "to": to_checksum_address(transaction.to) if transaction.to else None,
        "nonce": quantity(transaction.nonce),
        "gas": quantity(transaction.gas),
        "value": quantity(transaction.value),
        "input": data(transaction.data),
        "chainId": quantity(transaction.chain_id or 0),
        "r": quantity(transaction.r),
        "s": quantity(transaction.s),
    }
    if kind == 0:
        return {**common, "v": quantity(cast(SpuriousDragonTransaction, transaction).v)}
    parity = quantity(transaction.y_parity)
    typed = {**common, "v": parity, "yParity": parity, "accessList": _access_list(transaction)}
    if kind == 1:
        return typed
    return {
        **typed,
        "maxFeePerGas": quantity(transaction.max_fee_per_gas),
        "maxPriorityFeePerGas": quantity(transaction.max_priority_fee_per_gas),
    }


def _access_list(transaction: SignedTransactionAPI) -> list[JSON]:
    return [
        {
            "address": to_checksum_address(address),
            "storageKeys": [data(slot.to_bytes(32, "big")) for slot in slots],
        }
        for address, slots in transaction.access_list
    ]


def receipt_json(block: BlockRecord, record: TransactionRecord) -> JSON:
    """Describe what a mined transaction did."""
    return {
        "type": quantity(transaction_type(record.transaction)),
        "status": quantity(int(record.succeeded)),
        "transactionHash": data(record.hash),
        "transactionIndex": quantity(record.index),
        "blockHash": data(block.hash),
        "blockNumber": quantity(block.number),
        "from": to_checksum_address(record.sender),
        "to": to_checksum_address(record.transaction.to) if record.transaction.to else None,
        "gasUsed": quantity(record.gas_used),
        "cumulativeGasUsed": quantity(record.cumulative_gas_used),
        "effectiveGasPrice": quantity(record.price),
        # A rollup's nodes tell it, others have no such field.
        **({"l1Fee": quantity(record.l1_fee)} if record.l1_fee else {}),
        "contractAddress": to_checksum_address(record.created) if record.created else None,
        "logsBloom": _bloom(record.logs_bloom),
        "logs": [log_json(block, record, log) for log in record.logs],
    }


def log_json(block: BlockRecord, record: TransactionRecord, log: Log) -> JSON:
    """Describe one event."""
    return {
        "address": to_checksum_address(log.address),
        "topics": [data(topic) for topic in log.topics],
        "data": data(log.data),
        "blockHash": data(block.hash),
        "blockNumber": quantity(block.number),
        "blockTimestamp": quantity(block.header.timestamp),
        "transactionHash": data(record.hash),
        "transactionIndex": quantity(record.index),
        "logIndex": quantity(log.index),
        "removed": False,
    }
