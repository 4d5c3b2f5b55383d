"""Tensors in files: `.npy`, `.json` and `.csv`, as `{"file": "/path/x.npy"}` names them.

A `.json` file holds what would stand in its place: a number, text or nested lists. A `.csv` file is
a table; `csv_table` says how it is read. Nothing in a file is executed.
"""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import PurePath
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt

from og_mcp.client.codec.csv_table import read_table
from og_mcp.client.codec.nested import MAX_RANK, check_total
from og_mcp.client.wire.json_text import is_deeper
from og_mcp.errors import FileRefusedError, TensorError, quote
from og_mcp.types import TensorSpec

OpenFile = Callable[[str], BinaryIO]
"""Opens a path that the user named, or raises FileRefusedError; see `files.py`."""

MAX_FILE_BYTES: Final = 64 * 2**20


def read_tensor_file(
    tensor: str,
    reference: Mapping[str, object],
    open_file: OpenFile | None,
    spec: TensorSpec | None = None,
) -> tuple[object, str]:
    """Read the value that a `{"file": ...}` object stands for.

    Args:
        tensor: Name of the tensor.
        reference: The object.
        open_file: Opens its path; without it files are refused.
        spec: What the graph takes, where known; it decides how a table is read.

    Returns:
        An array, or what `nested.flatten` takes; and what the caller should know of the reading.

    Raises:
        TensorError: The object is not of that form, or the file does not hold a tensor.
        FileRefusedError: The file may not or cannot be read, or is larger than `MAX_FILE_BYTES`;
            it names the tensor.
    """
    path = reference.get("file")
    if set(reference) != {"file"} or not isinstance(path, str):
        raise TensorError(
            tensor, "holds an object", 'The one object that is taken is {"file": "/path/x.npy"}.'
        )
    ending = PurePath(path).suffix.lower()
    if ending not in {".npy", ".json", ".csv"}:
        reason = f"it ends in {quote(ending)}"
        raise FileRefusedError(path, reason, "Use .npy, .json or .csv.", tensor)
    try:
        data = _read(path, open_file)
    except FileRefusedError as exc:
        raise exc.for_tensor(tensor) from exc
    try:
        if ending == ".csv":
            return read_table(tensor, path, data.decode("utf-8-sig"), spec)
        return (_read_npy if ending == ".npy" else _read_json)(tensor, data), ""
    except (ValueError, EOFError, RecursionError, MemoryError, csv.Error) as exc:
        # What a reader says may repeat the file's content: its kind is enough.
        why = f"it is not a valid {ending} file" if data else "the file is empty"
        why = "it is not text in UTF-8" if isinstance(exc, UnicodeDecodeError) and data else why
        raise TensorError(tensor, f"is not read from {quote(path)}: {why}") from exc


def _read(path: str, open_file: OpenFile | None) -> bytes:
    if open_file is None:
        raise FileRefusedError(path, "no files can be read here", "Give the values themselves.")
    try:
        with closing(open_file(path)) as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as exc:
        raise FileRefusedError(path, exc.strerror or type(exc).__name__) from exc
    if len(data) > MAX_FILE_BYTES:
        raise FileRefusedError(path, f"it is larger than {MAX_FILE_BYTES:,} bytes")
    return data


def _read_npy(tensor: str, data: bytes) -> npt.NDArray[Any]:
    """Read an array by its header, so that a false one cannot make numpy allocate its claim."""
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read_header is None:
        raise ValueError("a version for structured arrays")
    shape, by_columns, dtype = read_header(file)
    if dtype.hasobject:
        raise TensorError(tensor, "comes from a file of pickled objects, which is never opened")
    count = math.prod(shape)
    check_total(tensor, count)
    if dtype.itemsize == 0 or count < 0:
        raise ValueError("no values")
    if dtype.kind == "U":
        _check_text(data, dtype, count, file.tell())
    # numpy refuses to read nothing at the end of its data.
    flat = np.frombuffer(data, dtype, count, file.tell()) if count else np.empty(0, dtype)
    return flat.reshape(shape, order="F" if by_columns else "C")


def _check_text(data: bytes, dtype: np.dtype[Any], count: int, start: int) -> None:
    """Refuse values that are not code points: numpy cannot turn them into text."""
    code = np.dtype(np.uint32).newbyteorder(dtype.byteorder)
    codes = np.frombuffer(data, code, count * (dtype.itemsize // code.itemsize), start)
    if (codes > sys.maxunicode).any():
        raise ValueError("no code point")


def _read_json(tensor: str, data: bytes) -> object:
    text = data.decode("utf-8-sig")
    if is_deeper(text, MAX_RANK):
        raise TensorError(tensor, f"is nested more than {MAX_RANK} lists deep")
    return json.loads(text)
