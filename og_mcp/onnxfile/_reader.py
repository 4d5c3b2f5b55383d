"""The reader of ONNX files, piece by piece.

Nearly all of a file are weights, and its inputs stand after them. Weights are stepped over; of all
else no more than one name or one description is held at a time.

Nothing here trusts the file: depth, number of fields and length of texts are bounded, and whatever
is not ONNX is an `OnnxError`.

Source: the protocol buffers wire format; messages and field numbers of `onnx.proto` 1.20.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from og_mcp.onnxfile._fields import FIELDS_KEY, field_names
from og_mcp.onnxfile._values import DescriptionError, described, text_pair
from og_mcp.onnxfile._wire import EIGHT_BYTES, FOUR_BYTES, SIZED, VARINT, varint
from og_mcp.types import ModelGraph, TensorSpec

MAX_DEPTH: Final = 64
"""Messages inside messages; each level of nested subgraphs takes three."""

MAX_FIELDS: Final = 1_000_000
"""Fields of a file; a node has about 15. So many take about 3 s."""

MAX_DESCRIPTION: Final = 1 << 16
"""Bytes of the description of one input or output, of a weight's name, and of a property."""

MAX_NAMES: Final = 1 << 24
"""Bytes of all weights' names."""

MAX_TENSORS: Final = 1000
"""Inputs, and outputs, of one graph."""

_NO_ONNX: Final = "it is not in the format of ONNX"
_EXTERNAL: Final = 1
"""`data_location` of a tensor whose bytes are in another file."""

_INSIDE: Final[Mapping[str, Mapping[int, str]]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "subgraph", 2: "subgraph"},
    "graph": {1: "node", 5: "weight", 15: "sparse_weight"},
    "subgraph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {
        5: "tensor",
        6: "subgraph",
        10: "tensor",
        11: "subgraph",
        22: "sparse",
        23: "sparse",
    },
    "sparse_weight": {1: "weight", 2: "tensor"},
    "sparse": {1: "tensor", 2: "tensor"},
    "weight": {},
    "tensor": {},
}
"""Messages that are gone into: kind -> field -> kind of what it holds. All else is stepped over."""

_MODEL_PROPERTY: Final = ("model", 14)
_GRAPH_INPUT: Final = ("graph", 11)
_GRAPH_OUTPUT: Final = ("graph", 12)
_WEIGHT_NAME: Final = ("weight", 8)
_EXTERNAL_DATA: Final = 13
_DATA_LOCATION: Final = 14


class OnnxError(ValueError):
    """The bytes are not an ONNX model; `str()` says why, in our words alone."""


@dataclass(frozen=True)
class OnnxFile:
    """What was read of a file."""

    graph: ModelGraph
    external: bool
    """Whether a tensor of it stands in another file (threats.md T27)."""


@dataclass
class _Message:
    kind: str
    end: float
    """Position in the file; infinity for the file itself."""


@dataclass
class _Found:
    weights: set[bytes] = field(default_factory=set)
    name_bytes: int = 0
    inputs: list[TensorSpec] = field(default_factory=list)
    outputs: list[TensorSpec] = field(default_factory=list)
    properties: dict[str, str] = field(default_factory=dict)
    has_graph: bool = False
    external: bool = False


class OnnxReader:
    """Takes a file in pieces of any size, in order.

    After each piece `idle` says how many bytes that follow are of no interest: whoever can, steps
    over them (`step_over`) instead of feeding them.
    """

    def __init__(self) -> None:
        self._open = [_Message("model", float("inf"))]
        self._found = _Found()
        self._buffer = bytearray()
        self._at = 0
        self._fields = 0
        self.idle = 0
        """Bytes to come that need not be read."""

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes; up to a second of work for each MiB of small fields.

        Raises:
            OnnxError: They are not ONNX.
        """
        idle = min(self.idle, len(data))
        self.step_over(idle)
        self._buffer += memoryview(data)[idle:]
        taken = 0
        while (size := self._field(taken)) > 0:
            taken += size
            if self.idle:
                more = min(self.idle, len(self._buffer) - taken)
                taken += more
                self.idle -= more
                self._at += more
        del self._buffer[:taken]

    def step_over(self, size: int) -> None:
        """Note that so many of the idle bytes are passed over unread."""
        self.idle -= size
        self._at += size

    def finish(self) -> OnnxFile:
        """Return what was read, once the file is at its end.

        Raises:
            OnnxError: It ends too early, or is not ONNX.
        """
        self._close_ended()
        if self.idle or self._buffer or len(self._open) > 1:
            raise OnnxError("the file ends too early")
        found = self._found
        if not found.has_graph:
            raise OnnxError("the file holds no graph")
        inputs = [spec for spec in found.inputs if spec.name.encode() not in found.weights]
        names = [spec.name for spec in inputs]
        if len(set(names)) < len(names):
            raise OnnxError("two inputs have one name")
        graph = ModelGraph(
            inputs=inputs, outputs=found.outputs, fields=field_names(inputs, found.properties)
        )
        return OnnxFile(graph, found.external)

    def _close_ended(self) -> None:
        while self._open[-1].end == self._at:
            self._open.pop()

    def _field(self, start: int) -> int:
        """Take one field from the buffer; returns its bytes there, 0 where it is not whole yet."""
        self._close_ended()
        header = self._header(start)
        if header is None:
            return 0
        number, wire, value, size = header
        inside = self._open[-1]
        content = _content(wire, value)
        if number == 0 or content < 0:
            raise OnnxError(_NO_ONNX)
        if self._at + size + content > inside.end:
            raise OnnxError("a part of it is longer than what holds it")
        take = _TAKEN.get((inside.kind, number)) if wire == SIZED else None
        if take is not None:
            if not self._take(take, start + size, content):
                return 0
            size += content
        elif wire == SIZED and (kind := _INSIDE[inside.kind].get(number)):
            self._enter(kind, self._at + size + content)
        else:
            self._note(inside.kind, number, wire, value)
            self.idle = content
        self._at += size
        return self._counted(size)

    def _take(self, take: Callable[[_Found, bytes], None], start: int, size: int) -> bool:
        """Take a name or description; false where it is not whole yet."""
        if size > MAX_DESCRIPTION:
            raise OnnxError("a name or description in it is too long")
        whole = len(self._buffer) - start >= size
        if whole:
            take(self._found, bytes(self._buffer[start : start + size]))
        return whole

    def _counted(self, size: int) -> int:
        self._fields += 1
        if self._fields > MAX_FIELDS:
            raise OnnxError("it has too many parts")
        return size

    def _enter(self, kind: str, end: int) -> None:
        if len(self._open) >= MAX_DEPTH:
            raise OnnxError("its parts are nested too deeply")
        self._found.has_graph |= kind == "graph"
        self._open.append(_Message(kind, end))

    def _note(self, kind: str, number: int, wire: int, value: int) -> None:
        if kind not in {"weight", "tensor"}:
            return
        by_place = number == _DATA_LOCATION and wire == VARINT and value == _EXTERNAL
        if by_place or (number == _EXTERNAL_DATA and wire == SIZED):
            self._found.external = True

    def _header(self, start: int) -> tuple[int, int, int, int] | None:
        """Read field number, wire type, value or size, and the header's own bytes."""
        try:
            tag = varint(self._buffer, start)
            read = None if tag is None else (0, tag[1])
            if tag is not None and tag[0] & 7 in {VARINT, SIZED}:
                read = varint(self._buffer, tag[1])
        except ValueError as exc:
            raise OnnxError(_NO_ONNX) from exc
        if tag is None or read is None:
            return None
        return tag[0] >> 3, tag[0] & 7, read[0], read[1] - start


def _content(wire: int, value: int) -> int:
    """Return the bytes after a field's header; -1 where there is no such kind of field."""
    if wire == SIZED:
        return value
    return {VARINT: 0, EIGHT_BYTES: 8, FOUR_BYTES: 4}.get(wire, -1)


def _take_weight_name(found: _Found, body: bytes) -> None:
    found.weights.add(body)
    found.name_bytes += len(body)
    if found.name_bytes > MAX_NAMES:
        raise OnnxError("its weights have too many names")


def _take_input(found: _Found, body: bytes) -> None:
    spec = _described(body)
    # Old files list weights among their inputs; a caller does not send them.
    if spec.name.encode() not in found.weights:
        _append(found.inputs, spec)


def _take_output(found: _Found, body: bytes) -> None:
    _append(found.outputs, _described(body))


def _described(body: bytes) -> TensorSpec:
    try:
        return described(body)
    except DescriptionError as exc:
        raise OnnxError(f"the description of an input or output {exc}") from exc


def _append(tensors: list[TensorSpec], spec: TensorSpec) -> None:
    if len(tensors) >= MAX_TENSORS:
        raise OnnxError(f"it has more than {MAX_TENSORS} inputs or outputs")
    tensors.append(spec)


def _take_property(found: _Found, body: bytes) -> None:
    try:
        key, value = text_pair(body)
    except DescriptionError:
        # What a file says about itself beside its graph may be anything.
        return
    if FIELDS_KEY.fullmatch(key):
        found.properties[key] = value


_TAKEN: Final[Mapping[tuple[str, int], Callable[[_Found, bytes], None]]] = {
    _MODEL_PROPERTY: _take_property,
    _GRAPH_INPUT: _take_input,
    _GRAPH_OUTPUT: _take_output,
    _WEIGHT_NAME: _take_weight_name,
}
