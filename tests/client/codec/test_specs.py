"""A call's tensors against the model's graph, and examples of such tensors."""

from __future__ import annotations

import sys
from subprocess import run
from typing import Any

import numpy as np
import pytest

from og_mcp.client.codec.outputs import ModelOutput, to_json
from og_mcp.client.codec.specs import check_against, example_input
from og_mcp.client.codec.tensors import parse_inputs
from og_mcp.errors import TensorError
from og_mcp.types import TensorSpec


def spec(name: str, dtype: str, *shape: int) -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=list(shape))


@pytest.mark.parametrize(
    ("value", "dtype", "shape"),
    [
        ([[1.5, 2]], "float", (-1, 2)),
        ([[1, 2]], "int64", (1, 2)),
        ([1.0, 2.0], "int64", (2,)),
        ([0, 1], "bool", (2,)),
        ([["a"]], "string", (1, 1)),
        (np.zeros((3, 4), np.float32), "double", (-1, -1)),
        (np.array(2), "int32", ()),
        ([1, 2], "bfloat16", (2,)),
    ],
)
def test_tensors_that_fit_are_left_alone(value: object, dtype: str, shape: tuple[int, ...]) -> None:
    inputs = parse_inputs({"x": value})

    fitted = check_against(inputs, [spec("x", dtype, *shape)])

    assert fitted.tensors[0].shape == inputs.tensors[0].shape
    assert fitted.tensors[0].values is inputs.tensors[0].values


@pytest.mark.parametrize("value", [3, "text"])
@pytest.mark.parametrize("shape", [(), (1,), (-1,), (1, 1), (-1, 1, 1)])
def test_a_bare_value_takes_any_shape_that_one_value_fills(
    value: object, shape: tuple[int, ...]
) -> None:
    dtype = "string" if isinstance(value, str) else "int64"

    fitted = check_against(parse_inputs({"x": value}), [spec("x", dtype, *shape)])

    assert fitted.tensors[0].shape == (1,) * len(shape)


@pytest.mark.parametrize(
    ("value", "dtype", "shape", "said"),
    [
        ([1, 2], "float", (1, 2), "has shape [2], and the model takes float of shape [1, 2]."),
        ([1, 2], "float", (-1, 3), "the model takes float of shape [any, 3]."),
        ([[1, 2]], "float", (-1, 3), "has shape [1, 2]"),
        ([1], "float", (), "the model takes one float without dimensions."),
        (1, "float", (2,), "is a bare value"),
        (["a"], "float", (1,), "holds text, and the model takes float of shape [1]."),
        ([1], "string", (1,), "holds numbers, and the model takes text of shape [1]."),
        ([["a", "b"]], "string", (2,), "has shape [1, 2], and the model takes text"),
        ([[1, 2], [3, 4.5]], "int64", (2, 2), "holds the fraction 4.5 at [1][1]"),
        (0.5, "int32", (1,), "holds the fraction 0.5, and"),
        ([0, 300], "uint8", (2,), "holds 300 at [1], outside uint8 (0 to 255)."),
        ([2**63], "int64", (1,), "outside int64"),
        ([2**70, 0.5], "int64", (2,), "outside int64"),
        ([2], "bool", (1,), "outside bool (0 to 1)."),
    ],
)
def test_tensors_that_do_not_fit_are_refused_with_what_is_expected(
    value: object, dtype: str, shape: tuple[int, ...], said: str
) -> None:
    with pytest.raises(TensorError) as caught:
        check_against(parse_inputs({"x": value}), [spec("x", dtype, *shape)])

    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("value", "dtype", "values"),
    [
        ([True, False], "bool", [1, 0]),
        (True, "bool", [1]),
        (np.array([True, False]), "bool", [1, 0]),
        ([[True], [0]], "bool", [1, 0]),
        (["9007199254740993", "-1"], "int64", [2**53 + 1, -1]),
        ([1, "18446744073709551615"], "uint64", [1, 2**64 - 1]),
    ],
)
def test_what_stands_for_integers_is_taken_where_the_graph_has_them(
    value: object, dtype: str, values: list[int]
) -> None:
    specs = [TensorSpec(name="x", dtype=dtype, shape=[], any_rank=True)]

    (tensor,) = check_against(parse_inputs({"x": value}, specs), specs).numbers

    assert tensor.values.tolist() == values


@pytest.mark.parametrize(
    ("value", "dtype", "said"),
    [
        ([True], "float", "holds a boolean at [0]."),
        (np.array([True]), "int8", "holds booleans."),
        (["1.5"], "int64", "holds text, and"),
        (["1", "x", 2], "int64", "holds text 'x' among numbers at [1]"),
        (["1"], "float", "holds text, and"),
        (["true"], "bool", "holds text, and"),
    ],
)
def test_nothing_else_stands_for_a_number(value: object, dtype: str, said: str) -> None:
    specs = [spec("x", dtype, -1)]

    with pytest.raises(TensorError) as caught:
        check_against(parse_inputs({"x": value}, specs), specs)

    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("value", "dtype", "wanted", "shape"),
    [
        ([], "float", (-1, 4), (0, 4)),
        ([[]], "float", (1, -1, 2), (1, 0, 2)),
        ([[[], []]], "int64", (1, 2, -1, 8), (1, 2, 0, 8)),
        ([], "string", (-1,), (0,)),
        (np.zeros((1, 0, 2)), "float", (1, -1, 2), (1, 0, 2)),
    ],
)
def test_the_graph_completes_the_shape_of_an_empty_tensor(
    value: object, dtype: str, wanted: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    specs = [spec("x", dtype, *wanted)]

    (tensor,) = check_against(parse_inputs({"x": value}, specs), specs).tensors

    assert tensor.shape == shape


@pytest.mark.parametrize(
    ("value", "wanted", "said"),
    [
        ([], (-1, -1), "Give a .npy file, which tells the whole shape."),
        ([], (2,), "has shape [0], and"),
        ([[]], (-1,), "has shape [1, 0], and"),
    ],
)
def test_an_empty_tensor_of_no_certain_shape_is_refused(
    value: object, wanted: tuple[int, ...], said: str
) -> None:
    specs = [spec("x", "float", *wanted)]

    with pytest.raises(TensorError) as caught:
        check_against(parse_inputs({"x": value}, specs), specs)

    assert said in str(caught.value)


def test_a_model_without_inputs_takes_none() -> None:
    assert check_against(parse_inputs({}), []).tensors == ()

    with pytest.raises(TensorError, match="It takes no inputs"):
        check_against(parse_inputs({"x": 1}), [])


SPECS = [spec("open_high_low_close", "float", 1, 10, 4), spec("window", "int64", 1)]


def test_a_missing_tensor_is_named_with_what_it_takes() -> None:
    with pytest.raises(TensorError) as caught:
        check_against(parse_inputs({"window": 3}), SPECS)

    assert str(caught.value) == (
        "Tensor 'open_high_low_close' is missing. The model takes it as float of shape "
        "[1, 10, 4]; given were 'window'."
    )


def test_an_unknown_tensor_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(TensorError) as caught:
        check_against(parse_inputs({"windows": 3}), SPECS)

    assert str(caught.value) == (
        "Tensor 'windows' is not an input of this model. Did you mean 'window'? Its inputs are "
        "'open_high_low_close', 'window'."
    )


def test_an_example_fits_its_model() -> None:
    specs = [*SPECS, spec("text", "string", -1, 2), spec("one", "double"), spec("flag", "bool", 2)]

    example = example_input(specs)

    assert example == {
        "open_high_low_close": [[[0.0] * 4] * 10],
        "window": [0],
        "text": [["text", "text"]],
        "one": 0.0,
        "flag": [0, 0],
    }
    check_against(parse_inputs(example), specs)


def test_an_example_of_a_large_tensor_is_a_file() -> None:
    assert example_input([spec("pixel.values", "float", -1, 3, 224, 224)]) == {
        "pixel.values": {"file": "/path/to/pixelvalues.npy"}
    }


@pytest.mark.parametrize("kind", ["sequence", "map", "optional"])
def test_a_model_that_cannot_be_run_has_no_example(kind: str) -> None:
    assert example_input([spec("x", "float", 1), spec("rows", kind)]) == {}


@pytest.mark.parametrize(("dtype", "value"), [("int2", -3), ("uint2", 4), ("int4", 8)])
def test_small_integers_have_their_bounds(dtype: str, value: int) -> None:
    with pytest.raises(TensorError, match=f"holds {value} at .* outside {dtype}"):
        check_against(parse_inputs({"x": [value]}), [spec("x", dtype, 1)])


def test_examples_need_no_numpy() -> None:
    code = "import sys, og_mcp.client.codec.specs; sys.exit('numpy' in sys.modules)"

    assert run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603 - our own code


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((2, 2), [["a", "b"], ["c", "d"]]),
        ((-1, 2), [["a", "b"], ["c", "d"]]),
        ((-1,), ["a", "b", "c", "d"]),
        ((), ["a", "b", "c", "d"]),
        ((3,), ["a", "b", "c", "d"]),
        ((-1, -1), ["a", "b", "c", "d"]),
        ((-1, 3), ["a", "b", "c", "d"]),
        ((0,), ["a", "b", "c", "d"]),
    ],
)
def test_text_outputs_get_the_graphs_shape_where_it_is_known(
    shape: tuple[int, ...], expected: list[Any]
) -> None:
    output = ModelOutput(strings={"y": ["a", "b", "c", "d"]})

    assert to_json(output, [spec("y", "string", *shape)]) == {"y": expected}


def test_an_output_text_without_values_stays_empty() -> None:
    assert to_json(ModelOutput(strings={"y": []}), [spec("y", "string", -1, 2)]) == {"y": []}


@pytest.mark.parametrize("value", [3, [1, 2], [[1.5]], "text", ["a", "b"]])
def test_an_open_rank_takes_any_shape(value: object) -> None:
    dtype = "string" if isinstance(value, str) or value == ["a", "b"] else "float"
    inputs = parse_inputs({"x": value})

    fitted = check_against(inputs, [TensorSpec(name="x", dtype=dtype, shape=[], any_rank=True)])

    assert fitted.tensors[0].shape == inputs.tensors[0].shape


def test_an_open_element_type_takes_numbers_and_text() -> None:
    for value in (["a"], [1.5]):
        check_against(parse_inputs({"x": value}), [spec("x", "undefined", 1)])


@pytest.mark.parametrize("kind", ["sequence", "map", "optional"])
def test_a_model_that_takes_no_tensor_is_told_before_anything_else(kind: str) -> None:
    specs = [TensorSpec(name="x", dtype=kind, shape=[], any_rank=True)]

    with pytest.raises(TensorError) as caught:
        check_against(parse_inputs({"y": 1}), specs)

    assert f"'x' is a {kind} in this model's graph, and only tensors can be sent" in str(
        caught.value
    )
