"""The local network as a process: what it tells, what it leaves, when it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import click
import pytest
from click.testing import CliRunner
from eth_account import Account

import og_mcp
from og_mcp.localnet.command import localnet as localnet_command
from og_mcp.networks import NETWORKS, from_ready_file
from tests.localnet.gateway_client import gateway_client
from tests.localnet_client import LocalNetwork, http_client, running, start, stop, wait_until_ready

pytestmark = pytest.mark.process

KEY = "0x" + "4c" * 32
URLS = (
    *("rpc_url", "node_api_url", "base_rpc_url", "hub_url", "hub_read_url"),
    *("auth_url", "token_url", "admin_url", "gateway_url"),
)


def test_the_ready_file_holds_every_field_and_nobody_else_reads_it(localnet: LocalNetwork) -> None:
    assert localnet.ready.keys() == {
        *("rpc_url", "node_api_url", "chain_id", "inference_contract", "tee_registry"),
        *("base_rpc_url", "base_chain_id", "opg_token", "hub_url", "hub_read_url", "auth_url"),
        *("token_url", "gateway_url", "admin_url", "accounts", "hub_login", "sample_models"),
    }
    assert stat.S_IMODE(localnet.ready_file.stat().st_mode) == 0o600
    assert from_ready_file(localnet.ready).local


def test_all_urls_are_loopback_with_a_port_of_their_own(localnet: LocalNetwork) -> None:
    hosts = {urlsplit(localnet.ready[name]).hostname for name in URLS}
    ports = {urlsplit(localnet.ready[name]).port for name in URLS}

    assert hosts == {"127.0.0.1"}
    assert len(ports) == len(URLS) - 1, "auth_url and token_url share one"


def test_chain_ids_are_of_no_public_network(localnet: LocalNetwork) -> None:
    public = {network.chain_id for network in NETWORKS.values()}
    public |= {network.base_chain_id for network in NETWORKS.values()}

    assert localnet.ready["chain_id"] not in public
    assert localnet.ready["base_chain_id"] not in public
    assert int(localnet.rpc("eth_chainId"), 16) == localnet.ready["chain_id"]
    base = localnet.rpc("eth_chainId", url=localnet.ready["base_rpc_url"])
    assert int(base, 16) == localnet.ready["base_chain_id"]


def test_accounts_are_funded_on_both_chains(localnet: LocalNetwork) -> None:
    assert len(localnet.ready["accounts"]) >= 3
    for account in localnet.ready["accounts"]:
        assert Account.from_key(account["private_key"]).address == account["address"]
        for url in (localnet.ready["rpc_url"], localnet.ready["base_rpc_url"]):
            assert int(localnet.rpc("eth_getBalance", account["address"], "latest", url=url), 16)


@pytest.mark.parametrize("service", ["rpc_url", "node_api_url", "hub_url", "auth_url", "admin_url"])
def test_a_foreign_host_header_is_refused(localnet: LocalNetwork, service: str) -> None:
    answer = localnet.http.post(localnet.ready[service], json={}, headers={"Host": "evil.example"})

    assert answer.status_code == 403


@pytest.mark.slow
def test_a_taken_port_is_told_in_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = _run("--port", str(port), "--ready-file", str(tmp_path / "ready.json"))

    assert ended.returncode == 1
    assert (
        ended.stderr == f"Error: Port {port} is taken; choose another one, or 0 for a free one.\n"
    )


def test_a_ready_file_without_a_folder_is_told_at_once(tmp_path: Path) -> None:
    ended = _run("--ready-file", str(tmp_path / "none" / "ready.json"))

    assert ended.returncode == 1
    assert ended.stderr == f"Error: --ready-file: there is no folder {tmp_path / 'none'}\n"


@pytest.mark.parametrize(
    "url", ["localhost:11434", "ftp://a/", "http://", "http://[a", "http://a:x/"]
)
def test_a_url_of_an_llm_server_that_is_none_is_told_at_once(url: str) -> None:
    ended = _run("--llm-url", url)

    assert ended.returncode == 1
    assert ended.stderr == "Error: --llm-url (or OG_LOCAL_LLM_URL) is not an http or https URL\n"


@pytest.mark.slow
def test_without_a_ready_file_stdout_tells_what_runs() -> None:
    command = [sys.executable, "-m", "og_mcp.localnet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - ours
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line == "}\n":
                break
        process.send_signal(signal.SIGINT)
        code = process.wait(timeout=15)

    assert json.loads("".join(lines))["rpc_url"].startswith("http://127.0.0.1:")
    assert code == 0


@pytest.mark.slow
def test_with_a_ready_file_stderr_tells_that_it_runs(tmp_path: Path) -> None:
    ready_file = tmp_path / "ready.json"
    command = [sys.executable, "-m", "og_mcp.localnet", "--ready-file", str(ready_file)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603 - ours
        assert process.stderr is not None
        line = process.stderr.readline()
        ready = json.loads(ready_file.read_text())
        process.terminate()
        code = process.wait(timeout=15)

    assert line == (
        f"The local network runs: RPC {ready['rpc_url']}, hub {ready['hub_url']}; {ready_file} "
        "tells the rest. Ctrl-C ends it.\n"
    )
    assert code == 0


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder that nothing may be written to."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def other(home: Path) -> Iterator[LocalNetwork]:
    """A second network, started with every option from an environment full of traps."""
    needed = {k: v for k, v in os.environ.items() if k in {"PATH", "SYSTEMROOT"}}
    homes = {k: str(home) for k in ("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA", "OG_DATA_DIR")}
    traps = {
        "OG_PRIVATE_KEY": KEY,
        "OG_CHAIN_ID": "1",
        "OG_PORT": "1",
        "OG_RPC_URL": "http://nowhere.invalid",
        "OG_NETWORK": "opengradient",
        "FIREBASE_API_KEY": "a real one",
        "OG_LOCALNET_PORT": "1",
    }
    options = ("--port", str(_free_port()), "--chain-id", "4711", "--base-chain-id", "8453")
    sessions = ("--session-idle", "2", "--session-opg", "0.25", "--session-deadline", "45")
    with running(*options, *sessions, environ={**needed, **homes, **traps}) as network:
        assert urlsplit(network.ready["rpc_url"]).port == int(options[1])
        yield network


@pytest.mark.slow
def test_options_choose_the_chain_ids(other: LocalNetwork) -> None:
    assert (other.ready["chain_id"], other.ready["base_chain_id"]) == (4711, 8453)
    assert int(other.rpc("eth_chainId"), 16) == 4711
    assert int(other.rpc("eth_chainId", url=other.ready["base_rpc_url"]), 16) == 8453


@pytest.mark.slow
def test_options_choose_what_a_session_asks_for(other: LocalNetwork) -> None:
    asked = other.http.get(f"{other.ready['admin_url']}/payments/terms").json()

    assert (asked["amount"], asked["maxTimeoutSeconds"]) == (str(10**18 // 4), 45)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--session-opg", bad) for bad in ("0", "-1", "1e3", "5 OPG", "0.0", "1" * 10)),
        *(("--session-deadline", bad) for bad in ("0", "-600", "86401", "1.5", "soon")),
    ],
)
def test_a_session_that_makes_no_sense_is_refused(option: str, value: str) -> None:
    done = CliRunner().invoke(localnet_command, [option, value])

    assert (done.exit_code, option in done.output) == (2, True)


@pytest.mark.slow
def test_a_session_settles_after_the_idle_time_that_was_chosen(other: LocalNetwork) -> None:
    with gateway_client(other) as gateway:
        told = gateway.chat()["opengradient"]
    deadline = time.monotonic() + 10
    while not other.settlements() and time.monotonic() < deadline:
        time.sleep(0.05)

    (settled,) = other.settlements()
    assert (settled["status"], settled["amount"]) == ("settled", told["cost_opg"])


def test_nothing_of_ours_is_read_from_the_environment(other: LocalNetwork) -> None:
    addresses = {account["address"] for account in other.ready["accounts"]}

    assert Account.from_key(KEY).address not in addresses
    assert other.ready["hub_login"]["firebase_api_key"] != "a real one"


def test_nothing_is_written_to_the_home_folder(other: LocalNetwork, home: Path) -> None:
    model = other.ready["sample_models"][0]

    assert model["model_output"], "onnxruntime was used, which likes to leave files there"
    assert list(home.iterdir()) == []


def test_keys_and_passwords_differ_in_every_run(
    localnet: LocalNetwork, other: LocalNetwork
) -> None:
    runs = [localnet.ready, other.ready]
    keys = {account["private_key"] for ready in runs for account in ready["accounts"]}

    assert len(keys) == sum(len(ready["accounts"]) for ready in runs)
    for field in ("password", "firebase_api_key"):
        assert runs[0]["hub_login"][field] != runs[1]["hub_login"][field]


@pytest.mark.slow
def test_a_signal_ends_it_and_nothing_stays(tmp_path: Path) -> None:
    process, scratch = _started(tmp_path)
    with process:
        process.terminate()

        assert process.wait(timeout=15) == 0
    assert list(scratch.iterdir()) == []
    assert not (tmp_path / "ready.json").exists()


@pytest.mark.slow
def test_it_ends_while_a_request_hangs(tmp_path: Path) -> None:
    process, scratch = _started(tmp_path)
    network = LocalNetwork(tmp_path / "ready.json", process)
    network.fault("eth_chainId", "hang")
    with socket.create_connection(("127.0.0.1", urlsplit(network.ready["rpc_url"]).port or 0)) as c:
        body = b'{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}'
        head = f"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        c.sendall(head.encode() + body)
        while network.pending_faults():
            pass
        network.close()

        assert stop(process) == 0
    assert list(scratch.iterdir()) == []


@pytest.mark.slow
def test_it_dies_with_an_owner_that_was_killed(tmp_path: Path) -> None:
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    code = (
        "import sys, pathlib; sys.path.insert(0, '.');"
        "from tests.localnet_client import start, wait_until_ready;"
        f"folder = pathlib.Path({str(tmp_path)!r}); process = start(folder);"
        "wait_until_ready(folder / 'ready.json', process);"
        "print(process.pid, flush=True); process.wait()"
    )
    owner = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "TMPDIR": str(scratch)},
    )
    with owner:
        assert owner.stdout is not None
        int(owner.stdout.readline())
        network_end = owner.stdout
        owner.kill()
        # The network holds the other end of this pipe too: it closes when the network is gone.
        assert network_end.read() == ""
    assert list(scratch.iterdir()) == []
    assert not (tmp_path / "ready.json").exists()


@pytest.mark.slow
def test_a_data_folder_keeps_the_models(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running("--data-dir", str(data)) as network:
        _create_model(network, "kept")
    with running("--data-dir", str(data)) as network:
        listed = network.http.get(network.ready["hub_read_url"] + "/api/v0/models/kept").json()

        assert [version["versionString"] for version in listed["versions"]] == ["0.01"]
        assert [file["name"] for file in listed["versions"][0]["files"]] == ["m.bin"]
        assert len(network.ready["sample_models"]) == 3


def test_without_the_extra_one_sentence_says_what_to_install(tmp_path: Path) -> None:
    for package in (click, og_mcp):
        folder = Path(str(package.__file__)).parent
        (tmp_path / folder.name).symlink_to(folder, target_is_directory=True)
    ended = subprocess.run(
        # -S: nothing but these two packages can be imported.
        [sys.executable, "-S", "-m", "og_mcp.localnet"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 1
    assert ended.stderr == (
        "Error: The local network needs PIL, cryptography, eth, onnx, onnxruntime, "
        "python_multipart, starlette, uvicorn: pip install 'og-mcp[local]'\n"
    )


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def _run(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "og_mcp.localnet", *options],
        capture_output=True,
        text=True,
        check=False,
    )


def _started(folder: Path) -> tuple[subprocess.Popen[bytes], Path]:
    scratch = folder / "tmp"
    scratch.mkdir()
    process = start(folder, environ={**os.environ, "TMPDIR": str(scratch)})
    wait_until_ready(folder / "ready.json", process)
    return process, scratch


def _create_model(network: LocalNetwork, name: str) -> None:
    with http_client(network.ready["hub_url"], token=network.sign_in()) as hub:
        hub.post("/api/v0/models/", json={"name": name, "description": ""}).raise_for_status()
        versions = f"/api/v0/models/{name}/versions"
        hub.post(versions, json={"notes": "", "is_major": False}).raise_for_status()
        sent = hub.post(f"{versions}/0.01/files", files={"file": ("m.bin", b"content")})
        sent.raise_for_status()
