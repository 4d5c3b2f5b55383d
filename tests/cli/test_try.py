"""`og-mcp try` as a person runs it: every step held and told, or one failed and told why."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.server_process import run

STEPS: Final = (
    "Start a local network",
    "Connect an MCP client to og-mcp over stdio",
    "Publish an ONNX model (create_model)",
    "Look the model up (get_model)",
    "Run it on chain (infer)",
    "Compare with onnxruntime, away from the chain",
    "Find the transaction on the chain",
    "Verify its receipt (verify_receipt)",
    "Chat with a model in a TEE (chat)",
    "Complete a text (completion)",
    "Draw an image (generate_image)",
    "Verify their receipts (verify_receipt)",
)
REAL: Final = {
    "OG_NETWORK": "opengradient",
    "OG_PRIVATE_KEY": "0x" + "4c" * 32,
    "OG_RPC_URL": "http://nowhere.invalid",
    "OG_MAX_PER_CALL": "0",
    "OG_READ_ONLY": "1",
    "HTTPS_PROXY": "http://nowhere.invalid:1",
}
"""What a user of the real network may have set: the trial takes nothing from it."""


def steps_of(done: subprocess.CompletedProcess[str]) -> list[tuple[str, str]]:
    """Read the marks and names of the steps as they were told."""
    return re.findall(r"^([✓✗]) (.*) \d+\.\d\d s$", done.stdout, re.MULTILINE)


def crashing(folder: Path, when: str) -> dict[str, str]:
    """Let every Python end at its start whose command line is a certain one."""
    program = f"import os, sys\nif {when}:\n    os._exit(3)\n"
    (folder / "sitecustomize.py").write_text(program)
    return {"PYTHONPATH": str(folder)}


@pytest.mark.slow
def test_every_step_holds_whatever_is_configured(tmp_path: Path) -> None:
    data = tmp_path / "data"
    done = run("try", environ={**REAL, "OG_DATA_DIR": str(data)})

    assert done.returncode == 0, done.stdout + done.stderr
    assert steps_of(done) == [("✓", step) for step in STEPS]
    assert "Every step worked." in done.stdout
    assert "built-in responder" in done.stdout
    assert not data.exists()


@pytest.mark.slow
def test_a_network_that_does_not_start_is_told_in_the_table(tmp_path: Path) -> None:
    done = run("try", environ=crashing(tmp_path, '"og_mcp.localnet" in sys.orig_argv'))

    assert done.returncode == 1
    assert steps_of(done) == [("✗", STEPS[0])]
    assert "The local network ended at its start" in " ".join(done.stdout.split())
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.slow
def test_a_server_that_ends_is_told_in_the_table(tmp_path: Path) -> None:
    done = run("try", environ=crashing(tmp_path, 'sys.orig_argv[-2:] == ["-m", "og_mcp"]'))

    assert done.returncode == 1
    assert steps_of(done) == [("✓", STEPS[0]), ("✗", STEPS[1])]
    assert "Connection closed" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
