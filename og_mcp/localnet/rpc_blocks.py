"""Which block a JSON-RPC parameter means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from eth.abc import BlockHeaderAPI

from og_mcp.localnet.chain import Chain
from og_mcp.localnet.node_errors import NodeError
from og_mcp.localnet.records import BlockRecord
from og_mcp.localnet.rpc_params import HASH_BYTES, read_data, read_quantity

Selected = BlockRecord | Literal["pending"] | None


def selected_block(chain: Chain, given: object, index: int) -> Selected:
    """Find the block that a parameter means: a tag, a number, or an object (EIP-1898).

    Returns:
        The block, "pending", or None where there is none.

    Raises:
        NodeError: The parameter is none of these.
    """
    if isinstance(given, Mapping):
        return _by_fields(chain, given, index)
    match given:
        case None | "latest":
            return chain.records.head
        case "safe" | "finalized":
            return chain.records.by_number(max(0, chain.records.head.number - chain.safe_depth))
        case "pending":
            return "pending"
        case "earliest":
            return chain.records.by_number(0)
    return chain.records.by_number(read_quantity(given, index))


def _by_fields(chain: Chain, given: Mapping[str, Any], index: int) -> Selected:
    if "blockHash" in given:
        return chain.records.by_hash(read_data(given["blockHash"], index, HASH_BYTES))
    return selected_block(chain, given.get("blockNumber"), index)


def state_header(chain: Chain, given: object, index: int) -> BlockHeaderAPI:
    """Find the block whose state a parameter means.

    Raises:
        NodeError: There is no such block.
    """
    # What pends has not changed any state.
    selected = selected_block(chain, given, index)
    if selected is None:
        raise NodeError("header not found")
    return chain.records.head.header if selected == "pending" else selected.header
