"""Shortest decimals and fixed point, against Decimal(str(...)) and Fraction."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from og_mcp.client.codec.decimals import shortest_digits
from og_mcp.client.codec.fixed_point import from_pairs, from_words, shortest_float64, to_words

BITS: dict[type[np.floating[Any]], type[np.unsignedinteger[Any]]] = {
    np.float16: np.uint16,
    np.float32: np.uint32,
    np.float64: np.uint64,
}
DTYPES = list(BITS)


def from_text(number: object) -> tuple[int, int]:
    """Digits and exponent by way of the number's text."""
    _, digits, exponent = Decimal(str(number)).normalize().as_tuple()
    value = int("".join(map(str, digits)))
    assert isinstance(exponent, int)
    return (value, exponent) if value else (0, 0)


def assert_shortest(values: npt.NDArray[Any]) -> None:
    digits, exponents = shortest_digits(values)

    assert list(map(from_text, values)) == list(
        zip(digits.tolist(), exponents.tolist(), strict=True)
    )


def finite(bits: npt.NDArray[Any], dtype: type[np.floating[Any]]) -> npt.NDArray[Any]:
    values = bits.astype(BITS[dtype]).view(dtype)
    return values[np.isfinite(values)]


def test_every_float16_has_the_digits_of_its_text() -> None:
    assert_shortest(finite(np.arange(2**16), np.float16))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_random_bit_patterns_have_the_digits_of_their_text(
    dtype: type[np.floating[Any]],
) -> None:
    bits = np.random.default_rng(20_260_101).integers(0, 2**64, 50_000, np.uint64)

    assert_shortest(finite(bits, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_powers_of_two_their_neighbours_and_extremes_have_the_digits_of_their_text(
    dtype: type[np.floating[Any]],
) -> None:
    info = np.finfo(dtype)
    powers = np.ldexp(dtype(1), np.arange(info.minexp - info.nmant, info.maxexp)).astype(dtype)
    edges = np.array([0.0, -0.0, info.max, info.tiny, info.smallest_subnormal], dtype)
    neighbours = [np.nextafter(powers, dtype(0)), np.nextafter(powers, dtype("inf"))]

    assert_shortest(finite(np.concatenate([powers, edges, *neighbours]).view(BITS[dtype]), dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_subnormals_have_the_digits_of_their_text(dtype: type[np.floating[Any]]) -> None:
    random = np.random.default_rng(7)
    bits = random.integers(0, 2 ** np.finfo(dtype).nmant, 10_000, np.uint64)

    assert_shortest(finite(bits >> random.integers(0, 20, bits.size, np.uint64), dtype))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_float64_has_the_digits_of_its_text(value: float) -> None:
    assert_shortest(np.array([value]))


@given(st.integers(-(10**17), 10**17), st.integers(0, 25))
def test_short_decimals_keep_their_digits(value: int, decimals: int) -> None:
    number = float(Decimal(value).scaleb(-decimals))

    assert_shortest(np.array([number]))


def nearest_float32(value: int, decimals: int) -> np.float32:
    """Round by comparing with both neighbours exactly."""
    exact = Fraction(value, 10**decimals)
    middle = np.float32(float(exact))
    candidates = [np.nextafter(middle, np.float32(-np.inf)), middle]
    candidates.append(np.nextafter(middle, np.float32(np.inf)))
    by_distance: list[np.float32] = sorted(
        candidates,
        key=lambda x: (abs(Fraction(float(x)) - exact), int(x.view(np.uint32)) & 1),
    )
    return by_distance[0]


@given(st.integers(-(2**127), 2**127 - 1), st.integers(0, 60))
def test_a_decimal_is_read_as_the_nearest_float32(value: int, decimals: int) -> None:
    # A second number with decimals makes both floats.
    read = from_pairs([value, 5], [decimals, 1])

    assert read.dtype == np.float32
    assert read[0] == nearest_float32(value, decimals)


@given(
    st.floats(width=32, min_value=2.0**-60, max_value=2.0**60),
    st.integers(-1, 1),
)
def test_a_decimal_beside_the_middle_of_two_floats_is_rounded_by_its_last_digit(
    low: float, nudge: int
) -> None:
    high = np.nextafter(np.float32(low), np.float32(np.inf))
    middle = Decimal((low + float(high)) / 2)
    _, digits, exponent = middle.as_tuple()
    assert isinstance(exponent, int)
    kept = digits[:38]
    exponent += len(digits) - len(kept)
    value, decimals = int("".join(map(str, kept))) + nudge, max(0, -exponent)
    if exponent > 0:
        value *= 10**exponent

    read = from_pairs([value, 5], [decimals, 1])

    assert read[0] == nearest_float32(value, decimals)


def test_a_decimal_that_float64_would_round_twice_is_rounded_once() -> None:
    # 7.038531e-26 is a known case: by way of float64 it becomes the float32 below.
    read = from_pairs([7_038_531], [32])

    assert read[0] == np.array(0x15AE43FD, np.uint32).view(np.float32)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_narrow_floats_come_back_bit_by_bit(dtype: type[np.floating[Any]]) -> None:
    bits = np.random.default_rng(3).integers(0, 2**32, 50_000, np.uint64)
    values = finite(bits, dtype)
    values = values[np.abs(values.astype(np.float64)) < 1.7e38] + dtype(0)  # no -0.0 on the wire

    read = from_words(bytes(to_words(values)), 0, values.size)

    assert (read.astype(dtype) == values).all()


@given(st.lists(st.integers(-(2**127), 2**127 - 1), min_size=1))
def test_integers_come_back_exactly(values: list[int]) -> None:
    array = np.empty(len(values), object)
    array[:] = values

    assert from_words(bytes(to_words(array)), 0, len(values)).tolist() == values


@pytest.mark.parametrize("dtype", "bBhHiIlLqQ")
def test_every_integer_dtype_comes_back_at_its_ends(dtype: str) -> None:
    info = np.iinfo(dtype)
    values = np.array([info.min, 0, 1, info.max], dtype)

    assert from_words(bytes(to_words(values)), 0, 4).tolist() == values.tolist()


def test_scaled_values_beyond_64_bits_are_written_whole() -> None:
    values = np.array([1e30, -1.25e25, 2.0**100, 1e19, -(2.0**63)])

    words = bytes(to_words(values))

    read = [int.from_bytes(words[at : at + 32], "big", signed=True) for at in range(0, 320, 64)]
    assert read == [int(Decimal(str(value))) for value in values]


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_float32_is_shown_as_its_shortest_text(values: list[float]) -> None:
    array = np.array(values, np.float32)

    shown = shortest_float64(array).tolist()

    assert [repr(number) for number in shown] == [repr(float(str(x))) for x in array]


def test_strict_floating_point_settings_of_the_caller_do_not_matter() -> None:
    with np.errstate(all="raise"):
        read = from_pairs([1, 1, 0], [45, 1000, 3])

    assert read.tolist() == [float(np.float32(1e-45)), 0.0, 0.0]


@pytest.mark.parametrize(
    ("value", "decimals"),
    [(2**127, 0), (-(2**127) - 1, 0), (2**300, 0), (1, -1), (1, 1075), (1, 2**127)],
)
def test_what_int128_and_float64_cannot_mean_is_refused(value: int, decimals: int) -> None:
    with pytest.raises(ValueError, match="number"):
        from_pairs([value], [decimals])
