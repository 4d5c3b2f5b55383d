"""Fixed-point numbers and dtypes: what goes in comes out, and what does not fit is told."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from og_mcp.localnet import fixed_point
from og_mcp.localnet.fixed_point import FixedPointError


def words(*numbers: tuple[int, int]) -> bytes:
    return b"".join(n.to_bytes(32, "big", signed=True) for pair in numbers for n in pair)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (np.float32(0.1), (1, 1)),
        (np.float32(16777216.0), (16777216, 0)),
        (np.float32(-120.0), (-120, 0)),
        (np.float32(1.17549435e-38), (11754944, 45)),
        (np.float32(1e20), (10**20, 0)),
        (np.float32(-0.0), (0, 0)),
        (np.float64(0.1), (1, 1)),
        (np.float64(1 / 3), (3333333333333333, 16)),
        (np.float64(5e-324), (5, 324)),
        (np.float16(0.1), (1, 1)),
        (np.float16(65504), (65500, 0)),
        (np.int64(-(2**63)), (-(2**63), 0)),
        (np.uint64(2**64 - 1), (2**64 - 1, 0)),
        (np.bool_(True), (1, 0)),
    ],
)
def test_a_number_is_written_as_the_shortest_text_of_its_dtype(
    number: np.generic, expected: tuple[int, int]
) -> None:
    assert fixed_point.numbers(fixed_point.encode(np.array([number]))) == [expected]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@given(data=st.data())
def test_any_finite_float_survives_the_wire(
    dtype: type[np.floating[Any]], data: st.DataObject
) -> None:
    width = np.dtype(dtype).itemsize * 8
    limit = min(float(np.finfo(dtype).max), 2.0**126)
    numbers = st.floats(-limit, limit, width=width, allow_nan=False)  # type: ignore[arg-type] # 16, 32 or 64
    array = np.array(data.draw(st.lists(numbers, max_size=20)), dtype)

    # Minus zero has no fixed-point form of its own.
    assert fixed_point.decode(fixed_point.encode(array), dtype).tolist() == (array + 0).tolist()


@pytest.mark.parametrize(
    "dtype", [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64]
)
def test_the_ends_of_every_integer_dtype_survive_the_wire(dtype: type[np.integer[Any]]) -> None:
    ends = np.array([np.iinfo(dtype).min, 0, np.iinfo(dtype).max], dtype)

    assert fixed_point.decode(fixed_point.encode(ends), dtype).tolist() == ends.tolist()


@given(
    value=st.integers(-(2**127), 2**127 - 1),
    decimals=st.integers(0, 1100) | st.integers(0, 30),
)
def test_a_decimal_is_read_as_the_nearest_double(value: int, decimals: int) -> None:
    (read,) = fixed_point.decode(words((value, decimals)), np.float64)

    assert read == float(Fraction(value, 10**decimals))


@given(value=st.integers(-(2**60), 2**60), decimals=st.integers(0, 50))
def test_no_other_float32_is_nearer_than_the_one_that_is_read(value: int, decimals: int) -> None:
    exact = Fraction(value, 10**decimals)
    (read,) = fixed_point.decode(words((value, decimals)), np.float32)
    neighbours = (np.nextafter(read, np.float32(-np.inf)), np.nextafter(read, np.float32(np.inf)))
    error = abs(Fraction(float(read)) - exact)

    assert all(error <= abs(Fraction(float(other)) - exact) for other in neighbours)


def test_a_number_just_beyond_the_middle_of_two_floats_is_rounded_once() -> None:
    # As a double this is exactly the middle of 1 and the next float32, from which a second
    # rounding would go down.
    just_above = Fraction(1) + Fraction(1, 2**24) + Fraction(1, 10**30)
    value = just_above.numerator * 10**30 // just_above.denominator

    (read,) = fixed_point.decode(words((value, 30)), np.float32)

    assert read == np.nextafter(np.float32(1), np.float32(2))


def test_a_number_in_the_middle_of_two_floats_goes_to_the_even_one() -> None:
    low, high = fixed_point.decode(words((16777217, 0), (16777219, 0)), np.float32)

    assert (float(low), float(high)) == (16777216.0, 16777220.0)


def test_whole_numbers_with_decimals_are_integers() -> None:
    assert fixed_point.decode(words((120, 1), (-5, 0)), np.int32).tolist() == [12, -5]


@pytest.mark.parametrize(
    ("dtype", "number", "reason"),
    [
        (np.int64, (15, 1), "has the value 15/10^1, which is not of type int64"),
        (np.int8, (128, 0), "has the value 128, which is not of type int8"),
        (np.uint8, (-1, 0), "has the value -1, which is not of type uint8"),
        (np.bool_, (2, 0), "has the value 2, which is not of type bool"),
        (np.int64, (2**100, 0), f"has the value {2**100}, which is not of type int64"),
        (np.float16, (65520, 0), "has a number beyond the range of float16"),
        (np.float32, (1, -1), "has decimals that are not between 0 and 1100"),
        (np.float32, (1, 1101), "has decimals that are not between 0 and 1100"),
        (np.float32, (2**127, 0), "has a number that is not an int128"),
        (np.float32, (-(2**127) - 1, 0), "has a number that is not an int128"),
    ],
)
def test_a_number_that_is_no_value_of_the_dtype_is_refused(
    dtype: type[np.generic], number: tuple[int, int], reason: str
) -> None:
    with pytest.raises(FixedPointError) as caught:
        fixed_point.decode(words(number), dtype)

    assert str(caught.value) == reason


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.array([np.nan], np.float32), "holds nan, which the wire cannot carry"),
        (np.array([-np.inf], np.float64), "holds -inf, which the wire cannot carry"),
        (np.array([3e38], np.float32), f"holds {3 * 10**38}, which is not an int128"),
    ],
)
def test_what_has_no_fixed_point_form_is_not_written(
    array: np.ndarray[Any, Any], reason: str
) -> None:
    with pytest.raises(FixedPointError) as caught:
        fixed_point.encode(array)

    assert str(caught.value) == reason


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.bool_])
def test_no_numbers_are_no_words(dtype: type[np.generic]) -> None:
    assert fixed_point.encode(np.array([], dtype)) == b""
    assert fixed_point.decode(b"", dtype).shape == (0,)
