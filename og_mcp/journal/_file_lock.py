"""A lock on a file, which the system releases when its holder dies.

Of the system's own calls, since a lock is taken for every signature: they cost a microsecond, the
libraries around them a tenth of what the journal may take for a call.
"""

from __future__ import annotations

import logging
import os
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import anyio

from og_mcp.errors import JournalError, quote

logger = logging.getLogger(__name__)

PRIVATE: Final = 0o600
PRIVATE_FOLDER: Final = 0o700
OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
MADE: Final = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
"""Flags of a file that is made where it is missing; a link is not followed (threats.md T44)."""

LONGEST_PAUSE_S: Final = 0.01
"""Between two tries."""

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

    def _unlock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


class FileLock:
    """The lock; not held at first.

    Args:
        path: Of a file that holds nothing else; made where it is missing.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, MADE, PRIVATE)

    def try_acquire(self) -> bool:
        """Take it if nobody has it."""
        try:
            _lock(self._descriptor)
        except OSError:
            return False
        return True

    def release(self) -> None:
        """Let go; closing did so already."""
        if self._descriptor >= 0:
            _unlock(self._descriptor)

    def close(self) -> None:
        """Let go, and close the file; a second time does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class FileMutex:
    """A file lock to wait for.

    The system wakes nobody, so whoever waits tries again and again, and touches a file beside the
    lock while it does. So that a busy process cannot keep the others out by coming back at once,
    who has just let go and sees that others wait lets them go first.
    """

    def __init__(self, path: Path) -> None:
        self._lock = FileLock(path)
        self._waiting = path.with_name(f"{path.name}.waiting")
        self._held_last = False
        """Whether nobody else is known to have had it since this process."""

    async def acquire(self) -> None:
        """Try until it is there."""
        if self._held_last and self._others_wait():
            await anyio.sleep(2 * LONGEST_PAUSE_S)
        pause = 0.001
        while not self._lock.try_acquire():
            self._held_last = False
            os.close(os.open(self._waiting, MADE, PRIVATE))
            await anyio.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE_S)
        self._held_last = True

    async def release(self) -> None:
        """Let go."""
        self._lock.release()

    def close(self) -> None:
        """Let go if held."""
        self._lock.close()

    def _others_wait(self) -> bool:
        """Whether somebody tried in vain within the time that lies between two tries."""
        try:
            tried = self._waiting.stat().st_mtime
        except FileNotFoundError:
            return False
        return 0 <= time.time() - tried < 2 * LONGEST_PAUSE_S


class FileMutexes:
    """The lanes' locks of one process.

    Args:
        path: The journal's; the locks lie beside it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mutexes: dict[str, FileMutex] = {}

    def mutex(self, key: str) -> FileMutex:
        """Return the lock of that name; the same one every time."""
        if key not in self._mutexes:
            path = self._path.with_name(f"{self._path.name}.{key}.lane")
            self._mutexes[key] = FileMutex(path)
        return self._mutexes[key]

    async def aclose(self) -> None:
        """Let go of what is held."""
        for mutex in self._mutexes.values():
            mutex.close()


@contextmanager
def locked(path: Path, timeout_s: float) -> Iterator[None]:
    """Hold a file's lock for the block; blocks the thread until it is there.

    Raises:
        TimeoutError: Another process has held it all the time.
    """
    lock = FileLock(path)
    try:
        deadline = time.monotonic() + timeout_s
        while not lock.try_acquire():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{path} is locked by another process")
            time.sleep(LONGEST_PAUSE_S)
        yield
    finally:
        lock.close()


def make_private(folder: Path) -> None:
    """Make a folder for its owner alone; from one that is there, others lose the right to write.

    Raises:
        JournalError: Others can write to it, and it is not ours alone.
        OSError: It cannot be made.
    """
    folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    if os.name != "posix":
        return
    status = folder.stat()
    if not status.st_mode & OTHERS_WRITE:
        return
    # A sticky folder, such as /tmp, is shared on purpose.
    if status.st_uid != os.geteuid() or status.st_mode & stat.S_ISVTX:
        raise JournalError(
            f"Others can write to the folder {quote(folder)}.",
            "Set OG_DATA_DIR to a folder of your own: who can write there could change what was paid.",
        )
    folder.chmod(stat.S_IMODE(status.st_mode) & ~OTHERS_WRITE)
    logger.warning("others can no longer write to the folder %s", folder)
