"""`og-mcp` run inside the tests' own process: a second sooner than a process of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping

from click.testing import CliRunner

from og_mcp.cli import _program


def inside(
    *arguments: str, environ: Mapping[str, str], text: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a command that ends by itself; for what is about its words and exit codes alone.

    Args:
        arguments: After the program's name.
        environ: The variables of og-mcp; those of the tests' own process do not count.
        text: What is piped in.
    """
    without = {name: None for name in os.environ if name.startswith("OG_")}
    done = CliRunner(env={**without, **environ}).invoke(_program, arguments, input=text)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)
