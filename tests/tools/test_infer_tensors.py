"""Tool infer holds its input against the model's tensors before anything is sent."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from inline_snapshot import snapshot
from mcp import Client
from onnx import TensorProto, helper

from tests.localnet_client import LocalNetwork
from tests.tools.calls import answer, refusal


def asked(localnet: LocalNetwork, service: str = "rpc") -> int:
    count: int = localnet.counters(service)["http_requests"]
    return count


def sums() -> bytes:
    """`y = rows + shift` of 3 columns, with texts passed through; another file every time."""
    inputs = [
        helper.make_tensor_value_info("rows", TensorProto.INT64, ["n", 3]),
        helper.make_tensor_value_info("shift", TensorProto.INT64, []),
        helper.make_tensor_value_info("label", TensorProto.STRING, [1]),
    ]
    outputs = [
        helper.make_tensor_value_info("y", TensorProto.INT64, ["n", 3]),
        helper.make_tensor_value_info("said", TensorProto.STRING, [1]),
    ]
    nodes = [
        helper.make_node("Add", ["rows", "shift"], ["y"]),
        helper.make_node("Identity", ["label"], ["said"]),
    ]
    graph = helper.make_graph(nodes, uuid4().hex, inputs, outputs)
    opsets = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(graph, ir_version=8, opset_imports=opsets).SerializeToString())


@pytest.fixture
def cid(localnet: LocalNetwork) -> str:
    return localnet.publish(f"sums-{uuid4().hex}", sums())


GOOD: dict[str, Any] = {"rows": [[1, 2, 3]], "shift": 5, "label": "a"}


async def test_a_session_that_never_saw_the_model_learns_from_its_file(
    mcp: Client, cid: str
) -> None:
    result = await answer(mcp, "infer", model_cid=cid, model_input=GOOD)

    assert result["model_output"] == {"y": [[6, 7, 8]], "said": ["a"]}


@pytest.mark.sweep(quick=3)
@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"rwos": [[1, 2, 3]]},
            snapshot(
                "Tensor 'rwos' is not an input of this model. Did you mean 'rows'? Its inputs are "
                "'rows', 'shift', 'label'."
            ),
        ),
        (
            {"label": None},
            snapshot(
                "Tensor 'label' is missing. The model takes it as text of shape [1]; given were "
                "'rows', 'shift'."
            ),
        ),
        (
            {"rows": [1, 2, 3]},
            snapshot(
                "Tensor 'rows' has shape [3], and the model takes int64 of shape [any, 3]. "
                "get_model shows what each tensor takes, with an example."
            ),
        ),
        (
            {"rows": [[1, 2]]},
            snapshot(
                "Tensor 'rows' has shape [1, 2], and the model takes int64 of shape [any, 3]. "
                "get_model shows what each tensor takes, with an example."
            ),
        ),
        (
            {"rows": [["1", "two", "3"]]},
            snapshot(
                "Tensor 'rows' holds text 'two' among numbers at [0][1]. A tensor holds one or "
                "the other."
            ),
        ),
        (
            {"rows": [["one"]]},
            snapshot(
                "Tensor 'rows' holds text, and the model takes int64 of shape [any, 3]. "
                "get_model shows what each tensor takes, with an example."
            ),
        ),
        (
            {"label": 5},
            snapshot(
                "Tensor 'label' holds numbers, and the model takes text of shape [1]. "
                "get_model shows what each tensor takes, with an example."
            ),
        ),
        (
            {"rows": [[1, 2, 2.5]]},
            snapshot(
                "Tensor 'rows' holds the fraction 2.5 at [0][2], and the model takes int64 of "
                "shape [any, 3]. Nothing was sent; correct it and repeat the call."
            ),
        ),
    ],
)
async def test_what_does_not_fit_is_told_for_free(  # noqa: PLR0913 - fixtures and cases
    mcp: Client,
    localnet: LocalNetwork,
    cid: str,
    change: dict[str, Any],
    text: str,
    *,
    dry_run: bool,
) -> None:
    wrong = {name: value for name, value in {**GOOD, **change}.items() if value is not None}
    before = localnet.counters()["calls"].get("eth_estimateGas", 0)

    said = await refusal(mcp, "infer", model_cid=cid, model_input=wrong, dry_run=dry_run)

    assert said.removesuffix(" Nothing was sent or paid.") == text
    assert "Nothing was sent" in said
    assert localnet.counters()["calls"].get("eth_estimateGas", 0) == before
    assert (await answer(mcp, "list_calls"))["calls"] == []


async def test_a_dry_run_names_the_check(mcp: Client, cid: str) -> None:
    dry = await answer(mcp, "infer", model_cid=cid, model_input=GOOD, dry_run=True)

    assert dry["checks"][0] == {
        "name": "tensors",
        "result": "ok",
        "source": "the model's graph",
        "detail": "names, kinds and shapes are what the model's graph takes",
    }


async def test_a_look_up_that_fails_does_not_fail_the_call(
    mcp: Client, localnet: LocalNetwork, cid: str
) -> None:
    localnet.close_service("hub_read")

    dry = await answer(mcp, "infer", model_cid=cid, model_input=GOOD, dry_run=True)
    result = await answer(mcp, "infer", model_cid=cid, model_input=GOOD)

    assert (dry["checks"][0]["name"], dry["checks"][0]["result"]) == ("tensors", "not_checked")
    assert "cannot be reached" in dry["checks"][0]["detail"]
    assert {check["result"] for check in dry["checks"][1:]} == {"ok"}
    assert result["model_output"]["y"] == [[6, 7, 8]]


async def test_the_hub_is_asked_once_for_a_model_and_not_at_every_call(
    mcp: Client, localnet: LocalNetwork, cid: str
) -> None:
    before = asked(localnet, "hub_read")

    for shift in range(3):
        await answer(mcp, "infer", model_cid=cid, model_input={**GOOD, "shift": shift})

    assert asked(localnet, "hub_read") == before + 1


async def test_get_model_shows_an_example_that_infer_takes(
    mcp: Client, localnet: LocalNetwork
) -> None:
    name = f"sums-{uuid4().hex}"
    cid = localnet.publish(name, sums())

    example = (await answer(mcp, "get_model", model_name=name))["example_input"]
    dry = await answer(mcp, "infer", model_cid=cid, model_input=example, dry_run=True)

    assert example == {"rows": [[0, 0, 0]], "shift": 0, "label": ["text"]}
    assert {check["result"] for check in dry["checks"]} == {"ok"}
