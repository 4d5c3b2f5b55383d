"""ONNX files for tests: small ones, and one of any size that was never in memory."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Final

import onnx
from onnx import TensorProto, helper

BLOCK: Final = 2**20
_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9
_SIZED: Final = 2


def small(name: str = "x", *, width: int = 3) -> bytes:
    """Build a graph that doubles one input, [1, width] floats."""
    shape = [1, width]
    graph = helper.make_graph(
        [helper.make_node("Add", [name, name], ["y"])],
        "doubling",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    content: bytes = _model(graph).SerializeToString()
    return content


def external() -> bytes:
    """Build a graph whose weight lies in another file."""
    model = onnx.load_model_from_string(small())
    weight = model.graph.initializer.add()
    weight.name, weight.data_type = "w", TensorProto.FLOAT
    weight.dims.append(1)
    weight.data_location = TensorProto.EXTERNAL
    location = weight.external_data.add()
    location.key, location.value = "location", "/etc/passwd"
    content: bytes = model.SerializeToString()
    return content


def write_large(path: Path, size: int, *, seed: int = 7) -> None:
    """Write a valid file of about `size` bytes, nearly all of it one weight of random bytes."""
    count = max(BLOCK, size - 4096) // 4 * 4
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[count // 4])
    head = weight.SerializeToString() + _tag(_RAW_DATA, count)
    tensor_size = len(head) + count
    parts = onnx.load_model_from_string(small())
    rest = parts.graph.SerializeToString()
    before = _tag(_INITIALIZER, tensor_size) + head
    parts.ClearField("graph")
    noise = random.Random(seed)  # noqa: S311 - bytes of a test
    with path.open("wb") as file:
        file.write(parts.SerializeToString())
        file.write(_tag(_GRAPH, len(rest) + len(before) + count) + rest + before)
        while count:
            file.write(noise.randbytes(step := min(BLOCK, count)))
            count -= step


def _model(graph: onnx.GraphProto) -> onnx.ModelProto:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def _tag(number: int, size: int) -> bytes:
    """Write the head of a field that has a size."""
    return _varint(number << 3 | _SIZED) + _varint(size)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
