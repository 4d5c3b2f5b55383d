"""What a session refuses before money moves, and what it tells."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from eth_account import Account

from og_mcp.client import Session
from og_mcp.errors import (
    ConfigurationError,
    FeeCapError,
    InputError,
    InsufficientFundsError,
    LocalnetError,
    NoWalletError,
    OGError,
    OutputMissingError,
    TensorError,
    UnsafeEndpointError,
    WrongChainError,
)
from og_mcp.types import Stage
from tests.localnet_client import LocalNetwork

A_KEY = "0x" + "42" * 32


def environ(localnet: LocalNetwork, tmp_path: Path, **more: str) -> dict[str, str]:
    return {**localnet.environ, "OG_DATA_DIR": str(tmp_path / "data"), **more}


@pytest.fixture
async def og(localnet: LocalNetwork, tmp_path: Path) -> AsyncIterator[Session]:
    async with Session.from_env(environ(localnet, tmp_path)) as session:
        yield session


def cid(localnet: LocalNetwork, name: str = "portfolio-value") -> str:
    return str(model(localnet, name)["cid"])


def model(localnet: LocalNetwork, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(
        sample for sample in localnet.ready["sample_models"] if sample["name"] == name
    )
    return found


def count_of_transactions(localnet: LocalNetwork) -> int:
    return int(
        localnet.rpc(
            "eth_getTransactionCount", localnet.ready["accounts"][0]["address"], "pending"
        ),
        16,
    )


async def test_every_sample_model_gives_what_the_ready_file_says(
    og: Session, localnet: LocalNetwork
) -> None:
    for sample in localnet.ready["sample_models"]:
        result = await og.infer(sample["cid"], sample["model_input"])

        assert result.model_output == sample["model_output"], sample["name"]


@pytest.mark.parametrize("mode", ["VANILLA", "ZKML", "TEE"])
async def test_each_mode_runs_and_is_told(mode: str, og: Session, localnet: LocalNetwork) -> None:
    sample = model(localnet, "candle-volatility")

    result = await og.infer(sample["cid"], sample["model_input"], mode)

    assert result.inference_mode == mode
    assert result.model_output == sample["model_output"]


async def test_numpy_arrays_and_files_are_inputs_too(
    localnet: LocalNetwork, tmp_path: Path
) -> None:
    sample = model(localnet, "candle-volatility")
    array = np.array(sample["model_input"]["open_high_low_close"], np.float32)
    np.save(tmp_path / "candles.npy", array)
    config = environ(localnet, tmp_path, OG_UPLOAD_ROOTS=str(tmp_path))

    async with Session.from_env(config) as og:
        from_array = await og.infer(sample["cid"], {"open_high_low_close": array})
        from_file = await og.infer(
            sample["cid"], {"open_high_low_close": {"file": str(tmp_path / "candles.npy")}}
        )

    assert from_array.model_output == sample["model_output"]
    assert from_file.model_output == sample["model_output"]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["VANILLA", "ZKML", "TEE"])
@pytest.mark.parametrize(
    ("answers", "source"),
    [
        ({"contract_event": "empty"}, "precompile_event"),
        ({"contract_event": "missing"}, "precompile_event"),
        ({"contract_event": "empty", "precompile_event": "empty"}, "node_api"),
        ({"contract_event": "missing", "precompile_event": "empty"}, "node_api"),
    ],
)
async def test_an_output_missing_from_the_event_is_found_elsewhere(
    answers: dict[str, str], source: str, mode: str, og: Session, localnet: LocalNetwork
) -> None:
    sample = model(localnet, "candle-volatility")
    localnet.answers(**answers)

    result = await og.infer(sample["cid"], sample["model_input"], mode)

    assert result.source == source
    assert result.model_output == sample["model_output"]


BAD_INPUTS: dict[str, tuple[Any, str]] = {
    "ragged": ({"x": [[1, 2], [3]]}, "x"),
    "NaN": ({"x": [1.0, math.nan]}, r"\[1\]"),
    "infinity": ({"x": [math.inf]}, r"\[0\]"),
    "a boolean": ({"x": [1, True]}, r"\[1\]"),
    "text among numbers": ({"x": [1.0, "two"]}, r"\[1\]"),
    "an int beyond int128": ({"x": [1, 2**127]}, r"\[1\]"),
    "an empty tensor": ({"x": []}, "x"),
    "no tensor": ({}, "is missing"),
    "null": ({"x": None}, "x"),
    "too many numbers": ({"x": [0.5] * 1_000_001}, "1,?000,?001"),
}


async def test_an_output_that_is_nowhere_is_an_error_that_tells_what_was_paid(
    og: Session, localnet: LocalNetwork
) -> None:
    sample = model(localnet, "candle-volatility")
    localnet.answers(contract_event="empty", precompile_event="missing")

    with pytest.raises(OutputMissingError, match="gas is paid") as caught:
        await og.infer(sample["cid"], sample["model_input"])

    assert caught.value.stage is Stage.CHARGED


@pytest.mark.parametrize("name", BAD_INPUTS)
async def test_bad_input_is_named_and_sends_nothing(
    name: str, og: Session, localnet: LocalNetwork
) -> None:
    value, words = BAD_INPUTS[name]
    localnet.reset_counters()

    with pytest.raises(InputError, match=words) as caught:
        await og.infer(cid(localnet), value)

    assert caught.value.stage is Stage.NOT_SENT
    # Which chain it is may be asked while the model's file is read, and nothing about the call.
    assert set(localnet.counters()["calls"]) <= {"eth_chainId", "eth_getBlockByNumber"}


async def test_known_tensors_are_checked_without_asking_the_chain(
    og: Session, localnet: LocalNetwork
) -> None:
    await og.get_model("portfolio-value")
    right = model(localnet, "portfolio-value")["model_input"]
    first, *_ = right
    localnet.reset_counters()

    with pytest.raises(TensorError, match=first):
        await og.infer(cid(localnet), {**right, first: ["text"]})
    with pytest.raises(TensorError, match=f"{first}x"):
        await og.infer(cid(localnet), {f"{first}x": right[first]})

    assert localnet.counters()["http_requests"] == 0


async def test_a_wrong_mode_is_refused_with_the_right_ones(
    og: Session, localnet: LocalNetwork
) -> None:
    with pytest.raises(InputError, match="VANILLA, ZKML, TEE"):
        await og.infer(cid(localnet), {"x": 1}, "FAST")


@pytest.mark.parametrize("bad", ["", "two words", "x" * 300, "new\nline"])
async def test_a_malformed_cid_is_refused(bad: str, og: Session) -> None:
    with pytest.raises(InputError, match="is not a model CID"):
        await og.infer(bad, {"x": 1})


async def test_without_a_wallet_infer_is_a_runtime_error_that_names_the_variable() -> None:
    async with Session.from_env({"OG_NETWORK": "opengradient"}) as og:
        with pytest.raises(RuntimeError, match="OG_PRIVATE_KEY") as caught:
            await og.infer("QmX", {"x": 1})

    assert isinstance(caught.value, NoWalletError)


async def test_t4_an_rpc_of_another_chain_gets_no_signature(
    og: Session, localnet: LocalNetwork
) -> None:
    before = count_of_transactions(localnet)
    localnet.fault("eth_chainId", "result", result="0x1", times=9)
    sample = model(localnet, "candle-volatility")

    with pytest.raises(WrongChainError, match=r"serves chain 1, not"):
        await og.infer(sample["cid"], sample["model_input"])

    assert count_of_transactions(localnet) == before
    assert not (await og.status()).ready


async def test_t5_a_configured_key_is_never_used_on_the_local_network(
    localnet: LocalNetwork, tmp_path: Path
) -> None:
    keys = {"OG_PRIVATE_KEY": A_KEY, "OG_BASE_PRIVATE_KEY": A_KEY}
    async with Session.from_env(environ(localnet, tmp_path, **keys)) as og:
        status = await og.status()
        chatted = await og.chat("openai/gpt-5.4-mini", [{"role": "user", "content": "Who pays?"}])

    assert status.address == localnet.ready["accounts"][0]["address"]
    assert status.address != Account.from_key(A_KEY).address
    assert chatted.status == "done"
    payers = {session["payer"].lower() for session in localnet.sessions()}
    assert Account.from_key(A_KEY).address.lower() not in payers


async def test_t5_a_public_network_signs_for_no_loopback_rpc(localnet: LocalNetwork) -> None:
    config = {
        "OG_PRIVATE_KEY": A_KEY,
        "OG_RPC_URL": localnet.ready["rpc_url"],
        "OG_CHAIN_ID": str(localnet.ready["chain_id"]),
    }
    localnet.reset_counters()

    async with Session.from_env(config) as og:
        with pytest.raises(UnsafeEndpointError, match="loopback"):
            await og.infer(cid(localnet), {"x": 1})

    assert localnet.counters()["http_requests"] == 0


async def test_t5_a_ready_file_of_another_machine_is_refused(
    localnet: LocalNetwork, tmp_path: Path
) -> None:
    ready = {**localnet.ready, "rpc_url": "http://192.0.2.1:8545"}
    ready_file = tmp_path / "network.json"
    ready_file.write_text(json.dumps(ready), encoding="utf-8")

    async with Session.from_env({"OG_NETWORK": "local", "OG_LOCALNET": str(ready_file)}) as og:
        with pytest.raises(LocalnetError, match="not on this machine"):
            await og.network_info()


async def test_t30_plain_http_is_signed_for_only_when_the_operator_says_so() -> None:
    config = {"OG_NETWORK": "alpha-2025", "OG_PRIVATE_KEY": A_KEY}

    async with Session.from_env(config) as og:
        with pytest.raises(UnsafeEndpointError, match="OG_ALLOW_INSECURE=1"):
            await og.infer("QmX", {"x": 1})
        info = await og.network_info()

    assert not info.authenticated


async def test_a_fee_above_the_cap_is_refused_where_it_would_be_signed(
    localnet: LocalNetwork, tmp_path: Path
) -> None:
    before = count_of_transactions(localnet)
    config = environ(localnet, tmp_path, OG_MAX_FEE_PER_CALL="0.000000000001")
    sample = model(localnet, "candle-volatility")

    async with Session.from_env(config) as og:
        with pytest.raises(FeeCapError, match="OG_MAX_FEE_PER_CALL"):
            await og.infer(sample["cid"], sample["model_input"])

    assert count_of_transactions(localnet) == before


async def test_an_rpc_that_inflates_the_gas_price_meets_the_cap(
    localnet: LocalNetwork,
) -> None:
    before = count_of_transactions(localnet)
    localnet.fault("eth_gasPrice", "result", result=hex(10**15), times=9)
    sample = model(localnet, "candle-volatility")

    async with Session.from_env({**localnet.environ, "OG_MAX_FEE_PER_CALL": "0.01"}) as og:
        with pytest.raises(FeeCapError):
            await og.infer(sample["cid"], sample["model_input"])

    assert count_of_transactions(localnet) == before


async def test_a_wallet_without_coins_is_told_what_is_missing(
    localnet: LocalNetwork, tmp_path: Path
) -> None:
    poor = Account.create()
    ready = {
        **localnet.ready,
        "accounts": [{"address": poor.address, "private_key": poor.key.to_0x_hex()}],
    }
    ready_file = tmp_path / "network.json"
    ready_file.write_text(json.dumps(ready), encoding="utf-8")
    sample = model(localnet, "candle-volatility")

    async with Session.from_env({"OG_NETWORK": "local", "OG_LOCALNET": str(ready_file)}) as og:
        status = await og.status()
        with pytest.raises(InsufficientFundsError, match="0 wei") as caught:
            await og.infer(sample["cid"], sample["model_input"])

    assert not status.ready
    assert caught.value.needed > caught.value.available == 0


async def test_status_tells_an_unreachable_rpc_and_does_not_raise(
    og: Session, localnet: LocalNetwork
) -> None:
    localnet.close_service("rpc")

    status = await og.status()

    localnet.open_service("rpc")
    assert not status.ready
    assert "cannot be reached" in status.problems[0].what
    assert (await og.status()).ready


async def test_a_keystore_signs_and_a_wrong_password_names_its_variable(tmp_path: Path) -> None:
    keystore = tmp_path / "key.json"
    encrypted = Account.encrypt(bytes.fromhex(A_KEY[2:]), "right", kdf="pbkdf2", iterations=1000)
    keystore.write_text(json.dumps(encrypted), encoding="utf-8")
    config = {"OG_KEYSTORE": str(keystore), "OG_RPC_URL": "https://127.0.0.1:1", "OG_CHAIN_ID": "1"}

    async with Session.from_env({**config, "OG_KEYSTORE_PASSWORD": "right"}) as og:
        assert (await og.status()).address == Account.from_key(A_KEY).address
    async with Session.from_env({**config, "OG_KEYSTORE_PASSWORD": "wrong"}) as og:
        status = await og.status()

    assert "OG_KEYSTORE_PASSWORD" in status.problems[0].what
    assert A_KEY[2:] not in status.model_dump_json()


async def test_all_configuration_problems_are_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Session.from_env({"OG_PRIVATE_KEY": "no key", "OG_MAX_PER_CAL": "1", "OG_WAIT_S": "soon"})

    assert {problem.variable for problem in caught.value.problems} == {
        "OG_PRIVATE_KEY",
        "OG_MAX_PER_CAL",
        "OG_WAIT_S",
    }


@pytest.mark.slow
async def test_t27_the_local_networks_process_inherits_no_key() -> None:
    probe = (
        "import anyio, json, os, pathlib, subprocess\n"
        "from og_mcp.client.local_network import running_localnet\n"
        "async def main():\n"
        "    async with running_localnet() as ready:\n"
        "        me = os.getpid()\n"
        "        out = subprocess.run(['ps', '--ppid', str(me), '-o', 'pid=,args='],"
        " capture_output=True, text=True).stdout\n"
        "        pid = next(l.split()[0] for l in out.splitlines() if 'og_mcp.localnet' in l)\n"
        "        print(pathlib.Path('/proc', pid, 'environ').read_text().replace(chr(0), chr(10)))\n"
        "anyio.run(main)\n"
    )
    env = {"OG_PRIVATE_KEY": A_KEY, "AWS_SECRET_ACCESS_KEY": "hidden", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(  # noqa: S603, ASYNC221 - our own program, awaited on purpose
        [sys.executable, "-c", probe],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "PATH=" in done.stdout
    assert "OG_" not in done.stdout
    assert "SECRET" not in done.stdout


@pytest.mark.process
async def test_a_session_starts_its_own_local_network_and_ends_it(tmp_path: Path) -> None:
    async with Session.from_env({"OG_DATA_DIR": str(tmp_path)}) as og:
        info = await og.network_info()
        sample = info.sample_models[0]
        result = await og.infer(sample["cid"], sample["model_input"])
        rpc_url = info.rpc_url

    assert info.local
    assert result.model_output == sample["model_output"]
    async with Session.from_env({"OG_DATA_DIR": str(tmp_path)}) as og:
        assert (await og.network_info()).rpc_url != rpc_url


async def test_errors_know_their_stage() -> None:
    def leaves(base: type[OGError]) -> set[type[OGError]]:
        below = base.__subclasses__()
        return {base}.union(*map(leaves, below)) if below else {base}

    assert all(isinstance(error.stage, Stage) for error in leaves(OGError))
