"""The stdio server as a process: what is on the wire, how fast it starts, how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from mcp import Client

from tests.localnet_client import LocalNetwork
from tests.server_process import END_S, clean, command, ending, over_stdio, run, start

pytestmark = pytest.mark.process

LOCAL = {"OG_NETWORK": "local"}

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}
LIST_TOOLS = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
READ_NETWORK = {
    "jsonrpc": "2.0",
    "id": 3,
    "method": "resources/read",
    "params": {"uri": "og://network"},
}

NOISY = """
import atexit, os, sys, warnings
class Noise:
    def find_spec(self, name, path=None, target=None):
        if name in ("mcp.server", "og_mcp.tools"):
            print("printed at import")
            os.write(1, b"written to the descriptor at import")
            warnings.warn("warned at import")
sys.meta_path.insert(0, Noise())
atexit.register(print, "printed at exit")
"""
"""A sitecustomize that behaves as a talkative library does."""

HEAVY = (
    *("web3", "numpy", "eth_account", "eth_abi", "onnxruntime", "onnx", "sqlalchemy"),
    *("eth_tester", "eth", "httpx", "stamina"),
)

ASK_WHAT_IS_LOADED = """
import atexit, sys
def tell():
    print("LOADED", *[name for name in {names} if name in sys.modules], file=sys.stderr)
atexit.register(tell)
"""


def exchange(process: subprocess.Popen[str], message: dict[str, Any]) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(message) + "\n")
    answer: dict[str, Any] = json.loads(process.stdout.readline())
    return answer


def is_open(url: str) -> bool:
    parts = urlsplit(url)
    with socket.socket() as probe:
        return probe.connect_ex((parts.hostname or "", parts.port or 0)) == 0


@pytest.mark.parametrize("mode", [pytest.param("legacy", marks=pytest.mark.slow), "2026-07-28"])
async def test_a_model_runs_over_stdio(localnet: LocalNetwork, mode: str) -> None:
    sample = localnet.ready["sample_models"][0]
    arguments = {"model_cid": sample["cid"], "model_input": sample["model_input"]}
    async with Client(over_stdio(localnet.environ), mode=mode) as mcp:
        result = await mcp.call_tool("infer", arguments)

    assert not result.is_error, result.content
    assert result.structured_content is not None
    assert result.structured_content["model_output"] == sample["model_output"]


def test_stdout_carries_the_protocol_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(NOISY, encoding="utf-8")
    environ = {**LOCAL, "PYTHONPATH": str(tmp_path), "OG_LOG_LEVEL": "DEBUG"}
    with ending(start(environ, "serve")) as process:
        first = exchange(process, INITIALIZE)
        second = exchange(process, LIST_TOOLS)
        assert process.stdin is not None
        process.stdin.write("this is not JSON\n")
        rest, log = process.communicate(timeout=END_S)

    assert (first["id"], second["id"]) == (1, 2)
    assert all(json.loads(line)["jsonrpc"] == "2.0" for line in rest.splitlines())
    assert log.count("printed at import") == 2
    assert "written to the descriptor at import" in log
    assert "warned at import" in log
    assert "printed at exit" in log


def logged(environ: dict[str, str], level: str) -> str:
    """Have the journal opened, which a library logs, and a fault of ours logged; returns stderr."""
    list_calls = {
        "jsonrpc": "2.0",
        "id": 5,
        "method": "tools/call",
        "params": {"name": "list_calls", "arguments": {}},
    }
    with ending(start({**environ, "OG_LOG_LEVEL": level}, "serve")) as process:
        exchange(process, INITIALIZE)
        answer = exchange(process, list_calls)
        _, log = process.communicate(timeout=END_S)
    assert not answer["result"]["isError"], answer
    return log


@pytest.mark.slow
def test_libraries_are_heard_at_debug_alone(tmp_path: Path) -> None:
    usual = logged({**LOCAL, "OG_DATA_DIR": str(tmp_path / "a")}, "INFO")
    all_of_it = logged({**LOCAL, "OG_DATA_DIR": str(tmp_path / "b")}, "DEBUG")

    assert usual == ""
    assert " mcp.server" in all_of_it


def test_help_tells_the_levels_and_that_openai_is_a_flag_alone() -> None:
    text = " ".join(run("serve", "--help", environ={}).stdout.split())

    assert "DEBUG, INFO, WARNING, ERROR or CRITICAL (INFO)" in text
    assert "get_call and list_calls come with every tool that makes calls" in text
    assert "Each option but --openai stands for the environment variable of its name" in text


@pytest.mark.slow
def test_a_configuration_that_cannot_be_used_ends_with_two_and_a_silent_stdout() -> None:
    done = run("serve", environ={"OG_MAX_PER_CAL": "1", "OG_PORT": "many"})

    assert done.returncode == 2
    assert done.stdout == ""
    assert "OG_MAX_PER_CAL" in done.stderr
    assert "OG_MAX_PER_CALL" in done.stderr
    assert "OG_PORT" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_closed_stdin_is_told() -> None:
    done = subprocess.run(  # noqa: S603 - our own program
        ["/bin/sh", "-c", 'exec "$@" <&-', "sh", *command("serve")],
        env=clean(LOCAL),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert "stdin or stdout is closed" in done.stderr


@posix_only
def test_a_person_at_a_terminal_is_told_what_it_waits_for() -> None:
    ours, theirs = os.openpty()
    done = start(LOCAL, stdin=theirs)
    os.close(theirs)
    with ending(done) as process, os.fdopen(ours, "wb", 0):
        assert process.stderr is not None
        assert "og-mcp try" in process.stderr.readline()


@pytest.mark.slow
def test_the_end_of_stdin_ends_the_server() -> None:
    done = run(environ=LOCAL)

    assert (done.returncode, done.stdout) == (0, "")
    assert "Traceback" not in done.stderr


@posix_only
@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_signal_ends_the_server_while_stdin_is_open(number: signal.Signals) -> None:
    with ending(start(LOCAL, "serve")) as process:
        exchange(process, INITIALIZE)
        process.send_signal(number)

        assert process.wait(END_S) == 0
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


@posix_only
@pytest.mark.slow
def test_a_signal_ends_the_local_network_too() -> None:
    with ending(start(LOCAL)) as process:
        exchange(process, INITIALIZE)
        info = exchange(process, READ_NETWORK)["result"]["contents"][0]["text"]
        rpc_url = json.loads(info)["rpc_url"]
        assert is_open(rpc_url)
        process.terminate()

        assert process.wait(END_S) == 0

    assert not is_open(rpc_url)


@pytest.mark.slow
def test_a_host_that_is_gone_ends_the_server_and_its_local_network() -> None:
    with ending(start(LOCAL)) as process:
        exchange(process, INITIALIZE)
        info = exchange(process, READ_NETWORK)["result"]["contents"][0]["text"]
        rpc_url = json.loads(info)["rpc_url"]
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.close()
        process.stdin.write(json.dumps(LIST_TOOLS) + "\n")
        process.stdin.close()

        assert process.wait(END_S) == 0

    assert not is_open(rpc_url)


@pytest.mark.slow
@pytest.mark.parametrize(
    "first",
    [
        INITIALIZE,
        {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "server/discover",
            "params": {
                "_meta": {
                    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                    "io.modelcontextprotocol/clientCapabilities": {},
                }
            },
        },
    ],
    ids=lambda message: str(message["method"]),
)
def test_the_first_answer_comes_before_anything_heavy_is_imported(
    tmp_path: Path, first: dict[str, Any]
) -> None:
    probe = ASK_WHAT_IS_LOADED.format(names=HEAVY)
    (tmp_path / "sitecustomize.py").write_text(probe, encoding="utf-8")
    with ending(start({**LOCAL, "PYTHONPATH": str(tmp_path)}, "serve")) as process:
        answer = exchange(process, first)
        _, log = process.communicate(timeout=END_S)

    assert "result" in answer
    assert "LOADED\n" in log


def test_help_and_version_are_told_without_the_server() -> None:
    helped = run("--help", environ={"PYTHONPROFILEIMPORTTIME": "1"})
    told = run("--version", environ={})

    assert "localnet" in helped.stdout
    assert not {"mcp", "pydantic", "anyio"} & {
        line.rsplit("|", 1)[-1].strip() for line in helped.stderr.splitlines()
    }
    assert told.stdout.startswith("og-mcp, version ")


def test_an_unknown_command_is_refused() -> None:
    done = run("srve", environ={})

    assert done.returncode == 2
    assert "srve" in done.stderr


def test_one_message_may_be_larger_than_a_pipe() -> None:
    message = {
        "jsonrpc": "2.0",
        "id": 4,
        "method": "tools/call",
        "params": {
            "name": "status",
            "arguments": {"filler": "é" * 1_000_000},
        },
    }
    with ending(start(LOCAL)) as process:
        exchange(process, INITIALIZE)
        answer = exchange(process, message)

    assert answer["result"]["isError"] is True
