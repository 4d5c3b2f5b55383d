"""The tensor codec as the rest of the client uses it; pure, and numpy only.

* `_inputs`: the caller's values to tensors, checked; by way of `_nested` and `_tensor_files`
* `_abi`: tensors to call data, event data to outputs; by way of `_fixed_point` and `_decimals`
* `_outputs`: outputs from the node's JSON and to JSON
* `_specs`: tensors against a model's graph
"""

from og_mcp.client._inputs import Inputs, NumberTensor, StringTensor, parse_inputs
from og_mcp.client._outputs import ModelOutput, node_output, to_json

__all__ = [
    "Inputs",
    "ModelOutput",
    "NumberTensor",
    "StringTensor",
    "node_output",
    "parse_inputs",
    "to_json",
]
