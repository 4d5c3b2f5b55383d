"""What a caller may give, what is refused before anything is sent, and what comes back."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from og_mcp.client.codec.tensors import (
    Inputs,
    NumberTensor,
    StringTensor,
    node_output,
    parse_inputs,
)
from og_mcp.client.codec.tensors import to_json as shown
from og_mcp.errors import ServiceReplyError, TensorError


def numbers(value: object) -> NumberTensor:
    """Parse a tensor that becomes numbers."""
    tensor = parse_inputs({"x": value}).tensors[0]
    assert isinstance(tensor, NumberTensor)
    return tensor


def test_a_bare_number_has_shape_one_as_in_the_public_sdk() -> None:
    tensor = numbers(0.5)

    assert (tensor.shape, tensor.scalar, tensor.values.tolist()) == ((1,), True, [0.5])
    assert tensor.values.dtype == np.float64


def test_a_bare_text_has_shape_one() -> None:
    inputs = parse_inputs({"x": "hello"})

    assert inputs == Inputs((StringTensor("x", ["hello"], (1,), scalar=True),))


def test_nested_lists_are_flattened_row_by_row() -> None:
    tensor = numbers([[[1, 2], [3, 4]], [[5, 6], [7, 8]], [[9, 10], [11, 12]]])

    assert tensor.shape == (3, 2, 2)
    assert tensor.values.tolist() == list(range(1, 13))
    assert tensor.values.dtype == np.int64


def test_tensors_keep_the_callers_order_among_their_kind() -> None:
    inputs = parse_inputs({"b": 1, "t": "x", "a": 2, "s": "y"})

    assert [tensor.name for tensor in inputs.numbers] == ["b", "a"]
    assert [tensor.name for tensor in inputs.strings] == ["t", "s"]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_float_arrays_keep_their_dtype(dtype: type[np.floating[Any]]) -> None:
    tensor = numbers(np.ones((2, 3), dtype))

    assert tensor.values.dtype == dtype
    assert tensor.shape == (2, 3)


def test_arrays_of_any_layout_are_read_row_by_row() -> None:
    array = np.arange(6, dtype=">f4").reshape(2, 3)

    assert numbers(array.T).values.tolist() == [0, 3, 1, 4, 2, 5]
    assert numbers(np.asfortranarray(array)).values.tolist() == [0, 1, 2, 3, 4, 5]
    assert numbers(array[:, ::2]).values.tolist() == [0, 2, 3, 5]
    assert numbers(np.array(7)).shape == ()


def test_lists_of_arrays_and_numpy_numbers_keep_their_dtype() -> None:
    row = np.array([0.1, 0.2], np.float32)

    assert numbers([row, row]).values.dtype == np.float32
    assert numbers([row, row]).shape == (2, 2)
    assert numbers([[np.float32(0.1)]]).values.dtype == np.float32
    assert numbers(np.float32(0.1)).scalar
    assert numbers((np.array(1), np.array(2))).shape == (2,)


def test_numpy_numbers_beside_others_keep_their_decimal_text() -> None:
    tensor = numbers([np.float32(0.1), 0.5, np.int8(3)])

    assert tensor.values.tolist() == [0.1, 0.5, 3]


def test_text_arrays_become_text() -> None:
    array = np.array([["a", "bc"], ["", "é"]])

    for given_array in (array, array.astype(object), array.astype(np.dtypes.StringDType())):
        tensor = parse_inputs({"x": given_array}).strings[0]
        assert (tensor.values, tensor.shape) == (["a", "bc", "", "é"], (2, 2))


@given(
    st.lists(
        st.integers(-(2**127), 2**127 - 1)
        | st.integers(2**53 - 3, 2**53 + 3)
        | st.floats(-1e38, 1e38),
        min_size=1,
    )
)
def test_integers_beside_floats_lose_no_digit(values: list[float]) -> None:
    tensor = numbers(values)

    assert [int(x) if math.floor(x) == x else x for x in tensor.values.tolist()] == [
        int(x) if math.floor(x) == x else x for x in values
    ]


def test_a_float_is_taken_where_its_decimal_fits_int128() -> None:
    # 2**127 does not fit; the shortest decimals of this float32 and float64 are just below it.
    assert numbers(np.array([2.0**127], np.float32)).values[0] == 2.0**127
    assert numbers(2.0**127).values[0] == 2.0**127


@given(st.lists(st.integers(-(2**127), 2**127 - 1), min_size=1))
def test_integers_up_to_int128_are_exact(values: list[int]) -> None:
    assert numbers(values).values.tolist() == values


DEEP: list[Any] = [1]
for _ in range(40):
    DEEP = [DEEP]
CYCLE: list[Any] = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([[1, 2], [3]], "is ragged: [0] is a list of 2 and [1] is a list of 1."),
        ([1, [2]], "is ragged: [0] is a value and [1] is a list of 1."),
        ([[1, 2], 3], "is ragged: [0] is a list of 2 and [1] is a value."),
        ([[[1], [2]], [[3], [4, 5]]], "[1][1] is a list of 2."),
        (True, "holds a boolean."),
        ([[0, 1], [2, False]], "holds a boolean at [1][1]."),
        ([1, 2, np.True_], "holds a boolean at [2]."),
        (np.array([True]), "holds booleans."),
        (None, "holds null."),
        ([[1.5], [None]], "holds null at [1][0]."),
        ([[1.5], None], "holds null at [1]."),
        (math.nan, "holds NaN."),
        ([[0, 1, 2, math.nan]], "holds NaN at [0][3]."),
        ([2**60, 0.5, math.nan], "holds NaN at [2]."),
        ([1.0, -math.inf], "holds an infinity at [1]."),
        ([2**60, math.inf], "holds an infinity at [1]."),
        (np.array([[1, np.nan]], np.float16), "holds NaN at [0][1]."),
        (np.ma.array([1.0, 2.0], mask=[False, True]), "holds null at [1]."),
        (np.ma.array(["a", "b"], mask=[False, True]), "holds null at [1]."),
        ([1, "2"], "holds text '2' among numbers at [1]."),
        (["a", ["b"]], "is ragged"),
        (["a", "b", 3], "holds a number among text at [2]."),
        ([{"a": 1}], "holds an object at [0]."),
        ({"a": 1}, "holds an object."),
        ([1j], "holds a value of type complex at [0]."),
        (b"bytes", "holds a value of type bytes."),
        (object(), "holds a value of type object."),
        ([[1], [2**127]], "holds an integer of 128 bits, beyond int128, at [1][0]."),
        (-(2**127) - 1, "holds an integer of 128 bits, beyond int128,."),
        ([10**5000], "holds an integer of 16610 bits, beyond int128, at [0]."),
        ([0.5, 10**5000], "beyond int128, at [1]."),
        ([0.5, 1.8e38], "holds 1.8e+38, beyond int128, at [1]."),
        (np.array([1.7014121e38], np.float32), "beyond int128, at [0]."),
        ([1, 1e300], "beyond int128, at [1]."),
        ([[], [1]], "is ragged"),
        ([[], 1], "is ragged"),
        (DEEP, "is nested more than 32 lists deep."),
        (CYCLE, "is nested more than 32 lists deep."),
        (np.array([1], "M8[s]"), "holds values of dtype datetime64[s]."),
        ([np.timedelta64(1, "s")], "holds a value of type timedelta64 at [0]."),
        (np.array([1j]), "holds values of dtype complex128."),
        (np.array([b"x"]), "holds values of dtype |S1."),
        (np.zeros(1, [("a", "i4")]), "holds values of dtype"),
        ("a\ud800", "holds half a surrogate pair."),
        ([["a", "\udc00"]], "holds half a surrogate pair at [0][1]."),
        (["\ud83d", "\ude00"], "holds half a surrogate pair at [0]."),
    ],
)
def test_what_cannot_go_on_the_wire_is_refused_by_name_and_index(value: object, said: str) -> None:
    with pytest.raises(TensorError) as caught:
        parse_inputs({"first": 1, "my tensor": value})

    assert caught.value.tensor == "my tensor"
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        [0.5] * 1_000_001,
        [[0] * 1001] * 1000,
        [[[[["x"] * 100] * 100] * 100] * 100] * 100,
        np.zeros((1001, 1000), np.int8),
        np.full((1001, 1000), "x"),
        [np.zeros(10**6)] * 1000,
    ],
    ids=["flat", "rows", "shared", "array", "text array", "list of arrays"],
)
def test_too_many_values_are_refused_with_both_numbers(value: object) -> None:
    with pytest.raises(TensorError, match=r"to [0-9,]+ values, .* at most 1,000,000"):
        parse_inputs({"x": value})


def test_the_count_is_of_all_tensors_together() -> None:
    half = np.zeros(600_000, np.float32)

    with pytest.raises(TensorError, match="'b' brings the input to 1,200,000 values"):
        parse_inputs({"a": half, "b": half})


def test_a_million_values_are_taken() -> None:
    assert numbers([[0.5, 1] * 500] * 1000).shape == (1000, 1000)


def test_too_much_text_is_refused() -> None:
    with pytest.raises(TensorError, match="80,000,000 characters, above 64,000,000"):
        parse_inputs({"a": "x" * 40_000_000, "b": ["y" * 40_000_000]})


def test_a_model_without_inputs_gets_no_tensors() -> None:
    assert parse_inputs({}).tensors == ()


@pytest.mark.parametrize(
    ("value", "shape"), [([], (0,)), ([[], []], (2, 0)), (np.zeros((2, 0, 3)), (2, 0, 3))]
)
def test_a_tensor_may_have_no_values(value: object, shape: tuple[int, ...]) -> None:
    (tensor,) = parse_inputs({"x": value}).tensors

    assert (len(tensor.values), tensor.shape) == (0, shape)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["", "x"], "has no name"),
        (["  "], "has no name"),
        (["a\ud800"], "half a surrogate pair"),
        (["caf\u00e9", "cafe\u0301"], "is named like"),
        (["x", "x "], "is named like 'x'"),
    ],
)
def test_names_that_mean_nothing_or_the_same_are_refused(names: list[str], said: str) -> None:
    with pytest.raises(TensorError, match=said):
        parse_inputs(dict.fromkeys(names, 1))


def test_values_that_are_no_names_are_refused() -> None:
    with pytest.raises(TensorError, match="has no name"):
        parse_inputs({3: 1})  # type: ignore[dict-item]  # a library user may do it


def test_a_node_result_is_read_with_integers_as_numbers_or_text() -> None:
    output = node_output(
        {
            "numbers": [
                {
                    "name": "y",
                    "values": [{"value": "15", "decimals": "1"}, {"value": -2}],
                    "shape": [1, "2"],
                },
                {"name": "n", "values": [{"value": 2**100, "decimals": 0}]},
                {"name": "z", "values": [{"value": 7, "decimals": None}], "shape": []},
            ],
            "strings": [
                {"name": "s", "values": ["a", "b"]},
                {"name": "t", "values": ["a", "b"], "shape": [2, 1]},
                {"name": "e", "values": None},
            ],
            "jsons": [{"name": "j", "value": '{"a": [1]}'}, {"name": "k", "value": {"a": 1}}],
            "is_simulation_result": True,
        }
    )

    assert output.is_simulation_result
    assert shown(output) == {
        "y": [[1.5, -2.0]],
        "n": [2**100],
        "z": 7,
        "s": ["a", "b"],
        "t": [["a"], ["b"]],
        "e": [],
        "j": {"a": [1]},
        "k": {"a": 1},
    }


def test_a_node_result_without_tensors_is_empty() -> None:
    assert node_output({"numbers": None}).is_empty


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "no object"),
        ([], "no object"),
        ({"numbers": {}}, "stands for the list numbers"),
        ({"numbers": ["x"]}, "'x' stands for a tensor"),
        ({"numbers": [{"values": []}]}, "stands for text"),
        ({"numbers": [{"name": "x", "values": [1]}]}, "stands for a number"),
        ({"numbers": [{"name": "x", "values": [{}]}]}, "NoneType stands for an integer"),
        ({"numbers": [{"name": "x", "values": [{"value": 1.5}]}]}, "stands for an integer"),
        ({"numbers": [{"name": "x", "values": [{"value": True}]}]}, "stands for an integer"),
        ({"numbers": [{"name": "x", "values": [{"value": "1_0"}]}]}, "'1_0' stands"),
        ({"numbers": [{"name": "x", "values": [{"value": "9" * 40}]}]}, "stands for an integer"),
        ({"numbers": [{"name": "x", "values": [{"value": 2**127}]}]}, "int128"),
        ({"numbers": [{"name": "x", "values": [{"value": 1, "decimals": -1}]}]}, "decimals"),
        ({"numbers": [{"name": "x", "values": [{"value": 1}], "shape": [2]}]}, r"shape \[2\]"),
        ({"numbers": [{"name": "x", "values": [{"value": 1}], "shape": [-1]}]}, "shape"),
        ({"strings": [{"name": "x", "values": [1]}]}, "stands for text"),
        ({"strings": [{"name": "x\ud800"}]}, "not Unicode"),
        ({"jsons": [{"name": "x", "value": "{"}]}, "as JSON"),
        ({"jsons": [{"name": "x", "value": "\ud800"}]}, "as JSON"),
        ({"jsons": [{"name": "x"}, {"name": "x", "value": "1"}]}, "differ are named 'x'"),
    ],
)
def test_a_node_result_that_is_none_is_refused(value: object, said: str) -> None:
    with pytest.raises(ServiceReplyError, match=said):
        node_output(value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(["numbers", "strings", "jsons", "name", "values", "value", "shape"]),
            inner,
        )
    ),
    max_leaves=8,
)


@pytest.mark.slow
@given(JSON)
def test_any_json_from_a_node_gives_an_output_or_the_one_error(value: object) -> None:
    with suppress(ServiceReplyError):
        shown(node_output(value))
