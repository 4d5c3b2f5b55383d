"""Tool infer: one full result, then each error that the model can meet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest
from inline_snapshot import snapshot
from mcp import Client

from og_mcp.client import Session
from og_mcp.server import build_server
from og_mcp.tools._progress import EVERY_S
from tests.localnet_client import LocalNetwork
from tests.tools.calls import answer, refusal


@pytest.fixture
def sample(localnet: LocalNetwork) -> dict[str, Any]:
    """A model that takes `open_high_low_close`, 1 x 10 x 4 floats."""
    (found,) = (m for m in localnet.ready["sample_models"] if m["name"] == "candle-volatility")
    return dict(found)


def sent(localnet: LocalNetwork) -> int:
    """Count the transactions that reached the chain's RPC."""
    count: int = localnet.counters()["calls"].get("eth_sendRawTransaction", 0)
    return count


async def test_a_model_runs_on_chain(
    mcp: Client, localnet: LocalNetwork, sample: dict[str, Any]
) -> None:
    result = await answer(mcp, "infer", model_cid=sample["cid"], model_input=sample["model_input"])

    receipt = localnet.rpc("eth_getTransactionReceipt", result["transaction_hash"])
    assert len(result.pop("call_id")) == 32
    assert result == {
        "network": "local",
        "status": "done",
        "transaction_hash": receipt["transactionHash"],
        "model_output": sample["model_output"],
        "inference_mode": "VANILLA",
        "model_cid": sample["cid"],
        "is_simulation_result": True,
        "source": "event",
        "block_number": int(receipt["blockNumber"], 16),
        "gas_used": int(receipt["gasUsed"], 16),
        "fee_wei": str(int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16)),
        "explorer_url": "",
    }


@pytest.mark.parametrize("mode", ["VANILLA", "ZKML", "TEE"])
async def test_every_mode_runs(mcp: Client, sample: dict[str, Any], mode: str) -> None:
    result = await answer(
        mcp,
        "infer",
        model_cid=sample["cid"],
        model_input=sample["model_input"],
        inference_mode=mode,
    )

    assert result["inference_mode"] == mode
    assert result["model_output"] == sample["model_output"]


async def test_every_sample_gives_what_its_listing_says(
    mcp: Client, localnet: LocalNetwork
) -> None:
    for model in localnet.ready["sample_models"]:
        result = await answer(
            mcp, "infer", model_cid=model["cid"], model_input=model["model_input"]
        )

        assert result["model_output"] == model["model_output"]


async def test_a_tensor_may_come_from_a_file_below_the_upload_roots(
    localnet: LocalNetwork, sample: dict[str, Any], tmp_path: Path
) -> None:
    ((name, values),) = sample["model_input"].items()
    path = tmp_path / "candles.json"
    path.write_text(json.dumps(values), encoding="utf-8")
    environ = {**localnet.environ, "OG_UPLOAD_ROOTS": str(tmp_path)}
    async with Client(build_server(Session.from_env(environ))) as mcp:
        result = await answer(
            mcp, "infer", model_cid=sample["cid"], model_input={name: {"file": str(path)}}
        )

    assert result["model_output"] == sample["model_output"]


async def test_t26_a_file_outside_the_upload_roots_is_refused(
    mcp: Client, localnet: LocalNetwork, sample: dict[str, Any]
) -> None:
    before = sent(localnet)
    for path in (localnet.ready_file, "/etc/passwd", "~/.ssh/id_rsa"):
        text = await refusal(
            mcp,
            "infer",
            model_cid=sample["cid"],
            model_input={"open_high_low_close": {"file": str(path)}},
        )

        assert "private_key" not in text
        assert "root:" not in text
    assert sent(localnet) == before


@pytest.mark.parametrize(
    ("value", "words"),
    [
        pytest.param([[1.0, 2.0], [3.0]], ["ragged"], id="ragged"),
        pytest.param([1.0, float("nan")], ["[1]"], id="nan"),
        pytest.param([float("inf")], ["[0]"], id="infinity"),
        pytest.param([1, "two"], ["[1]"], id="mixed"),
        pytest.param([True], ["[0]"], id="boolean"),
        pytest.param([1, None], ["[1]"], id="null"),
        pytest.param([2**127], ["[0]"], id="beyond int128"),
        pytest.param([], [], id="empty"),
        pytest.param({"no": "file"}, [], id="object"),
    ],
)
async def test_a_value_that_cannot_go_on_the_wire_names_the_tensor(
    mcp: Client, localnet: LocalNetwork, sample: dict[str, Any], value: object, words: list[str]
) -> None:
    before = sent(localnet)

    text = await refusal(
        mcp, "infer", model_cid=sample["cid"], model_input={"open_high_low_close": value}
    )

    assert "'open_high_low_close'" in text
    assert all(word in text for word in words), text
    assert sent(localnet) == before


@pytest.mark.parametrize(
    "model_input",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"candles": [1.0]}, id="wrong name"),
        pytest.param({"open_high_low_close": [1.0]}, id="wrong shape"),
        pytest.param({"open_high_low_close": ["text"]}, id="text"),
        pytest.param({"open_high_low_close": [[[1.0] * 4] * 10], "extra": 1}, id="too many"),
    ],
)
@pytest.mark.parametrize("known", [True, False], ids=["looked up", "not looked up"])
async def test_an_input_that_does_not_fit_the_model_is_refused_before_anything_is_sent(
    mcp: Client,
    localnet: LocalNetwork,
    sample: dict[str, Any],
    model_input: dict[str, Any],
    *,
    known: bool,
) -> None:
    before = sent(localnet)
    if known:
        await answer(mcp, "get_model", model_name=sample["name"])

    await refusal(mcp, "infer", model_cid=sample["cid"], model_input=model_input)

    assert sent(localnet) == before


async def test_an_unknown_cid_is_refused_before_anything_is_sent(
    mcp: Client, localnet: LocalNetwork
) -> None:
    before = sent(localnet)

    text = await refusal(mcp, "infer", model_cid="QmNoSuchModel", model_input={"x": 1})

    assert "get_model" in text
    assert sent(localnet) == before


async def test_without_a_wallet_it_says_which_variable_to_set() -> None:
    async with Client(build_server(Session.from_env({"OG_NETWORK": "opengradient"}))) as mcp:
        text = await refusal(mcp, "infer", model_cid="Qm", model_input={"x": 1})

    assert text == snapshot(
        "infer on network opengradient needs a wallet and none is configured. Set OG_PRIVATE_KEY, "
        "OG_PRIVATE_KEY_FILE or OG_KEYSTORE, or OG_NETWORK=local to try without a key."
    )


async def test_a_fee_above_the_cap_is_refused_before_it_is_signed(
    localnet: LocalNetwork, sample: dict[str, Any]
) -> None:
    before = sent(localnet)
    environ = {**localnet.environ, "OG_MAX_FEE_PER_CALL": "0.000000000000000001"}
    async with Client(build_server(Session.from_env(environ))) as mcp:
        text = await refusal(
            mcp, "infer", model_cid=sample["cid"], model_input=sample["model_input"]
        )

    assert "OG_MAX_FEE_PER_CALL" in text
    assert sent(localnet) == before


async def test_an_rpc_that_is_gone_is_told_by_its_address(
    localnet: LocalNetwork, sample: dict[str, Any]
) -> None:
    localnet.close_service("rpc")
    async with Client(build_server(Session.from_env(localnet.environ))) as mcp:
        text = await refusal(
            mcp,
            "infer",
            model_cid=sample["cid"],
            model_input=sample["model_input"],
            max_retries=0,
        )

    assert localnet.ready["rpc_url"] in text
    assert "cannot be reached" in text


async def test_a_call_that_waits_for_its_block_reports_progress(
    mcp: Client, localnet: LocalNetwork, sample: dict[str, Any]
) -> None:
    heard: list[float] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        assert (total, message) == (None, f"{progress:g} s")
        heard.append(progress)
        localnet.release_blocks()

    localnet.hold_blocks()
    with anyio.fail_after(30):
        result = await mcp.call_tool(
            "infer",
            {"model_cid": sample["cid"], "model_input": sample["model_input"]},
            progress_callback=hear,
        )

    assert not result.is_error
    assert heard[0] >= EVERY_S
