"""The shortest decimal text of floats, for whole arrays at once.

A float's shortest decimal is the one with the fewest digits that reads back as that float in its own
dtype, and among those the nearest: what `str` of a numpy scalar shows. Here it comes as digits and
an exponent, `digits * 10**exponent`, without making text.

Source: R. Giulietti, "The Schubfach way to render doubles" (2021): scale the float and the two ends
of its rounding interval by a 128-bit power of ten, keep what was cut off as one sticky bit, and
choose among at most four candidates. The proof is for binary64; narrower formats are the same with
smaller significands.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.floating[Any]]

MAX_DIGITS: Final = 17
"""Digits that any float64 needs at most."""

MIN_POWER: Final = -292
MAX_POWER: Final = 324
"""Powers of ten that scale the greatest and the smallest float64 to its shortest digits."""

HALF: Final = np.uint64(32)
LOW_HALF: Final = np.uint64(0xFFFFFFFF)


@dataclass(frozen=True)
class _Format:
    """How a binary float is laid out."""

    bits: type[np.unsignedinteger[Any]]
    fraction_bits: int
    least_exponent: int
    """Exponent of the last place of subnormal numbers."""


_FORMATS: Final = {
    2: _Format(np.uint16, 10, -24),
    4: _Format(np.uint32, 23, -149),
    8: _Format(np.uint64, 52, -1074),
}
"""By item size in bytes."""


def shortest_digits(values: Floats) -> tuple[U64, I64]:
    """Return the digits and decimal exponents of finite floats; signs are dropped.

    The digits have no trailing zeros; zero is (0, 0). About thirty temporary arrays of the size of
    `values` are made: pass some ten thousand at a time.

    Args:
        values: float16, float32 or float64, native byte order, all finite.
    """
    significand, exponent, lower_is_closer = _take_apart(values)
    zero = significand == 0
    significand[zero] = 1
    digits, power = _shortest(significand, exponent, lower_is_closer)
    digits[zero] = 0
    power[zero] = 0
    _drop_trailing_zeros(digits, power)
    return digits, power


def _take_apart(values: Floats) -> tuple[U64, I64, Bools]:
    """Return significand and exponent, and where the float below is nearer than the one above."""
    layout = _FORMATS[values.dtype.itemsize]
    bits = values.view(layout.bits).astype(np.uint64)
    fraction = bits & np.uint64((1 << layout.fraction_bits) - 1)
    field = (bits >> np.uint64(layout.fraction_bits)).astype(np.int64)
    field &= (1 << (8 * values.dtype.itemsize - 1 - layout.fraction_bits)) - 1
    significand = fraction | ((field > 0).astype(np.uint64) << np.uint64(layout.fraction_bits))
    exponent = np.maximum(field, 1) + (layout.least_exponent - 1)
    return significand, exponent, (fraction == 0) & (field > 1)


def _shortest(significand: U64, exponent: I64, lower_is_closer: Bools) -> tuple[U64, I64]:
    """Choose the decimal; section 9.9 of the paper, figures 4 and 7."""
    # Fixed-point logarithms: floor(log10(2**q)), of 3/4 of it at a boundary, and floor(log2(10**e)).
    power = (exponent * 1262611 - lower_is_closer * 524031) >> 22
    scale = _scales()[:, -power - MIN_POWER]
    shift = (exponent + ((-power * 1741647) >> 19) + 1).astype(np.uint64)
    middle = significand << np.uint64(2)
    low_end = _scaled(scale, (middle - np.uint64(2) + lower_is_closer) << shift)
    high_end = _scaled(scale, (middle + np.uint64(2)) << shift)
    middle = _scaled(scale, middle << shift)
    # The ends themselves read back as this float only where its significand is even.
    odd = significand & np.uint64(1)
    low_end += odd
    high_end -= odd

    tens = middle // np.uint64(40)
    tens_below = low_end <= tens * np.uint64(40)
    tens_above = tens * np.uint64(40) + np.uint64(40) <= high_end
    by_tens = (tens_below != tens_above) & (tens > 0)

    ones = middle >> np.uint64(2)
    ones_below = low_end <= ones << np.uint64(2)
    ones_above = (ones << np.uint64(2)) + np.uint64(4) <= high_end
    half = (ones << np.uint64(2)) + np.uint64(2)
    nearer_above = (middle > half) | ((middle == half) & ((ones & np.uint64(1)) == 1))
    up = np.where(ones_below != ones_above, ones_above, nearer_above)
    digits = np.where(by_tens, tens + tens_above, ones + up)
    return digits, power + by_tens


def _scaled(scale: U64, factor: U64) -> U64:
    """Multiply by a 128-bit power of ten, keep 64 bits, and set the last one if any was cut off."""
    high, low = _multiply(scale[0], factor)
    carry, _ = _multiply(scale[1], factor)
    low += carry
    high += low < carry
    return high | (low > 1)


def _multiply(a: U64, b: U64) -> tuple[U64, U64]:
    """Return the high and low words of the 128-bit products."""
    a_low, a_high = a & LOW_HALF, a >> HALF
    b_low, b_high = b & LOW_HALF, b >> HALF
    first = a_high * b_low + (a_low * b_low >> HALF)
    second = a_low * b_high + (first & LOW_HALF)
    return a_high * b_high + (first >> HALF) + (second >> HALF), a * b


@functools.cache
def _scales() -> U64:
    """Return high and low words of the powers of ten, normalised to 128 bits and rounded up."""
    columns = []
    for power in range(MIN_POWER, MAX_POWER + 1):
        shift = 127 - ((power * 1741647) >> 19)
        top, bottom = 10 ** max(power, 0), 10 ** max(-power, 0)
        scaled = (top << max(shift, 0)) // (bottom << max(-shift, 0)) + 1
        columns.append((scaled >> 64, scaled & (2**64 - 1)))
    return np.array(columns, np.uint64).T.copy()


def _drop_trailing_zeros(digits: U64, power: I64) -> None:
    """Divide by ten as often as it goes, at most `MAX_DIGITS` times, in place."""
    left = np.flatnonzero(digits % np.uint64(10) == 0)
    for zeros in (8, 4, 2, 1, 1):
        some = digits[left]
        fewer = some // np.uint64(10**zeros)
        whole = fewer * np.uint64(10**zeros) == some
        whole &= some > 0
        digits[left] = np.where(whole, fewer, some)
        power[left] += zeros * whole
