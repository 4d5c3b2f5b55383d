"""A PostgreSQL of the machine's own package, run for a test: loopback only, in a folder of its own.

The server refuses to run as root, so root lends it the package's user.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

PACKAGED: Final = Path("/usr/lib/postgresql")
"""Where Debian's package keeps the programs, by version."""

USER: Final = "postgres"
START_S: Final = 30.0
STOP_S: Final = 20.0

_OPTIONS: Final = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "60",
    "shared_buffers": "32MB",
    "dynamic_shared_memory_type": "posix",
}


def programs() -> Path | None:
    """Find the folder of the newest server's programs; `None` where there is no server."""
    found = shutil.which("postgres")
    if found is not None:
        # Where links lead: the other programs lie there.
        return Path(found).resolve().parent
    versions = sorted(PACKAGED.glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    return versions[-1].parent if versions else None


class Postgres:
    """A server that can be killed and started again; keeps its port and its data.

    Args:
        folder: Belongs to the user that the server runs as.
        binaries: Where the programs are.
    """

    def __init__(self, folder: Path, binaries: Path) -> None:
        self._folder, self._data, self._binaries = folder, folder / "data", binaries
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()

    @property
    def url(self) -> str:
        """For `OG_JOURNAL_URL`."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{USER}"

    def create(self) -> None:
        """Make the data folder."""
        options = ("--username", USER, "--auth", "trust", "--encoding", "UTF8", "--no-sync")
        subprocess.run(  # noqa: S603 - the package's own program
            [self._binaries / "initdb", "-D", self._data, *options],
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=120,
            **_lent_user(),
        )

    def start(self) -> None:
        """Start, and wait until clients are let in."""
        deadline = time.monotonic() + START_S
        while True:
            self._launch()
            while not self._lets_in():
                if time.monotonic() > deadline:
                    raise AssertionError(f"PostgreSQL does not start: {self._log()}")
                if self._process is None or self._process.poll() is not None:
                    # The children of a killed server may still hold its memory for a moment.
                    break
                time.sleep(0.05)
            else:
                return
            time.sleep(0.1)

    def kill(self) -> None:
        """End it as a crash does: nothing is written any more."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in good order, whoever is still connected."""
        self._end(signal.SIGINT)

    def _launch(self) -> None:
        settings = {**_OPTIONS, "port": str(self.port), "unix_socket_directories": self._folder}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the package's own program
                [self._binaries / "postgres", "-D", self._data, *options],
                stdout=log,
                stderr=log,
                **_lent_user(),
            )

    def _lets_in(self) -> bool:
        asked = subprocess.run(  # noqa: S603 - the package's own program
            [self._binaries / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)],
            check=False,
            timeout=10,
        )
        return asked.returncode == 0

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(STOP_S)
        finally:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _log(self) -> str:
        return (self._folder / "log").read_text(encoding="utf-8", errors="replace")[-500:]


@contextmanager
def running() -> Iterator[Postgres]:
    """Run a new, empty server for as long as the context is open."""
    binaries = programs()
    if binaries is None:
        raise AssertionError("no PostgreSQL server is installed; Debian's package is postgresql")
    with TemporaryDirectory(prefix="og-mcp-pg-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if _lent_user():
            shutil.chown(folder, USER, USER)
        server = Postgres(folder, binaries)
        server.create()
        try:
            server.start()
            yield server
        finally:
            server.stop()


def _lent_user() -> dict[str, Any]:
    # The server's own folder is the only one that its user can surely enter.
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    return {"user": USER, "group": USER, "extra_groups": [], "cwd": "/"} if is_root else {}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
