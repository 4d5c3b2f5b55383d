"""Names, types and shapes of an ONNX file's inputs and outputs.

Weights are stepped over, not read: a file of gigabytes takes no more memory than a small one, and
files that the model names (external data) are not opened.
Source: the protocol buffers wire format, and field numbers of `onnx.proto`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import onnx
from google.protobuf.message import DecodeError

from og_mcp.localnet.store import Tensor

_GRAPH: Final = onnx.ModelProto.DESCRIPTOR.fields_by_name["graph"].number
_WEIGHT: Final = onnx.GraphProto.DESCRIPTOR.fields_by_name["initializer"].number
_WEIGHT_NAME: Final = onnx.TensorProto.DESCRIPTOR.fields_by_name["name"].number
_INPUT: Final = onnx.GraphProto.DESCRIPTOR.fields_by_name["input"].number
_OUTPUT: Final = onnx.GraphProto.DESCRIPTOR.fields_by_name["output"].number

_VARINT, _EIGHT_BYTES, _SIZED, _FOUR_BYTES = 0, 1, 2, 5
_KINDS: Final = {_VARINT, _EIGHT_BYTES, _SIZED, _FOUR_BYTES}
_LONGEST_VARINT: Final = 10
_LARGEST_DESCRIPTION: Final = 2**20
"""Bytes of one input's, output's or weight name's description."""

_MOST_FIELDS: Final = 10**6
"""Nodes, weights and the like of one graph; what has more is not described."""


class _Field(NamedTuple):
    number: int
    start: int
    end: int


def tensors(path: Path) -> tuple[list[Tensor], list[Tensor]]:
    """Return inputs and outputs; both empty where the file is no ONNX model."""
    weights: set[str] = set()
    inputs: list[onnx.ValueInfoProto] = []
    outputs: list[onnx.ValueInfoProto] = []
    try:
        with path.open("rb") as file:
            for field in _graph_fields(file, path.stat().st_size):
                if field.number == _WEIGHT:
                    weights |= {_read(file, part).decode() for part in _names(file, field)}
                elif field.number == _INPUT:
                    inputs.append(onnx.ValueInfoProto.FromString(_read(file, field)))
                elif field.number == _OUTPUT:
                    outputs.append(onnx.ValueInfoProto.FromString(_read(file, field)))
        # Older files list weights among the inputs; a caller does not send them.
        return _described(v for v in inputs if v.name not in weights), _described(outputs)
    except (DecodeError, ValueError):
        return [], []


def _graph_fields(file: BinaryIO, size: int) -> Iterator[_Field]:
    for field in _fields(file, 0, size):
        if field.number == _GRAPH:
            yield from _fields(file, field.start, field.end)


def _names(file: BinaryIO, weight: _Field) -> Iterator[_Field]:
    return (part for part in _fields(file, weight.start, weight.end) if part.number == _WEIGHT_NAME)


def _fields(file: BinaryIO, at: int, end: int) -> Iterator[_Field]:
    """Find the fields that have a size of their own; the others are stepped over."""
    for _ in range(_MOST_FIELDS):
        if at >= end:
            return
        file.seek(at)
        tag = _varint(file)
        number, kind = tag >> 3, tag & 7
        if kind not in _KINDS or number == 0:
            raise DecodeError("not a field")
        if kind == _VARINT:
            _varint(file)
            at = file.tell()
        elif kind in {_EIGHT_BYTES, _FOUR_BYTES}:
            at = file.tell() + (8 if kind == _EIGHT_BYTES else 4)
        elif kind == _SIZED:
            size = _varint(file)
            start = file.tell()
            at = start + size
            if at > end:
                raise DecodeError("a field is longer than what holds it")
            yield _Field(number, start, at)
    raise DecodeError("too many fields")


def _varint(file: BinaryIO) -> int:
    value = 0
    for position in range(_LONGEST_VARINT):
        byte = file.read(1)
        if not byte:
            break
        value |= (byte[0] & 0x7F) << (7 * position)
        if byte[0] < 0x80:  # noqa: PLR2004 - the highest bit says that more follow
            return value
    raise DecodeError("a number does not end")


def _read(file: BinaryIO, field: _Field) -> bytes:
    if field.end - field.start > _LARGEST_DESCRIPTION:
        raise DecodeError("a description is too long")
    file.seek(field.start)
    return file.read(field.end - field.start)


def _described(values: Iterable[onnx.ValueInfoProto]) -> list[Tensor]:
    return [_tensor(value) for value in values if value.type.HasField("tensor_type")]


def _tensor(value: onnx.ValueInfoProto) -> Tensor:
    kind = value.type.tensor_type
    return Tensor(
        name=value.name,
        dtype=onnx.TensorProto.DataType.Name(kind.elem_type).lower(),
        shape=[
            dim.dim_value if dim.WhichOneof("value") == "dim_value" else -1
            for dim in kind.shape.dim
        ],
    )
