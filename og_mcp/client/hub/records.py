"""What the hub's JSON says, read tolerantly: field names and parts differ between its releases.

Everything here comes from outside. What is missing is left empty, what cannot be used is left
out, long texts are cut; only a document of another kind altogether is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from og_mcp.errors import ModelNotFoundError, ServiceReplyError
from og_mcp.types import ModelFile, ModelVersion, TensorSpec

MODEL_HUB: Final = "Model Hub"
"""The name of the service in errors."""

MAJOR_AND_MINOR: Final = 2
"""Numbers in a version's name, e.g. 0.01."""

MAX_RECORDS: Final = 2000
"""Versions, or files, of one model that are read."""

MAX_NAME: Final = 300
MAX_TEXT: Final = 10_000

_NAME: Final = ("name", "filename", "fileName", "path")
_CID: Final = ("ipfsCid", "modelCid", "cid", "blobId")
_SIZE: Final = ("size", "fileSize")
_VERSION: Final = ("versionString", "version", "modelVersion")
_AUTHOR: Final = ("authorUsername", "author", "username")
_NOTES: Final = ("notes", "releaseNotes")
_DESCRIPTION: Final = ("description",)


def records(document: object, *names: str) -> list[Mapping[str, Any]]:
    """Read a list of objects that is the whole document or stands in one of its fields.

    Raises:
        ServiceReplyError: There is no such list.
    """
    if isinstance(document, Mapping):
        document = next((document[name] for name in names if name in document), None)
    if not isinstance(document, list):
        raise ServiceReplyError(MODEL_HUB, f"it holds no list of {names[0]}")
    return _objects(document)


def record(document: object) -> Mapping[str, Any]:
    """Read an object.

    Raises:
        ServiceReplyError: It is none.
    """
    if not isinstance(document, Mapping):
        raise ServiceReplyError(MODEL_HUB, "it is not a JSON object")
    return document


def name_of(item: Mapping[str, Any]) -> str:
    """Return the name of a model or file."""
    return _text(item, _NAME, MAX_NAME)


def author_of(item: Mapping[str, Any]) -> str:
    """Return the author of a model."""
    return _text(item, _AUTHOR, MAX_NAME)


def description_of(item: Mapping[str, Any]) -> str:
    """Return the description of a model."""
    return _text(item, _DESCRIPTION, MAX_TEXT)


def version_of(item: Mapping[str, Any]) -> str:
    """Return the version that a record of a version or file names."""
    return _text(item, _VERSION, MAX_NAME)


def files_of(items: Iterable[Mapping[str, Any]]) -> list[ModelFile]:
    """Read file records; one without name or content id cannot be used and is left out."""
    files = (
        ModelFile(
            name=name_of(item),
            model_cid=_text(item, _CID, MAX_NAME),
            size=_size(item),
            inputs=_tensors(item.get("inputs")),
            outputs=_tensors(item.get("outputs")),
        )
        for item in items
    )
    return [file for file in files if file.name and file.model_cid]


def versions_of(model: Mapping[str, Any]) -> list[ModelVersion]:
    """Read the versions inside a model's record, as far as it tells them."""
    return [
        ModelVersion(
            version=version_of(item),
            notes=_text(item, _NOTES, MAX_TEXT),
            files=files_of(_objects(item.get("files"))),
        )
        for item in _objects(model.get("versions"))
        if version_of(item)
    ]


def newest(versions: Iterable[ModelVersion]) -> ModelVersion | None:
    """Return the version of the highest number, whatever their order; `None` where there is none."""
    return max(versions, key=lambda item: _numbers(item.version), default=None)


def next_version(version: str) -> str:
    """Return the name of the minor version after one: 0.03 after 0.02; empty where it has no such name."""
    numbers = _numbers(version)
    return f"{numbers[0]}.{numbers[1] + 1:02}" if len(numbers) == MAJOR_AND_MINOR else ""


def without_version(
    model_name: str, version: str, versions: Iterable[ModelVersion]
) -> ModelNotFoundError:
    """Tell that a model has no such version, and which ones it has."""
    known = sorted(versions, key=lambda item: _numbers(item.version))
    return ModelNotFoundError(model_name, version, [item.version for item in known])


def by_version(items: Iterable[Mapping[str, Any]]) -> dict[str, list[ModelFile]]:
    """Group file records by the version that each names, in the order of the records."""
    groups: dict[str, list[ModelFile]] = {}
    for item in items:
        groups.setdefault(version_of(item), []).extend(files_of([item]))
    return groups


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"[0-9]{1,18}", version))


def _objects(value: object) -> list[Mapping[str, Any]]:
    """Take the objects of a list; anything else holds none."""
    items = value[:MAX_RECORDS] if isinstance(value, list) else []
    return [item for item in items if isinstance(item, Mapping)]


def _text(item: Mapping[str, Any], names: Iterable[str], longest: int) -> str:
    """Return the first field that is a text or a number, or an empty text."""
    for name in names:
        value = item.get(name)
        if isinstance(value, Mapping):
            # Some releases put an author or a version as an object of its own.
            value = value.get("username") or value.get("versionString")
        if isinstance(value, (str, int, float)) and not isinstance(value, bool) and value != "":
            return str(value)[:longest]
    return ""


def _size(item: Mapping[str, Any]) -> int:
    text = _text(item, _SIZE, MAX_NAME)
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else 0


def _tensors(value: object) -> list[TensorSpec]:
    """Read tensor descriptions; where one cannot be read, none is known."""
    if not isinstance(value, list):
        return []
    specs = [_tensor(item) for item in value[:MAX_RECORDS]]
    return [spec for spec in specs if spec is not None] if None not in specs else []


def _tensor(item: object) -> TensorSpec | None:
    if not isinstance(item, Mapping):
        return None
    name, dtype, shape = item.get("name"), item.get("dtype"), item.get("shape", "")
    if not isinstance(name, str) or not isinstance(dtype, str):
        return None
    if not isinstance(shape, list) and shape is not None:
        return None
    # The local hub writes null where the graph leaves the rank open.
    sizes, any_rank = _shape(shape or []), shape is None
    return TensorSpec(name=name[:MAX_NAME], dtype=dtype[:MAX_NAME], shape=sizes, any_rank=any_rank)


def _shape(dimensions: list[Any]) -> list[int]:
    """Read dimensions; a name or an unknown size becomes -1."""
    return [
        size if isinstance(size, int) and not isinstance(size, bool) and size >= 0 else -1
        for size in dimensions
    ]
