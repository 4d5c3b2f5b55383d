"""Small ONNX files for the tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
from onnx import TensorProto, helper

Size = int | str


class Folder:
    """Model files by content id; what a chain asks for them."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def add(self, cid: str, content: bytes) -> str:
        """Keep a file under a made-up content id."""
        (self._root / cid).write_bytes(content)
        return cid

    def path(self, cid: str) -> Path | None:
        """Return the file of a content id."""
        path = self._root / cid
        return path if path.is_file() else None


def value(name: str, kind: int, shape: Sequence[Size] | None) -> onnx.ValueInfoProto:
    """Describe an input or output."""
    return helper.make_tensor_value_info(name, kind, shape)


def graph(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    weights: Sequence[onnx.TensorProto] = (),
) -> bytes:
    """Write an ONNX file."""
    made = helper.make_graph(nodes, "test", inputs, outputs, weights)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return bytes(helper.make_model(made, ir_version=8, opset_imports=opsets).SerializeToString())


def identity(kind: int, shape: Sequence[Size] | None) -> bytes:
    """`y` is `x`."""
    return graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        [value("x", kind, shape)],
        [value("y", kind, shape)],
    )


def logarithm() -> bytes:
    """`y` is the natural logarithm of `x`: -inf at 0, NaN below."""
    return graph(
        [helper.make_node("Log", ["x"], ["y"])],
        [value("x", TensorProto.FLOAT, ["n"])],
        [value("y", TensorProto.FLOAT, ["n"])],
    )


def classifier() -> bytes:
    """`scores` is a list of maps, as classifiers written by scikit-learn give."""
    zipmap = helper.make_node(
        "ZipMap", ["x"], ["scores"], domain="ai.onnx.ml", classlabels_strings=["no", "yes"]
    )
    scores = onnx.ValueInfoProto(
        name="scores",
        type=helper.make_sequence_type_proto(
            helper.make_map_type_proto(
                TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
            )
        ),
    )
    return graph([zipmap], [value("x", TensorProto.FLOAT, ["n", 2])], [scores])


def with_weights_elsewhere() -> bytes:
    """`y` is `x` plus weights that stand in another file."""
    weights = helper.make_tensor("w", TensorProto.FLOAT, [1], [0.0])
    weights.ClearField("float_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="../secret.bin")
    return graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        [value("x", TensorProto.FLOAT, [1])],
        [value("y", TensorProto.FLOAT, [1])],
        [weights],
    )


def with_a_constant_elsewhere() -> bytes:
    """Like `with_weights_elsewhere`, hidden in an attribute of a branch's node."""
    weights = helper.make_tensor("w", TensorProto.FLOAT, [1], [0.0])
    weights.ClearField("float_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="/etc/passwd")
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["c"], value=weights)],
        "branch",
        [],
        [value("c", TensorProto.FLOAT, [1])],
    )
    choose = helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    return graph([choose], [value("x", TensorProto.BOOL, [])], [value("y", TensorProto.FLOAT, [1])])
