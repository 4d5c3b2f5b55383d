"""Requests, results and receipts: in the row, or beside the journal where they are large.

A file is named after the SHA-256 of its content and the call, and is on disk before the row that
refers to it. A reference starts with `@`, which no JSON does.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

from anyio import to_thread

from og_mcp.errors import JournalError, quote
from og_mcp.journal._file_lock import MADE, PRIVATE

INLINE_BYTES: Final = 64 * 1024
FOLDER: Final = "documents"


def sha256(text: str) -> str:
    """Hash a document; empty for none."""
    return hashlib.sha256(text.encode()).hexdigest() if text else ""


def storable(text: str) -> str:
    """Make text from outside fit for any database: no NUL, no half characters."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")


class Documents:
    """The files of one journal.

    Args:
        folder: The journal's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / FOLDER

    async def put(self, call_id: str, text: str) -> str:
        """Return what the row stores for a document."""
        # Four bytes are the most that a character takes: short texts need not be measured.
        if len(text) * 4 <= INLINE_BYTES or len(text.encode()) <= INLINE_BYTES:
            return text
        digest = sha256(text)
        try:
            await to_thread.run_sync(self._write, f"{digest}.{call_id}", text)
        except OSError as exc:
            raise JournalError(
                f"A document of call {call_id} cannot be written to {quote(self._folder)}: "
                f"{quote(exc.strerror)}.",
                "Check that the folder can be written and the disk has room.",
            ) from exc
        return f"@{digest}"

    async def get(self, call_id: str, stored: str) -> str:
        """Return the document.

        Raises:
            JournalError: Its file is gone or was changed.
        """
        if not stored.startswith("@"):
            return stored
        digest = stored[1:]
        path = self._folder / f"{digest}.{call_id}"
        try:
            text = await to_thread.run_sync(lambda: path.read_bytes().decode())
        except (OSError, UnicodeDecodeError):
            text = ""
        if sha256(text) != digest:
            raise JournalError(
                f"A document of call {call_id} is not in {quote(path)}, or was changed.",
                "It lies in OG_DATA_DIR of the machine that ran the call.",
            )
        return text

    async def remove(self, call_ids: set[str]) -> int:
        """Remove the files of calls; returns how many there were."""
        return await to_thread.run_sync(self._remove, call_ids)

    def _write(self, name: str, text: str) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / name
        draft = path.with_suffix(f"{path.suffix}.draft")
        descriptor = os.open(draft, MADE | os.O_TRUNC, PRIVATE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        _sync_folder(self._folder)

    def _remove(self, call_ids: set[str]) -> int:
        if not self._folder.is_dir():
            return 0
        found = [path for path in self._folder.iterdir() if path.name.split(".")[1] in call_ids]
        for path in found:
            path.unlink(missing_ok=True)
        return len(found)


def _sync_folder(folder: Path) -> None:
    """Put a file's name on disk as well, where folders can be opened."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
