"""Arrays of numbers to pairs of ABI words and back (protocol.md section 3.1).

A number travels as two int128 in words of 32 bytes, `value` and `decimals`, and stands for
`value / 10**decimals`. Words are handled as columns of big-endian 64-bit quarters: a million numbers
never become a million Python tuples.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from og_mcp.client.codec.decimals import U64, Bools, Floats, shortest_digits

Numbers = npt.NDArray[Any]
"""One-dimensional: floats, integers, or Python ints and floats in an object array."""

PAIR_BYTES: Final = 64
"""Size of a number on the wire."""

MAX_DECIMALS: Final = 1074
"""Decimals of the smallest float64 written out in full; nothing honest needs more."""

INT128_LIMIT: Final = 2**127

CHUNK: Final = 16_384
"""Numbers handled at once: their temporary arrays stay in the processor's cache."""

LOW_WORD: Final = 2**64 - 1
ONES: Final = np.uint64(LOW_WORD)
SIGN_BIT: Final = np.uint64(63)
VANISHING: Final = 100
"""Decimals from which every int128 is nearer to zero than to the smallest float32."""


def to_words(values: Numbers) -> memoryview:
    """Return the words of the numbers in wire order, `PAIR_BYTES` bytes each.

    Floats are written as their shortest decimal in their own dtype, integers with 0 decimals.

    Raises:
        OverflowError: A scaled value is beyond int128.
    """
    words = np.zeros((values.size, 8), ">u8")
    for part in _chunks(values.size):
        if values.dtype.kind == "f":
            _write_floats(words[part], values[part])
        elif values.dtype.kind == "O":
            _write_objects(words[part], values[part])
        else:
            _write_integers(words[part], values[part])
    return words.reshape(-1).view(np.uint8).data


def is_beyond_int128(number: float) -> bool:
    """Tell whether the shortest decimal of a finite number, scaled, does not fit into int128.

    Args:
        number: A Python int or float, or a numpy float.
    """
    if isinstance(number, int):
        return not -INT128_LIMIT <= number < INT128_LIMIT
    return not -INT128_LIMIT <= int(Decimal(str(number))) < INT128_LIMIT


def from_words(data: bytes, start: int, count: int) -> Numbers:
    """Read numbers: integers where no number has decimals, else float32.

    Integers are int64, or Python ints in an object array where one does not fit. A float32 is the
    nearest to the decimal, ties to even.

    Raises:
        ValueError: A word is outside int128, or decimals are negative or above `MAX_DECIMALS`.
    """
    words = np.frombuffer(data, ">u8", count * 8, start).reshape(count, 8)
    whole = fits = True
    for part in _chunks(count):
        columns = words[part].T
        _check(columns)
        whole = whole and not columns[7].any()
        fits = fits and bool((columns[2] == _sign(columns[3])).all())
    if whole:
        return words[:, 3].astype(np.int64) if fits else _read_integers(words)
    return _read_floats(words)


def from_pairs(values: Sequence[int], decimals: Sequence[int]) -> Numbers:
    """Read numbers that are given as Python ints; as `from_words`.

    Raises:
        ValueError: A number is outside int128, or decimals are negative or above `MAX_DECIMALS`.
    """
    both = (number for pair in zip(values, decimals, strict=True) for number in pair)
    try:
        data = b"".join(number.to_bytes(32, "big", signed=True) for number in both)
    except OverflowError as exc:
        raise ValueError("a number is outside int128") from exc
    return from_words(data, 0, len(values))


def shortest_float64(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return floats whose shortest text is that of the float32s: 0.1, not 0.10000000149011612."""
    flat = np.ascontiguousarray(values).reshape(-1)
    result = np.empty(flat.size, np.float64)
    for part in _chunks(flat.size):
        result[part] = _shortest_float64(flat[part])
    return np.copysign(result, flat).reshape(values.shape)


def _chunks(count: int) -> Iterator[slice]:
    return (slice(start, start + CHUNK) for start in range(0, count, CHUNK))


def _sign(quarter: npt.NDArray[Any]) -> U64:
    """Return the quarter that extends the sign of this one: all ones, or zero."""
    return np.uint64(0) - (quarter >> SIGN_BIT)


def _write_floats(words: U64, values: Floats) -> None:
    digits, power = shortest_digits(values)
    raised = np.maximum(power, 0)
    powers = _powers_of_ten()
    small = raised < powers.size
    scale = powers[np.where(small, raised, 0)]
    small &= digits <= np.uint64(2**63 - 1) // scale
    low = digits * scale
    negative = np.signbit(values) & (low > 0)
    words[:, 3] = np.where(negative, np.uint64(0) - low, low)
    words[:, :3] = np.where(negative, ONES, np.uint64(0))[:, np.newaxis]
    words[:, 7] = np.maximum(-power, 0)
    for index in np.flatnonzero(~small):
        value = int(digits[index]) * 10 ** int(raised[index])
        _write_integer(words[index], -value if np.signbit(values[index]) else value)


def _write_integers(words: U64, values: Numbers) -> None:
    low = values.astype(np.uint64)
    words[:, 3] = low
    if values.dtype.kind == "i":
        words[:, :3] = _sign(low)[:, np.newaxis]


def _write_objects(words: U64, values: Numbers) -> None:
    is_float = np.fromiter((isinstance(value, float) for value in values), bool, values.size)
    float_words = np.zeros((int(is_float.sum()), 8), ">u8")
    _write_floats(float_words, values[is_float].astype(np.float64))
    words[is_float] = float_words
    for index in np.flatnonzero(~is_float):
        _write_integer(words[index], values[index])


def _write_integer(words: U64, value: int) -> None:
    """Write one int128 of any size into a row."""
    if not -INT128_LIMIT <= value < INT128_LIMIT:
        raise OverflowError("a number is beyond int128")
    words[:2] = LOW_WORD if value < 0 else 0
    words[2], words[3] = value >> 64 & LOW_WORD, value & LOW_WORD


def _check(columns: U64) -> None:
    sign = _sign(columns[2])
    if not ((columns[0] == sign) & (columns[1] == sign)).all():
        raise ValueError("a number is outside int128")
    if columns[4:7].any() or (columns[7] > MAX_DECIMALS).any():
        raise ValueError(f"a number has negative decimals or more than {MAX_DECIMALS}")


def _read_integers(words: U64) -> Numbers:
    """Read int128 values that do not all fit into int64."""
    result = np.empty(len(words), object)
    for part in _chunks(len(words)):
        high = words[part, 2].astype(np.int64).tolist()
        low = words[part, 3].tolist()
        result[part] = [top << 64 | rest for top, rest in zip(high, low, strict=True)]
    return result


def _read_floats(words: U64) -> npt.NDArray[np.float32]:
    result = np.empty(len(words), np.float32)
    for part in _chunks(len(words)):
        result[part] = _nearest_float32(words[part])
    return result


@np.errstate(under="ignore")
def _nearest_float32(words: U64) -> npt.NDArray[np.float32]:
    """Divide in float64, and redo exactly what is too near to the middle of two float32s."""
    high, low = words[:, 2].astype(np.uint64), words[:, 3].astype(np.uint64)
    negative = high >> SIGN_BIT == 1
    low = np.where(negative, np.uint64(0) - low, low)
    high = np.where(negative, ~high + (low == 0), high)
    decimals = np.minimum(words[:, 7], VANISHING).astype(np.int64)
    quotient = (high * 2.0**64 + low) / _float_powers_of_ten()[decimals]
    nearest = quotient.astype(np.float32)
    towards = np.where(quotient > nearest, np.inf, 0).astype(np.float32)
    middle = (nearest.astype(np.float64) + np.nextafter(nearest, towards)) / 2
    # Rounding has moved the quotient by less than 2**-50 of it.
    unsure: Bools = np.abs(quotient - middle) <= quotient * 2.0**-49
    for index in np.flatnonzero(unsure):
        magnitude = int(high[index]) << 64 | int(low[index])
        nearest[index] = _exact_float32(magnitude, int(words[index, 7]), float(middle[index]))
    return np.where(negative, -nearest, nearest)


def _exact_float32(magnitude: int, decimals: int, middle: float) -> np.float32:
    """Round to the float32 below or above their middle by integer arithmetic; ties to even."""
    top, bottom = middle.as_integer_ratio()
    difference = magnitude * bottom - top * 10**decimals
    if difference == 0:
        # The middle of two float32 is a tie, and numpy rounds ties to even.
        return np.float32(middle)
    beyond = np.nextafter(middle, np.inf if difference > 0 else 0)
    return np.float32(beyond)


def _shortest_float64(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    digits, power = shortest_digits(values)
    shift = np.abs(power)
    # Digits and powers up to 10**22 are exact in float64, so one operation rounds correctly.
    simple = shift <= 22  # noqa: PLR2004 - explained above
    scale = _float_powers_of_ten()[np.where(simple, shift, 0)]
    result = np.where(power < 0, digits / scale, digits * scale)
    for index in np.flatnonzero(~simple):
        result[index] = float(f"{digits[index]}e{power[index]}")
    return result


@functools.cache
def _powers_of_ten() -> U64:
    """Powers that fit into 63 bits."""
    return np.array([10**power for power in range(19)], np.uint64)


@functools.cache
def _float_powers_of_ten() -> npt.NDArray[np.float64]:
    return np.array([float(10**power) for power in range(VANISHING + 1)])
