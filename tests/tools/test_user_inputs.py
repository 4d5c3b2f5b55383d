"""Models and files as people have them, published and run through the tools beside onnxruntime."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import onnxruntime
import pytest
from mcp import Client
from onnx import ModelProto, TensorProto, ValueInfoProto, helper

from og_mcp.client import Session
from og_mcp.server import build_server
from tests import onnx_files
from tests.localnet_client import LocalNetwork
from tests.tools.calls import answer, refusal

INPUTS = Path(__file__).parents[1] / "inputs"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "files"
    made.mkdir()
    return made


@pytest.fixture
async def mcp(localnet: LocalNetwork, folder: Path) -> AsyncIterator[Client]:
    environ = {**localnet.environ, "OG_UPLOAD_ROOTS": f"{INPUTS}:{folder}"}
    async with Client(build_server(Session.from_env(environ))) as client:
        yield client


async def publish(mcp: Client, path: str) -> dict[str, Any]:
    """Publish a file of a root by its relative path; returns the tool's result."""
    name = f"{Path(path).stem}-{uuid4().hex[:8]}"
    return await answer(mcp, "create_model", model_name=name, model_desc="", model_path=path)


def onnx_file(*nodes: Any, inputs: list[ValueInfoProto], outputs: list[ValueInfoProto]) -> bytes:  # noqa: ANN401 - NodeProto
    """Write a model; a name of its own makes it another file every time."""
    graph = helper.make_graph(nodes, uuid4().hex, inputs, outputs)
    opset = helper.make_opsetid("", 21)
    model: ModelProto = helper.make_model(graph, opset_imports=[opset], ir_version=10)
    return bytes(model.SerializeToString())


def cast(dtype: int, source: int = TensorProto.FLOAT) -> bytes:
    return onnx_file(
        helper.make_node("Cast", ["x"], ["y"], to=dtype),
        inputs=[helper.make_tensor_value_info("x", source, ["n"])],
        outputs=[helper.make_tensor_value_info("y", dtype, ["n"])],
    )


def same(dtype: int, *shape: str | int) -> bytes:
    return onnx_file(
        helper.make_node("Identity", ["x"], ["y"]),
        inputs=[helper.make_tensor_value_info("x", dtype, shape)],
        outputs=[helper.make_tensor_value_info("y", dtype, shape)],
    )


def as_here(path: Path, feeds: dict[str, Any]) -> dict[str, Any]:
    """Run a model with onnxruntime itself."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    values = [value.tolist() for value in session.run(names, feeds)]
    return dict(zip(names, values, strict=True))


def paid(localnet: LocalNetwork) -> int:
    count: int = localnet.counters()["calls"].get("eth_sendRawTransaction", 0)
    return count


async def test_a_weight_that_is_no_input_is_a_warning(mcp: Client) -> None:
    made = await publish(mcp, "ir3_initializer.onnx")
    rows = [[1, 1], [1, 1], [1, 1]]

    result = await answer(
        mcp, "infer", model_cid=made["upload"]["model_cid"], model_input={"X": rows}
    )

    (warning,) = made["warnings"]
    assert warning == (
        "The onnx package says of 'ir3_initializer.onnx': 'W in initializer but not in graph "
        "input'. It was published all the same: onnxruntime runs such files."
    )
    assert made["upload"]["checked_by"] == "onnxruntime"
    expected = as_here(INPUTS / "ir3_initializer.onnx", {"X": np.array(rows, np.float32)})
    assert result["model_output"] == expected


async def test_an_output_without_a_shape_is_a_warning(mcp: Client, folder: Path) -> None:
    content = onnx_file(
        helper.make_node("Neg", ["x"], ["y"]),
        inputs=[helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
        outputs=[helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    (folder / "bare.onnx").write_bytes(content)

    made = await publish(mcp, "bare.onnx")
    result = await answer(
        mcp, "infer", model_cid=made["upload"]["model_cid"], model_input={"x": [1, 2]}
    )

    assert "Field 'shape' of 'type' is required but missing" in made["warnings"][0].replace(
        "\\'", "'"
    )
    assert result["model_output"] == {"y": [-1, -2]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (onnx_files.small().replace(b"Add", b"Adx"), "No Op registered for Adx"),
        (onnx_files.external(), "weights in other files"),
        (onnx_files.small().replace(b"\x10\x11", b"\x10\x63"), "Opset 99 is under development"),
    ],
    ids=["an unknown operator", "external data", "a new opset"],
)
async def test_what_cannot_be_loaded_or_reaches_outside_is_not_published(
    mcp: Client, folder: Path, content: bytes, said: str
) -> None:
    (folder / "bad.onnx").write_bytes(content)

    text = await refusal(
        mcp,
        "create_model",
        model_name=f"bad-{uuid4().hex[:8]}",
        model_desc="",
        model_path=str(folder / "bad.onnx"),
    )

    assert text.startswith(f"The file '{folder / 'bad.onnx'}' is not published: ")
    assert said in text


async def test_a_refused_opset_keeps_its_reason(mcp: Client, localnet: LocalNetwork) -> None:
    content = same(TensorProto.FLOAT, "n").replace(b"\x10\x15", b"\x10\x63")
    cid = localnet.publish(f"opset-{uuid4().hex[:8]}", content)

    text = await refusal(mcp, "infer", model_cid=cid, model_input={"x": [1.5]})

    assert "the model cannot be loaded: ONNX Runtime only *guarantees* support" in text
    assert "Opset 99 is under development" in text


async def test_a_cache_without_a_past_is_taken(
    mcp: Client, localnet: LocalNetwork, folder: Path
) -> None:
    path = INPUTS / "kv_cache.onnx"
    cid = localnet.publish(f"kv-{uuid4().hex[:8]}", path.read_bytes())
    np.save(folder / "past.npy", np.zeros((1, 0, 2), np.float32))
    x = [[[3, 4]]]
    feeds = {"past": np.zeros((1, 0, 2), np.float32), "x": np.array(x, np.float32)}

    pasts: list[object] = [[[]], {"file": "past.npy"}]
    for past in pasts:
        result = await answer(mcp, "infer", model_cid=cid, model_input={"past": past, "x": x})
        receipt = await answer(mcp, "verify_receipt", call_id=result["call_id"])

        assert result["model_output"] == as_here(path, feeds)
        assert receipt["valid"]


async def test_a_model_without_inputs_answers(mcp: Client, localnet: LocalNetwork) -> None:
    path = INPUTS / "no_inputs.onnx"
    cid = localnet.publish(f"none-{uuid4().hex[:8]}", path.read_bytes())

    result = await answer(mcp, "infer", model_cid=cid, model_input={})
    receipt = await answer(mcp, "verify_receipt", call_id=result["call_id"])

    assert result["model_output"] == as_here(path, {})
    assert receipt["valid"]


async def test_postcodes_stay_text(mcp: Client, localnet: LocalNetwork) -> None:
    cid = localnet.publish(f"post-{uuid4().hex[:8]}", same(TensorProto.STRING, "n"))

    result = await answer(mcp, "infer", model_cid=cid, model_input={"x": {"file": "postcodes.csv"}})

    assert result["model_output"] == {"y": ["01234", "00501"]}


async def test_decimal_commas_are_read_or_named(mcp: Client, localnet: LocalNetwork) -> None:
    file = {"x": {"file": "decimal-comma.csv"}}
    column = localnet.publish(f"comma-{uuid4().hex[:8]}", same(TensorProto.FLOAT, "n", 1))
    table = localnet.publish(f"comma-{uuid4().hex[:8]}", same(TensorProto.FLOAT, "n", "m"))
    before = paid(localnet)

    refused = await refusal(mcp, "infer", model_cid=table, model_input=file)
    assert paid(localnet) == before
    result = await answer(mcp, "infer", model_cid=column, model_input=file)

    assert refused == (
        "Tensor 'x' is not read from 'decimal-comma.csv': its commas may be decimal commas or "
        "separators. Use ';' between columns and a decimal point, or give a .json or .npy file. "
        "Nothing was sent or paid."
    )
    assert result["model_output"] == {"y": [[1.5], [2.5]]}
    assert result["note"] == "Commas in 'decimal-comma.csv' were read as decimal commas."


async def test_a_header_is_skipped_and_said_so(
    mcp: Client, localnet: LocalNetwork, folder: Path
) -> None:
    cid = localnet.publish(f"header-{uuid4().hex[:8]}", same(TensorProto.FLOAT, "n", 2))
    (folder / "t.csv").write_text("low;high\n1,5;2\n3;4,25\n", encoding="utf-8")
    (folder / "empty.csv").write_bytes(b"")
    arguments = {"model_cid": cid, "model_input": {"x": {"file": "t.csv"}}}

    dry = await answer(mcp, "infer", **arguments, dry_run=True)
    result = await answer(mcp, "infer", **arguments)
    empty = await refusal(mcp, "infer", model_cid=cid, model_input={"x": {"file": "empty.csv"}})
    absent = await refusal(mcp, "infer", model_cid=cid, model_input={"x": {"file": "none.csv"}})

    assert result["model_output"] == {"y": [[1.5, 2], [3, 4.25]]}
    assert (
        result["note"]
        == dry["note"]
        == (
            "The header of 't.csv' was skipped: 'low', 'high'. "
            "Commas in 't.csv' were read as decimal commas."
        )
    )
    assert empty.startswith("Tensor 'x' is not read from 'empty.csv': the file is empty.")
    assert absent.startswith("Tensor 'x': the file 'none.csv' was not read: there is no such file.")


async def test_truth_is_taken_where_the_graph_has_it(mcp: Client, localnet: LocalNetwork) -> None:
    cid = localnet.publish(f"bool-{uuid4().hex[:8]}", same(TensorProto.BOOL, "n"))

    result = await answer(mcp, "infer", model_cid=cid, model_input={"x": [True, False]})

    assert result["model_output"] == {"y": [1, 0]}


def not_unicode() -> bytes:
    text = TensorProto(name="c", data_type=TensorProto.STRING, dims=[1])
    text.string_data.append(b"\xff\xfe")
    return onnx_file(
        helper.make_node("Constant", [], ["y"], value=text),
        inputs=[],
        outputs=[helper.make_tensor_value_info("y", TensorProto.STRING, [1])],
    )


@pytest.mark.parametrize(
    ("content", "value", "said"),
    [
        (
            (INPUTS / "bf16_out.onnx").read_bytes(),
            {"x": [0.1]},
            'the output "y" is bfloat16, which cannot be read; let the model cast it to float',
        ),
        (cast(TensorProto.INT4), {"x": [1]}, 'the output "y" is int4, which cannot be read'),
        (cast(TensorProto.FLOAT8E4M3FN), {"x": [1]}, 'the output "y" is float8e4m3fn, which'),
        (cast(TensorProto.FLOAT, TensorProto.BFLOAT16), {"x": [1]}, 'the input "x" is'),
        (not_unicode(), {}, "the model failed: an output holds text not in UTF-8"),
    ],
    ids=["bfloat16", "int4", "float8", "bfloat16 in", "text"],
)
async def test_what_the_runtime_cannot_hand_over_is_told_before_paying(
    mcp: Client, localnet: LocalNetwork, content: bytes, value: dict[str, Any], said: str
) -> None:
    cid = localnet.publish(f"odd-{uuid4().hex[:8]}", content)
    before = paid(localnet)

    text = await refusal(mcp, "infer", model_cid=cid, model_input=value)

    assert said in text
    assert "answered 500" not in text
    assert paid(localnet) == before


@pytest.mark.parametrize("mode", ["tee", "Tee", " zkml"])
async def test_modes_are_taken_in_any_case(
    mcp: Client, request_of_sample: dict[str, Any], mode: str
) -> None:
    dry = await answer(
        mcp, "infer", **request_of_sample, inference_mode=mode, max_retries=None, dry_run=True
    )

    assert dry["inference_mode"] == mode.strip().upper()
