"""The one folder where files are written for a user: `saved` in the data folder (threats.md T50).

A folder that files are read from is never written to. A name is new or refused, and no link is
followed, neither by the name nor by the folder.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Final

from og_mcp.client.files.roots import BY_DESCRIPTOR
from og_mcp.errors import InputError, quote

FOLDER: Final = "saved"
NOT_OVER_HTTP: Final = (
    "save_as writes to the machine that runs og-mcp, which calls over HTTP may not.",
    "Leave it out and read the resource og://images/...; nothing was sent or paid.",
)

TAKEN: Final = "there is a file of that name already"
FREE: Final = "Use another save_as; nothing was sent or paid."

_NAME: Final = re.compile(r"\w[\w .()+-]{0,95}")
_NEW_FILE: Final = (
    os.O_WRONLY
    | os.O_CREAT
    | os.O_EXCL
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
_REAL_FOLDER: Final = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)
_OTHER_SYSTEMS: Final = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""Names of devices on Windows."""


def check_name(name: str, endings: Collection[str]) -> None:
    """Allow a bare file name with one of the endings.

    Raises:
        InputError: It is a path, hidden, too long, or ends otherwise.
    """
    is_bare = _NAME.fullmatch(name) and not _OTHER_SYSTEMS.fullmatch(name)
    if not is_bare or PurePath(name).suffix.lower() not in endings:
        raise InputError(
            f"save_as is {quote(name)}, and a bare file name that ends in {', '.join(endings)} is "
            "taken.",
            'Use a name like "cat.png"; nothing was sent or paid.',
        )


def numbered(name: str, count: int) -> list[str]:
    """Name several files after one: cat.png, cat-2.png, cat-3.png."""
    path = PurePath(name)
    return [name, *(f"{path.stem}-{number}{path.suffix}" for number in range(2, count + 1))]


def check_free(folder: Path, names: Iterable[str]) -> None:
    """Make sure that files of these names can be written.

    Raises:
        InputError: There is one already, or the folder is a link.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise _refusal(folder, "that is a link or a file, not a folder", FREE)
    for name in names:
        if os.path.lexists(folder / name):
            raise _refusal(folder / name, TAKEN, FREE)


def save(folder: Path, name: str, content: bytes, *, by_descriptor: bool = BY_DESCRIPTOR) -> Path:
    """Write a new file, readable by its owner alone, and return its path.

    Args:
        folder: Made where it is not there.
        name: As `check_name` allows it.
        content: All of it.
        by_descriptor: As for `FileRoots`.

    Raises:
        InputError: There is one of that name, or it cannot be written.
    """
    path = folder / name
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = _created(folder, name, by_descriptor=by_descriptor)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            with suppress(OSError):
                path.unlink()
            raise
    except OSError as exc:
        why = TAKEN if exc.errno == errno.EEXIST else quote(exc.strerror)
        # By then it is paid for.
        raise _refusal(path, why, "The image itself is kept.") from exc
    return path


def _created(folder: Path, name: str, *, by_descriptor: bool) -> int:
    """Create a file in the folder that was checked."""
    if not by_descriptor:
        if folder.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        return os.open(folder / name, _NEW_FILE, 0o600)
    descriptor = os.open(folder, _REAL_FOLDER)
    try:
        return os.open(name, _NEW_FILE, 0o600, dir_fd=descriptor)
    finally:
        os.close(descriptor)


def _refusal(path: Path, why: str, hint: str) -> InputError:
    return InputError(f"Nothing can be saved as {quote(path)}: {why}.", hint)
