"""The tensor codec as the rest of the client uses it; pure, and numpy only.

* `inputs`: the caller's values to tensors, checked; by way of `nested` and `tensor_files`
* `abi`: tensors to call data, event data to outputs; by way of `fixed_point` and `decimals`
* `outputs`: outputs from the node's JSON and to JSON
* `specs`: tensors against a model's graph
"""

from og_mcp.client.codec.inputs import Inputs, NumberTensor, StringTensor, parse_inputs
from og_mcp.client.codec.outputs import ModelOutput, node_output, to_json

__all__ = [
    "Inputs",
    "ModelOutput",
    "NumberTensor",
    "StringTensor",
    "node_output",
    "parse_inputs",
    "to_json",
]
