"""The one way to open a user's file (threats.md T26).

A tool's argument may come from a model that was talked into reading secrets. So a file is opened
only under folders that the operator named, without passing a link, and never when it is hidden,
looks like a key, or belongs to og-mcp itself.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection, Iterable
from contextlib import ExitStack, suppress
from fnmatch import fnmatchcase
from io import BufferedReader
from pathlib import Path, PurePath
from typing import Final

from og_mcp.errors import FileRefusedError, quote

VARIABLE: Final = "OG_UPLOAD_ROOTS"

KEY_NAMES: Final = (
    *("*.pem", "*.key", "*.keys", "*.p8", "*.p12", "*.pfx", "*.jks", "*.ppk", "*.kdbx"),
    *("*.keystore", "keystore", "keystore.*", "*keystore*.json", "utc--*", "wallet*.json"),
    *("wallet.dat", "*.wallet", "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "*.gpg", "*.asc"),
    *("*.env", "credentials", "credentials.*", "*credentials*.json", "secret", "secrets"),
    *("secret.*", "secrets.*", "client_secret*", "service-account*.json", "service_account*.json"),
    *(
        "*private_key*",
        "*private-key*",
        "*privatekey*",
        "*mnemonic*",
        "*seed_phrase*",
        "*seed-phrase*",
    ),
    *("passwd", "shadow", "*.kubeconfig", "kubeconfig", "htpasswd", "netrc"),
)
"""Names, in small letters, of files and folders that usually hold keys."""

BY_DESCRIPTOR: Final = os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")
"""Whether a path can be opened without a gap between check and open (not on Windows)."""

_FOLDER_FLAGS: Final = (
    os.O_RDONLY
    | getattr(os, "O_DIRECTORY", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
)
# Without O_NONBLOCK, opening a pipe waits for its other end.
_FILE_FLAGS: Final = (
    os.O_RDONLY
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_CLOEXEC", 0)
)

_Identity = tuple[int, int]
"""Device and inode."""


class FileRoots:
    """Opens files under the operator's folders.

    Args:
        roots: Absolute folders that files may be read from; none: nothing is opened. A root may
            itself lie behind a link, as the operator wrote it.
        forbidden: Files and folders that are never read, wherever they are: the data folder, key
            files, keystores. Compared by device and inode, so other names of them do not help.
        by_descriptor: Open each part of a path relative to the folder before it. Without it (on
            Windows, which cannot) each part is checked for links before the opening, and what was
            opened is compared with what was checked: a link that is swapped in and out between
            the two is found by that, one in a folder above the file may not be.
    """

    def __init__(
        self,
        roots: Iterable[Path],
        forbidden: Iterable[Path] = (),
        *,
        by_descriptor: bool = BY_DESCRIPTOR,
    ) -> None:
        self._roots = tuple(roots)
        self._forbidden = tuple(forbidden)
        self._walk = _walk if by_descriptor else _walk_checked

    def open(self, path: str, *, max_bytes: int) -> BufferedReader:
        """Open a regular file for reading; the caller closes it.

        Blocks, so it belongs in a thread.

        Args:
            path: Absolute, below the home folder (`~/...`), or relative to the one root in which
                it is.
            max_bytes: Largest size allowed, checked on the opened file. A file that grows while
                it is read is the caller's to bound.

        Raises:
            FileRefusedError: It may not be read, is not a regular file, is too large or not there.
        """
        root, parts = self._locate(path)
        forbidden = _identities(self._forbidden)
        try:
            self._check_above(path, root, forbidden)
            descriptor = self._walk(root, parts, forbidden)
        except OSError as exc:
            raise self._refusal(path, _REASONS.get(exc.errno or 0, "it cannot be opened")) from exc
        except _StoppedError as exc:
            raise self._refusal(path, str(exc)) from exc
        return self._opened(path, descriptor, max_bytes, forbidden)

    def _locate(self, path: str) -> tuple[Path, tuple[str, ...]]:
        """Split a path into its root and what is below, by name alone."""
        if not self._roots:
            raise self._refusal(path, "no folder is open to tools")
        if not path or "\0" in path or not _has_bytes(path):
            raise self._refusal(path, "it is not a path")
        asked = PurePath(path)
        if asked.parts[:1] == ("~",):
            asked = PurePath(os.path.expanduser("~"), *asked.parts[1:])  # noqa: PTH111 - raises nothing
        if ".." in asked.parts:
            raise self._refusal(path, "it contains '..'")
        if not asked.is_absolute():
            if asked.anchor:
                raise self._refusal(path, "it is not an absolute path")
            self._check_names(path, asked.parts)
            return self._root_with(path, asked), asked.parts
        for root in self._roots:
            for spelled in (root, _resolved(root)):
                if asked.is_relative_to(spelled):
                    parts = asked.relative_to(spelled).parts
                    self._check_names(path, parts)
                    return root, parts
        raise self._refusal(path, "it is outside the folders that tools may read from")

    def _root_with(self, path: str, relative: PurePath) -> Path:
        """Find the root that a relative path is in; what is there is opened and checked later."""
        found = [root for root in self._roots if os.path.lexists(root / relative)]
        if len(found) > 1:
            raise self._refusal(
                path, "several folders have a file of this name; give the whole path"
            )
        return (found or self._roots)[0]

    def _check_names(self, path: str, parts: tuple[str, ...]) -> None:
        if not parts:
            raise self._refusal(path, "it is a folder")
        for part in parts:
            if part.startswith("."):
                raise self._refusal(path, "it is hidden, or in a hidden folder")
            # A colon names a second stream of a file on Windows.
            if looks_like_a_key(part) or (os.name == "nt" and ":" in part):
                raise self._refusal(path, f"the name {quote(part)} looks like a key or a secret")

    def _check_above(self, path: str, root: Path, forbidden: Collection[_Identity]) -> None:
        """Refuse a root that lies in a forbidden folder."""
        resolved = root.resolve(strict=True)
        for folder in (resolved, *resolved.parents):
            if _identity(folder.stat()) in forbidden:
                raise self._refusal(path, _OURS)

    def _opened(
        self, path: str, descriptor: int, max_bytes: int, forbidden: Collection[_Identity]
    ) -> BufferedReader:
        """Check what was opened, on the descriptor itself; close it where it is refused."""
        with ExitStack() as closing:
            closing.callback(os.close, descriptor)
            reason = _unfit(os.fstat(descriptor), max_bytes, forbidden)
            if reason:
                raise self._refusal(path, reason)
            file = os.fdopen(descriptor, "rb")
            closing.pop_all()
        return file

    def _refusal(self, path: str, reason: str) -> FileRefusedError:
        if not self._roots:
            hint = f"{VARIABLE} names the folders that files may be read from; only the operator sets it."
        else:
            listed = ", ".join(quote(root) for root in self._roots[:5])
            hint = f"Files are read from {VARIABLE} only: {listed}."
        return FileRefusedError(path, reason, hint)


def looks_like_a_key(name: str) -> bool:
    """Whether a file or folder of this name usually holds a key or another secret."""
    # Windows drops dots and spaces at the end of a name.
    plain = name.casefold().rstrip(". ")
    return any(fnmatchcase(plain, pattern) for pattern in KEY_NAMES)


def _unfit(status: os.stat_result, max_bytes: int, forbidden: Collection[_Identity]) -> str:
    """Say why an opened file is refused; empty where it is not."""
    if not stat.S_ISREG(status.st_mode):
        return "it is not a regular file"
    if _identity(status) in forbidden:
        return _OURS
    if status.st_size > max_bytes:
        return f"it has {status.st_size} bytes, and {max_bytes} is the most allowed"
    return ""


class _StoppedError(Exception):
    """Internal: a part of the path is refused; `str()` is the reason."""


_OURS: Final = "it belongs to og-mcp's own data or keys"
_LINK: Final = "it is a link, or in a folder that is one"

_REASONS: Final = {
    errno.ENOENT: "there is no such file",
    errno.EACCES: "the file system does not allow it",
    errno.EPERM: "the file system does not allow it",
    errno.ELOOP: _LINK,
    errno.EMLINK: _LINK,
    errno.ENOTDIR: "a part of the path is not a folder",
    errno.ENXIO: "it is not a regular file",
    errno.ENAMETOOLONG: "its name is too long",
}


def _walk(root: Path, parts: tuple[str, ...], forbidden: Collection[_Identity]) -> int:
    """Open part after part relative to the folder before it; no link is ever followed."""
    folder = os.open(root, _FOLDER_FLAGS & ~os.O_NOFOLLOW)
    try:
        for part in parts[:-1]:
            below = _open_part(part, _FOLDER_FLAGS, folder)
            os.close(folder)
            folder = below
            if _identity(os.fstat(folder)) in forbidden:
                raise _StoppedError(_OURS)
        return _open_part(parts[-1], _FILE_FLAGS, folder)
    finally:
        os.close(folder)


def _open_part(name: str, flags: int, folder: int) -> int:
    try:
        return os.open(name, flags, dir_fd=folder)
    except OSError as exc:
        # Systems differ in what they call a link that was not followed.
        if exc.errno in {errno.ENOTDIR, errno.ELOOP, errno.EMLINK}:
            with suppress(OSError):
                if stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                    raise _StoppedError(_LINK) from exc
        raise


def _walk_checked(root: Path, parts: tuple[str, ...], forbidden: Collection[_Identity]) -> int:
    """Without `dir_fd`: check each part, open, compare."""
    here = root.resolve(strict=True)
    for part in parts:
        here /= part
        status = here.lstat()
        if stat.S_ISLNK(status.st_mode) or here.resolve(strict=True) != here:
            raise _StoppedError(_LINK)
        if _identity(status) in forbidden:
            raise _StoppedError(_OURS)
    if not stat.S_ISREG(status.st_mode):
        raise _StoppedError("it is not a regular file")
    descriptor = os.open(here, _FILE_FLAGS)
    if _identity(os.fstat(descriptor)) != _identity(status):
        os.close(descriptor)
        raise _StoppedError(_LINK)
    return descriptor


def _has_bytes(path: str) -> bool:
    """Whether a path can be written for the system; half of a surrogate pair cannot."""
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return False
    return True


def _resolved(root: Path) -> Path:
    try:
        return root.resolve()
    except (OSError, RuntimeError):
        return root


def _identity(status: os.stat_result) -> _Identity:
    return status.st_dev, status.st_ino


def _identities(paths: Iterable[Path]) -> frozenset[_Identity]:
    """Identify the file or folder; one that does not exist cannot be read either."""
    found = set()
    for path in paths:
        with suppress(OSError, ValueError):
            found.add(_identity(path.stat()))
    return frozenset(found)
