"""Arrays and the fixed-point numbers that travel in their place (protocol.md section 3.1).

A number is two ABI words, `int128 value` and `int128 decimals`, and stands for
`value / 10**decimals`. A float becomes the shortest decimal text that its dtype reads back as
itself; reading rounds once, to the nearest value of the dtype, ties to even.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

MAX_DECIMALS: Final = 1100
"""Beyond this any int128 is zero in every dtype; 10**decimals must also stay computable."""


class FixedPointError(ValueError):
    """A number does not fit; the text goes on from the tensor's name."""


_INT128: Final = range(-(2**127), 2**127)
_ALL_ONES: Final = np.uint64(2**64 - 1)
_EXACT_POWERS: Final = np.array([10**k for k in range(23)], np.float64)
"""Powers of ten that a double holds exactly; a quotient of two exact doubles rounds once."""


def decode(words: bytes, dtype: npt.DTypeLike) -> Array:
    """Read the numbers of a tensor.

    Args:
        words: 64 bytes for each number.
        dtype: What the graph declares; integer, floating or bool.

    Returns:
        A one-dimensional array of `dtype`.

    Raises:
        FixedPointError: A number is malformed, or is not a value of `dtype`.
    """
    kind = np.dtype(dtype)
    limbs = np.frombuffer(words, ">u8").astype(np.uint64).reshape(-1, 2, 4)
    _check_int128(limbs)
    decimals = limbs[:, 1, 3]
    if limbs[:, 1, :3].any() or (decimals > MAX_DECIMALS).any():
        raise FixedPointError(f"has decimals that are not between 0 and {MAX_DECIMALS}")
    if kind.kind == "f":
        return _floats(limbs[:, 0], decimals.astype(np.int64), kind)
    return _integers(limbs[:, 0], decimals.astype(np.int64), kind)


def _check_int128(limbs: Array) -> None:
    sign = _sign_fill(limbs[:, :, 2])
    if (limbs[:, :, 0] != sign).any() or (limbs[:, :, 1] != sign).any():
        raise FixedPointError("has a number that is not an int128")


def _sign_fill(limb: Array) -> Array:
    return np.where(limb >> np.uint64(63), _ALL_ONES, np.uint64(0))


def _integer_at(limbs: Array, index: int) -> int:
    return int.from_bytes(limbs[index].astype(">u8").tobytes(), "big", signed=True)


def _integers(limbs: Array, decimals: Array, kind: np.dtype[Any]) -> Array:
    small = (limbs[:, 2] == _sign_fill(limbs[:, 3])) & (decimals == 0)
    values = limbs[:, 3].astype(np.int64).astype(object)
    for index in np.flatnonzero(~small).tolist():
        values[index] = _whole(_integer_at(limbs, index), int(decimals[index]), kind)
    low, high = (0, 1) if kind.kind == "b" else (np.iinfo(kind).min, np.iinfo(kind).max)
    for value in values[(values < low) | (values > high)]:
        raise FixedPointError(f"has the value {value}, which is not of type {kind}")
    return values.astype(kind)


def _whole(value: int, decimals: int, kind: np.dtype[Any]) -> int:
    power: int = 10**decimals
    whole, rest = divmod(value, power)
    if rest:
        raise FixedPointError(f"has the value {value}/10^{decimals}, which is not of type {kind}")
    return whole


def _floats(limbs: Array, decimals: Array, kind: np.dtype[Any]) -> Array:
    values = limbs[:, 3].astype(np.int64)
    fits = limbs[:, 2] == _sign_fill(limbs[:, 3])
    simple = (
        fits
        & (np.abs(values) <= 2**53)
        & (values != np.iinfo(np.int64).min)
        & (decimals < len(_EXACT_POWERS))
    )
    quotients = np.where(simple, values, 0) / _EXACT_POWERS[np.where(simple, decimals, 0)]
    with np.errstate(over="ignore"):
        floats = quotients.astype(kind)
    for index in np.flatnonzero(~simple | _halfway(quotients, floats)).tolist():
        floats[index] = _nearest(_integer_at(limbs, index), int(decimals[index]), kind)
    if not np.isfinite(floats).all():
        raise FixedPointError(f"has a number beyond the range of {kind}")
    return floats


def _halfway(quotients: Array, floats: Array) -> Array:
    # A double right between two narrower floats has lost which side the decimal number was on.
    towards = np.where(quotients > floats, np.inf, -np.inf).astype(floats.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        other = np.nextafter(floats, towards).astype(np.float64)
        middle = (other + floats.astype(np.float64)) / 2
    return np.asarray(quotients == middle)


def _nearest(value: int, decimals: int, kind: np.dtype[Any]) -> Any:  # noqa: ANN401 - a numpy scalar of any float dtype
    exact = Fraction(value, 10**decimals)
    with np.errstate(over="ignore"):
        near = kind.type(value / 10**decimals)
    if not np.isfinite(near) or kind == np.float64:
        return near
    around = [np.nextafter(near, kind.type(-np.inf)), near, np.nextafter(near, kind.type(np.inf))]
    finite = [number for number in around if np.isfinite(number)]
    # Neighbouring floats differ in their last bit, so a tie has exactly one even side.
    return min(finite, key=lambda number: (abs(Fraction(float(number)) - exact), _odd(number)))


def _odd(number: np.floating[Any]) -> int:
    return number.tobytes()[0] & 1


def encode(array: Array) -> bytes:
    """Write the numbers of an array, in row-major order.

    Raises:
        FixedPointError: A number has no fixed-point form: NaN, infinite, or beyond int128.
    """
    flat = array.ravel()
    if flat.dtype.kind == "f":
        return _words([_shortest(text) for text in map(str, flat)])
    return _words([(number, 0) for number in map(int, flat)])


def _shortest(text: str) -> tuple[int, int]:
    mantissa, _, exponent = text.partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = fraction.rstrip("0")
    try:
        digits = int(whole + fraction)
    except ValueError:
        raise FixedPointError(f"holds {text}, which the wire cannot carry") from None
    decimals = len(fraction) - int(exponent or 0)
    return (digits, decimals) if decimals > 0 else (digits * 10**-decimals, 0)


def _words(pairs: Sequence[tuple[int, int]]) -> bytes:
    try:
        small = np.array(pairs, np.int64).reshape(-1, 2)
    except OverflowError:
        return b"".join(_word(number) for pair in pairs for number in pair)
    limbs = np.empty((len(small), 2, 4), ">u8")
    limbs[:, :, 3] = small.view(np.uint64)
    limbs[:, :, :3] = _sign_fill(small.view(np.uint64))[:, :, None]
    return limbs.tobytes()


def _word(number: int) -> bytes:
    if number not in _INT128:
        raise FixedPointError(f"holds {number}, which is not an int128")
    return number.to_bytes(32, "big", signed=True)


def numbers(words: bytes) -> list[tuple[int, int]]:
    """Split encoded numbers into `(value, decimals)`."""
    integers = [
        int.from_bytes(words[at : at + 32], "big", signed=True) for at in range(0, len(words), 32)
    ]
    return list(zip(integers[::2], integers[1::2], strict=True))
