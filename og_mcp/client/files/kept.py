"""Files that results name by their SHA-256, one folder for each principal; written completely or not at all."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import mkstemp
from typing import Final

SHA256: Final = re.compile(r"[0-9a-f]{64}")

NEW_FOR: Final = timedelta(days=1)
"""How long a new file is kept even if no call names it yet."""

_PLAIN: Final = re.compile(r"[a-z0-9_-]{1,32}")
"""Names of principals that can name a folder on any system."""


class KeptFiles:
    """The files of one kind in one data folder; its methods block.

    Args:
        folder: Where they are kept; made when the first one is.
        suffixes: What their names end in.
    """

    def __init__(self, folder: Path, suffixes: Collection[str]) -> None:
        self._folder, self._suffixes = folder, suffixes

    def keep(self, content: bytes, suffix: str, principal: str) -> Path:
        """Write a file that its owner alone can read; an existing one gets a new time.

        Raises:
            OSError: It cannot be written.
        """
        path = self._folder_of(principal) / f"{hashlib.sha256(content).hexdigest()}{suffix}"
        for folder in (path.parent.parent, path.parent):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = mkstemp(dir=path.parent, prefix=".")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise
        return path

    def find(self, sha256: str, principal: str) -> Path:
        """Return the path of a principal's file.

        Raises:
            FileNotFoundError: They have none of that hash.
        """
        if SHA256.fullmatch(sha256):
            for suffix in self._suffixes:
                path = self._folder_of(principal) / f"{sha256}{suffix}"
                if path.is_file():
                    return path
        raise FileNotFoundError

    def read(self, sha256: str, principal: str) -> bytes:
        """Return a principal's file.

        Raises:
            OSError: They have none of that hash, or it was changed.
        """
        content = self.find(sha256, principal).read_bytes()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise FileNotFoundError
        return content

    def prune(self, named: Collection[str], before: datetime) -> int:
        """Remove files that no call names any more; returns how many.

        Args:
            named: The hashes that calls name.
            before: Files that are newer stay, and so do those of the last day.
        """
        latest = min(before, datetime.now(UTC) - NEW_FOR).timestamp()
        removed = 0
        for path in self._folder.glob("*/*"):
            with suppress(OSError):
                if path.stem not in named and path.is_file() and path.stat().st_mtime < latest:
                    path.unlink()
                    removed += 1
        return removed

    def _folder_of(self, principal: str) -> Path:
        is_plain = _PLAIN.fullmatch(principal)
        name = principal if is_plain else hashlib.sha256(principal.encode()).hexdigest()
        return self._folder / name
