"""Compiles the Solidity sources with npm's solc: `python -m og_mcp.localnet.contracts.compiling FOLDER`.

FOLDER is where `npm install solc@VERSION` was run; a node that npm installed there too is preferred
to the one on the PATH.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from og_mcp.localnet.contracts import NAMES

SOLC_VERSION: Final = "0.8.37"
HERE: Final = Path(__file__).parent

SETTINGS: Final[dict[str, Any]] = {
    "evmVersion": "cancun",
    "viaIR": True,  # the old code generator cannot copy nested structs
    "optimizer": {"enabled": True, "runs": 200},
    # Without the metadata hash a changed comment leaves the bytecode as it is.
    "metadata": {"appendCBOR": False, "bytecodeHash": "none"},
}

SCRIPT: Final = """
const solc = require('solc');
const input = require('fs').readFileSync(0, 'utf8');
process.stdout.write(JSON.stringify({version: solc.version(), ...JSON.parse(solc.compile(input))}));
"""


class CompilationError(Exception):
    """Solc, or node in front of it, found a mistake; the message is its own."""


def compile_all(folder: Path) -> dict[str, dict[str, Any]]:
    """Compile every source.

    Args:
        folder: Holds `node_modules/solc`.

    Returns:
        By contract name, what stands in `NAME.json`: `compiler`, `settings`, `abi` and
        `deployed_bytecode` (0x-hex).

    Raises:
        CompilationError: A source has errors or warnings, or node cannot load solc.
    """
    sources = {f"{name}.sol": {"content": _source(name)} for name in NAMES}
    chosen = {"*": {"*": ["abi", "evm.deployedBytecode.object"]}}
    settings = {**SETTINGS, "outputSelection": chosen}
    request = {"language": "Solidity", "sources": sources, "settings": settings}
    done = subprocess.run(  # noqa: S603 - our own script, no shell
        [_node(folder), "-e", SCRIPT],
        input=json.dumps(request),
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        raise CompilationError(done.stderr)
    return _contracts(json.loads(done.stdout))


def _node(folder: Path) -> str:
    installed = folder / "node_modules" / ".bin" / "node"
    return str(installed) if installed.exists() else "node"


def _source(name: str) -> str:
    return (HERE / f"{name}.sol").read_text(encoding="utf-8")


def _contracts(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    if answer.get("errors"):
        raise CompilationError("\n".join(e["formattedMessage"] for e in answer["errors"]))
    return {name: _contract(answer, name) for name in NAMES}


def _contract(answer: dict[str, Any], name: str) -> dict[str, Any]:
    made = answer["contracts"][f"{name}.sol"][name]
    return {
        "compiler": answer["version"],
        "settings": SETTINGS,
        "abi": made["abi"],
        "deployed_bytecode": "0x" + made["evm"]["deployedBytecode"]["object"],
    }


def write_all(folder: Path) -> None:
    """Compile every source and write the results beside them."""
    for name, contract in compile_all(folder).items():
        text = json.dumps(contract, indent=1) + "\n"
        (HERE / f"{name}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_all(Path(sys.argv[1]))
