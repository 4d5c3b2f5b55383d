"""A model's output: as arrays, from the node's JSON, and to JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from og_mcp.client.codec.fixed_point import Numbers, from_pairs, shortest_float64
from og_mcp.client.codec.malformed import NODE, malformed
from og_mcp.client.wire.json_text import is_deeper
from og_mcp.errors import ServiceReplyError, quote
from og_mcp.types import TensorSpec

MAX_OUTPUT_RANK: Final = 32
MAX_EMPTY: Final = 65_536
"""Highest number of empty lists for a tensor without values (product of the sizes before its first 0)."""

MAX_SIZES: Final = 2**40
"""Product of a shape's other dimensions where one is 0; numpy takes no larger ones."""

MAX_JSON_DEPTH: Final = 64
"""Nesting of a JSON output; deeper ones break the JSON writers they pass through."""

_INTEGER: Final = re.compile(r"-?[0-9]{1,39}", re.ASCII)


@dataclass(frozen=True)
class ModelOutput:
    """A model's output by tensor name; no name is in two of the fields."""

    numbers: dict[str, Numbers] = field(default_factory=dict)
    """In the tensor's shape: int64 (Python ints where one does not fit), or float32."""

    strings: dict[str, list[Any]] = field(default_factory=dict)
    """Flat, as the wire has no shape for texts; nested where the node sent one."""

    jsons: dict[str, Any] = field(default_factory=dict)
    """Parsed JSON values."""

    is_simulation_result: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether there is no tensor at all; the result is then elsewhere (protocol.md 3.3)."""
        return not (self.numbers or self.strings or self.jsons)

    @property
    def note(self) -> str:
        """Tell the shapes that nested lists cannot show: of tensors without values."""
        return " ".join(
            f"Output {quote(name)} has no values; its shape is {list(values.shape)}."
            for name, values in self.numbers.items()
            if values.size == 0 and values.ndim > 1
        )

    def add(self, kind: str, name: str, value: Any) -> None:  # noqa: ANN401 - as the fields
        """Add one tensor.

        Args:
            kind: Name of the field.
            name: Name of the tensor.
            value: What the field holds.

        Raises:
            ServiceReplyError: There is another one of that name; a graph may list one twice.
        """
        held = {**self.numbers, **self.strings, **self.jsons}
        if name in held and not _is_same(held[name], value):
            malformed(f"two tensors that differ are named {quote(name)}")
        getattr(self, kind)[name] = value


def node_output(value: object) -> ModelOutput:
    """Read an output as the node's API gives it.

    Integers may come as JSON numbers or decimal strings; lists, shapes and decimals may be absent
    or null; a string tensor may have a shape.

    Raises:
        ServiceReplyError: It is not an output.

    Source: protocol.md section 3.3.
    """
    if not isinstance(value, Mapping):
        malformed("there is no object")
    output = ModelOutput(is_simulation_result=value.get("is_simulation_result") is True)
    for name, tensor in _tensors(value, "numbers"):
        numbers = _node_numbers(_listed(tensor, "values"))
        told = tensor.get("shape") is not None
        shape = _integers(_listed(tensor, "shape")) if told else [numbers.size]
        output.add("numbers", name, shaped(name, numbers, shape))
    for name, tensor in _tensors(value, "strings"):
        texts = [_text(item) for item in _listed(tensor, "values")]
        shape = _integers(_listed(tensor, "shape"))
        output.add("strings", name, _nested(texts, shape) if fits(len(texts), shape) else texts)
    for name, tensor in _tensors(value, "jsons"):
        output.add("jsons", name, read_json(tensor.get("value")))
    return output


def shaped(name: str, numbers: Numbers, shape: Sequence[int]) -> Numbers:
    """Give numbers their shape.

    Raises:
        ServiceReplyError: They do not fill it.
    """
    if not fits(numbers.size, shape):
        shown = f"{list(shape)}" if len(shape) <= MAX_OUTPUT_RANK else f"rank {len(shape)}"
        malformed(f"tensor {quote(name)} has {numbers.size} numbers for shape {shown}")
    return numbers.reshape(tuple(shape))


def fits(count: int, shape: Sequence[int]) -> bool:
    """Tell whether so many values fill the shape.

    A shape without values must not be large before its first 0: [4294967295, 0] would become as
    many empty lists.
    """
    if len(shape) > MAX_OUTPUT_RANK or any(size < 0 for size in shape):
        return False
    if 0 in shape and (
        math.prod(shape[: shape.index(0)]) > MAX_EMPTY
        or math.prod(size or 1 for size in shape) > MAX_SIZES
    ):
        return False
    return math.prod(shape) == count


def read_json(encoded: object) -> Any:  # noqa: ANN401 - any JSON value
    """Read a JSON output: its text, or its value where the node's API has parsed it already.

    Numbers that JSON cannot write (NaN, infinities, beyond float64) are given as their text.

    Raises:
        ServiceReplyError: It is not JSON, nested deeper than `MAX_JSON_DEPTH`, or holds half a
            surrogate pair.
    """
    try:
        source = encoded if isinstance(encoded, str) else json.dumps(encoded)
        if is_deeper(source, MAX_JSON_DEPTH):
            malformed(f"JSON is nested more than {MAX_JSON_DEPTH} deep")
        value = json.loads(source, parse_constant=str, parse_float=_json_float)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as exc:
        raise ServiceReplyError(NODE, f"it gives {_quoted(encoded)} as JSON") from exc
    return value


def to_json(output: ModelOutput, specs: Sequence[TensorSpec] = ()) -> dict[str, Any]:
    """Return an output as JSON values by tensor name.

    Args:
        output: What `decode_result` or `node_output` gave.
        specs: The model's outputs where they are known; they give string tensors their shape.

    Returns:
        Nested lists in the tensor's shape, a bare value where it has no dimensions. Floats have the
        shortest text of their float32 (0.1, not 0.10000000149011612).
    """
    shapes = {spec.name: spec.shape for spec in specs}
    numbers = {name: _number_lists(values) for name, values in output.numbers.items()}
    strings = {
        name: _nested_like(values, shapes.get(name, [])) for name, values in output.strings.items()
    }
    return {**numbers, **strings, **output.jsons}


def _is_same(one: Any, other: Any) -> bool:  # noqa: ANN401 - as the fields of `ModelOutput`
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    return type(one) is type(other) and not isinstance(one, np.ndarray) and bool(one == other)


def _number_lists(values: Numbers) -> Any:  # noqa: ANN401 - nested to any depth
    if values.dtype.kind == "f":
        return shortest_float64(values).tolist()
    return values.tolist()


def _nested_like(values: list[Any], spec_shape: list[int]) -> Any:  # noqa: ANN401 - as above
    """Nest texts by the graph's shape, where it leaves at most one dimension open."""
    open_axes = [axis for axis, size in enumerate(spec_shape) if size < 0]
    known = math.prod(size for size in spec_shape if size >= 0)
    if len(open_axes) > 1 or known == 0 or len(values) % known:
        return values
    shape = [size if size >= 0 else len(values) // known for size in spec_shape]
    is_flat = all(isinstance(value, str) for value in values)
    return _nested(values, shape) if spec_shape and is_flat and fits(len(values), shape) else values


def _nested(values: list[str], shape: Sequence[int]) -> list[Any]:
    for size in reversed(shape[1:] if values else ()):
        values = [values[start : start + size] for start in range(0, len(values), size)]  # type: ignore[misc]  # one level deeper each time
    return values


def _tensors(output: Mapping[str, object], kind: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for tensor in _listed(output, kind):
        if not isinstance(tensor, Mapping):
            malformed(f"{_quoted(tensor)} stands for a tensor")
        yield _text(tensor.get("name")), tensor


def _listed(record: Mapping[str, object], key: str) -> list[Any]:
    value = record.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        malformed(f"{_quoted(value)} stands for the list {key}")
    return value


def _node_numbers(items: list[Any]) -> Numbers:
    for item in items:
        if not isinstance(item, Mapping):
            malformed(f"{_quoted(item)} stands for a number")
    values = _integers(item.get("value") for item in items)
    decimals = _integers(item.get("decimals") or 0 for item in items)
    try:
        return from_pairs(values, decimals)
    except ValueError as exc:
        raise ServiceReplyError(NODE, f"in the model's output {exc}") from exc


def _integers(items: Iterable[object]) -> list[int]:
    return [_integer(item) for item in items]


def _integer(item: object) -> int:
    if type(item) is int:
        return item
    if not (isinstance(item, str) and _INTEGER.fullmatch(item)):
        malformed(f"{_quoted(item)} stands for an integer")
    return int(item)


def _text(value: object) -> str:
    if not isinstance(value, str):
        malformed(f"{_quoted(value)} stands for text")
    try:
        value.encode()
    except UnicodeEncodeError:
        malformed(f"the text {quote(value)} is not Unicode")
    return value


def _quoted(value: object) -> str:
    """Quote a text, and name the type of anything else: it may be large, or nested deeply."""
    return quote(value) if isinstance(value, str) else f"a value of type {type(value).__name__}"


def _json_float(literal: str) -> float | str:
    value = float(literal)
    return value if math.isfinite(value) else literal
