"""`eth_getLogs`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from og_mcp.localnet.chain import Chain
from og_mcp.localnet.node_errors import INVALID_PARAMS, NodeError
from og_mcp.localnet.records import BlockRecord, Log
from og_mcp.localnet.rpc_blocks import selected_block
from og_mcp.localnet.rpc_json import JSON, log_json
from og_mcp.localnet.rpc_params import (
    ADDRESS_BYTES,
    HASH_BYTES,
    Params,
    invalid,
    read_data,
)

MAX_TOPICS: Final = 4


def get_logs(chain: Chain, params: Params) -> list[JSON]:
    """Find logs by block range or block hash, address and topics."""
    params.at_most(1)
    fields = params.fields(0)
    addresses = _addresses(fields.get("address"))
    topics = _topics(fields.get("topics"))
    return [
        log_json(block, record, log)
        for block in _log_blocks(chain, fields)
        for record in block.transactions
        for log in record.logs
        if _wanted(log, addresses, topics)
    ]


def _log_blocks(chain: Chain, fields: Mapping[str, Any]) -> Iterator[BlockRecord]:
    if fields.get("blockHash") is not None:
        block = chain.records.by_hash(read_data(fields["blockHash"], 0, HASH_BYTES))
        if block is None:
            raise NodeError("unknown block")
        yield block
        return
    first = _log_end(chain, fields.get("fromBlock"))
    last = _log_end(chain, fields.get("toBlock"))
    if first > last:
        raise NodeError("invalid block range params", INVALID_PARAMS)
    yield from (block for block in chain.records if first <= block.number <= last)


def _log_end(chain: Chain, given: object) -> int:
    selected = selected_block(chain, given, 0)
    if isinstance(selected, BlockRecord):
        return selected.number
    return chain.records.head.number + 1


def _addresses(given: object) -> set[bytes]:
    listed = given if isinstance(given, list) else [] if given is None else [given]
    return {read_data(address, 0, ADDRESS_BYTES) for address in listed}


def _topics(given: object) -> list[set[bytes]]:
    if given is None:
        return []
    if not isinstance(given, list) or len(given) > MAX_TOPICS:
        raise invalid(0, "topics are a list of at most four")
    return [_topic(choice) for choice in given]


def _topic(choice: object) -> set[bytes]:
    listed = choice if isinstance(choice, list) else [choice]
    # Null, alone or among others, stands for any topic.
    return set() if None in listed else {read_data(topic, 0, HASH_BYTES) for topic in listed}


def _wanted(log: Log, addresses: set[bytes], topics: list[set[bytes]]) -> bool:
    if addresses and log.address not in addresses:
        return False
    return len(topics) <= len(log.topics) and all(
        not choices or topic in choices for choices, topic in zip(topics, log.topics, strict=False)
    )
