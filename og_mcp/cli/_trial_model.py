"""The model that `og-mcp try` publishes and runs: a small neural network with fixed weights."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# Importing it keeps onnxruntime, which comes after it, from reporting to its maker.
import og_mcp.localnet  # noqa: F401 - see above

# isort: split
import onnxruntime

INPUT: Final = {"features": [[0.5, -1.25, 3.0], [2.0, 0.1, -0.75]]}
OUTPUT_NAME: Final = "price"
HIDDEN: Final = 4


def build() -> bytes:
    """Build a perceptron with one hidden layer as an ONNX file: [n, 3] float -> [n, 1] float."""
    random = np.random.default_rng(2026)
    weights = {
        "w1": random.normal(size=(3, HIDDEN)),
        "b1": random.normal(size=HIDDEN),
        "w2": random.normal(size=(HIDDEN, 1)),
        "b2": random.normal(size=1),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["features", "w1", "b1"], ["hidden"]),
            helper.make_node("Relu", ["hidden"], ["active"]),
            helper.make_node("Gemm", ["active", "w2", "b2"], [OUTPUT_NAME]),
        ],
        "house_prices",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, ["n", 1])],
        [numpy_helper.from_array(w.astype(np.float32), name) for name, w in weights.items()],
    )
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def run(content: bytes) -> Any:  # noqa: ANN401 - a numpy array
    """Run the file with onnxruntime on `INPUT`, away from any chain."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    features = np.array(INPUT["features"], np.float32)
    return session.run([OUTPUT_NAME], {"features": features})[0]
