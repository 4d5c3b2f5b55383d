"""A file to be published: opened once, and every byte is checked as it is read.

`pieces` is the only way to its content. It hashes, looks for secrets, follows an ONNX file's
structure, and holds each byte back until what stands around it was looked at too. So what leaves
this process is what was checked, whatever becomes of the file's name meanwhile.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path, PurePath
from typing import Any, Final, Protocol, Self, cast

from og_mcp.client.files.roots import FileRoots
from og_mcp.client.files.screening import CONTEXT, Screen, SecretFoundError, is_text
from og_mcp.errors import UnfitFileError, quote
from og_mcp.onnxfile import OnnxError, OnnxFile, OnnxReader, read_onnx, runtime_reason
from og_mcp.types import ModelGraph

PIECE: Final = 2**20
"""Bytes that are read at once."""

MAX_BYTES: Final = 2**40

FORMATS: Final[Mapping[str, str]] = {
    ".onnx": "onnx",
    ".safetensors": "safetensors",
    ".pt": "pickle",
    ".pth": "pickle",
    ".joblib": "pickle",
    ".tflite": "tflite",
    ".h5": "hdf5",
    ".pb": "protobuf",
    ".json": "json",
    ".txt": "text",
    ".md": "text",
}
"""Ending of a file name -> its format; a pickle can run code when it is loaded."""

_TEXTS: Final = frozenset({"json", "text"})

CHECKED_WHOLE: Final = 2**27
"""Size of an ONNX file, in bytes, up to which packages check it that read it into memory."""

CHECK_LIMIT_S: Final = 120.0

_ONLY: Final = f"Files that are published end with {', '.join(FORMATS)}."
_CHANGED: Final = "Nothing was published; wait until the file is complete, then repeat the call."
_TAKE_OUT: Final = "Take it out of the file; if it was ever published, replace it."
_HARMLESS: Final = re.compile(
    r"in initializer but not in graph input|Field '(shape|type)' of '\w+' is required but missing"
)
"""Complaints of `onnx`'s checker about files that onnxruntime runs all the same."""

_NO_TEXT: Final = "Publish it under the ending of what it is; a text is UTF-8."
_NOT_IN_NAMES: Final = frozenset('"\\')
_RENAME: Final = "Rename it, without quotes, backslashes and characters that do not print."
_UNREADABLE: Final = "it could not be read to its end"
_UNKNOWN: Final = "Export it with operators and an opset that onnxruntime has."
_BROKEN: Final = "Export the model again, with its weights inside the one file."


class Hasher(Protocol):
    """Takes the content as it is read."""

    def update(self, data: bytes, /) -> None:
        """Take the next bytes."""
        ...


@dataclass
class Publishable:
    """An open file in a format that can be published; the caller closes it."""

    path: str
    """As the caller gave it."""

    file: FileIO = field(repr=False)
    """Unbuffered: the onnx package reads from the same descriptor."""

    format: str
    size: int
    """Bytes, as it was opened."""

    stamp: tuple[int, ...]
    """Device, inode, size and times; if one changes, the content may have changed."""

    own: tuple[str, ...] = field(default=(), repr=False)
    """Further secrets that the file must not contain; known forms are always looked for."""

    sha256: str = ""
    """SHA-256 of the whole content, hex; empty until all of it was read."""

    ipfs_cid: str = ""
    """IPFS's id of the content; empty unless it was asked for."""

    checked_by: str = ""
    """The checker of its structure: `onnx`, `onnxruntime`, `structure`, or empty."""

    warnings: tuple[str, ...] = ()
    """Complaints of the `onnx` package about the form of a file that still runs."""

    graph: ModelGraph | None = None
    """An ONNX file's inputs and outputs, once it was read."""

    @property
    def name(self) -> str:
        """The last part of the path."""
        return PurePath(self.path).name

    @classmethod
    def open(cls, roots: FileRoots, path: str, own: tuple[str, ...] = ()) -> Self:
        """Open a file for publishing; blocks.

        Args:
            roots: Where it may lie.
            path: As the caller gives it.
            own: Secrets that it must not hold, e.g. the wallet's key.

        Raises:
            FileRefusedError: It may not be read.
            UnfitFileError: Its name ends otherwise than a model's, or it is empty.
        """
        name = PurePath(path).name
        suffix = PurePath(name).suffix.lower()
        if suffix not in FORMATS:
            raise UnfitFileError(path, f"{quote(suffix)} is not an ending of a model file", _ONLY)
        if not name.isprintable() or not _NOT_IN_NAMES.isdisjoint(name):
            # It would arrive under another name, or be shown as another one.
            raise UnfitFileError(path, "its name holds characters that cannot be sent", _RENAME)
        file = cast("FileIO", roots.open(path, max_bytes=MAX_BYTES).detach())
        status = os.fstat(file.fileno())
        if not status.st_size:
            file.close()
            raise UnfitFileError(path, "it is empty")
        times = (status.st_mtime_ns, status.st_ctime_ns)
        stamp = (status.st_dev, status.st_ino, status.st_size, *times)
        return cls(path, file, FORMATS[suffix], status.st_size, stamp, own)

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def check_structure(self) -> None:
        """Check an ONNX file before anything of it is sent; blocks, at most two minutes.

        By the packages `onnx` and `onnxruntime` where they are installed and the file is small
        enough for them, else by its structure alone, stepping over the weights. `warnings` has
        what was found and does no harm.

        Raises:
            UnfitFileError: It is not a model, or needs other files.
        """
        if self.format != "onnx":
            return
        try:
            self._accept(read_onnx(self.file))
        except OnnxError as exc:
            raise UnfitFileError(self.path, _no_onnx(exc), _BROKEN) from exc
        except OSError as exc:
            raise UnfitFileError(self.path, _UNREADABLE, _CHANGED) from exc
        self.checked_by = "structure"
        if self.size <= CHECKED_WHOLE:
            self._check_whole()

    def pieces(self, *also: Hasher) -> Iterator[bytes]:
        """Read the content from its beginning, every byte of it checked; blocks.

        Sets `sha256` at the end. What was given out before an error was checked, too.

        Args:
            also: What takes each piece beside it.

        Raises:
            UnfitFileError: It holds a secret, is not a model, or changes while it is read.
        """
        hashed, before = hashlib.sha256(), self.sha256
        try:
            for piece in self._cleared():
                for each in (hashed, *also):
                    each.update(piece)
                yield piece
        except SecretFoundError as exc:
            raise UnfitFileError(self.path, f"it holds {exc}", _TAKE_OUT) from exc
        except OnnxError as exc:
            raise UnfitFileError(self.path, _no_onnx(exc), _BROKEN) from exc
        except OSError as exc:
            raise UnfitFileError(self.path, _UNREADABLE, _CHANGED) from exc
        self.sha256 = hashed.hexdigest()
        if before not in {"", self.sha256}:
            raise UnfitFileError(self.path, "it has changed since it was checked", _CHANGED)
        if not before and os.fstat(self.file.fileno()).st_mtime_ns != self.stamp[-2]:
            # Each byte was checked, but the file changed while it was read.
            raise UnfitFileError(self.path, "it was written to while it was read", _CHANGED)

    def _cleared(self) -> Iterator[bytes]:
        """Return bytes whose surroundings (`CONTEXT` bytes) were checked, too."""
        screen = Screen(self.size, self.own)
        reader = OnnxReader() if self.format == "onnx" else None
        buffer, held = bytearray(CONTEXT + PIECE), 0
        view = memoryview(buffer)
        for count in self._read(view[CONTEXT:]):
            # What was held back stands right before what has just come.
            first, end = CONTEXT - held, CONTEXT + count
            if reader is not None:
                reader.feed(view[CONTEXT:end])
            screen.look(buffer, first, end)
            if self.format in _TEXTS and not is_text(buffer[first:end]):
                raise UnfitFileError(self.path, "it is not plain text", _NO_TEXT)
            held = min(CONTEXT, end - first)
            if end - held > first:
                yield bytes(view[first : end - held])
            buffer[CONTEXT - held : CONTEXT] = buffer[end - held : end]
        if reader is not None:
            self._accept(reader.finish())
        yield bytes(view[CONTEXT - held : CONTEXT])

    def _read(self, into: memoryview) -> Iterator[int]:
        """Read as many bytes as the file had when it was opened, and check that there are no more."""
        self.file.seek(0)
        left = self.size
        while left:
            count = self.file.readinto(into[:left])
            if not count:
                raise UnfitFileError(self.path, "it became shorter while it was read", _CHANGED)
            left -= count
            yield count
        if self.file.read(1):
            raise UnfitFileError(self.path, "it became longer while it was read", _CHANGED)

    def _accept(self, read: OnnxFile) -> None:
        if read.external:
            why = "it keeps weights in other files (external data)"
            raise UnfitFileError(self.path, why, _BROKEN)
        self.graph = read.graph

    def _check_whole(self) -> None:
        self.file.seek(0)
        program = Path(__file__).with_name("onnx_check.py")
        # Isolated, and without any variable of ours, keys among them (threats.md T27).
        command = [sys.executable, "-I", str(program)]
        kept = {name: os.environ[name] for name in ("SYSTEMROOT", "TEMP") if name in os.environ}
        try:
            done = subprocess.run(  # noqa: S603 - our own program
                command,
                stdin=self.file,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=kept,
                timeout=CHECK_LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as exc:
            why = f"onnx and onnxruntime did not check it within {CHECK_LIMIT_S:.0f} s"
            raise UnfitFileError(self.path, why, _BROKEN) from exc
        if done.returncode:
            why = "onnx or onnxruntime ended while it was checked"
            raise UnfitFileError(self.path, why, _BROKEN)
        self._take(json.loads(done.stdout))

    def _take(self, told: Mapping[str, Any]) -> None:
        """Take the packages' result; it is about the content with this hash.

        The network runs the file with onnxruntime: what that loads is published, though the checker
        of onnx complains of its form. Without onnxruntime only complaints known to be harmless pass.
        """
        problem, failure = told["problem"], told["failure"]
        if failure:
            why = f"onnxruntime cannot load it: {quote(runtime_reason(failure))}"
            raise UnfitFileError(self.path, why, _UNKNOWN)
        if problem and failure is None and not _HARMLESS.search(problem):
            why = f"the onnx package refuses it: {quote(problem)}"
            raise UnfitFileError(self.path, why, _BROKEN)
        if problem:
            told_by = (
                f"The onnx package says of {quote(self.name)}: {quote(' '.join(problem.split()))}."
            )
            self.warnings = (
                f"{told_by} It was published all the same: onnxruntime runs such files.",
            )
        checked_by = "onnx" if problem == "" else "onnxruntime" if failure == "" else ""
        if checked_by:
            self.sha256, self.checked_by = told["sha256"], checked_by


def _no_onnx(error: OnnxError) -> str:
    return f"it is not an ONNX model that can be read: {error}"
