"""OG_MODELS: the models that are published as tools of their own.

Either a list, `cid:name,cid:name`, or the absolute path of a TOML file, which can say more:

    [[models]]
    cid = "hJD2Ja3akZFt1A2LT-D_1oxOCz_OtuGYw4V9eE1m39M"
    name = "volatility"
    title = "Volatility of candles"
    description = "Close-to-close and Parkinson volatility of ten hourly candles."
    inference_mode = "TEE"

    [models.inputs.open_high_low_close]
    description = "Ten candles, the oldest first."
    fields = { open = "Opening price.", high = "", low = "", close = "" }
    dtype = "float"
    shape = [1, 10, 4]

`fields` names the places of an input's last axis, as a table of descriptions or a list of names.
`dtype` and `shape` (-1: any size) are for networks whose hub serves no files; where the file can
be read, that counts.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from og_mcp.errors import quote
from og_mcp.settings import _values as v
from og_mcp.types import TOOL_NAMES, InferenceModeName, InputDoc, PublishedModel

MAX_MODELS: Final = 50
MAX_FILE_BYTES: Final = 1 << 20
SUFFIX: Final = ".toml"

NAME: Final = r"^[A-Za-z0-9_-]{1,48}$"
CID: Final = r"^[!-~]{1,256}$"
FIELD: Final = r"^[A-Za-z_][A-Za-z0-9_.-]{0,63}$"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


_FieldName = Annotated[str, Field(pattern=FIELD)]
_Doc = Annotated[str, Field(max_length=400)]


class _Input(_Strict):
    description: _Doc = ""
    fields: dict[_FieldName, _Doc] | list[_FieldName] = []
    dtype: Annotated[str, Field(max_length=32)] = ""
    shape: list[Annotated[int, Field(ge=-1)]] | None = None

    @model_validator(mode="after")
    def _fields_fit(self) -> Self:
        if len(set(self.fields)) < len(self.fields):
            raise ValueError("fields has the same name twice")
        if self.fields and self.shape is not None and self.shape[-1:] != [len(self.fields)]:
            raise ValueError(f"the last of shape is the number of fields, {len(self.fields)}")
        return self

    def described(self, name: str) -> InputDoc:
        fields = self.fields if isinstance(self.fields, dict) else dict.fromkeys(self.fields, "")
        shape = None if self.shape is None else tuple(self.shape)
        return InputDoc(name, self.description, tuple(fields.items()), self.dtype, shape)


class _Model(_Strict):
    cid: Annotated[str, Field(pattern=CID)]
    name: Annotated[str, Field(pattern=NAME)]
    title: Annotated[str, Field(max_length=100)] = ""
    description: _Doc = ""
    inference_mode: InferenceModeName = "VANILLA"
    inputs: dict[str, _Input] = {}

    def published(self) -> PublishedModel:
        return PublishedModel(
            cid=self.cid,
            name=self.name,
            title=self.title,
            description=self.description,
            mode=self.inference_mode,
            inputs=tuple(doc.described(name) for name, doc in self.inputs.items()),
        )


class _File(_Strict):
    models: list[_Model]


def models(text: str) -> tuple[PublishedModel, ...]:
    """Read the list, or the file that is named.

    Raises:
        BadValueError: It is neither, or two tools would have one name.
    """
    read = _of_file(text) if text.lower().endswith(SUFFIX) else _of_list(text)
    if len(read) > MAX_MODELS:
        raise v.BadValueError(f"may publish at most {MAX_MODELS} models")
    _check_names(read)
    return tuple(read)


def _check_names(read: Sequence[PublishedModel]) -> None:
    names: set[str] = set()
    for number, model in enumerate(read, 1):
        # Names that differ in case alone are one name to whoever reads them.
        name = model.name.lower()
        if name in TOOL_NAMES:
            raise v.BadValueError(f"names model {number} like a tool that is there already")
        if name in names:
            raise v.BadValueError(f"names model {number} like one before it")
        names.add(name)


def _of_list(text: str) -> list[PublishedModel]:
    read = []
    for number, part in enumerate(filter(None, map(str.strip, text.split(","))), 1):
        cid, _, name = part.rpartition(":")
        try:
            read.append(_Model(cid=cid, name=name).published())
        except ValidationError:
            raise v.BadValueError(
                "must be cid:name,cid:name or the absolute path of a .toml file; a name has 1 to 48 "
                f"letters, digits, _ and - (see model {number})"
            ) from None
    return read


def _of_file(text: str) -> list[PublishedModel]:
    path = v.path(text)
    if not path.is_absolute():
        raise v.BadValueError("must be an absolute path where it names a file")
    table = _table(path)
    try:
        return [model.published() for model in _File.model_validate(table).models]
    except ValidationError as exc:
        raise v.BadValueError(f"names the file {quote(path)}, which {_first(exc)}") from None


def _table(path: Path) -> Mapping[str, object]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError):
        raise v.BadValueError("names a file that cannot be read") from None
    if len(content) > MAX_FILE_BYTES:
        raise v.BadValueError(f"names the file {quote(path)} of more than {MAX_FILE_BYTES} bytes")
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as exc:
        # Only the place of the parser's words: the rest may repeat what the file holds.
        place = re.search(r"\(at line [0-9]+, column [0-9]+\)", str(exc))
        where = f" {place[0]}" if place else ""
        raise v.BadValueError(
            f"names the file {quote(path)}, which is not valid TOML{where}"
        ) from None


def _first(error: ValidationError) -> str:
    """Say where the first problem is and what it is; never the value, which may be anything."""
    problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(
        str(step + 1) if isinstance(step, int) else step
        for step in problem["loc"]
        if isinstance(step, int) or step.isidentifier()
    )
    return f"is wrong at {place}: {problem['msg'][:200]}"
