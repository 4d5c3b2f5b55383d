"""Inputs and outputs are read from any file without reading its weights."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from og_mcp.localnet.graph import tensors
from og_mcp.localnet.samples import build


def _model(weight: TensorProto) -> onnx.ModelProto:
    """Build `y = x + w` that lists its weight among its inputs, as old files do."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.DOUBLE, ["n", 2]) for name in "xy")
    w = helper.make_tensor_value_info("w", TensorProto.DOUBLE, [2])
    node = helper.make_node("Add", ["x", "w"], ["y"])
    return helper.make_model(helper.make_graph([node], "g", [x, w], [y], [weight]))


def test_weights_are_no_inputs(tmp_path: Path) -> None:
    weight = helper.make_tensor("w", TensorProto.DOUBLE, [2], [1.0, 2.0])
    onnx.save(_model(weight), tmp_path / "m.onnx")

    assert tensors(tmp_path / "m.onnx") == (
        [{"name": "x", "dtype": "double", "shape": [-1, 2]}],
        [{"name": "y", "dtype": "double", "shape": [-1, 2]}],
    )


def test_an_open_rank_is_told_from_one_value(tmp_path: Path) -> None:
    kinds: list[tuple[str, list[int] | None]] = [("any", None), ("one", [])]
    made = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in kinds]
    onnx.save(helper.make_model(helper.make_graph([], "g", made, [])), tmp_path / "m.onnx")

    inputs, _outputs = tensors(tmp_path / "m.onnx")

    assert [tensor["shape"] for tensor in inputs] == [None, []]


def test_files_that_a_model_names_are_not_opened(tmp_path: Path) -> None:
    weight = helper.make_tensor("w", TensorProto.DOUBLE, [2], [1.0, 2.0])
    weight.ClearField("double_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../../nowhere")
    (tmp_path / "m.onnx").write_bytes(_model(weight).SerializeToString())

    inputs, _outputs = tensors(tmp_path / "m.onnx")

    assert [tensor["name"] for tensor in inputs] == ["x"]


@pytest.mark.parametrize("content", [b"", b"\0" * 10**6, b"\x08\x01" * 10, b"PK\x03\x04", b"\xff"])
def test_what_is_no_model_has_no_tensors(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(content)

    assert tensors(tmp_path / "m.onnx") == ([], [])


@given(at=st.integers(0, 400), byte=st.integers(0, 255), cut=st.integers(0, 400))
def test_a_damaged_file_is_no_accident(
    tmp_path_factory: pytest.TempPathFactory, at: int, byte: int, cut: int
) -> None:
    content = bytearray(build()[2].content)
    content[at] = byte
    path = tmp_path_factory.getbasetemp() / "damaged.onnx"
    path.write_bytes(content[: len(content) - cut])

    inputs, outputs = tensors(path)

    assert len(inputs) <= 3
    assert len(outputs) <= 3
