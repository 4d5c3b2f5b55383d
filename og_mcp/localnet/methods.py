"""The JSON-RPC methods of the node, each a plain function of the chain and its parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import version
from types import MappingProxyType
from typing import Any, Final

from eth_typing import Address
from eth_utils.crypto import keccak

from og_mcp.localnet.chain import Chain
from og_mcp.localnet.evm import BASE_FEE, Call
from og_mcp.localnet.node_errors import NodeError
from og_mcp.localnet.rpc_blocks import Selected, selected_block, state_header
from og_mcp.localnet.rpc_json import (
    JSON,
    block_json,
    data,
    pending_block_json,
    pending_json,
    quantity,
    receipt_json,
    transaction_json,
)
from og_mcp.localnet.rpc_logs import get_logs
from og_mcp.localnet.rpc_params import (
    ADDRESS_BYTES,
    HASH_BYTES,
    Params,
    invalid,
    read_data,
    read_quantity,
)

Method = Callable[[Chain, Params], Any]


def client_version() -> str:
    """Name the node as `web3_clientVersion` does."""
    return f"og-mcp-localnet/v{version('og-mcp')}/python"


# Identity and fees


def _fee_history(chain: Chain, params: Params) -> JSON | None:
    count = params.get(0)
    wanted = count if isinstance(count, int) else params.quantity(0)
    last = selected_block(chain, params.get(1), 1)
    block = chain.records.head if last is None or last == "pending" else last
    percentiles = params.get(2) or []
    first = max(0, block.number - wanted + 1)
    blocks = [b for b in chain.records if first <= b.number <= block.number]
    tip = quantity(_tip(chain))
    return {
        "oldestBlock": quantity(first),
        "baseFeePerGas": [quantity(BASE_FEE)] * (len(blocks) + 1),
        "gasUsedRatio": [b.header.gas_used / b.header.gas_limit for b in blocks],
        "reward": [[tip] * len(percentiles) for _ in blocks],
    }


def _tip(chain: Chain) -> int:
    return max(0, chain.gas_price - BASE_FEE)


# State


def _get_balance(chain: Chain, params: Params) -> str:
    params.at_most(2)
    header = state_header(chain, params.get(1), 1)
    return quantity(chain.balance(params.address(0), header))


def _get_transaction_count(chain: Chain, params: Params) -> str:
    params.at_most(2)
    address = params.address(0)
    if params.get(1) == "pending":
        return quantity(chain.pending_nonce(address))
    return quantity(chain.nonce(address, state_header(chain, params.get(1), 1)))


def _get_code(chain: Chain, params: Params) -> str:
    params.at_most(2)
    return data(chain.code(params.address(0), state_header(chain, params.get(1), 1)))


def _get_storage_at(chain: Chain, params: Params) -> str:
    params.at_most(3)
    header = state_header(chain, params.get(2), 2)
    word = chain.storage(params.address(0), params.quantity(1), header)
    return data(word.to_bytes(HASH_BYTES, "big"))


# Execution


def _call(chain: Chain, params: Params) -> str:
    params.at_most(3)
    _no_overrides(params, 2)
    header = state_header(chain, params.get(1), 1)
    return data(chain.call(_message(chain, params.fields(0)), header))


def _estimate_gas(chain: Chain, params: Params) -> str:
    params.at_most(3)
    _no_overrides(params, 2)
    header = state_header(chain, params.get(1), 1)
    call = _message(chain, params.fields(0))
    if call.gas_price:
        call = _affordable(call, chain.balance(call.sender, header))
    return quantity(chain.estimate(call, header))


def _no_overrides(params: Params, index: int) -> None:
    if params.get(index):
        raise invalid(index, "state overrides are not supported")


def _message(chain: Chain, fields: Mapping[str, Any]) -> Call:
    def number(name: str, default: int = 0) -> int:
        value = fields.get(name)
        return default if value is None else read_quantity(value, 0)

    def raw(name: str, size: int | None = None) -> bytes:
        value = fields.get(name)
        return b"" if value is None else read_data(value, 0, size)

    if fields.get("data") and fields.get("input") and raw("data") != raw("input"):
        raise NodeError(
            'both "data" and "input" are set and not equal. Please use "input" to pass transaction '
            "call data"
        )
    limit = chain.records.head.header.gas_limit
    return Call(
        sender=Address(raw("from", ADDRESS_BYTES) or bytes(ADDRESS_BYTES)),
        to=Address(raw("to", ADDRESS_BYTES)),
        gas=min(number("gas", limit), limit),
        gas_price=number("maxFeePerGas") or number("gasPrice"),
        value=number("value"),
        data=raw("input") or raw("data"),
    )


def _affordable(call: Call, balance: int) -> Call:
    if balance < call.value:
        raise NodeError("insufficient funds for transfer")
    return replace(call, gas=min(call.gas, (balance - call.value) // call.gas_price))


def _send_raw_transaction(chain: Chain, params: Params) -> str:
    params.at_most(1)
    return data(chain.send_raw(params.data(0)))


# Blocks, transactions, logs


def _get_block_by_number(chain: Chain, params: Params) -> JSON | None:
    params.at_most(2)
    params.need(0)
    return _block(chain, selected_block(chain, params.get(0), 0), full=params.flag(1))


def _get_block_by_hash(chain: Chain, params: Params) -> JSON | None:
    params.at_most(2)
    return _block(chain, chain.records.by_hash(params.hash(0)), full=params.flag(1))


def _block(chain: Chain, selected: Selected, *, full: bool) -> JSON | None:
    if selected is None:
        return None
    if selected == "pending":
        return pending_block_json(chain.next_header(), chain.all_waiting(), full=full)
    return block_json(selected, full=full)


def _get_block_receipts(chain: Chain, params: Params) -> list[JSON] | None:
    params.at_most(1)
    params.need(0)
    selected = selected_block(chain, params.get(0), 0)
    if selected is None or selected == "pending":
        return None
    return [receipt_json(selected, record) for record in selected.transactions]


def _get_transaction_by_hash(chain: Chain, params: Params) -> JSON | None:
    params.at_most(1)
    wanted = params.hash(0)
    mined = chain.records.transaction(wanted)
    if mined is not None:
        return transaction_json(*mined)
    waiting = chain.waiting(wanted)
    return None if waiting is None else pending_json(waiting)


def _get_transaction_receipt(chain: Chain, params: Params) -> JSON | None:
    params.at_most(1)
    mined = chain.records.transaction(params.hash(0))
    return None if mined is None else receipt_json(*mined)


METHODS: Final[Mapping[str, Method]] = MappingProxyType(
    {
        "eth_call": _call,
        "eth_estimateGas": _estimate_gas,
        "eth_feeHistory": _fee_history,
        "eth_getBalance": _get_balance,
        "eth_getBlockByHash": _get_block_by_hash,
        "eth_getBlockByNumber": _get_block_by_number,
        "eth_getBlockReceipts": _get_block_receipts,
        "eth_getCode": _get_code,
        "eth_getLogs": get_logs,
        "eth_getStorageAt": _get_storage_at,
        "eth_getTransactionByHash": _get_transaction_by_hash,
        "eth_getTransactionCount": _get_transaction_count,
        "eth_sendRawTransaction": _send_raw_transaction,
    }
)
"""Methods that run on the chain's thread, in order."""

QUICK_METHODS: Final[Mapping[str, Method]] = MappingProxyType(
    {
        "eth_accounts": lambda _chain, _params: [],
        "eth_blockNumber": lambda chain, _params: quantity(chain.records.head.number),
        "eth_chainId": lambda chain, _params: quantity(chain.chain_id),
        "eth_gasPrice": lambda chain, _params: quantity(chain.gas_price),
        "eth_getTransactionReceipt": _get_transaction_receipt,
        "eth_maxPriorityFeePerGas": lambda chain, _params: quantity(_tip(chain)),
        "eth_syncing": lambda _chain, _params: False,
        "net_listening": lambda _chain, _params: True,
        "net_version": lambda chain, _params: str(chain.chain_id),
        "web3_clientVersion": lambda _chain, _params: client_version(),
        "web3_sha3": lambda _chain, params: data(keccak(params.data(0))),
    }
)
"""Methods that only read what is finished: answered while the chain's thread is busy."""
