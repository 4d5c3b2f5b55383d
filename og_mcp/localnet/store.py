"""Model repositories on disk: files by content id, and what is known about them.

A content id looks like a Walrus blob id: URL-safe base64 of the content's SHA-256, without
padding, 43 characters. Versions start at 0.01; a minor bump gives 0.02, a major one 1.00.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64encode
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path, PurePosixPath
from tempfile import NamedTemporaryFile
from types import TracebackType
from typing import Any, Final, Self, TypedDict

_CID: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_MODEL_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9 ._-]{0,99}")
_MAJOR: Final = 100
"""Hundredths in a major version: 1.00 is stored as 100."""


class StoreError(Exception):
    """The store refuses; `status` is the HTTP status that says so."""

    status = 400


class UnknownEntryError(StoreError):
    """No model, version or file under that name."""

    status = 404


class NameTakenError(StoreError):
    """The author has a model of that name."""

    status = 409


class NotOwnerError(StoreError):
    """The model is another author's."""

    status = 403


class BadNameError(StoreError):
    """The name cannot be part of a path."""

    status = 422


class Tensor(TypedDict):
    """One input or output of a model file."""

    name: str
    dtype: str
    shape: list[int] | None
    """`None` where the graph leaves the number of dimensions open."""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass
class FileRecord:
    """One stored file of a version."""

    name: str
    size: int
    """Bytes."""

    cid: str
    inputs: list[Tensor]
    outputs: list[Tensor]
    created_at: str = field(default_factory=_now)


@dataclass
class VersionRecord:
    """One version of a model."""

    number: int
    """Hundredths: 0.01 is 1, 1.00 is 100."""

    notes: str
    files: list[FileRecord] = field(default_factory=list)
    created_at: str = field(default_factory=_now)

    @property
    def text(self) -> str:
        """The version as the wire writes it, e.g. `0.01`."""
        return f"{self.number // _MAJOR}.{self.number % _MAJOR:02d}"


@dataclass
class ModelRecord:
    """One model repository."""

    name: str
    author: str
    description: str
    versions: list[VersionRecord] = field(default_factory=list)
    created_at: str = field(default_factory=_now)

    def version(self, text: str) -> VersionRecord:
        """Find a version by its text.

        Raises:
            UnknownEntryError: The model has no such version.
        """
        for version in self.versions:
            if version.text == text:
                return version
        raise UnknownEntryError(f"Model {self.name!r} has no version {text!r}")


class Incoming:
    """A file on its way in: hashed while it is written, gone unless it is kept."""

    def __init__(self, folder: Path, files: Path) -> None:
        self._files = files
        self._hash = sha256()
        self._file = NamedTemporaryFile(dir=folder, delete=False)  # noqa: SIM115 - closed by __exit__
        self.size = 0
        """Bytes written so far."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._file.close()
        Path(self._file.name).unlink(missing_ok=True)

    def write(self, data: bytes) -> None:
        """Append bytes."""
        self._hash.update(data)
        self.size += self._file.write(data)

    def keep(self) -> str:
        """Move the file to its place and return its content id."""
        self._file.close()
        cid = urlsafe_b64encode(self._hash.digest()).rstrip(b"=").decode()
        Path(self._file.name).replace(self._files / cid)
        return cid


class Store:
    """Repositories in one folder: `files/` by content id and `index.json`.

    What stood in the folder before is there again; one process at a time may use it.
    """

    def __init__(self, folder: Path) -> None:
        self._files = folder / "files"
        self._incoming = folder / "incoming"
        self._index = folder / "index.json"
        for part in (self._files, self._incoming):
            part.mkdir(parents=True, exist_ok=True)
        for unfinished in self._incoming.iterdir():
            unfinished.unlink()
        self.models: list[ModelRecord] = self._load()
        """All repositories, oldest first."""

    def path(self, cid: str) -> Path | None:
        """Return where a file stands, or None where no file has that content id."""
        if not _CID.fullmatch(cid):
            return None
        path = self._files / cid
        return path if path.is_file() else None

    def incoming(self) -> Incoming:
        """Open a new file to write to; use as a context manager."""
        return Incoming(self._incoming, self._files)

    def find(self, name: str, author: str = "") -> list[ModelRecord]:
        """Return the models of a name, of one author or of all."""
        return [
            model for model in self.models if model.name == name and author in ("", model.author)
        ]

    def readable(self, name: str, author: str) -> ModelRecord:
        """Return the author's model of that name, else the only other one.

        Raises:
            UnknownEntryError: Nobody, or several others, have a model of that name.
        """
        own = self.find(name, author)
        found = own or self.find(name)
        if len(found) != 1:
            raise UnknownEntryError(f"Model {name!r} not found")
        return found[0]

    def owned(self, name: str, author: str) -> ModelRecord:
        """Return a model that this author may change.

        Raises:
            NotOwnerError: Only other authors have a model of that name.
            UnknownEntryError: Nobody has one.
        """
        own = self.find(name, author)
        if own:
            return own[0]
        if self.find(name):
            raise NotOwnerError(f"Model {name!r} belongs to another author")
        raise UnknownEntryError(f"Model {name!r} not found")

    def create_model(self, name: str, author: str, description: str = "") -> ModelRecord:
        """Create an empty repository, without versions.

        Raises:
            BadNameError: Not 1 to 100 letters, digits, spaces, dots, underscores and hyphens.
            NameTakenError: This author has one of that name.
        """
        if not _MODEL_NAME.fullmatch(name):
            raise BadNameError(
                "Model name must be 1 to 100 letters, digits, spaces, dots, underscores or hyphens"
            )
        if self.find(name, author):
            raise NameTakenError(f"Model {name!r} already exists")
        model = ModelRecord(name, author, description)
        self.models.append(model)
        self._save()
        return model

    def create_version(
        self, model: ModelRecord, notes: str = "", *, is_major: bool = False
    ) -> VersionRecord:
        """Add the next version: a hundredth up, or the next whole number."""
        last = model.versions[-1].number if model.versions else 0
        number = (last // _MAJOR + 1) * _MAJOR if is_major else last + 1
        version = VersionRecord(number, notes)
        model.versions.append(version)
        self._save()
        return version

    def add_file(self, version: VersionRecord, file: FileRecord) -> None:
        """List a kept file under a version; one of the same name is replaced."""
        version.files = [other for other in version.files if other.name != file.name] + [file]
        self._save()

    def _load(self) -> list[ModelRecord]:
        if not self._index.exists():
            return []
        return [_model(entry) for entry in json.loads(self._index.read_text(encoding="utf-8"))]

    def _save(self) -> None:
        write_whole(self._index, json.dumps([asdict(model) for model in self.models]))


def file_name(name: str) -> str:
    """Return the last part of a file name that a client sent.

    Raises:
        BadNameError: Nothing is left, or more than 255 characters.
    """
    last = PurePosixPath(name.replace("\\", "/")).name
    if not last or last == ".." or len(last) > 255:  # noqa: PLR2004 - what file systems allow
        raise BadNameError("The file needs a name of 1 to 255 characters")
    return last


def write_whole(path: Path, text: str) -> None:
    """Write a file with mode 0600 so that a reader sees all of it or none."""
    with NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
        file.write(text)
    Path(file.name).replace(path)


def _model(entry: dict[str, Any]) -> ModelRecord:
    versions = [_version(version) for version in entry.pop("versions")]
    return ModelRecord(**entry, versions=versions)


def _version(entry: dict[str, Any]) -> VersionRecord:
    files = [FileRecord(**file) for file in entry.pop("files")]
    return VersionRecord(**entry, files=files)
