"""Takes stdin and stdout before anything else in the process can use them."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Wire:
    """Private descriptors of stdin and stdout, for the transport alone."""

    stdin: int
    stdout: int

    @classmethod
    def take(cls) -> Wire:
        """Move the wire to private descriptors; 0 reads nothing from now on, 1 is stderr.

        What a library prints, at import or on a crash, and what a child process writes, then
        reaches the log and not the protocol. Nothing is put back: the process ends with the wire.

        Raises:
            OSError: stdin or stdout is closed.
        """
        # Duplicates are not inherited by children (PEP 446).
        wire = cls(os.dup(0), os.dup(1))
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        try:
            os.dup2(2, 1)
        except OSError:
            os.dup2(nothing, 1)
        return wire
