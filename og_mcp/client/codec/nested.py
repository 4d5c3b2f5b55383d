"""Nested lists to flat values and a shape, checked.

Lists are taken apart level by level with what runs at the speed of C (`map`, `set`, `chain`); only
a list that is refused is walked element by element, for the index to name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, NoReturn

import numpy as np

from og_mcp.client.codec.specs import INTEGER_RANGES
from og_mcp.errors import TensorError, quote

MAX_VALUES: Final = 1_000_000
"""Numbers and strings in one call, all tensors together."""

MAX_RANK: Final = 32

_LISTS: Final = (list, tuple, np.ndarray)
_BOOLEANS: Final = (bool, np.bool_)
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,39}")

# Not np.integer, which a span of time is too.
_NUMPY_NUMBERS: Final = (
    *(np.int8, np.int16, np.int32, np.int64),
    *(np.uint8, np.uint16, np.uint32, np.uint64),
    *(np.float16, np.float32, np.float64),
)


@dataclass(frozen=True)
class Flat:
    """The values of a nested list."""

    leaves: list[Any]
    """All int, all float, ints and floats, all str, or all of one numpy number type; row-major."""

    shape: tuple[int, ...]
    """Empty for a bare value."""


def flatten(tensor: str, value: object, dtype: str = "") -> Flat:
    """Flatten a nested list.

    Args:
        tensor: Name for errors.
        value: A number, a string, or lists (tuples, arrays) of them of one shape. A list may be
            empty; the shape then ends with its 0.
        dtype: What the graph takes, by ONNX name, where known: `bool` takes true and false as 1
            and 0, another integer type takes decimal text.

    Raises:
        TensorError: It is ragged, too long, too deep, mixes text and numbers, or holds something
            that is neither; the message names the first such index.
    """
    level: list[Any] = [value]
    shape: tuple[int, ...] = ()
    while any(issubclass(kind, _LISTS) for kind in set(map(type, level))):
        if np.ndarray in set(map(type, level)):
            level = list(map(_without_dimensionless, level))
            if not any(map(_is_list, level)):
                break
        _check_lengths(tensor, level, shape)
        shape = (*shape, len(level[0]))
        _check_size(tensor, level, shape)
        level = list(chain.from_iterable(level))
    return Flat(_checked_leaves(tensor, _as_integers(level, dtype), shape), shape)


def refuse(tensor: str, what: str, index: int, shape: Sequence[int], hint: str = "") -> NoReturn:
    """Raise for the value at a flat index of a tensor.

    Args:
        tensor: Name of the tensor.
        what: What it holds there, e.g. "NaN".
        index: Row-major.
        shape: Of the tensor; empty for a bare value.
        hint: What the caller can do.
    """
    raise TensorError(tensor, f"holds {what}{at(index, shape)}", hint)


def at(index: int, shape: Sequence[int]) -> str:
    """Write where a flat index is, e.g. " at [0][3]"; nothing for a bare value."""
    return f" at {_place(index, shape)}" if shape else ""


def check_total(tensor: str, count: int) -> None:
    """Refuse a tensor that brings the call beyond `MAX_VALUES`.

    Args:
        tensor: Name of the tensor.
        count: Values up to and with this tensor.
    """
    if count > MAX_VALUES:
        raise TensorError(
            tensor,
            f"brings the input to {count:,} values, and one call takes at most {MAX_VALUES:,}",
            "Split the input over several calls.",
        )


def _without_dimensionless(element: Any) -> Any:  # noqa: ANN401 - whatever is in a list
    """Return the number in an array that has no dimensions; such an array has no length."""
    return element[()] if isinstance(element, np.ndarray) and element.ndim == 0 else element


def _is_list(element: object) -> bool:
    if isinstance(element, np.ndarray):
        return element.ndim > 0
    return isinstance(element, _LISTS)


def _place(index: int, shape: Sequence[int]) -> str:
    return "".join(f"[{axis}]" for axis in np.unravel_index(index, shape))


def _check_lengths(tensor: str, level: list[Any], shape: tuple[int, ...]) -> None:
    """Refuse lists of several lengths, and lists beside values."""
    if len(shape) == MAX_RANK:
        raise TensorError(tensor, f"is nested more than {MAX_RANK} lists deep")
    if all(issubclass(kind, _LISTS) for kind in set(map(type, level))):
        if len(set(map(len, level))) == 1:
            return
    else:
        for index, element in enumerate(level):
            if not isinstance(element, _LISTS):
                _check_leaf(tensor, element, index, shape)
    first = _counted(level[0])
    index = next(index for index, element in enumerate(level) if _counted(element) != first)
    raise TensorError(
        tensor,
        f"is ragged: {_place(0, shape)} is {first} and {_place(index, shape)} is "
        f"{_counted(level[index])}",
        "All lists of one level need the same length.",
    )


def _counted(element: object) -> str:
    if not isinstance(element, _LISTS):
        return "a value"
    return f"a list of {len(element)}"


def _check_size(tensor: str, level: list[Any], shape: tuple[int, ...]) -> None:
    if shape[-1] == 0:
        return
    # What one element holds tells a regular list's whole size before it is taken apart.
    inner, count = level[0][0], math.prod(shape)
    for _ in range(MAX_RANK):
        if not _is_list(inner) or len(inner) == 0:
            break
        count *= len(inner)
        inner = inner[0]
    if count > MAX_VALUES:
        check_total(tensor, count)


def _as_integers(leaves: list[Any], dtype: str) -> list[Any]:
    """Write true and false, and integers that came as text, as the integers they stand for."""
    kinds = set(map(type, leaves))
    if dtype == "bool" and not kinds.isdisjoint(_BOOLEANS):
        return [int(leaf) if isinstance(leaf, _BOOLEANS) else leaf for leaf in leaves]
    if dtype in INTEGER_RANGES and dtype != "bool" and str in kinds:
        return [
            int(leaf) if isinstance(leaf, str) and _INTEGER.fullmatch(leaf) else leaf
            for leaf in leaves
        ]
    return leaves


def _checked_leaves(tensor: str, leaves: list[Any], shape: tuple[int, ...]) -> list[Any]:
    """Check the kinds of the leaves and return them as one of the sorts that `Flat` names."""
    kinds = set(map(type, leaves))
    if kinds <= {int, float} or kinds == {str}:
        return leaves
    if len(kinds) == 1 and issubclass(next(iter(kinds)), _NUMPY_NUMBERS):
        return leaves
    for index, leaf in enumerate(leaves):
        _check_leaf(tensor, leaf, index, shape)
    leaves = list(map(_python_value, leaves))
    is_text = isinstance(leaves[0], str)
    for index, leaf in enumerate(leaves):
        if isinstance(leaf, str) != is_text:
            found = f"text {quote(leaf)}" if isinstance(leaf, str) else "a number"
            beside = "text" if is_text else "numbers"
            refuse(
                tensor, f"{found} among {beside}", index, shape, "A tensor holds one or the other."
            )
    return leaves


def _check_leaf(tensor: str, leaf: object, index: int, shape: tuple[int, ...]) -> None:
    if leaf is None or leaf is np.ma.masked:
        refuse(tensor, "null", index, shape, "Every place needs a number or text.")
    if isinstance(leaf, _BOOLEANS):
        refuse(tensor, "a boolean", index, shape, "Write 0 or 1.")
    if isinstance(leaf, dict):
        refuse(tensor, "an object", index, shape, "Values are numbers, text or nested lists.")
    if not isinstance(leaf, (int, float, str, *_NUMPY_NUMBERS)):
        kind = type(leaf).__name__
        refuse(tensor, f"a value of type {kind}", index, shape, "Use int, float or str.")


def _python_value(leaf: Any) -> int | float | str:  # noqa: ANN401 - checked before
    if isinstance(leaf, str):
        return str(leaf)
    if isinstance(leaf, (int, np.integer)):
        return int(leaf)
    # By way of its text, which is what travels: a float32 0.1 is 0.1, not 0.10000000149011612.
    return float(str(leaf))
