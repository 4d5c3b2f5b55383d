"""The MCP Inspector's command line (npm), installed where it is missing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from platformdirs import user_cache_path

PACKAGES: Final = ("@modelcontextprotocol/inspector@2.12.0", "node@22")
"""The Inspector needs Node 22, and npm installs that beside it."""


@dataclass(frozen=True)
class Inspector:
    """Runs `mcp-inspector --cli` of one folder of npm packages."""

    home: Path

    @classmethod
    def found_or_installed(cls) -> Inspector:
        """Find the packages in TEST_NODE_HOME or in a cache; install them there when missing.

        Skips the test in words where npm is absent or cannot install.
        """
        home = Path(os.environ.get("TEST_NODE_HOME") or user_cache_path("og-mcp-tests") / "node")
        if not (home / "node_modules" / ".bin" / "mcp-inspector").exists():
            _install(home)
        return cls(home)

    def run(
        self, *arguments: str, environ: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the command line on a target; `environ` is given to a server that it starts."""
        binaries = self.home / "node_modules" / ".bin"
        given = [f"-e{name}={value}" for name, value in (environ or {}).items()]
        other = {name: os.environ[name] for name in os.environ if not name.startswith("OG_")}
        return subprocess.run(  # noqa: S603 - the Inspector, installed above
            [str(binaries / "mcp-inspector"), "--cli", *arguments, *given],
            env=other | {"PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def answer(self, *arguments: str, environ: Mapping[str, str] | None = None) -> Any:  # noqa: ANN401 - JSON
        """Run it, expect success, and return the JSON that it prints."""
        done = self.run(*arguments, environ=environ)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def _install(home: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed, so the MCP Inspector cannot be")
    home.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(  # noqa: S603 - npm, found on the path
        [npm, "install", "--prefix", str(home), "--no-audit", "--no-fund", *PACKAGES],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"npm cannot install the MCP Inspector: {done.stderr[-500:]}")
