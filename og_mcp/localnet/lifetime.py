"""Makes sure that the local network's process ends with its owner."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Final

_PATIENCE_S: Final = 5.0
"""Seconds that an orderly end may take."""

_SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class Lifetime:
    """Waits for the first of: a signal to end, or the end of standard input."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: asyncio.Event | None = None
        self._folder: Path | None = None

    def end_with_stdin(self) -> None:
        """Tie the process to whoever holds the other end of its standard input.

        A killed owner cannot say goodbye; the system closes its end of the pipe.
        """
        threading.Thread(target=self._watch_stdin, name="owner", daemon=True).start()

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """Open a folder that is removed at the end, also at a forced one."""
        with TemporaryDirectory(prefix="og-mcp-localnet-", ignore_cleanup_errors=True) as name:
            self._folder = Path(name)
            yield self._folder

    @contextmanager
    def listening(self) -> Iterator[asyncio.Event]:
        """Catch signals; the event is set when it is time to end."""
        self._wake, self._loop = asyncio.Event(), asyncio.get_running_loop()
        # A signal that is ignored stays ignored: nohup, or a job in the background of a script.
        heard = [n for n in _SIGNALS if signal.getsignal(n) is not signal.SIG_IGN]
        before = {number: signal.signal(number, self._on_signal) for number in heard}
        if self._asked.is_set():
            self._wake.set()
        try:
            yield self._wake
        finally:
            for number, handler in before.items():
                signal.signal(number, handler or signal.SIG_DFL)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._ask()

    def _ask(self) -> None:
        if self._asked.is_set():
            return
        self._asked.set()
        threading.Thread(target=self._end_by_force, name="end", daemon=True).start()
        if self._loop is not None and self._wake is not None:
            self._loop.call_soon_threadsafe(self._wake.set)

    def _end_by_force(self) -> None:
        # A model that runs on and on would keep the process up; nobody else would end it.
        time.sleep(_PATIENCE_S)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        os._exit(1)

    def _watch_stdin(self) -> None:
        # Without any standard input there is no owner to wait for.
        with suppress(OSError):
            while os.read(0, 4096):
                pass
        self._ask()
