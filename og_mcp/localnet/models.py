"""Runs ONNX files with onnxruntime, from wire tensors to wire tensors.

Every input is held against the graph before it runs, so that a caller reads what is wrong in its
own terms. Outputs that are not tensors (maps and sequences, as classifiers give) become JSON.
"""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from google.protobuf.message import DecodeError

from og_mcp.localnet import fixed_point
from og_mcp.localnet.fixed_point import FixedPointError
from og_mcp.localnet.wire import (
    CallRefusedError,
    JsonScalar,
    ModelOutput,
    NumberTensor,
    StringTensor,
)
from og_mcp.onnxfile import runtime_reason

Array = npt.NDArray[Any]

SESSIONS_KEPT: Final = 32
MAX_REASON: Final = 300
"""Characters of onnxruntime's own words in a revert reason."""

DTYPES: Final[Mapping[str, npt.DTypeLike]] = MappingProxyType(
    {
        "tensor(float)": np.float32,
        "tensor(double)": np.float64,
        "tensor(float16)": np.float16,
        "tensor(int8)": np.int8,
        "tensor(int16)": np.int16,
        "tensor(int32)": np.int32,
        "tensor(int64)": np.int64,
        "tensor(uint8)": np.uint8,
        "tensor(uint16)": np.uint16,
        "tensor(uint32)": np.uint32,
        "tensor(uint64)": np.uint64,
        "tensor(bool)": np.bool_,
    }
)
"""Numeric tensor types that onnxruntime takes as numpy arrays."""

STRINGS: Final = "tensor(string)"


class ModelSource(Protocol):
    """Where model files are."""

    def path(self, cid: str) -> Path | None:
        """Return the file of a content id, or None if there is none."""


class Models:
    """Models by content id; the ones used last stay open."""

    def __init__(self, source: ModelSource) -> None:
        self._source = source
        self._open: OrderedDict[str, Model] = OrderedDict()

    def get(self, cid: str) -> Model:
        """Open a model, or return it where it is open.

        Raises:
            CallRefusedError: There is no such file, or it is not a model that can run here.
        """
        if cid not in self._open:
            path = self._source.path(cid)
            if path is None:
                raise CallRefusedError(f"no model file has the CID {json.dumps(cid)}")
            self._open[cid] = Model(path.read_bytes())
        self._open.move_to_end(cid)
        if len(self._open) > SESSIONS_KEPT:
            self._open.popitem(last=False)
        return self._open[cid]


class Model:
    """One ONNX graph, ready to run."""

    def __init__(self, content: bytes) -> None:
        _check_self_contained(content)
        options = onnxruntime.SessionOptions()
        # One thread adds in one order: the same input gives the same bits every time.
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except Exception as exc:
            raise CallRefusedError(f"the model cannot be loaded: {_brief(exc)}") from exc

    def infer(
        self, numbers: Sequence[NumberTensor], strings: Sequence[StringTensor]
    ) -> ModelOutput:
        """Run the graph once.

        Raises:
            CallRefusedError: The tensors are not those of the graph, the graph fails on them, or
                an output has a value that the wire cannot carry.
        """
        feeds = self._feeds(_by_name((*numbers, *strings)))
        self._check_outputs()
        try:
            results = self._session.run(None, feeds)
        except UnicodeDecodeError as exc:
            raise CallRefusedError("the model failed: an output holds text not in UTF-8") from exc
        except Exception as exc:
            raise CallRefusedError(f"the model failed: {_brief(exc)}") from exc
        names = [output.name for output in self._session.get_outputs()]
        return _collect(zip(names, results, strict=True))

    def _check_outputs(self) -> None:
        for node in self._session.get_outputs():
            if node.type.startswith("tensor(") and node.type not in {*DTYPES, STRINGS}:
                kind = node.type.removeprefix("tensor(").removesuffix(")")
                raise CallRefusedError(
                    f"the output {json.dumps(node.name)} is {kind}, which cannot be read; "
                    "let the model cast it to float before it gives it"
                )

    def _feeds(self, given: Mapping[str, NumberTensor | StringTensor]) -> dict[str, Array]:
        declared = {node.name: node for node in self._session.get_inputs()}
        known = ", ".join(map(json.dumps, declared))
        for name in given:
            if name not in declared:
                raise CallRefusedError(
                    f"the model has no input {json.dumps(name)}; its inputs are {known}"
                )
        for name in declared:
            if name not in given:
                raise CallRefusedError(f"the input {json.dumps(name)} is missing")
        return {name: _feed(given[name], node) for name, node in declared.items()}


def _check_self_contained(content: bytes) -> None:
    try:
        model = onnx.load_model_from_string(content)
    except DecodeError as exc:
        raise CallRefusedError("the model file is not ONNX") from exc
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in _tensors(model)):
        raise CallRefusedError("the model keeps weights in other files (external_data)")


def _tensors(message: Any) -> Iterator[onnx.TensorProto]:  # noqa: ANN401 - any protobuf message
    # Tensors stand in graphs, subgraphs, functions and attributes; the walk misses none of them.
    for _, value in message.ListFields():
        parts = value if _is_repeated(value) else (value,)
        for part in parts:
            if isinstance(part, onnx.TensorProto):
                yield part
            elif hasattr(part, "ListFields"):
                yield from _tensors(part)


def _is_repeated(value: object) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, (str, bytes))


def _by_name(
    tensors: Iterable[NumberTensor | StringTensor],
) -> dict[str, NumberTensor | StringTensor]:
    named: dict[str, NumberTensor | StringTensor] = {}
    for tensor in tensors:
        if tensor.name in named:
            raise CallRefusedError(f"the input {json.dumps(tensor.name)} is given twice")
        named[tensor.name] = tensor
    return named


def _feed(tensor: NumberTensor | StringTensor, node: onnxruntime.NodeArg) -> Array:
    what = f"the input {json.dumps(tensor.name)}"
    if isinstance(tensor, StringTensor):
        if node.type != STRINGS:
            raise CallRefusedError(f"{what} is {node.type}, not strings")
        return np.array(tensor.values, np.object_).reshape(_string_shape(tensor, node.shape))
    if node.type not in DTYPES:
        raise CallRefusedError(f"{what} is {node.type}, not numbers")
    count = len(tensor.words) // (2 * 32)
    if count != math.prod(tensor.shape):
        raise CallRefusedError(f"{what} has {count} values and the shape {list(tensor.shape)}")
    if not _fits(tensor.shape, node.shape):
        raise CallRefusedError(
            f"{what} has the shape {list(tensor.shape)}, the model takes {_written(node.shape)}"
        )
    try:
        values = fixed_point.decode(tensor.words, DTYPES[node.type])
    except FixedPointError as exc:
        raise CallRefusedError(f"{what} {exc}") from exc
    return _shaped(values, tensor.shape, what)


def _shaped(values: Array, shape: Sequence[int], what: str) -> Array:
    try:
        return values.reshape(shape)
    except (ValueError, OverflowError) as exc:
        raise CallRefusedError(f"{what} has a shape that no array can have: {exc}") from exc


def _fits(shape: Sequence[int], declared: Sequence[object]) -> bool:
    # onnxruntime gives no dimensions for a scalar and for an unknown shape, and takes any for both.
    # A dimension that the graph leaves open is a name or None.
    return not declared or (
        len(shape) == len(declared)
        and all(
            not isinstance(want, int) or want in (size, -1)
            for size, want in zip(shape, declared, strict=True)
        )
    )


def _written(declared: Sequence[object]) -> str:
    sizes = (str(size) if isinstance(size, int) and size >= 0 else "any" for size in declared)
    return f"[{', '.join(sizes)}]"


def _string_shape(tensor: StringTensor, declared: Sequence[object]) -> list[int]:
    if not declared:
        return [len(tensor.values)]
    sizes = [size if isinstance(size, int) and size >= 0 else -1 for size in declared]
    count, known = len(tensor.values), math.prod(size for size in sizes if size >= 0)
    open_sizes = sizes.count(-1)
    if open_sizes > 1:
        raise CallRefusedError(
            f"the input {json.dumps(tensor.name)} has more than one open dimension, "
            f"{_written(declared)}, and strings travel without a shape"
        )
    if (open_sizes and (known == 0 or count % known)) or (not open_sizes and count != known):
        raise CallRefusedError(
            f"the input {json.dumps(tensor.name)} has {count} strings, "
            f"the model takes {_written(declared)}"
        )
    return sizes


def _collect(results: Iterable[tuple[str, Any]]) -> ModelOutput:
    numbers, strings, jsons = [], [], []
    for name, value in results:
        if not isinstance(value, np.ndarray):
            jsons.append(JsonScalar(name, _json(name, value)))
        elif value.dtype.kind in "OUS":
            strings.append(StringTensor(name, tuple(map(str, value.ravel()))))
        else:
            numbers.append(NumberTensor(name, _encode(name, value), value.shape))
    return ModelOutput(numbers=tuple(numbers), strings=tuple(strings), jsons=tuple(jsons))


def _encode(name: str, value: Array) -> bytes:
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        index = tuple(np.argwhere(~np.isfinite(value))[0].tolist())
        found = "NaN" if np.isnan(value[index]) else "an infinity"
        where = "".join(f"[{axis}]" for axis in index)
        raise CallRefusedError(
            f"the output {json.dumps(name)} holds {found}{f' at {where}' if where else ''}, "
            "and only finite numbers go on chain"
        )
    try:
        return fixed_point.encode(value)
    except FixedPointError as exc:
        raise CallRefusedError(f"the output {json.dumps(name)} {exc}") from exc


def _json(name: str, value: object) -> str:
    try:
        return json.dumps(value, default=_plain, allow_nan=False)
    except (TypeError, ValueError) as exc:
        raise CallRefusedError(f"the output {json.dumps(name)} is not JSON: {exc}") from exc


def _plain(value: object) -> object:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__}")


def _brief(exc: Exception) -> str:
    return runtime_reason(str(exc))[:MAX_REASON] or type(exc).__name__
