"""The arguments of a published model's tool, from what the model's graph takes.

One argument for each input. A place that holds one value is a bare value; a fixed size is
`minItems` and `maxItems`; an input whose places have names takes objects with those names, or rows
of values in their order. Each takes a file, and nested lists in the whole shape, as `infer` does.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Final

from mcp.server.mcpserver.utilities.func_metadata import ArgModelBase
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    create_model,
)

from og_mcp.errors import quote
from og_mcp.tools._arguments import DryRun, IdempotencyKey
from og_mcp.types import InputDoc, ModelGraph, TensorSpec

MAX_INLINE: Final = 1024
"""Values of one input above which its schema asks for a file, and lists are left to `infer`."""

MAX_RANK: Final = 5
MAX_INPUTS: Final = 64
"""Inputs above which a tool keeps the one argument `model_input`."""

OWN: Final = ("idempotency_key", "dry_run")

_INTEGERS: Final = frozenset(
    f"{sign}int{bits}" for sign in ("", "u") for bits in (2, 4, 8, 16, 32, 64)
)


_DECIMAL: Final = re.compile(r"[+-]?[0-9]{1,39}")


def _integer(value: object) -> object:
    # JSON readers lose digits of integers beyond 2**53; text keeps them.
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        return int(value)
    return _number(value)


def _truth(value: object) -> object:
    return int(value) if isinstance(value, bool) else _number(value)


def _number(value: object) -> object:
    # To pydantic true is 1 and "1" is too; to the schema, which we publish, neither is a number,
    # and 1.0 is a whole one, which a strict integer would refuse.
    if isinstance(value, (bool, str)):
        raise ValueError  # noqa: TRY004 - what pydantic turns into a refusal
    return value


Number = Annotated[float, Strict()]
Integer = Annotated[int, BeforeValidator(_integer)]
Flag = Annotated[int, Field(ge=0, le=1), BeforeValidator(_truth)]


class Arguments(ArgModelBase):
    """The arguments that every model's tool has beside the model's inputs."""

    model_config = ConfigDict(extra="forbid")

    idempotency_key: IdempotencyKey = ""
    dry_run: DryRun = False


class _Object(BaseModel):
    model_config = ConfigDict(extra="forbid")


class FileOf(_Object):
    """A tensor in a file."""

    file: str = Field(
        min_length=1,
        max_length=4096,
        description="Path of a .npy, .json or .csv file in the tensor's shape.",
    )


@dataclass(frozen=True)
class Form:
    """Arguments and how they become a model's input."""

    arguments: type[Arguments]
    schema: dict[str, Any]
    """JSON schema of the arguments, without references."""

    tensors: Mapping[str, tuple[str, int]]
    """Argument -> name of the tensor, and the dimensions of size 1 that objects stand for."""

    def model_input(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Turn checked arguments into what `infer` takes."""
        return {
            tensor: _plain_value(given[argument])
            if isinstance(given[argument], FileOf)
            else _wrapped(_plain_value(given[argument]), left_out)
            for argument, (tensor, left_out) in self.tensors.items()
        }


def form_of(graph: ModelGraph, docs: Sequence[InputDoc]) -> Form:
    """Make the form of a model.

    Args:
        graph: What it takes.
        docs: What the operator says about its inputs; names of fields there count for more than
            those in the file.
    """
    said = {doc.name: doc for doc in docs}
    names = _argument_names(spec.name for spec in graph.inputs)
    fields: dict[str, Any] = {}
    tensors: dict[str, tuple[str, int]] = {}
    for number, (spec, argument) in enumerate(zip(graph.inputs, names, strict=True)):
        doc = said.get(spec.name, InputDoc(spec.name))
        named = _place_names(spec, doc, graph.fields.get(spec.name, ()))
        kind, left_out = _kind(spec, named)
        about = Field(alias=argument, description=_about(spec, doc))
        # Tensors may be named like anything; pydantic's own names never are.
        as_infer = WrapValidator(partial(_as_infer, spec=spec, left_out=left_out))
        fields[f"t{number}"] = (Annotated[kind, as_infer, about], ...)
        tensors[argument] = (spec.name, left_out)
    made = create_model("ModelArguments", __base__=Arguments, **fields)
    large = {name for name, spec in zip(names, graph.inputs, strict=True) if _is_large(spec)}
    return Form(made, _schema(made, names, large), tensors)


def unfit_docs(graph: ModelGraph, docs: Sequence[InputDoc]) -> list[str]:
    """Return the operator's descriptions that fit no input of the model."""
    specs = {spec.name: spec for spec in graph.inputs}
    problems = []
    for doc in docs:
        spec = specs.get(doc.name)
        if spec is None:
            problems.append(f"the model has no input {quote(doc.name)}")
        elif doc.fields and not _place_names(spec, doc, ()):
            count = len(doc.fields)
            problems.append(f"input {quote(doc.name)} does not end in an axis of {count} fields")
    return problems


def graph_of_docs(docs: Sequence[InputDoc]) -> ModelGraph | None:
    """Return the inputs as the operator describes them, if every input is described."""
    specs = [
        TensorSpec(name=doc.name, dtype=doc.dtype, shape=list(doc.shape))
        for doc in docs
        if doc.dtype and doc.shape is not None
    ]
    return ModelGraph(inputs=specs, outputs=[]) if docs and len(specs) == len(docs) else None


def _argument_names(tensors: Iterable[str]) -> list[str]:
    """Write each tensor's name in characters that every host takes, without duplicates."""
    taken: set[str] = set(OWN)
    names = []
    for tensor in tensors:
        plain = re.sub(r"[^A-Za-z0-9_-]", "_", tensor)[:48] or "input"
        name, number = plain, 2
        while name in taken:
            name, number = f"{plain}_{number}", number + 1
        taken.add(name)
        names.append(name)
    return names


def _place_names(spec: TensorSpec, doc: InputDoc, in_file: Sequence[str]) -> dict[str, str]:
    """Return names and descriptions of the last axis' places, where they are all named."""
    fields = dict(doc.fields) or dict.fromkeys(in_file, "")
    return fields if spec.shape and spec.shape[-1] == len(fields) else {}


def _kind(spec: TensorSpec, named: Mapping[str, str]) -> tuple[Any, int]:
    """Return the type of an argument, and how many leading dimensions of size 1 it leaves out."""
    leaf = _leaf(spec.dtype)
    if spec.any_rank or spec.dtype == "undefined":
        return list[Any], 0
    if _is_large(spec):
        return list[Any], 0
    if named:
        left_out = _leading_ones(spec.shape[:-1])
        return _nested(_object(leaf, named), spec.shape[left_out:-1]), left_out
    if all(size == 1 for size in spec.shape):
        # A bare value fits any shape that one value fills.
        return leaf, 0
    return _nested(leaf, spec.shape), 0


def _is_large(spec: TensorSpec) -> bool:
    return math.prod(max(size, 1) for size in spec.shape) > MAX_INLINE or len(spec.shape) > MAX_RANK


def _as_infer(
    value: object, check: ValidatorFunctionWrapHandler, *, spec: TensorSpec, left_out: int
) -> object:
    """Take a file, and lists in the tensor's whole shape where the form leaves out sizes of 1."""
    if isinstance(value, dict) and set(value) == {"file"} and isinstance(value["file"], str):
        return FileOf.model_validate(value)
    rank = len(spec.shape)
    ones = rank if all(size == 1 for size in spec.shape) else left_out
    if ones and _depth(value) == rank:
        for _ in range(ones):
            if not isinstance(value, list) or len(value) != 1:
                break
            value = value[0]
    return check(value)


def _depth(value: object) -> int:
    """Count the axes of nested lists; an object stands for the last one."""
    if isinstance(value, dict):
        return 1
    return 1 + _depth(value[0]) if isinstance(value, list) and value else 0


def _leaf(dtype: str) -> Any:  # noqa: ANN401 - a type
    if dtype == "bool":
        return Flag
    if dtype == "string":
        return str
    return Integer if dtype in _INTEGERS else Number


def _object(leaf: Any, named: Mapping[str, str]) -> Any:  # noqa: ANN401 - a type
    fields: dict[str, Any] = {
        f"f{number}": (Annotated[leaf, Field(alias=name, description=about or None)], ...)
        for number, (name, about) in enumerate(named.items())
    }
    made = create_model("Fields", __base__=_Object, **fields)
    row = partial(_named_row, names=tuple(named))
    either = made | _nested(leaf, [len(named)])
    return Annotated[made, BeforeValidator(row, json_schema_input_type=either)]


def _named_row(value: object, *, names: Sequence[str]) -> object:
    """Give a row of values the names of its places."""
    if isinstance(value, list) and len(value) == len(names):
        return dict(zip(names, value, strict=True))
    return value


def _nested(inner: Any, sizes: Sequence[int]) -> Any:  # noqa: ANN401 - types
    for size in reversed(sizes):
        inner = list[inner]
        if size >= 0:
            inner = Annotated[inner, Field(min_length=size, max_length=size)]
    return inner


def _leading_ones(sizes: Sequence[int]) -> int:
    return next((place for place, size in enumerate(sizes) if size != 1), len(sizes))


def _plain_value(value: object) -> object:
    """Write objects as lists, in the order of their fields; a file stays an object."""
    if isinstance(value, FileOf):
        return value.model_dump()
    if isinstance(value, BaseModel):
        return [getattr(value, name) for name in type(value).model_fields]
    return [_plain_value(item) for item in value] if isinstance(value, list) else value


def _wrapped(value: object, times: int) -> object:
    for _ in range(times):
        value = [value]
    return value


def _about(spec: TensorSpec, doc: InputDoc) -> str:
    sizes = ", ".join("any" if size < 0 else str(size) for size in spec.shape)
    shape = "any shape" if spec.any_rank else f"shape [{sizes}]" if sizes else "one value"
    return f"{doc.description} ({spec.dtype}, {shape})".lstrip()


def _schema(
    made: type[BaseModel], tensors: Sequence[str], large: Collection[str]
) -> dict[str, Any]:
    schema = made.model_json_schema(by_alias=True)
    properties, known = schema["properties"], schema.pop("$defs", {})
    for name in tensors:
        about = properties[name].pop("description")
        ways = [properties[name], FileOf.model_json_schema()]
        # What is named first is what a model should write.
        ways = ways[::-1] if name in large else ways
        properties[name] = {"description": about, "anyOf": ways}
    order = [*tensors, *(name for name in properties if name not in tensors)]
    schema["properties"] = {name: properties[name] for name in order}
    inlined: dict[str, Any] = _inlined(schema, known)
    return inlined


def _inlined(part: Any, known: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
    """Put definitions where they are referred to: some hosts follow no references."""
    if isinstance(part, list):
        return [_inlined(item, known) for item in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        name = part["$ref"].rpartition("/")[2]
        part = {**known[name], **{key: value for key, value in part.items() if key != "$ref"}}
    return {key: _inlined(value, known) for key, value in part.items()}
