"""`og-mcp verify`: exit codes, what is shown, and that offline means offline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from og_mcp.client import Session
from tests.cli.program import inside
from tests.localnet_client import LocalNetwork
from tests.server_process import run

KEPT = Path(__file__).parents[1] / "client" / "receipts" / "receipt.json"

NO_NETWORK = """
import sys
def refuse(event, _):
    if event in {"socket.connect", "socket.sendto", "socket.getaddrinfo"}:
        raise SystemExit("the network was touched")
sys.addaudithook(refuse)
"""
"""A sitecustomize that ends whatever reaches for the network."""


def real_receipt(environ: dict[str, str], localnet: LocalNetwork) -> dict[str, Any]:
    model = localnet.ready["sample_models"][0]

    async def make() -> dict[str, Any]:
        async with Session.from_env(environ) as og:
            result = await og.infer(model["cid"], model["model_input"])
            return await og.receipt(result.call_id)

    return anyio.run(make)


def saved(receipt: object, tmp_path: Path) -> str:
    path = tmp_path / "receipt.json"
    path.write_text(json.dumps(receipt))
    return str(path)


@pytest.mark.slow
def test_a_receipt_is_verified_offline_without_network_or_configuration(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(NO_NETWORK)

    done = run(
        *("verify", str(KEPT)),
        environ={
            "PYTHONPATH": str(tmp_path),
            "OG_RPC_URL": "no URL",
            "OG_UNKNOWN": "1",
            "OG_DATA_DIR": str(tmp_path / "data"),
            "HOME": str(tmp_path / "home"),
        },
    )

    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} <= {"sitecustomize.py", "__pycache__"}
    assert "inclusion" in done.stdout
    assert "not checked" in done.stdout
    assert "consistent with what is signed" in " ".join(done.stdout.split())
    assert " checks passed, 0 failed, 1 needs the local network" in done.stdout


def test_a_receipt_that_was_changed_ends_with_one(tmp_path: Path) -> None:
    receipt = json.loads(KEPT.read_text())
    receipt["response"]["totals"] = [1.0]

    done = inside("verify", saved(receipt, tmp_path), environ={})

    assert done.returncode == 1
    assert " failed, " in done.stdout
    assert "is not valid" in done.stdout


def test_a_receipt_of_which_nothing_signed_is_left_ends_with_two(tmp_path: Path) -> None:
    receipt = json.loads(KEPT.read_text())
    for part in ("request", "response"):
        del receipt[part]
    for part in ("raw_transaction", "logs"):
        del receipt["chain"][part]

    done = inside("verify", saved(receipt, tmp_path), environ={})

    assert done.returncode == 2
    assert "not enough could be checked" in " ".join(done.stdout.split())


def test_json_is_the_verification_as_tools_give_it() -> None:
    done = inside("verify", "--json", str(KEPT), environ={})

    verification = json.loads(done.stdout)
    assert (verification["valid"], verification["level"]) == (True, "consistent")
    assert verification["network"] == "local"
    assert {"name", "result", "source", "detail"} == set(verification["checks"][0])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not readable JSON"),
        (b"no JSON", "not readable JSON"),
        (b"\xff\xfe", "not readable JSON"),
        (b'{"schema": "og-mcp/receipt/1", "schema": "x"}', "key twice"),
        (b"[" * 100_000, "too deep"),
        (b"[" + b"[]," * 5_000_000 + b"[]]", "too large"),
        (b"9" * 5000, "not readable JSON"),
    ],
)
def test_what_cannot_be_read_ends_with_two(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "receipt.json"
    path.write_bytes(content)

    done = inside("verify", str(path), environ={})

    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_is_not_there_ends_with_two() -> None:
    assert inside("verify", "/nowhere/receipt.json", environ={}).returncode == 2


@pytest.mark.parametrize("more", [(), ("--online",)])
@pytest.mark.parametrize("value", [[1, 2], {}, "x", None])
def test_json_that_is_no_receipt_ends_with_one(
    value: object, more: tuple[str, ...], tmp_path: Path
) -> None:
    done = inside("verify", saved(value, tmp_path), *more, environ={})

    assert done.returncode == 1
    assert "is not valid" in done.stdout


def test_online_the_chain_confirms_it(localnet: LocalNetwork, tmp_path: Path) -> None:
    file = saved(real_receipt(localnet.environ, localnet), tmp_path)

    done = inside("verify", file, "--online", "--json", environ=localnet.environ)

    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["level"] == "confirmed"


def test_a_receipt_of_hashes_is_verified_as_far_as_it_goes_and_online_as_any_other(
    localnet: LocalNetwork, tmp_path: Path
) -> None:
    receipt = real_receipt({**localnet.environ, "OG_RECEIPTS": "hashes"}, localnet)
    file = saved(receipt, tmp_path)

    offline = inside("verify", file, environ={})
    online = inside("verify", file, "--online", environ=localnet.environ)

    assert offline.returncode == 0
    assert "Not checked: request_hash, response_hash" in " ".join(offline.stdout.split())
    assert online.returncode == 0, online.stdout
    assert "confirmed by the network" in " ".join(online.stdout.split())


def test_online_a_receipt_that_the_chain_does_not_have_ends_with_one(
    localnet: LocalNetwork,
) -> None:
    done = inside("verify", str(KEPT), "--online", "--json", environ=localnet.environ)

    assert done.returncode == 1
    assert json.loads(done.stdout)["checks"][-1]["result"] == "failed"


def test_online_with_nobody_to_ask_ends_with_two(tmp_path: Path) -> None:
    real = json.loads(KEPT.read_text()) | {"network": "opengradient"}
    real["chain"]["chain_id"] = 10740
    nowhere = {"OG_RPC_URL": "http://127.0.0.1:1/v2/k7Qz9f3LmX2bV8nR4tYw", "OG_CHAIN_ID": "10740"}

    local = inside("verify", str(KEPT), "--online", environ={})
    gone = inside("verify", str(KEPT), "--online", environ={"OG_LOCALNET": "/nowhere/ready.json"})
    remote = inside("verify", saved(real, tmp_path), "--online", environ=nowhere)

    assert (local.returncode, gone.returncode, remote.returncode) == (2, 2, 2)
    assert "/nowhere/ready.json" in gone.stderr
    assert "OG_LOCALNET" in local.stderr
    assert "cannot be reached" in remote.stderr
    assert "k7Qz9f3LmX2bV8nR4tYw" not in remote.stderr
