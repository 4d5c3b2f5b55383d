"""Outputs that arrive: large ones as files, and what cannot be read refused before gas is paid (T42)."""

from __future__ import annotations

import base64
import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import numpy as np
import onnxruntime
import pytest
from mcp import Client
from mcp.types import BlobResourceContents, ResourceLink
from onnx import TensorProto, helper

from og_mcp.client import Session
from og_mcp.client.codec.outputs import ModelOutput, fits
from og_mcp.client.files.output_files import OutputFiles
from og_mcp.errors import NotFoundError, ServiceReplyError
from tests.localnet_client import LocalNetwork
from tests.tools.calls import answer, refusal

INPUTS: Final = Path(__file__).parents[1] / "inputs"


def model(
    node: str, shape: list[Any], *, kind: int = TensorProto.FLOAT, twice: bool = False
) -> bytes:
    inputs = [helper.make_tensor_value_info("x", kind, shape)]
    outputs = [helper.make_tensor_value_info("y", kind, shape)] * (2 if twice else 1)
    graph = helper.make_graph([helper.make_node(node, ["x"], ["y"])], uuid4().hex, inputs, outputs)
    opsets = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(graph, ir_version=8, opset_imports=opsets).SerializeToString())


def published(localnet: LocalNetwork, content: bytes) -> str:
    return localnet.publish(f"outputs-{uuid4().hex}", content)


def sent(localnet: LocalNetwork) -> int:
    count: int = localnet.counters()["calls"].get("eth_sendRawTransaction", 0)
    return count


async def test_t42_a_large_tensor_is_told_in_a_few_words_and_kept_whole(
    mcp: Client, localnet: LocalNetwork
) -> None:
    given = np.linspace(-1, 1, 3000, dtype=np.float32).reshape(3, 1000)
    content = model("Neg", ["a", "b"])
    cid = published(localnet, content)

    result = await mcp.call_tool("infer", {"model_cid": cid, "model_input": {"x": given.tolist()}})

    assert result.structured_content is not None
    assert len(result.model_dump_json()) < 20_000
    told = result.structured_content["model_output"]["y"]
    assert (told["shape"], told["dtype"], told["range"]) == ([3, 1000], "float32", [-1.0, 1.0])
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"x": given})
    kept = np.load(told["path"])
    assert np.abs(kept - expected).max() < 1e-6
    assert kept.shape == expected.shape
    assert told["first"] == pytest.approx(expected.reshape(-1)[:8].tolist(), abs=1e-6)
    (whole,) = (await mcp.read_resource(told["uri"])).contents
    assert isinstance(whole, BlobResourceContents)
    assert np.array_equal(np.load(BytesIO(base64.b64decode(whole.blob))), kept)
    (link,) = (block for block in result.content if isinstance(block, ResourceLink))
    assert (link.uri, link.size) == (told["uri"], told["size"])
    again = await answer(mcp, "get_call", call_id=result.structured_content["call_id"])
    assert again["result"]["model_output"]["y"] == told
    checked = await answer(mcp, "verify_receipt", call_id=result.structured_content["call_id"])
    assert checked["valid"]


async def test_an_output_of_another_principal_or_of_nobody_is_not_found(tmp_path: Path) -> None:
    files = OutputFiles(tmp_path)
    numbers = np.arange(5000)
    output = ModelOutput(numbers={"y": numbers})
    told = files.present(output, {"y": numbers.tolist()}, "one")["y"]

    assert np.array_equal(np.load(BytesIO(await files.read(told["uri"][-64:], "one"))), numbers)
    for sha256, principal in ((told["uri"][-64:], "two"), ("0" * 64, "one"), ("../x", "one")):
        with pytest.raises(Exception, match="There is no output"):
            await files.read(sha256, principal)


async def test_an_output_is_pruned_with_its_call(localnet: LocalNetwork) -> None:
    cid = published(localnet, model("Neg", ["n"]))
    long_ago = datetime.now(UTC) - timedelta(days=9)
    async with Session.from_env(localnet.environ) as og:
        result = await og.infer(cid, {"x": [0.5] * 2500})
        told = result.model_output["y"]
        os.utime(told["path"], (long_ago.timestamp(), long_ago.timestamp()))
        young = await og.prune(datetime.now(UTC))
        kept = await og.output(told["uri"][-64:])
    with closing(sqlite3.connect(f"{localnet.environ['OG_DATA_DIR']}/journal.db")) as journal:
        journal.execute("UPDATE calls SET updated_at = ?", (int(long_ago.timestamp() * 10**6),))
        journal.commit()

    async with Session.from_env(localnet.environ) as og:
        old = await og.prune(datetime.now(UTC))
        with pytest.raises(NotFoundError):
            await og.output(told["uri"][-64:])

    assert (young.calls, young.files, old.calls) == (0, 0, 1)
    assert kept.startswith(b"\x93NUMPY")


def test_what_cannot_be_kept_is_handed_over_whole(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    numbers = np.arange(5000)

    shown = OutputFiles(tmp_path / "taken").present(
        ModelOutput(numbers={"y": numbers}), {"y": numbers.tolist()}, "one"
    )

    assert shown == {"y": numbers.tolist()}


def test_texts_and_integers_of_any_size_are_kept_exactly(tmp_path: Path) -> None:
    files = OutputFiles(tmp_path)
    large = np.array([2**100 + index for index in range(3000)], object)
    texts = [f"t{index}" for index in range(3000)]
    values = {"n": large.tolist(), "s": texts}

    shown = files.present(ModelOutput(numbers={"n": large}, strings={"s": texts}), values, "one")

    assert np.load(shown["n"]["path"]).tolist() == [str(value) for value in large]
    assert shown["n"]["range"] == [str(2**100), str(2**100 + 2999)]
    assert np.load(shown["s"]["path"]).tolist() == texts
    assert shown["s"]["dtype"] == "string"


async def test_t42_an_empty_tensor_of_any_width_is_answered(
    mcp: Client, localnet: LocalNetwork
) -> None:
    cid = published(localnet, (INPUTS / "zero_dets.onnx").read_bytes())
    before = sent(localnet)

    result = await answer(mcp, "infer", model_cid=cid, model_input={"x": [[-1.0]]})

    assert result["model_output"] == {"features": []}
    assert result["note"] == "Output 'features' has no values; its shape is [0, 2048]."
    assert sent(localnet) == before + 1


async def test_t42_integers_beyond_what_json_holds_travel_as_text_both_ways(
    mcp: Client, localnet: LocalNetwork
) -> None:
    cid = published(localnet, (INPUTS / "int64_plus.onnx").read_bytes())

    for given in ([9007199254740992], ["9007199254740992"]):
        result = await answer(mcp, "infer", model_cid=cid, model_input={"x": given})

        assert [*result["model_output"].values()] == [["9007199254740993"]]


async def test_t42_nan_is_told_before_paying_with_output_index_and_what_to_do(
    mcp: Client, localnet: LocalNetwork
) -> None:
    cid = published(localnet, (INPUTS / "nan_out.onnx").read_bytes())
    before = sent(localnet)

    text = await refusal(mcp, "infer", model_cid=cid, model_input={"x": [-1.0]})

    assert "holds NaN at [0]" in text
    assert "replace them" in text
    assert "not_sent" in text
    assert sent(localnet) == before


@pytest.mark.parametrize("dry_run", [False, True])
async def test_t42_an_answer_that_could_not_be_read_is_refused_before_gas_is_paid(
    mcp: Client, localnet: LocalNetwork, dry_run: bool
) -> None:
    cid = published(localnet, model("Neg", [2]))
    asked = {"model_cid": cid, "model_input": {"x": [1.0, 2.0]}}
    await answer(mcp, "infer", **asked)
    before = sent(localnet)
    localnet.fault("eth_call", "result", result="0x" + "ff" * 64)

    text = await refusal(mcp, "infer", **asked, dry_run=dry_run)

    assert "would give an output that cannot be read" in text
    assert "Nothing was sent or paid" in text
    assert sent(localnet) == before


async def test_an_output_that_is_listed_twice_is_given_once(
    mcp: Client, localnet: LocalNetwork
) -> None:
    content = model("Neg", [2], twice=True)
    cid = published(localnet, content)

    result = await answer(mcp, "infer", model_cid=cid, model_input={"x": [1.0, 2.0]})

    assert result["model_output"] == {"y": [-1.0, -2.0]}


def test_shapes_without_values_are_bounded_before_their_first_0() -> None:
    assert fits(0, [0, 2048])
    assert fits(0, [1, 0, 151_936])
    assert not fits(0, [4_294_967_295, 0])
    assert not fits(0, [0, 4_294_967_295, 4_294_967_295])


def test_two_outputs_of_one_name_that_differ_cannot_be_read() -> None:
    output = ModelOutput()
    output.add("numbers", "y", np.array([1]))
    output.add("numbers", "y", np.array([1]))

    with pytest.raises(ServiceReplyError, match="that differ"):
        output.add("numbers", "y", np.array([2]))
