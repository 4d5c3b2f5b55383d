"""Runs in the public SDK's own environment: calls LLMs by the SDK's interfaces, answers in JSON.

The SDK of today has these interfaces and no method for them; earlier ones built their calls so:
legacy transactions with 1.5 times the estimated gas, answers from the contract's event.

Reads `{"rpc_url", "inference_contract", "private_key", "calls": [[function, request]]}`; writes a list
of `{"call_data", "result", "event"}`: the answers of the contract's event and of the precompile's.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import opengradient as og  # type: ignore[import-not-found] # only in the SDK's environment
from web3 import Web3
from web3.logs import DISCARD

PRECOMPILE = Web3.to_checksum_address("0x00000000000000000000000000000000000000F4")
RESULTS = {"runLLMChat": "LLMChatResult", "runLLMCompletion": "LLMCompletionResult"}
EVENTS = {"runLLMChat": "LLMChat", "runLLMCompletion": "LLMCompletionEvent"}


def main() -> None:
    told = json.load(sys.stdin)
    alpha = og.Alpha(told["private_key"], told["rpc_url"], told["inference_contract"])
    w3 = Web3(Web3.HTTPProvider(told["rpc_url"]))
    address = w3.to_checksum_address(told["inference_contract"])
    contract = w3.eth.contract(address=address, abi=alpha.inference_abi)
    precompile = w3.eth.contract(address=PRECOMPILE, abi=alpha.precompile_abi)
    wallet = w3.eth.account.from_key(told["private_key"])
    answers = [
        _ask(w3, contract, precompile, wallet, name, request) for name, request in told["calls"]
    ]
    json.dump(answers, sys.stdout)


def _ask(  # noqa: PLR0913, PLR0917 - the SDK's objects, untyped
    w3: Web3,
    contract: Any,  # noqa: ANN401
    precompile: Any,  # noqa: ANN401
    wallet: Any,  # noqa: ANN401
    name: str,
    request: dict[str, Any],
) -> dict[str, Any]:
    function = contract.functions[name](request)
    fields = {
        "from": wallet.address,
        "nonce": w3.eth.get_transaction_count(wallet.address, "pending"),
        "gas": function.estimate_gas({"from": wallet.address}) * 3 // 2,
        "gasPrice": w3.eth.gas_price,
    }
    signed = wallet.sign_transaction(function.build_transaction(fields))
    sent = w3.eth.send_raw_transaction(signed.raw_transaction)
    receipt = w3.eth.wait_for_transaction_receipt(sent)
    (result,) = contract.events[RESULTS[name]]().process_receipt(receipt, errors=DISCARD)
    (event,) = precompile.events[EVENTS[name]]().process_receipt(receipt, errors=DISCARD)
    return {
        "call_data": w3.eth.get_transaction(sent)["input"].to_0x_hex(),
        "result": _plain(result["args"]["response"]),
        "event": _plain(event["args"]["response"]),
    }


def _plain(value: Any) -> Any:  # noqa: ANN401 - ABI values
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if hasattr(value, "items"):
        return {name: _plain(one) for name, one in value.items()}
    return value


if __name__ == "__main__":
    main()
