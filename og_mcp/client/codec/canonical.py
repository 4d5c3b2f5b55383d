"""The canonical form of a request, for hashes, receipts and repetitions.

Requests that are the same on the wire have one form: 1.0 and 1, or a tensor and the same one in a
numpy array. JSON is written with sorted keys and without spaces, in UTF-8, and hashed by SHA-256.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, Final

import numpy as np

from og_mcp.client.codec.abi import NumberWords, RunCall, Texts, to_wire
from og_mcp.client.codec.abi_words import WORD
from og_mcp.client.codec.fixed_point import PAIR_BYTES
from og_mcp.client.codec.inputs import Inputs, parse_inputs
from og_mcp.types import MODE_NAMES

INLINE_VALUES: Final = 10_000
"""Values up to which a tensor stands in a request itself; above, its hash does."""

INLINE_CHARACTERS: Final = 100_000
"""The same for the characters of a string tensor."""

EXACT: Final = 2**53
EXACT_POWER: Final = 22
"""Bounds below which whole numbers, and up to which powers of ten, are exact in float64."""


def canonical_input(model_input: Mapping[str, Any], inputs: Inputs) -> dict[str, Any]:
    """Write a model's input as it stands in requests and receipts.

    Args:
        model_input: What the caller gave; only its files are looked at.
        inputs: What was parsed from it.

    Returns:
        Tensor name -> nested lists in the shape that travels; for a tensor that came from a file,
        is large or has no values, whose shape lists do not tell, `{"sha256": ..., "shape": [...]}` with the hash of its ABI words and, where
        there is one, the `file`'s name without its folder.
    """
    numbers, strings = to_wire(inputs)
    tensors: list[NumberWords | Texts] = [*numbers, *strings]
    return {
        tensor.name: _canonical_tensor(tensor, model_input.get(tensor.name)) for tensor in tensors
    }


def request_of(call: RunCall, tool: str) -> dict[str, Any]:
    """Read a request back from its call data.

    Returns:
        The request as `Session.infer` makes it; another one where a tensor came from a file.

    Raises:
        ValueError: The mode is unknown.
    """
    if call.mode >= len(MODE_NAMES):
        raise ValueError(f"there is no inference mode {call.mode}")
    return {
        "tool": tool,
        "model_cid": call.model_cid,
        "model_input": {tensor.name: _canonical_tensor(tensor, None) for tensor in call.tensors},
        "inference_mode": MODE_NAMES[call.mode],
    }


def is_same(kept: object, tensor: NumberWords | Texts) -> bool:
    """Tell whether a tensor of a request is the one in the call data.

    Raises:
        InputError: What the request holds is not a tensor.
    """
    if isinstance(kept, Mapping):
        hashed = _hashed(tensor)
        return {key: kept.get(key) for key in hashed} == hashed
    # One of the two has the tensor. Words are equal whether they stand in bytes or in a view.
    numbers, strings = to_wire(parse_inputs({tensor.name: kept}))
    return (*numbers, *strings) == (tensor,)


def _canonical_tensor(tensor: NumberWords | Texts, given: object) -> Any:  # noqa: ANN401 - JSON
    if isinstance(given, Mapping) and "file" in given:
        return {"file": PurePath(str(given["file"])).name, **_hashed(tensor)}
    if isinstance(tensor, Texts):
        long = sum(map(len, tensor.values)) > INLINE_CHARACTERS
        return _hashed(tensor) if long or _is_hashed(tensor) else list(tensor.values)
    return _hashed(tensor) if _is_hashed(tensor) else _nested(_numbers(tensor.words), tensor.shape)


def _is_hashed(tensor: NumberWords | Texts) -> bool:
    if isinstance(tensor, Texts):
        return not 0 < len(tensor.values) <= INLINE_VALUES
    return not 0 < len(tensor.words) <= INLINE_VALUES * PAIR_BYTES


def _hashed(tensor: NumberWords | Texts) -> dict[str, Any]:
    shape = [len(tensor.values)] if isinstance(tensor, Texts) else list(tensor.shape)
    return {"sha256": hashlib.sha256(tensor.words).hexdigest(), "shape": shape}


def _numbers(words: bytes | memoryview) -> list[int | float]:
    """Read pairs of words as the numbers whose shortest text they are."""
    quarters = np.frombuffer(words, ">u8").reshape(-1, 8)
    values, decimals = quarters[:, 3].astype(np.int64), quarters[:, 7]
    # Values and powers of ten that float64 holds exactly: one division rounds correctly.
    plain = (np.abs(values) < EXACT) & (decimals <= EXACT_POWER)
    plain &= ~(quarters[:, :3].astype(np.int64) + (values < 0)[:, np.newaxis]).any(axis=1)
    plain &= ~quarters[:, 4:7].any(axis=1)
    floats = values / 10.0 ** np.minimum(decimals, EXACT_POWER)
    numbers: list[int | float] = [
        one if whole else fraction
        for one, whole, fraction in zip(
            values.tolist(), (decimals == 0).tolist(), floats.tolist(), strict=True
        )
    ]
    for index in np.flatnonzero(~plain):
        numbers[index] = _number(words[index * PAIR_BYTES : (index + 1) * PAIR_BYTES])
    return numbers


def _number(pair: bytes | memoryview) -> int | float:
    value, decimals = (
        int.from_bytes(pair[start : start + WORD], "big", signed=True) for start in (0, WORD)
    )
    return float(f"{value}e{-decimals}") if decimals else value


def _nested(values: list[Any], shape: Sequence[int]) -> list[Any]:
    for size in reversed(shape[1:]):
        values = [values[start : start + size] for start in range(0, len(values), size)]
    return values
