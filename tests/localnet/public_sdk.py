"""Runs in the public SDK's own environment: infers as told on standard input, answers in JSON.

Reads `{"rpc_url", "node_api_url", "inference_contract", "private_key", "calls": [{"cid", "mode",
"model_input"}]}`, each input `{name: [dtype, nested lists]}`; writes a list of `{"transaction_hash",
"model_output"}` or `{"error"}`.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import opengradient as og  # type: ignore[import-not-found] # only in the SDK's environment
from web3.exceptions import ContractLogicError


def main() -> None:
    told = json.load(sys.stdin)
    alpha = og.Alpha(
        told["private_key"], told["rpc_url"], told["inference_contract"], told["node_api_url"]
    )
    json.dump([_infer(alpha, call) for call in told["calls"]], sys.stdout)


def _infer(alpha: Any, call: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401 - the SDK's client
    arrays = {
        name: np.array(values, dtype) for name, (dtype, values) in call["model_input"].items()
    }
    try:
        result = alpha.infer(call["cid"], og.InferenceMode(call["mode"]), arrays, max_retries=1)
    except (ContractLogicError, RuntimeError) as exc:
        return {"error": str(exc)}
    output = {name: np.asarray(array).tolist() for name, array in result.model_output.items()}
    return {"transaction_hash": result.transaction_hash, "model_output": output}


if __name__ == "__main__":
    main()
