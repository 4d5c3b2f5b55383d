"""Tool infer: one full result, then each error that the model can meet."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import pytest
from inline_snapshot import snapshot
from mcp import Client
from onnx import TensorProto, helper

from og_mcp.client import Session
from og_mcp.errors import coins
from og_mcp.server import build_server
from og_mcp.tools._progress import EVERY_S
from tests.localnet.graphs import graph, value
from tests.localnet_client import LocalNetwork
from tests.tools.calls import answer, refusal


def sent(localnet: LocalNetwork) -> int:
    """Count the transactions that reached the chain's RPC."""
    count: int = localnet.counters()["calls"].get("eth_sendRawTransaction", 0)
    return count


async def test_a_model_runs_on_chain(
    mcp: Client, localnet: LocalNetwork, sample: dict[str, Any]
) -> None:
    result = await answer(mcp, "infer", model_cid=sample["cid"], model_input=sample["model_input"])

    receipt = localnet.rpc("eth_getTransactionReceipt", result["transaction_hash"])
    assert next(iter(result)) == "model_output"
    assert len(result.pop("call_id")) == 32
    paid = Decimal(result["fee_wei"]).scaleb(-18)
    assert abs(Decimal(result.pop("fee").removesuffix(" ETH")) / paid - 1) < Decimal("0.005")
    assert result == {
        "network": "local",
        "vouched_by": localnet.ready["rpc_url"],
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
    }


async def test_a_dry_run_tells_the_most_it_may_cost_and_sends_nothing(
    mcp: Client, localnet: LocalNetwork, request_of_sample: dict[str, Any]
) -> None:
    before = sent(localnet)

    dry = await answer(mcp, "infer", **request_of_sample, dry_run=True)
    paid = await answer(mcp, "infer", **request_of_sample)

    assert dry["status"] == "dry_run"
    assert not {"call_id", "transaction_hash", "model_output"} & set(dry)
    assert {check["result"] for check in dry["checks"]} == {"ok"}
    assert int(dry["fee_wei"]) > int(paid["fee_wei"])
    assert sent(localnet) == before + 1


async def test_a_dry_run_refuses_what_the_call_would_be_refused_for(
    mcp: Client, sample: dict[str, Any]
) -> None:
    arguments = {"model_cid": sample["cid"], "model_input": {"open_high_low_close": [1.0]}}

    assert await refusal(mcp, "infer", **arguments, dry_run=True) == await refusal(
        mcp, "infer", **arguments
    )


async def test_one_idempotency_key_is_one_payment(
    mcp: Client, localnet: LocalNetwork, request_of_sample: dict[str, Any]
) -> None:
    before = sent(localnet)

    first = await answer(mcp, "infer", **request_of_sample, idempotency_key="order-1")
    again = await answer(mcp, "infer", **request_of_sample, idempotency_key="order-1")
    other = await answer(mcp, "infer", **request_of_sample, idempotency_key="order-2")

    assert again == first
    assert other["call_id"] != first["call_id"]
    assert sent(localnet) == before + 2


async def test_an_answer_that_was_delivered_is_not_used_again(
    mcp: Client, localnet: LocalNetwork, request_of_sample: dict[str, Any]
) -> None:
    before = sent(localnet)

    first = await answer(mcp, "infer", **request_of_sample)
    second = await answer(mcp, "infer", **request_of_sample)

    assert first["call_id"] != second["call_id"]
    assert sent(localnet) == before + 2


async def test_another_request_under_a_used_key_is_refused(
    mcp: Client, localnet: LocalNetwork, request_of_sample: dict[str, Any]
) -> None:
    await answer(mcp, "infer", **request_of_sample, idempotency_key="order-1")
    before = sent(localnet)

    text = await refusal(
        mcp, "infer", **request_of_sample, inference_mode="TEE", idempotency_key="order-1"
    )

    assert "'order-1'" in text
    assert sent(localnet) == before


@pytest.mark.parametrize("key", ["x" * 129, "two words", "ключ", "line\n", 7])
async def test_what_cannot_be_a_key_is_refused(
    mcp: Client, request_of_sample: dict[str, Any], key: object
) -> None:
    text = await refusal(mcp, "infer", **request_of_sample, idempotency_key=key)

    assert "Argument idempotency_key must be text of 0 to 128 printable ASCII characters" in text
    assert "[!-~]" not in text


@pytest.mark.slow
async def test_a_call_that_takes_long_is_handed_back_running_and_waited_for(
    localnet: LocalNetwork, request_of_sample: dict[str, Any]
) -> None:
    environ = {**localnet.environ, "OG_WAIT_S": "1"}
    async with Client(build_server(Session.from_env(environ))) as mcp:
        localnet.hold_blocks()
        before = sent(localnet)
        running = await answer(mcp, "infer", **request_of_sample)
        joined = await answer(mcp, "infer", **request_of_sample)
        waiting = await answer(mcp, "get_call", call_id=running["call_id"], wait_s=0)
        localnet.release_blocks()
        done = await answer(mcp, "get_call", call_id=running["call_id"], wait_s=20)

    assert (running["status"], "model_output" in running) == ("running", False)
    assert joined["call_id"] == running["call_id"]
    assert (waiting["status"], waiting["stage"]) == ("running", "sent_unknown")
    assert done["status"] == "done"
    assert done["transaction_hash"] == waiting["transaction_hash"]
    assert sent(localnet) == before + 1


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


@pytest.mark.sweep(quick=3)
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
    assert "Nothing was paid; the call ended at stage not_sent (call_id " in text
    assert sent(localnet) == before


def averages() -> bytes:
    """The mean of each colour of a picture of 224 x 224 pixels."""
    return graph(
        [helper.make_node("GlobalAveragePool", ["picture"], ["means"])],
        [value("picture", TensorProto.FLOAT, [1, 3, 224, 224])],
        [value("means", TensorProto.FLOAT, [1, 3, 1, 1])],
    )


PICTURE = {"picture": [[[[0.5] * 224] * 224] * 3]}


async def test_at_the_defaults_fees_stop_no_picture_on_the_local_network(
    mcp: Client, localnet: LocalNetwork
) -> None:
    cid = localnet.publish("averages", averages())
    result = await answer(mcp, "infer", model_cid=cid, model_input=PICTURE)

    assert result["model_output"] == {"means": [[[[0.5]], [[0.5]], [[0.5]]]]}


async def test_a_dry_run_and_a_refusal_tell_how_many_values_a_fee_cap_pays_for(
    localnet: LocalNetwork,
) -> None:
    cid = localnet.publish("averages too", averages())
    environ = {**localnet.environ, "OG_MAX_FEE_PER_CALL": "1000"}
    async with Client(build_server(Session.from_env(environ))) as mcp:
        dry = await answer(mcp, "infer", model_cid=cid, model_input=PICTURE, dry_run=True)
    least = -(-int(dry["fee_wei"]) // 3)
    environ["OG_MAX_FEE_PER_CALL"] = coins(least)
    async with Client(build_server(Session.from_env(environ))) as mcp:
        refused = [
            await refusal(mcp, "infer", model_cid=cid, model_input=PICTURE, dry_run=dry_run)
            for dry_run in (True, False)
        ]

    (detail,) = (one["detail"] for one in dry["checks"] if one["name"] == "fee_cap")
    assert "the input has 150,528 values, and the cap pays for about " in detail
    for text in refused:
        assert "The input has 150,528 values, and the cap pays for about 50,000." in text
    assert sent(localnet) == 0


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


@pytest.mark.slow
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
