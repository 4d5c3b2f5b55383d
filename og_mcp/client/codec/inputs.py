"""Turns the caller's values into tensors for the wire; everything else is refused here."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from og_mcp.client.codec.fixed_point import INT128_LIMIT, Numbers, is_beyond_int128
from og_mcp.client.codec.nested import check_total, flatten, refuse
from og_mcp.client.codec.specs import TEXT
from og_mcp.client.codec.tensor_files import OpenFile, read_tensor_file
from og_mcp.errors import TensorError, quote
from og_mcp.types import TensorSpec

EXACT_FLOATS: Final = 2**53
"""Integers below this are exact in float64; a larger one never rounds below it."""

MAX_SIZE: Final = 2**32
"""Sizes of dimensions travel as uint32."""

MAX_TEXT_BYTES: Final = 64_000_000
"""Bytes of text in one call, as much as `MAX_VALUES` numbers take on the wire."""


@dataclass(frozen=True)
class NumberTensor:
    """Numbers for the wire."""

    name: str
    values: Numbers
    """Row-major, one-dimensional; finite and within int128.

    float16, float32, float64, an integer dtype, or Python ints and floats in an object array where
    no dtype holds them exactly.
    """

    shape: tuple[int, ...]
    scalar: bool = False
    """Whether the caller gave a bare number; it then has shape (1,), as in the public SDK."""


@dataclass(frozen=True)
class StringTensor:
    """Texts for the wire, which has no shape for them."""

    name: str
    values: list[str]
    """Row-major."""

    shape: tuple[int, ...]
    """As the caller gave it."""

    scalar: bool = False
    """Whether the caller gave a bare text."""


@dataclass(frozen=True)
class Inputs:
    """All tensors of one call, in the caller's order."""

    tensors: tuple[NumberTensor | StringTensor, ...]
    notes: tuple[str, ...] = ()
    """Notes for the caller about how files were read, e.g. that a header was skipped."""

    @property
    def numbers(self) -> tuple[NumberTensor, ...]:
        """The number tensors, in the caller's order."""
        return tuple(tensor for tensor in self.tensors if isinstance(tensor, NumberTensor))

    @property
    def strings(self) -> tuple[StringTensor, ...]:
        """The string tensors, in the caller's order."""
        return tuple(tensor for tensor in self.tensors if isinstance(tensor, StringTensor))


def parse_inputs(
    model_input: Mapping[str, object],
    specs: Sequence[TensorSpec] = (),
    *,
    open_file: OpenFile | None = None,
) -> Inputs:
    """Check a model's input and bring it into arrays.

    Args:
        model_input: Tensor name -> number, text, nested lists, a numpy array, or
            `{"file": "/path/x.npy"}`. A bare number or text gets shape (1,); floats keep their
            dtype, Python floats are float64; integers beside floats stay exact. A list may be
            empty. None at all for a model without inputs.
        specs: What the model's graph takes, where known: it decides how tables are read, and that
            true, false and decimal text are integers. `check_against` checks the rest.
        open_file: Opens a path that the user named, or raises FileRefusedError; without it files
            are refused.

    Raises:
        TensorError: A tensor cannot go on the wire; the message names it and the index.
        FileRefusedError: A file may not or cannot be read.
    """
    _check_names(model_input)
    by_name = {spec.name: spec for spec in specs}
    tensors: list[NumberTensor | StringTensor] = []
    notes: list[str] = []
    count = 0
    for name, value in model_input.items():
        spec = by_name.get(name)
        if isinstance(value, Mapping):
            value, note = read_tensor_file(name, value, open_file, spec)  # noqa: PLW2901 - what the file holds stands in its place
            notes += [note] * bool(note)
        tensor = _parse(name, value, spec.dtype if spec is not None else "")
        count += len(tensor.values)
        check_total(name, count)
        tensors.append(tensor)
    _check_text(tensors)
    return Inputs(tuple(tensors), tuple(notes))


def _check_names(model_input: Mapping[str, object]) -> None:
    seen: dict[str, str] = {}
    for name in model_input:
        if not isinstance(name, str) or not name.strip():
            raise TensorError(str(name), "has no name", "Name it as the model's graph does.")
        if not _is_unicode(name):
            raise TensorError(name, "has half a surrogate pair in its name")
        looks = unicodedata.normalize("NFC", name).strip()
        if looks in seen:
            raise TensorError(name, f"is named like {quote(seen[looks])}", "Give each tensor once.")
        seen[looks] = name


def _is_unicode(text: str) -> bool:
    """Tell whether the text can be written in UTF-8: Python's may hold half a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _parse(name: str, value: object, dtype: str) -> NumberTensor | StringTensor:
    """Bring one value into an array; `dtype` is what the graph takes, empty where not known."""
    if isinstance(value, np.ndarray) and value.size == 0:
        return _empty(name, value.shape, dtype or ("" if value.dtype.kind in "biufO" else TEXT))
    if isinstance(value, np.ndarray) and value.dtype.kind not in "OUT":
        return _parse_array(name, value, dtype)
    if isinstance(value, np.ndarray):
        value = _to_lists(name, value)
    flat = flatten(name, value, dtype)
    if not flat.leaves:
        return _empty(name, flat.shape, dtype)
    scalar, shape = not flat.shape, flat.shape or (1,)
    if isinstance(flat.leaves[0], str):
        return StringTensor(name, flat.leaves, shape, scalar)
    values = _to_array(flat.leaves)
    _check_numbers(name, values, flat.shape)
    return NumberTensor(name, values, shape, scalar)


def _empty(name: str, shape: tuple[int, ...], dtype: str) -> NumberTensor | StringTensor:
    """Return a tensor without values, e.g. the past of a conversation that begins."""
    if max(shape) >= MAX_SIZE:
        raise TensorError(name, f"has a dimension of {max(shape)}, beyond uint32")
    return (
        StringTensor(name, [], shape) if dtype == TEXT else NumberTensor(name, np.empty(0), shape)
    )


def _to_lists(name: str, array: npt.NDArray[Any]) -> object:
    """Return texts or Python objects as nested lists in the array's shape."""
    check_total(name, array.size)
    return array.tolist()


def _parse_array(name: str, array: npt.NDArray[Any], dtype: str) -> NumberTensor:
    if array.dtype.kind == "b" and dtype == "bool":
        array = array.astype(np.uint8)
    if array.dtype.kind not in "fiu" or array.dtype.itemsize > 8:  # noqa: PLR2004 - 64 bits
        kind = "booleans" if array.dtype.kind == "b" else f"values of dtype {array.dtype}"
        raise TensorError(name, f"holds {kind}", "Use integers, float16, float32 or float64.")
    check_total(name, array.size)
    if isinstance(array, np.ma.MaskedArray) and np.ma.getmaskarray(array).any():
        refuse(name, "null", int(np.ma.getmaskarray(array).argmax()), array.shape)
    values = np.asarray(array, array.dtype.newbyteorder("=")).reshape(-1)
    _check_numbers(name, values, array.shape)
    return NumberTensor(name, values, array.shape)


def _to_array(leaves: list[Any]) -> Numbers:
    """Return Python or numpy numbers as an array that holds them exactly."""
    kinds = set(map(type, leaves))
    try:
        if kinds == {int}:
            return np.array(leaves, np.int64)
        values = np.array(leaves, np.float64 if kinds <= {int, float} else None)
    except OverflowError:
        return _exactly(leaves)
    if kinds == {int, float} and (np.abs(values) >= EXACT_FLOATS).any():
        return _exactly(leaves)
    return values


def _exactly(leaves: list[Any]) -> Numbers:
    values = np.empty(len(leaves), object)
    values[:] = leaves
    return values


def _check_numbers(name: str, values: Numbers, shape: tuple[int, ...]) -> None:
    """Refuse NaN, infinities and what int128 does not hold."""
    if values.dtype.kind == "O":
        _check_objects(name, values, shape)
    if values.dtype.kind != "f":
        return
    finite = np.isfinite(values)
    if not finite.all():
        index = int(finite.argmin())
        _refuse_number(name, float(values[index]), index, shape)
    if values.dtype.itemsize > 2:  # noqa: PLR2004 - float16 ends at 65504
        for large in np.flatnonzero(np.abs(values) >= values.dtype.type(1.7e38)):
            if is_beyond_int128(values[large]):
                _refuse_number(name, float(values[large]), int(large), shape)


def _check_objects(name: str, values: Numbers, shape: tuple[int, ...]) -> None:
    for index, value in enumerate(values):
        if isinstance(value, float) and not np.isfinite(value):
            _refuse_number(name, value, index, shape)
        if not -INT128_LIMIT <= value < INT128_LIMIT and is_beyond_int128(value):
            _refuse_number(name, value, index, shape)


def _refuse_number(name: str, value: float, index: int, shape: tuple[int, ...]) -> None:
    if value != value:  # noqa: PLR0124 - only NaN differs from itself
        refuse(name, "NaN", index, shape, "Every place needs a finite number.")
    if value in (float("inf"), float("-inf")):
        refuse(name, "an infinity", index, shape, "Every place needs a finite number.")
    # Python refuses to write an integer of more than 4300 digits.
    size = f"{value!r}" if isinstance(value, float) else f"an integer of {value.bit_length()} bits"
    refuse(name, f"{size}, beyond int128,", index, shape, "Numbers travel as 128-bit integers.")


def _check_text(tensors: list[NumberTensor | StringTensor]) -> None:
    size = 0
    for tensor in tensors:
        if not isinstance(tensor, StringTensor):
            continue
        if not _is_unicode("".join(tensor.values)):
            index = next(i for i, text in enumerate(tensor.values) if not _is_unicode(text))
            shape = () if tensor.scalar else tensor.shape
            refuse(tensor.name, "half a surrogate pair", index, shape, "Text must be Unicode.")
        size += sum(map(len, tensor.values))
        if size > MAX_TEXT_BYTES:
            reason = f"brings the text to {size:,} characters, above {MAX_TEXT_BYTES:,}"
            raise TensorError(tensor.name, reason, "Split the input over several calls.")
