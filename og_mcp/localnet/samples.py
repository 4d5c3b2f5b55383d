"""Small real models that a local network holds from the start.

Each is built here with `onnx`, deterministically, so that its content id is the same in every
run; what a call gives is computed with onnxruntime when the network starts, never written down.

* `candle-volatility`: close-to-close and high-low (Parkinson) volatility of price candles.
* `word-sentiment`: text tensors; tags words by a small lexicon and averages their weights.
* `portfolio-value`: integer counts and float prices to a table of values and its totals.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

AUTHOR: Final = "local-samples"
"""Username of the account that owns the samples; the local network's own sign-in."""

_OPSET: Final = 17
_ML_OPSET: Final = 3
_IR_VERSION: Final = 8
_LEXICON: Final = {
    "good": 1.0,
    "great": 2.0,
    "love": 1.5,
    "bad": -1.0,
    "awful": -2.0,
    "hate": -1.5,
}


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One sample model with the input of one call."""

    name: str
    description: str
    file_name: str
    content: bytes
    """The ONNX file."""

    model_input: Mapping[str, Any]
    """Tensor name -> nested lists in the graph's shape."""

    def run(self) -> dict[str, Any]:
        """Run the model once on `model_input`; nested lists by output name.

        float32 is given by its shortest decimal text, as the chain carries it.
        """
        session = onnxruntime.InferenceSession(self.content, providers=["CPUExecutionProvider"])
        feeds = {
            tensor.name: np.array(self.model_input[tensor.name], _DTYPES[tensor.type])
            for tensor in session.get_inputs()
        }
        names = [tensor.name for tensor in session.get_outputs()]
        results = session.run(names, feeds)
        return {
            name: _listed(np.asarray(result)) for name, result in zip(names, results, strict=True)
        }


_DTYPES: Final[Mapping[str, Any]] = {
    "tensor(float)": np.float32,
    "tensor(int64)": np.int64,
    "tensor(string)": np.object_,
}


def build() -> tuple[Sample, ...]:
    """Build all samples."""
    return (_volatility(), _sentiment(), _portfolio())


def _listed(array: np.ndarray[Any, Any]) -> Any:  # noqa: ANN401 - nested lists of any depth
    if array.dtype != np.float32:
        return array.tolist()
    shortest = [float(str(value)) for value in array.ravel()]
    return np.array(shortest, np.float64).reshape(array.shape).tolist()


def _volatility() -> Sample:
    candles = [
        [3412.5, 3440.25, 3398.75, 3421.0],
        [3421.0, 3467.5, 3415.25, 3458.75],
        [3458.75, 3471.0, 3430.5, 3436.25],
        [3436.25, 3449.0, 3389.5, 3395.0],
        [3395.0, 3428.75, 3381.25, 3420.5],
        [3420.5, 3455.0, 3412.0, 3450.25],
        [3450.25, 3502.5, 3444.75, 3497.0],
        [3497.0, 3510.25, 3466.5, 3472.75],
        [3472.75, 3481.0, 3437.0, 3441.5],
        [3441.5, 3476.25, 3436.75, 3469.0],
    ]
    nodes = [
        _node("Split", ["open_high_low_close", "widths"], ["open", "high", "low", "close"], axis=2),
        _node("Slice", ["close", "one", "end", "axis"], ["later"]),
        _node("Slice", ["close", "zero", "minus_one", "axis"], ["earlier"]),
        _node("Div", ["later", "earlier"], ["growth"]),
        _node("Log", ["growth"], ["returns"]),
        _node("ReduceMean", ["returns"], ["mean"], axes=[1], keepdims=1),
        _node("Sub", ["returns", "mean"], ["deviations"]),
        _node("ReduceSumSquare", ["deviations"], ["squares"], axes=[1, 2], keepdims=0),
        _node("Div", ["squares", "degrees"], ["variance"]),
        _node("Sqrt", ["variance"], ["close_volatility"]),
        _node("Div", ["high", "low"], ["spread"]),
        _node("Log", ["spread"], ["ranges"]),
        _node("ReduceSumSquare", ["ranges"], ["range_squares"], axes=[1, 2], keepdims=0),
        _node("Div", ["range_squares", "parkinson"], ["range_variance"]),
        _node("Sqrt", ["range_variance"], ["range_volatility"]),
    ]
    rows = len(candles)
    constants = [
        _constant("widths", TensorProto.INT64, [1, 1, 1, 1]),
        _constant("zero", TensorProto.INT64, [0]),
        _constant("one", TensorProto.INT64, [1]),
        _constant("minus_one", TensorProto.INT64, [-1]),
        _constant("end", TensorProto.INT64, [rows]),
        _constant("axis", TensorProto.INT64, [1]),
        _constant("degrees", TensorProto.FLOAT, [rows - 2.0]),
        _constant("parkinson", TensorProto.FLOAT, [rows * 4 * math.log(2)]),
    ]
    return Sample(
        name="candle-volatility",
        description="Close-to-close and high-low (Parkinson) volatility of ten price candles.",
        file_name="candle_volatility.onnx",
        content=_model(
            nodes,
            [_value("open_high_low_close", TensorProto.FLOAT, [1, rows, 4])],
            [
                _value("close_volatility", TensorProto.FLOAT, [1]),
                _value("range_volatility", TensorProto.FLOAT, [1]),
            ],
            constants,
        ),
        model_input={"open_high_low_close": [candles]},
    )


def _sentiment() -> Sample:
    signs = ["+" if weight > 0 else "-" for weight in _LEXICON.values()]
    nodes = [
        _lookup("tags", values_strings=signs, default_string=""),
        _lookup("weights", values_floats=list(_LEXICON.values()), default_float=0.0),
        _node("ReduceMean", ["weights"], ["sentiment"], axes=[0], keepdims=1),
    ]
    return Sample(
        name="word-sentiment",
        description="Tags words + or - by a small lexicon and averages their weights.",
        file_name="word_sentiment.onnx",
        content=_model(
            nodes,
            [_value("words", TensorProto.STRING, ["words"])],
            [
                _value("tags", TensorProto.STRING, ["words"]),
                _value("sentiment", TensorProto.FLOAT, [1]),
            ],
            [],
        ),
        model_input={"words": ["i", "love", "this", "great", "model", "not", "the", "bad", "one"]},
    )


def _portfolio() -> Sample:
    nodes = [
        _node("Cast", ["counts"], ["amounts"], to=TensorProto.FLOAT),
        _node("Mul", ["amounts", "prices"], ["values"]),
        _node("ReduceSum", ["values", "last_axis"], ["totals"], keepdims=0),
        _node("ArgMax", ["values"], ["largest"], axis=1, keepdims=1),
    ]
    return Sample(
        name="portfolio-value",
        description="Value of every position, total of every portfolio, and its largest position.",
        file_name="portfolio_value.onnx",
        content=_model(
            nodes,
            [
                _value("counts", TensorProto.INT64, ["portfolios", 3]),
                _value("prices", TensorProto.FLOAT, [3]),
            ],
            [
                _value("values", TensorProto.FLOAT, ["portfolios", 3]),
                _value("totals", TensorProto.FLOAT, ["portfolios"]),
                _value("largest", TensorProto.INT64, ["portfolios", 1]),
            ],
            [_constant("last_axis", TensorProto.INT64, [1])],
        ),
        model_input={"counts": [[3, 0, 12], [1, 7, -2]], "prices": [101.25, 0.1, 9.5]},
    )


def _lookup(output: str, **values: Any) -> onnx.NodeProto:  # noqa: ANN401 - as make_node takes them
    keys = list(_LEXICON)
    return _node(
        "LabelEncoder", ["words"], [output], domain="ai.onnx.ml", keys_strings=keys, **values
    )


def _node(
    operator: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    **attributes: Any,  # noqa: ANN401 - as above
) -> onnx.NodeProto:
    return helper.make_node(operator, inputs, outputs, **attributes)


def _value(name: str, kind: int, shape: Sequence[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _constant(name: str, kind: int, values: Sequence[float]) -> onnx.TensorProto:
    return helper.make_tensor(name, kind, [len(values)], values)


def _model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    constants: Sequence[onnx.TensorProto],
) -> bytes:
    graph = helper.make_graph(nodes, "sample", inputs, outputs, constants)
    model = helper.make_model(
        graph,
        producer_name="og-mcp",
        ir_version=_IR_VERSION,
        opset_imports=[
            helper.make_opsetid("", _OPSET),
            helper.make_opsetid("ai.onnx.ml", _ML_OPSET),
        ],
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))
