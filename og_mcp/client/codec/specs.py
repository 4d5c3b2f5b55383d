"""Checks a call's tensors against the model's graph; needs no numpy."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from og_mcp.errors import TensorError, quote
from og_mcp.types import TensorSpec

if TYPE_CHECKING:
    from og_mcp.client.codec.inputs import Inputs, NumberTensor, StringTensor

MAX_EXAMPLE_VALUES: Final = 64
"""Values that an example of one tensor may hold; a larger tensor is shown as a file."""

TEXT: Final = "string"

NO_TENSORS: Final = frozenset({"sequence", "map", "optional", "sparse_tensor", "opaque"})
"""ONNX inputs that are not tensors, by type name: the network's contract takes tensors only."""

OPEN: Final = "undefined"
"""The element type of a graph that leaves it open."""

SEE_MODEL: Final = "get_model shows what each tensor takes, with an example."

INTEGER_RANGES: Final[Mapping[str, tuple[int, int]]] = {
    "bool": (0, 1),
    **{f"int{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (2, 4, 8, 16, 32, 64)},
    **{f"uint{bits}": (0, 2**bits - 1) for bits in (2, 4, 8, 16, 32, 64)},
}
"""Element types that take integers only, by ONNX name; the wire has no booleans, so 0 and 1."""


def check_against(inputs: Inputs, specs: Sequence[TensorSpec]) -> Inputs:
    """Check tensors against what the model's graph declares.

    A bare number or text fits any shape that one value fills, [], [1] or [-1, 1] alike.

    Args:
        inputs: What `parse_inputs` gave.
        specs: The graph's inputs.

    Returns:
        The inputs, bare values in the graph's shape.

    Raises:
        TensorError: A tensor is missing or unknown, or its rank, a fixed dimension or its kind of
            values differs; the message says what the graph takes.
    """
    for spec in specs:
        if spec.dtype in NO_TENSORS:
            reason = f"is a {spec.dtype} in this model's graph, and only tensors can be sent"
            raise TensorError(spec.name, reason, "The model cannot be run on this network.")
    by_name = {spec.name: spec for spec in specs}
    for tensor in inputs.tensors:
        if tensor.name not in by_name:
            _refuse_unknown(tensor.name, list(by_name))
    given = [tensor.name for tensor in inputs.tensors]
    for spec in specs:
        if spec.name not in given:
            names = ", ".join(quote(name) for name in given) or "no tensors"
            hint = f"The model takes it as {_described(spec)}; given were {names}."
            raise TensorError(spec.name, "is missing", hint)
    fitted = tuple(_fitted(tensor, by_name[tensor.name]) for tensor in inputs.tensors)
    return dataclasses.replace(inputs, tensors=fitted)


def example_input(specs: Sequence[TensorSpec]) -> dict[str, Any]:
    """Return a `model_input` of the right names, shapes and kinds; open dimensions are 1.

    A tensor of more than `MAX_EXAMPLE_VALUES` values is shown as a file to name. Empty where the
    model takes something that is not a tensor, and so cannot be run.
    """
    if any(spec.dtype in NO_TENSORS for spec in specs):
        return {}
    return {spec.name: _example(spec) for spec in specs}


def _refuse_unknown(name: str, known: list[str]) -> None:
    if not known:
        hint = "It takes no inputs; leave the model input empty."
        raise TensorError(name, "is not an input of this model", hint)
    near = difflib.get_close_matches(name, known, 1, 0.4)
    hint = f"Did you mean {quote(near[0])}? " if near else ""
    names = ", ".join(quote(name) for name in known[:10])
    raise TensorError(name, "is not an input of this model", f"{hint}Its inputs are {names}.")


def _fitted(tensor: NumberTensor | StringTensor, spec: TensorSpec) -> NumberTensor | StringTensor:
    """Check one tensor and return it in the graph's shape."""
    _check_kind(tensor, spec)
    if spec.any_rank:
        return tensor
    if tensor.scalar and all(size in (1, -1) for size in spec.shape):
        return dataclasses.replace(tensor, shape=(1,) * len(spec.shape))
    if 0 in tensor.shape and len(tensor.shape) < len(spec.shape):
        tensor = _completed(tensor, spec)
    matches = len(tensor.shape) == len(spec.shape) and all(
        wanted in (-1, size) for size, wanted in zip(tensor.shape, spec.shape, strict=True)
    )
    if not matches:
        given = "is a bare value" if tensor.scalar else f"has shape {list(tensor.shape)}"
        reason = f"{given}, and the model takes {_described(spec)}"
        raise TensorError(spec.name, reason, SEE_MODEL)
    return tensor


def _completed(
    tensor: NumberTensor | StringTensor, spec: TensorSpec
) -> NumberTensor | StringTensor:
    """Add the sizes that nested lists cannot tell, since the last of them is empty."""
    rest = spec.shape[len(tensor.shape) :]
    if any(size < 0 for size in rest):
        reason = f"is empty at shape {list(tensor.shape)}, and the model takes {_described(spec)}"
        raise TensorError(spec.name, reason, "Give a .npy file, which tells the whole shape.")
    return dataclasses.replace(tensor, shape=(*tensor.shape, *rest))


def _check_kind(tensor: NumberTensor | StringTensor, spec: TensorSpec) -> None:
    # Recognised by what they have: importing the classes would import numpy.
    is_text = isinstance(tensor.values, list)
    if spec.dtype == OPEN:
        return
    if len(tensor.values) and is_text != (spec.dtype == TEXT):
        holds = "text" if is_text else "numbers"
        reason = f"holds {holds}, and the model takes {_described(spec)}"
        raise TensorError(spec.name, reason, SEE_MODEL)
    if not isinstance(tensor.values, list) and spec.dtype in INTEGER_RANGES:
        _check_integers(spec, tensor.values.tolist(), () if tensor.scalar else tensor.shape)


def _check_integers(spec: TensorSpec, values: list[float], shape: Sequence[int]) -> None:
    least, greatest = INTEGER_RANGES[spec.dtype]
    if all(least <= value <= greatest and value == int(value) for value in values):
        return
    for index, value in enumerate(values):
        where = _where(index, shape)
        if value != int(value):
            reason = f"holds the fraction {value!r}{where}, and the model takes {_described(spec)}"
            raise TensorError(spec.name, reason)
        if not least <= value <= greatest:
            reason = f"holds {value!r}{where}, outside {spec.dtype} ({least} to {greatest})"
            raise TensorError(spec.name, reason)


def _where(index: int, shape: Sequence[int]) -> str:
    axes = []
    for size in reversed(shape):
        index, axis = divmod(index, size)
        axes.append(f"[{axis}]")
    return f" at {''.join(reversed(axes))}" if axes else ""


def _described(spec: TensorSpec) -> str:
    kind = {TEXT: "text", OPEN: "values"}.get(spec.dtype, spec.dtype)
    if spec.any_rank:
        return f"{kind} of any shape"
    sizes = ", ".join("any" if size < 0 else str(size) for size in spec.shape)
    return f"{kind} of shape [{sizes}]" if spec.shape else f"one {kind} without dimensions"


def _example(spec: TensorSpec) -> Any:  # noqa: ANN401 - nested to any depth
    sizes = [size if size > 0 else 1 for size in spec.shape]
    if math.prod(sizes) > MAX_EXAMPLE_VALUES:
        return {"file": f"/path/to/{''.join(c for c in spec.name if c.isalnum())}.npy"}
    value: Any = 0.0
    if spec.dtype == TEXT:
        value = "text"
    elif spec.dtype in INTEGER_RANGES:
        value = 0
    for size in reversed(sizes):
        value = [value] * size
    return value
