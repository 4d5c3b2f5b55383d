"""A terminal with a person in front of it: `og-mcp` on a pseudo-terminal."""

from __future__ import annotations

import codecs
import os
import select
import subprocess
import time
from collections.abc import Mapping
from typing import Final, Self

from tests.server_process import clean, command

PATIENCE_S: Final = 30.0


class Terminal:
    """Runs one command with the pseudo-terminal as stdin, stdout and stderr."""

    def __init__(self, *arguments: str, environ: Mapping[str, str]) -> None:
        self._ours, theirs = os.openpty()
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            command(*arguments),
            env=clean({**environ, "TERM": "xterm", "NO_COLOR": "1", "COLUMNS": "200"}),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self.seen = ""
        """Everything on the screen so far."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)

    def read_until(self, words: str) -> str:
        """Wait for words on the screen; returns what stands there."""
        while words not in self.seen:
            if not self._read():
                raise AssertionError(f"{words!r} is not in {self.seen!r}")
        return self.seen

    def type(self, line: str) -> None:
        """Type a line."""
        os.write(self._ours, f"{line}\n".encode())

    def end(self) -> tuple[int, str]:
        """Wait for the end; returns exit code and screen."""
        while self._read():
            pass
        return self._process.wait(PATIENCE_S), self.seen

    def _read(self) -> bool:
        deadline = time.monotonic() + PATIENCE_S
        ready, _, _ = select.select([self._ours], [], [], deadline - time.monotonic())
        try:
            chunk = os.read(self._ours, 4096) if ready else b""
        except OSError:
            # Linux says so once nobody holds the other end any more.
            chunk = b""
        # A character may come in two pieces.
        self.seen += self._decoder.decode(chunk)
        return bool(chunk)
