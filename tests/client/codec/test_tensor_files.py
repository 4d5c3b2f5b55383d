"""Tensors from files: what is read, and what a file cannot do."""

from __future__ import annotations

import io
import json
import pickle
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from og_mcp.client.codec.tensor_files import MAX_FILE_BYTES
from og_mcp.client.codec.tensors import NumberTensor, StringTensor, parse_inputs
from og_mcp.errors import FileRefusedError, OGError, TensorError


def parse(name: str, content: bytes) -> NumberTensor | StringTensor:
    """Parse a tensor whose file holds these bytes."""
    return parse_inputs({"x": {"file": name}}, open_file=lambda _: io.BytesIO(content)).tensors[0]


def npy(array: object, version: tuple[int, int] = (1, 0)) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(array), version)
    return file.getvalue()


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_an_npy_file_gives_its_array(version: tuple[int, int]) -> None:
    array = np.array([[0.1, 0.2, 0.3], [1, 2, 3]], np.float32)

    for content in (npy(array, version), npy(np.asfortranarray(array), version)):
        tensor = parse("a.npy", content)
        assert isinstance(tensor, NumberTensor)
        assert tensor.values.dtype == np.float32
        assert (tensor.values.tolist(), tensor.shape) == (array.reshape(-1).tolist(), (2, 3))


def test_an_npy_file_of_text_gives_text() -> None:
    tensor = parse("a.npy", npy([["a"], ["bé"]]))

    assert (tensor.values, tensor.shape) == (["a", "bé"], (2, 1))


@pytest.mark.parametrize("content", [b"[[1, 2.5]]", "\ufeff[[1, 2.5]]".encode()])
def test_a_json_file_gives_what_would_stand_in_its_place(content: bytes) -> None:
    tensor = parse("A.JSON", content)

    assert isinstance(tensor, NumberTensor)
    assert (tensor.values.tolist(), tensor.shape) == ([1, 2.5], (1, 2))


@pytest.mark.parametrize(
    "content", [b"1,2.5\n-3e2,4\n", b"1,2.5\r\n-3e2,4\r\n\r\n", b'"1",2.5\n-300,4']
)
def test_a_csv_file_gives_rows_and_columns(content: bytes) -> None:
    tensor = parse("t.csv", content)

    assert isinstance(tensor, NumberTensor)
    assert (tensor.values.tolist(), tensor.shape) == ([1, 2.5, -300, 4], (2, 2))


def test_integers_in_a_csv_file_are_exact() -> None:
    tensor = parse("t.csv", b"9007199254740993,0.5\n")

    assert isinstance(tensor, NumberTensor)
    assert tensor.values.tolist() == [2**53 + 1, 0.5]


def test_a_csv_file_of_text_gives_text() -> None:
    assert parse("t.csv", 'a,"b, c"\n1_0,é\n'.encode()).values == ["a", "b, c", "1_0", "é"]


class Touch:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


def test_a_pickle_in_a_file_is_never_opened(tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    array = np.array([Touch(touched)], object)
    content = io.BytesIO()
    np.save(content, array, allow_pickle=True)

    for name, data in (("a.npy", content.getvalue()), ("a.json", pickle.dumps(array))):
        with pytest.raises(TensorError):
            parse(name, data)

    assert not touched.exists()


def header(shape: str, descr: str = "'<f8'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.npy", header("(10**15,)"), "not a valid .npy file"),
        ("a.npy", header("(1000000000000,)"), "1,000,000,000,000 values"),
        ("a.npy", header("(1000000,)"), "not a valid .npy file"),
        ("a.npy", header("(-1, -1)") + bytes(8), "not a valid .npy file"),
        ("a.npy", header("(1,)", "'|V0'"), "not a valid .npy file"),
        ("a.npy", header("(1,)", "'<U4000000000'"), "not a valid .npy file"),
        ("a.npy", header("(1,)", "'|O'") + bytes(8), "pickled objects"),
        ("a.npy", header("(1,)", "[('a', '<f8')]") + bytes(8), "dtype"),
        ("a.npy", header("(1,)", "'<U1'") + b"\xff\xff\xff\x7f", "not a valid .npy file"),
        ("a.npy", npy(np.float32(1), (1, 0))[:20], "not a valid .npy file"),
        ("a.npy", b"\x93NUMPY\x03\x00" + bytes(100), "not a valid .npy file"),
        ("a.npy", b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65535, "not a valid .npy file"),
        ("a.npy", b"", "the file is empty"),
        ("a.npy", header("(4294967296, 0)"), "beyond uint32"),
        ("a.npy", npy([True]), "holds booleans"),
        ("a.npy", npy([np.nan]), "holds NaN at [0]"),
        ("a.json", b"", "the file is empty"),
        ("a.json", b"\xff\xfe", "not text in UTF-8"),
        ("a.csv", "prix é\n1\n".encode("cp1252"), "not text in UTF-8"),
        ("a.json", b"[" * 100_000, "nested more than 32"),
        ("a.json", b"[1, NaN]", "holds NaN at [1]"),
        ("a.json", b'{"x": [1]}', "holds an object"),
        ("a.csv", b"", "is empty"),
        ("a.csv", b" \n\n", "the file is empty"),
        ("a.csv", b"x,2\n1,2\n", "holds a number among text at [0][1]"),
        ("a.csv", b"1,2,3\n3\n", "is ragged"),
        ("a.csv", b"1,nan\n", "holds NaN at [0][1]"),
        ("a.csv", b"1.5," + b"9" * 5000, "holds an infinity at [0][1]"),
        ("a.csv", b'"' + b"x" * 200_000 + b'"', "not a valid .csv file"),
    ],
)  # fmt: skip
def test_a_file_that_holds_no_tensor_is_refused(name: str, content: bytes, said: str) -> None:
    with pytest.raises(TensorError) as caught:
        parse(name, content)

    assert said in str(caught.value)


@given(st.binary(max_size=200) | st.binary(max_size=80).map(lambda tail: npy([1.5])[:90] + tail))
def test_any_bytes_give_a_tensor_or_one_of_our_errors(content: bytes) -> None:
    for name in ("a.npy", "a.json", "a.csv"):
        with suppress(OGError):
            parse(name, content)


def test_a_reference_has_nothing_but_the_path() -> None:
    for reference in ({"file": "a.npy", "dtype": "f4"}, {"path": "a.npy"}, {"file": 3}, {}):
        with pytest.raises(TensorError, match="holds an object"):
            parse_inputs({"x": reference}, open_file=lambda _: io.BytesIO(b"1"))


def test_files_are_refused_where_nothing_opens_them() -> None:
    with pytest.raises(FileRefusedError, match="Give the values themselves"):
        parse_inputs({"x": {"file": "a.npy"}})


def test_another_ending_is_refused_before_the_file_is_opened() -> None:
    def opened(path: str) -> BinaryIO:
        raise NotImplementedError(path)

    for name in ("a.pkl", "a.npz", ".ssh/id_rsa", "csv"):
        with pytest.raises(FileRefusedError, match=r"Use \.npy, \.json or \.csv"):
            parse_inputs({"x": {"file": name}}, open_file=opened)


def test_a_file_that_is_too_large_is_refused() -> None:
    with pytest.raises(FileRefusedError, match="67,108,864 bytes"):
        parse("a.json", b" " * (MAX_FILE_BYTES + 1))


def test_a_file_that_cannot_be_read_is_refused_with_the_systems_word() -> None:
    def opened(path: str) -> BinaryIO:
        raise FileNotFoundError(2, "No such file or directory", path)

    with pytest.raises(FileRefusedError, match="No such file or directory"):
        parse_inputs({"x": {"file": "/nowhere/a.npy"}}, open_file=opened)


def test_a_refusal_of_the_opener_names_the_tensor() -> None:
    def opened(_: str) -> BinaryIO:
        raise FileRefusedError("/etc/x.csv", "it is outside the upload roots", "Move it.")

    with pytest.raises(FileRefusedError) as caught:
        parse_inputs({"x": {"file": "/etc/x.csv"}}, open_file=opened)

    assert str(caught.value) == (
        "Tensor 'x': the file '/etc/x.csv' was not read: it is outside the upload roots. Move it."
    )


@pytest.mark.parametrize("shape", [(0,), (1, 0, 2), (0, 3)])
@pytest.mark.parametrize("kind", ["f4", "i8", "U3"])
def test_an_npy_file_may_have_no_values(shape: tuple[int, ...], kind: str) -> None:
    tensor = parse("a.npy", npy(np.empty(shape, kind)))

    assert (len(tensor.values), tensor.shape) == (0, shape)
    assert isinstance(tensor, StringTensor if kind == "U3" else NumberTensor)


def test_the_file_is_closed() -> None:
    file = io.BytesIO(json.dumps([1]).encode())

    parse_inputs({"x": {"file": "a.json"}}, open_file=lambda _: file)

    assert file.closed
