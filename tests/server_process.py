"""`og-mcp serve` as a process of its own, as hosts and people run it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from mcp import StdioServerParameters

END_S: Final = 15.0

_NEEDED: Final = ("PATH", "HOME", "SYSTEMROOT", "TEMP", "TMPDIR", "VIRTUAL_ENV")


def clean(environ: Mapping[str, str]) -> dict[str, str]:
    """Give a process what it needs to run, and `environ`: nothing that configures og-mcp."""
    return {name: os.environ[name] for name in _NEEDED if name in os.environ} | dict(environ)


def command(*arguments: str) -> list[str]:
    """Give the command line of `og-mcp`, away from what the working folder could shadow."""
    return [sys.executable, "-P", "-m", "og_mcp", *arguments]


def over_stdio(environ: Mapping[str, str], *arguments: str) -> StdioServerParameters:
    """Describe the stdio server to an MCP client."""
    program, *rest = command(*arguments)
    return StdioServerParameters(command=program, args=rest, env=clean(environ))


def run(*arguments: str, environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command that ends by itself; its stdin is at its end."""
    return subprocess.run(  # noqa: S603 - our own program
        command(*arguments),
        env=clean(environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def start(
    environ: Mapping[str, str], *arguments: str, stdin: int = subprocess.PIPE
) -> subprocess.Popen[str]:
    """Start the program with pipes."""
    return subprocess.Popen(  # noqa: S603 - our own program
        command(*arguments),
        env=clean(environ),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
    )


@contextmanager
def ending(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """Own a process: it is gone when the context is left, and its pipes are closed."""
    with process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def served(
    environ: Mapping[str, str],
    transport: str = "http",
    *flags: str,
    log: list[str] | None = None,
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Serve HTTP on a free port; gives the address without a path, and the process.

    Args:
        environ: The variables of og-mcp.
        transport: `http` or `sse`.
        flags: Further flags of `serve`.
        log: Gets what the server logs.
    """
    heard = [] if log is None else log
    arguments = ("serve", "--transport", transport, "--port", "0", *flags)
    with ending(start(environ, *arguments)) as process:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        found = (re.search(r"og-mcp serves (http://[^/]+)", line) for line in lines)
        address = next(match[1] for match in found if match)
        # A full pipe would hold the server up.
        reader = threading.Thread(target=heard.extend, args=(process.stderr,), daemon=True)
        reader.start()
        yield address, process
        process.terminate()
        assert process.wait(END_S) == 0
        reader.join(END_S)


@contextmanager
def over_http(
    environ: Mapping[str, str],
    transport: str = "http",
    *flags: str,
    log: list[str] | None = None,
) -> Iterator[str]:
    """Serve HTTP on a free port, as `served`; gives the address alone."""
    with served(environ, transport, *flags, log=log) as (address, _):
        yield address
