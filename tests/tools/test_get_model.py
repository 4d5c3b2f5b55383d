"""Tool get_model."""

from __future__ import annotations

from itertools import product
from uuid import uuid4

from mcp import Client
from onnx import TensorProto, ValueInfoProto, helper

from tests.localnet_client import LocalNetwork
from tests.tools.calls import answer, refusal


async def test_a_model_is_told_with_what_infer_needs(mcp: Client, localnet: LocalNetwork) -> None:
    sample = localnet.ready["sample_models"][0]

    result = await answer(mcp, "get_model", model_name=sample["name"])

    assert (result["network"], result["name"]) == ("local", sample["name"])
    assert result["author"] == sample["author"]
    assert result["example_input"] == sample["model_input"]
    (version,) = result["versions"]
    (file,) = version["files"]
    assert (version["version"], file["model_cid"]) == (sample["version"], sample["cid"])
    assert file["inputs"] == [
        {"name": "open_high_low_close", "dtype": "float", "shape": [1, 10, 4]}
    ]


async def test_the_author_may_be_given(mcp: Client, localnet: LocalNetwork) -> None:
    sample = localnet.ready["sample_models"][0]

    result = await answer(mcp, "get_model", model_name=sample["name"], author=sample["author"])

    assert result["author"] == sample["author"]


async def test_an_unknown_model_is_named(mcp: Client) -> None:
    text = await refusal(mcp, "get_model", model_name="no-such-model")

    assert "'no-such-model'" in text


async def test_another_author_has_no_such_model(mcp: Client, localnet: LocalNetwork) -> None:
    name = localnet.ready["sample_models"][0]["name"]

    text = await refusal(mcp, "get_model", model_name=name, author="nobody")

    assert name in text


async def test_a_hub_that_is_gone_is_told_by_its_address(
    mcp: Client, localnet: LocalNetwork
) -> None:
    localnet.close_service("hub_read")

    text = await refusal(mcp, "get_model", model_name="anything")

    assert "cannot be reached" in text


NUMBERS = ("FLOAT", "DOUBLE", "FLOAT16", "INT8", "INT16", "INT32", "INT64")
OTHERS = ("UINT8", "UINT16", "UINT32", "UINT64", "BOOL", "STRING")
SHAPES: tuple[list[int | str | None], ...] = ([], [1], [None], ["rows", 2], [2, 3, 1])


def of_every_kind() -> bytes:
    """Build a graph that returns each of its inputs, one for each element type and shape."""
    kinds = list(enumerate(product((*NUMBERS, *OTHERS), SHAPES)))

    def described(prefix: str) -> list[ValueInfoProto]:
        return [
            helper.make_tensor_value_info(f"{prefix}{place}", getattr(TensorProto, kind), shape)
            for place, (kind, shape) in kinds
        ]

    nodes = [helper.make_node("Identity", [f"x{place}"], [f"y{place}"]) for place, _ in kinds]
    graph = helper.make_graph(nodes, str(uuid4()), described("x"), described("y"))
    opset = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(graph, ir_version=8, opset_imports=opset).SerializeToString())


async def test_infer_takes_the_example_as_it_is_whatever_the_tensors(
    mcp: Client, localnet: LocalNetwork
) -> None:
    name = f"every-kind-{uuid4().hex}"
    cid = localnet.publish(name, of_every_kind())

    model = await answer(mcp, "get_model", model_name=name)
    result = await answer(mcp, "infer", model_cid=cid, model_input=model["example_input"])

    count = len(NUMBERS + OTHERS) * len(SHAPES)
    assert len(model["example_input"]) == count
    assert result["model_output"].keys() == {f"y{place}" for place in range(count)}
