"""Models as tools of their own (OG_MODELS), through an MCP client."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import jsonschema
import pytest
from inline_snapshot import snapshot
from mcp import Client
from mcp.types import ToolListChangedNotification
from onnx import ModelProto, TensorProto, helper

from og_mcp import tools
from og_mcp.client import Session
from og_mcp.server import build_server
from og_mcp.types import TOOL_NAMES
from tests.localnet_client import LocalNetwork
from tests.tools.calls import answer, refusal


def sample_of(localnet: LocalNetwork, name: str) -> dict[str, Any]:
    (found,) = (m for m in localnet.ready["sample_models"] if m["name"] == name)
    return dict(found)


def server_with(localnet: LocalNetwork, models: str) -> Client:
    return Client(
        build_server(Session.from_env({**localnet.environ, "OG_MODELS": models})),
        mode="2026-07-28",
    )


async def published(mcp: Client, name: str) -> dict[str, Any]:
    listed = await mcp.list_tools(cache_mode="bypass")
    (tool,) = (tool for tool in listed.tools if tool.name == name)
    return tool.model_dump(mode="json", by_alias=True, exclude_none=True)


async def learned(mcp: Client, name: str) -> dict[str, Any]:
    """Wait until the tool has arguments of its own."""
    with anyio.fail_after(30):
        while True:
            tool = await published(mcp, name)
            if "model_input" not in tool["inputSchema"]["properties"]:
                return tool
            await anyio.sleep(0.05)


def toml(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_no_tool_has_a_name_that_a_published_model_may_take() -> None:
    assert {tool.name for tool in tools.ALL} <= TOOL_NAMES
    assert len(TOOL_NAMES) == 16


async def test_a_published_model_is_a_tool_with_its_tensors_as_arguments(
    localnet: LocalNetwork,
) -> None:
    sample = sample_of(localnet, "portfolio-value")

    async with server_with(localnet, f"{sample['cid']}:portfolio_value") as mcp:
        tool = await learned(mcp, "portfolio_value")
        result = await answer(mcp, "portfolio_value", **sample["model_input"])

    assert tool["inputSchema"] == snapshot(
        {
            "additionalProperties": False,
            "properties": {
                "counts": {
                    "description": "(int64, shape [any, 3])",
                    "anyOf": [
                        {
                            "items": {
                                "items": {"type": "integer"},
                                "maxItems": 3,
                                "minItems": 3,
                                "type": "array",
                            },
                            "type": "array",
                        },
                        {
                            "additionalProperties": False,
                            "description": "A tensor in a file.",
                            "properties": {
                                "file": {
                                    "description": "Path of a .npy, .json or .csv file in the tensor's shape.",
                                    "maxLength": 4096,
                                    "minLength": 1,
                                    "type": "string",
                                }
                            },
                            "required": ["file"],
                            "type": "object",
                        },
                    ],
                },
                "prices": {
                    "description": "(float, shape [3])",
                    "anyOf": [
                        {
                            "items": {"type": "number"},
                            "maxItems": 3,
                            "minItems": 3,
                            "type": "array",
                        },
                        {
                            "additionalProperties": False,
                            "description": "A tensor in a file.",
                            "properties": {
                                "file": {
                                    "description": "Path of a .npy, .json or .csv file in the tensor's shape.",
                                    "maxLength": 4096,
                                    "minLength": 1,
                                    "type": "string",
                                }
                            },
                            "required": ["file"],
                            "type": "object",
                        },
                    ],
                },
                "idempotency_key": {
                    "default": "",
                    "description": "Name of this request: the same on a retry.",
                    "pattern": "^[!-~]{0,128}$",
                    "type": "string",
                },
                "dry_run": {
                    "default": False,
                    "description": "Tell expected and highest cost; send nothing.",
                    "type": "boolean",
                },
            },
            "required": ["counts", "prices"],
            "type": "object",
        }
    )
    jsonschema.Draft202012Validator.check_schema(tool["inputSchema"])
    jsonschema.validate(sample["model_input"], tool["inputSchema"])
    assert result["model_output"] == sample["model_output"]
    assert (result["model_cid"], result["status"]) == (sample["cid"], "done")


async def test_named_fields_make_objects_of_rows(localnet: LocalNetwork, tmp_path: Path) -> None:
    sample = sample_of(localnet, "candle-volatility")
    models = toml(
        tmp_path / "models.toml",
        f"""
        [[models]]
        cid = "{sample["cid"]}"
        name = "volatility"
        title = "Volatility"
        description = "How much ten candles move."
        inference_mode = "ZKML"
        [models.inputs.open_high_low_close]
        description = "Ten candles, the oldest first."
        fields = {{ open = "First price.", high = "", low = "", close = "Last price." }}
        """,
    )
    rows = [
        dict(zip(("open", "high", "low", "close"), row, strict=True))
        for row in sample["model_input"]["open_high_low_close"][0]
    ]

    async with server_with(localnet, models) as mcp:
        tool = await learned(mcp, "volatility")
        result = await answer(mcp, "volatility", open_high_low_close=rows)
        repaired = await answer(mcp, "volatility", open_high_low_close=json.dumps(rows))
        plain = await answer(
            mcp, "volatility", open_high_low_close=[list(r.values()) for r in rows]
        )
        whole = await answer(mcp, "volatility", **sample["model_input"])
        refused = await refusal(
            mcp, "volatility", open_high_low_close=[*rows[:9], {**rows[9], "close": "high"}]
        )

    assert tool["title"] == "Volatility"
    assert tool["description"].startswith("How much ten candles move.\n\nRuns the model on chain")
    assert tool["inputSchema"]["properties"]["open_high_low_close"] == snapshot(
        {
            "description": "Ten candles, the oldest first. (float, shape [1, 10, 4])",
            "anyOf": [
                {
                    "items": {
                        "anyOf": [
                            {
                                "additionalProperties": False,
                                "properties": {
                                    "open": {"description": "First price.", "type": "number"},
                                    "high": {"type": "number"},
                                    "low": {"type": "number"},
                                    "close": {"description": "Last price.", "type": "number"},
                                },
                                "required": ["open", "high", "low", "close"],
                                "type": "object",
                            },
                            {
                                "items": {"type": "number"},
                                "maxItems": 4,
                                "minItems": 4,
                                "type": "array",
                            },
                        ]
                    },
                    "maxItems": 10,
                    "minItems": 10,
                    "type": "array",
                },
                {
                    "additionalProperties": False,
                    "description": "A tensor in a file.",
                    "properties": {
                        "file": {
                            "description": "Path of a .npy, .json or .csv file in the tensor's shape.",
                            "maxLength": 4096,
                            "minLength": 1,
                            "type": "string",
                        }
                    },
                    "required": ["file"],
                    "type": "object",
                },
            ],
        }
    )
    for one in (result, repaired, plain, whole):
        assert one["model_output"] == sample["model_output"]
    assert result["inference_mode"] == "ZKML"
    assert refused == snapshot(
        "Argument open_high_low_close[9].close must be a number, not 'high'. volatility takes "
        "open_high_low_close, idempotency_key, dry_run. Nothing was sent or paid."
    )


async def test_wrong_arguments_are_refused_before_anything_is_sent(localnet: LocalNetwork) -> None:
    sample = sample_of(localnet, "portfolio-value")
    good = sample["model_input"]
    before = localnet.counters()["calls"].get("eth_sendRawTransaction", 0)

    async with server_with(localnet, f"{sample['cid']}:values") as mcp:
        await learned(mcp, "values")
        short = await refusal(mcp, "values", **{**good, "prices": [1.0, 2.0]})
        truth = await refusal(mcp, "values", **{**good, "prices": [1.0, True, 2.0]})
        text = await refusal(mcp, "values", **{**good, "prices": ["1", "2", "3"]})
        part = await refusal(mcp, "values", **{**good, "counts": [[1, 2, 2.5]]})
        generic = await refusal(mcp, "values", model_input=good)
        misspelt = await refusal(mcp, "values", **good, dryrun=True)
        none = await refusal(mcp, "values", counts=good["counts"])

    assert "Argument prices must be an array of 3 to 3 items, not an array of 2." in short
    assert "Argument prices[1] must be a number, not true." in truth
    assert "Argument prices[0] must be a number, not '1'." in text
    assert "Argument counts[0][2] must be a whole number, not 2.5." in part
    assert "Unknown argument 'model_input'" in generic
    assert "Unknown argument 'dryrun'; did you mean dry_run?" in misspelt
    assert "Argument prices is missing." in none
    assert localnet.counters()["calls"].get("eth_sendRawTransaction", 0) == before


async def test_inputs_come_from_files_as_infer_takes_them(
    localnet: LocalNetwork, tmp_path: Path
) -> None:
    sample = sample_of(localnet, "candle-volatility")
    (rows,) = sample["model_input"]["open_high_low_close"]
    lines = [",".join(map(str, row)) for row in rows]
    (tmp_path / "candles.csv").write_text("\n".join(["open,high,low,close", *lines]))
    environ = {
        **localnet.environ,
        "OG_MODELS": f"{sample['cid']}:volatility",
        "OG_UPLOAD_ROOTS": str(tmp_path),
    }

    async with Client(build_server(Session.from_env(environ)), mode="2026-07-28") as mcp:
        await learned(mcp, "volatility")
        result = await answer(mcp, "volatility", open_high_low_close={"file": "candles.csv"})
        absent = await refusal(mcp, "volatility", open_high_low_close={"file": "none.csv"})
        wrong = await refusal(mcp, "volatility", open_high_low_close={"path": "candles.csv"})

    assert result["model_output"] == sample["model_output"]
    assert result["note"].startswith("The header of 'candles.csv' was skipped: 'open', 'high'")
    assert absent.startswith("Tensor 'open_high_low_close': the file 'none.csv' was not read")
    assert wrong.startswith("Argument open_high_low_close must be an array")


async def test_every_way_to_give_an_input_is_in_the_schema_and_taken(
    localnet: LocalNetwork,
) -> None:
    scalar = helper.make_tensor_value_info("n", TensorProto.INT64, [1, 1])
    flag = helper.make_tensor_value_info("b", TensorProto.BOOL, ["k"])
    outputs = [
        helper.make_tensor_value_info("m", TensorProto.INT64, [1, 1]),
        helper.make_tensor_value_info("c", TensorProto.BOOL, ["k"]),
    ]
    nodes = [helper.make_node("Identity", ["n"], ["m"]), helper.make_node("Not", ["b"], ["c"])]
    graph = helper.make_graph(nodes, "ways", [scalar, flag], outputs)
    model: ModelProto = helper.make_model(
        graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]
    )
    cid = localnet.publish("ways", model.SerializeToString())

    async with server_with(localnet, f"{cid}:ways") as mcp:
        await learned(mcp, "ways")
        for n, b in ((7, [True, 0]), ("7", [1, False]), ([[7]], [True, False])):
            result = await answer(mcp, "ways", n=n, b=b)
            assert result["model_output"] == {"m": [[7]], "c": [0, 1]}
        empty = await answer(mcp, "ways", n=7, b=[])

    assert empty["model_output"]["c"] == []


async def test_a_model_without_inputs_is_a_tool_without_tensors(localnet: LocalNetwork) -> None:
    path = Path(__file__).parents[1] / "inputs" / "no_inputs.onnx"
    cid = localnet.publish("no-inputs", path.read_bytes())

    async with server_with(localnet, f"{cid}:constant") as mcp:
        tool = await learned(mcp, "constant")
        result = await answer(mcp, "constant")

    assert list(tool["inputSchema"]["properties"]) == ["idempotency_key", "dry_run"]
    assert result["model_output"] == {"y": [1, 2]}


async def test_dry_run_and_idempotency_key_work_as_in_infer(localnet: LocalNetwork) -> None:
    sample = sample_of(localnet, "portfolio-value")

    async with server_with(localnet, f"{sample['cid']}:values") as mcp:
        await learned(mcp, "values")
        dry = await answer(mcp, "values", **sample["model_input"], dry_run=True)
        first = await answer(mcp, "values", **sample["model_input"], idempotency_key="one")
        again = await answer(mcp, "values", **sample["model_input"], idempotency_key="one")

    assert (dry["status"], "call_id" in dry) == ("dry_run", False)
    assert first == again


async def test_clients_hear_that_a_tool_took_shape(localnet: LocalNetwork) -> None:
    cid = sample_of(localnet, "portfolio-value")["cid"]
    # The hub answers once somebody listens.
    localnet.latency(1.0, service="hub_read")

    async with server_with(localnet, f"{cid}:values") as mcp:
        before = await published(mcp, "values")
        async with mcp.listen(tools_list_changed=True) as heard:
            with anyio.fail_after(30):
                await anext(aiter(heard))
        after = await published(mcp, "values")

    assert next(iter(before["inputSchema"]["properties"])) == "model_input"
    assert next(iter(after["inputSchema"]["properties"])) == "counts"


async def test_clients_of_older_protocols_are_told_as_they_were_promised(
    localnet: LocalNetwork,
) -> None:
    cid = sample_of(localnet, "portfolio-value")["cid"]
    localnet.latency(1.0, service="hub_read")
    told = anyio.Event()

    async def hear(message: object) -> None:
        if isinstance(message, ToolListChangedNotification):
            told.set()

    environ = {**localnet.environ, "OG_MODELS": f"{cid}:values"}
    server = build_server(Session.from_env(environ))
    async with Client(server, mode="legacy", message_handler=hear) as mcp:
        promised = mcp.server_capabilities.tools
        with anyio.fail_after(30):
            await told.wait()
        after = await published(mcp, "values")

    assert promised is not None
    assert promised.list_changed
    assert next(iter(after["inputSchema"]["properties"])) == "counts"


async def test_where_no_tool_changes_nothing_is_promised(localnet: LocalNetwork) -> None:
    async with Client(build_server(Session.from_env(localnet.environ)), mode="legacy") as mcp:
        promised = mcp.server_capabilities.tools

    assert promised is not None
    assert not promised.list_changed


async def test_the_listing_keeps_its_order(localnet: LocalNetwork) -> None:
    cids = [sample["cid"] for sample in localnet.ready["sample_models"]]
    names = ["zebra", "apple", "mango"]
    models = ",".join(f"{cid}:{name}" for cid, name in zip(cids, names, strict=True))

    async with server_with(localnet, models) as mcp:
        first = await mcp.list_tools(cache_mode="bypass")
        for name in names:
            await learned(mcp, name)
        second = await mcp.list_tools(cache_mode="bypass")

    expected = [*(tool.name for tool in tools.ALL), *names]
    assert [tool.name for tool in first.tools] == expected
    assert [tool.name for tool in second.tools] == expected


async def test_what_was_learned_is_there_at_the_next_start_without_a_network(
    localnet: LocalNetwork,
) -> None:
    sample = sample_of(localnet, "portfolio-value")
    models = f"{sample['cid']}:values"
    async with server_with(localnet, models) as mcp:
        then = await learned(mcp, "values")

    environ = {
        "OG_NETWORK": "local",
        "OG_DATA_DIR": str(localnet.data_dir),
        "OG_MODELS": models,
    }
    async with Client(build_server(Session.from_env(environ))) as mcp:
        now = await published(mcp, "values")
        ttl = (await mcp.list_tools(cache_mode="bypass")).ttl_ms

    assert now == then
    assert ttl == 300_000


async def test_an_unknown_model_has_the_arguments_of_infer(localnet: LocalNetwork) -> None:
    async with server_with(localnet, "QmNowhere:nowhere") as mcp:
        tool = await published(mcp, "nowhere")
        text = await refusal(mcp, "nowhere", model_input={"x": 1.0})

    assert list(tool["inputSchema"]["properties"]) == ["model_input", "idempotency_key", "dry_run"]
    assert "no model file has the CID" in text


async def test_the_operator_can_say_what_a_model_takes(
    localnet: LocalNetwork, tmp_path: Path
) -> None:
    models = toml(
        tmp_path / "m.toml",
        """
        [[models]]
        cid = "QmNowhere"
        name = "nowhere"
        inputs.x = { dtype = "float", shape = [2], fields = ["a", "b"] }
        inputs."image:0" = { dtype = "uint8", shape = [1, 224, 224, 3], description = "A photo." }
        inputs.text = { dtype = "string", shape = [] }
        """,
    )

    async with server_with(localnet, models) as mcp:
        tool = await published(mcp, "nowhere")

    schema = tool["inputSchema"]
    assert schema["required"] == ["x", "image_0", "text"]
    forms = {name: schema["properties"][name]["anyOf"] for name in schema["required"]}
    assert list(forms["x"][0]["anyOf"][0]["properties"]) == ["a", "b"]
    assert [form.get("required", form["type"]) for form in forms["image_0"]] == [["file"], "array"]
    assert [form.get("required", form["type"]) for form in forms["text"]] == ["string", ["file"]]


@pytest.mark.parametrize("flags", [{"OG_READ_ONLY": "1"}, {"OG_TOOLSETS": "hub"}])
async def test_the_flags_leave_published_models_out(flags: dict[str, str]) -> None:
    environ = {"OG_NETWORK": "local", "OG_MODELS": "Qm1:mine", **flags}
    async with Client(build_server(Session.from_env(environ))) as mcp:
        listed = await mcp.list_tools()

    assert "mine" not in [tool.name for tool in listed.tools]


async def test_words_about_what_the_model_does_not_take_are_told(
    localnet: LocalNetwork, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sample = sample_of(localnet, "portfolio-value")
    models = toml(
        tmp_path / "m.toml",
        f"""
        [[models]]
        cid = "{sample["cid"]}"
        name = "values"
        inputs.price.description = "Misspelt."
        inputs.prices.fields = ["one", "two"]
        inputs.counts.fields = ["one", "two", "three"]
        """,
    )
    async with server_with(localnet, models) as mcp:
        tool = await learned(mcp, "values")

    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert said == [
        "OG_MODELS, tool values: the model has no input 'price'",
        "OG_MODELS, tool values: input 'prices' does not end in an axis of 2 fields",
    ]
    properties = tool["inputSchema"]["properties"]
    (prices, _), (counts, _) = properties["prices"]["anyOf"], properties["counts"]["anyOf"]
    assert prices["items"]["type"] == "number"
    assert list(counts["items"]["anyOf"][0]["properties"]) == ["one", "two", "three"]


def named_by_file() -> bytes:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", [x], [y])
    model: ModelProto = helper.make_model(
        graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]
    )
    helper.set_model_props(model, {"feature_names": '["height", "weight"]'})
    return bytes(model.SerializeToString())


async def test_fields_that_the_file_names_are_used(localnet: LocalNetwork) -> None:
    cid = localnet.publish("named-by-file", named_by_file())

    async with server_with(localnet, f"{cid}:negated") as mcp:
        tool = await learned(mcp, "negated")
        result = await answer(mcp, "negated", x={"height": 1.5, "weight": 2})

    (fields, _), _ = (way.get("anyOf") for way in tool["inputSchema"]["properties"]["x"]["anyOf"])
    assert list(fields["properties"]) == ["height", "weight"]
    assert result["model_output"] == {"y": [[-1.5, -2.0]]}
