"""One input or output of an ONNX graph, from the bytes of its description.

Source: `ValueInfoProto`, `TypeProto` and `TensorShapeProto` of `onnx.proto` 1.20.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from og_mcp.onnxfile._wire import EIGHT_BYTES, FOUR_BYTES, SIZED, VARINT, varint
from og_mcp.types import TensorSpec

MAX_RANK: Final = 64
MAX_NAME: Final = 300
_NO_ONNX: Final = "is not in the format of ONNX"

ELEMENT_TYPES: Final = (
    *("undefined", "float", "uint8", "int8", "uint16", "int16", "int32", "int64", "string", "bool"),
    *("float16", "double", "uint32", "uint64", "complex64", "complex128", "bfloat16"),
    *("float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz", "uint4", "int4"),
    *("float4e2m1", "float8e8m0", "uint2", "int2", "float6e2m3", "float6e3m2"),
)
"""Names by ONNX's numbers."""

_TENSOR_TYPE: Final = 1
_OTHER_TYPES: Final = {4: "sequence", 5: "map", 7: "opaque", 8: "sparse_tensor", 9: "optional"}


class DescriptionError(ValueError):
    """The bytes describe no value; `str()` goes on where a name for it stands before."""


class _Field(NamedTuple):
    number: int
    wire: int
    value: int
    content: bytes


def described(data: bytes) -> TensorSpec:
    """Read one input or output. What is not a tensor has its kind as `dtype` and any rank.

    Raises:
        DescriptionError: The bytes are broken, or beyond what is read.
    """
    name, type_of = "", b""
    for part in _fields(data):
        if part.number == 1 and part.wire == SIZED:
            name = _text(part.content)
        elif part.number == 2 and part.wire == SIZED:  # noqa: PLR2004 - `type`
            type_of = part.content
    if not name:
        raise DescriptionError("has no name")
    if len(name) > MAX_NAME:
        raise DescriptionError("has too long a name")
    dtype, shape = _type(type_of)
    return TensorSpec(name=name, dtype=dtype, shape=shape or [], any_rank=shape is None)


def text_pair(data: bytes) -> tuple[str, str]:
    """Read a property: its key and its value.

    Raises:
        DescriptionError: The bytes are broken.
    """
    texts = {part.number: _text(part.content) for part in _fields(data) if part.wire == SIZED}
    return texts.get(1, ""), texts.get(2, "")


def _type(data: bytes) -> tuple[str, list[int] | None]:
    """Read element type and dimensions; `None` where the rank is open."""
    kind: tuple[str, list[int] | None] = ("undefined", None)
    for part in _fields(data):
        if part.wire == SIZED and part.number == _TENSOR_TYPE:
            kind = _tensor_type(part.content)
        elif part.wire == SIZED and part.number in _OTHER_TYPES:
            kind = (_OTHER_TYPES[part.number], None)
    return kind


def _tensor_type(data: bytes) -> tuple[str, list[int] | None]:
    element, shape = 0, None
    for part in _fields(data):
        if part.number == 1 and part.wire == VARINT:
            element = part.value
        elif part.number == 2 and part.wire == SIZED:  # noqa: PLR2004 - `shape`
            shape = _shape(part.content)
    if element >= len(ELEMENT_TYPES):
        raise DescriptionError("has an element type that is not known")
    return ELEMENT_TYPES[element], shape


def _shape(data: bytes) -> list[int]:
    shape = [
        _dimension(part.content)
        for part in _fields(data)
        if part.number == 1 and part.wire == SIZED
    ]
    if len(shape) > MAX_RANK:
        raise DescriptionError("has too many dimensions")
    return shape


def _dimension(data: bytes) -> int:
    """Read one dimension; -1 where it has a name instead of a size, or neither."""
    size = -1
    for part in _fields(data):
        if part.number == 1 and part.wire == VARINT:
            size = part.value if part.value < 1 << 63 else -1
        elif part.number == 2:  # noqa: PLR2004 - `dim_param`
            size = -1
    return size


def _fields(data: bytes) -> Iterator[_Field]:
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire, value, content = tag >> 3, tag & 7, 0, b""
        if wire == VARINT:
            value, at = _varint(data, at)
        elif wire == SIZED:
            size, at = _varint(data, at)
            content, at = data[at : at + size], at + size
        elif wire in {EIGHT_BYTES, FOUR_BYTES}:
            at += 8 if wire == EIGHT_BYTES else 4
        else:
            raise DescriptionError(_NO_ONNX)
        if at > len(data) or number == 0:
            raise DescriptionError(_NO_ONNX)
        yield _Field(number, wire, value, content)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    try:
        read = varint(data, at)
    except ValueError as exc:
        raise DescriptionError(_NO_ONNX) from exc
    if read is None:
        raise DescriptionError(_NO_ONNX)
    return read


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as exc:
        raise DescriptionError("holds text that is not UTF-8") from exc
