"""The node's REST API tells results of inferences in the shape of the public one."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from eth_abi.abi import decode
from eth_account.signers.local import LocalAccount
from inline_snapshot import snapshot
from onnx import TensorProto, helper

from og_mcp.localnet.chain import Chain
from og_mcp.localnet.faults import Faults
from og_mcp.localnet.genesis import INFERENCE_CONTRACT
from og_mcp.localnet.node_api import node_api_app
from og_mcp.localnet.precompile import RESULTS_KEPT, Answers
from tests.localnet import graphs
from tests.localnet.calls import MODEL_OUTPUT, REQUEST, numbers, raw_address, run_data, sign
from tests.localnet.conftest import CHAIN_ID
from tests.localnet.graphs import Folder

PATH = "/artela-network/artela-rollkit/inference/tx/"
HIDDEN = Answers(contract_event="empty", precompile_event="empty")


@pytest.fixture
async def http(chain: Chain) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=node_api_app(chain, Faults()))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        yield http


def _infer(chain: Chain, wallet: LocalAccount, models: Folder, mode: int) -> str:
    """Run a model whose output only the node tells; returns the inference's id."""
    content = graphs.graph(
        [helper.make_node("Identity", ["a"], ["c"]), helper.make_node("Identity", ["b"], ["d"])],
        [graphs.value("a", TensorProto.FLOAT, [2]), graphs.value("b", TensorProto.STRING, [1])],
        [graphs.value("c", TensorProto.FLOAT, [2]), graphs.value("d", TensorProto.STRING, [1])],
    )
    models.add("both", content)
    data = run_data("both", [numbers("a", [0.25, -3.0])], [("b", ["text"])], mode)
    nonce = chain.nonce(raw_address(wallet.address))
    raw = sign(wallet, CHAIN_ID, nonce=nonce, to=INFERENCE_CONTRACT, gas=10**6, data=data)
    chain.send_raw(raw)
    event = chain.records.head.transactions[0].logs[0]
    inference_id: str = decode(["string", REQUEST, MODEL_OUTPUT], event.data)[0]
    return inference_id


def _told(answer: httpx.Response) -> Any:  # noqa: ANN401 - JSON
    (encoded,) = answer.json()["inference_results"]
    return json.loads(base64.b64decode(encoded))["InferenceResult"]


async def test_a_result_is_told_in_the_shape_of_its_mode(
    chain: Chain, wallet: LocalAccount, models: Folder, http: httpx.AsyncClient
) -> None:
    chain.answers = HIDDEN
    ids = [_infer(chain, wallet, models, mode) for mode in (0, 1, 2)]
    vanilla, zkml, tee = [_told(await http.get(PATH + quote(each, safe=""))) for each in ids]
    output = vanilla["VanillaResult"]["model_output"]

    assert output == snapshot(
        {
            "numbers": [
                {
                    "name": "c",
                    "values": [
                        {"value": "25", "decimals": "2"},
                        {"value": "-3", "decimals": "0"},
                    ],
                    "shape": [2],
                }
            ],
            "strings": [{"name": "d", "values": ["text"]}],
            "jsons": [],
            "is_simulation_result": True,
        }
    )
    assert zkml == {"ZkmlResult": {"model_output": output}}
    assert tee == {"TeeNodeResult": {"Response": {"VanillaResponse": {"model_output": output}}}}


async def test_an_unknown_id_is_not_found(http: httpx.AsyncClient) -> None:
    answer = await http.get(PATH + "nothing")

    assert answer.status_code == 404
    assert answer.json()["message"] == "inference nothing not found"


async def test_a_result_can_be_missing_here_too(
    chain: Chain, wallet: LocalAccount, models: Folder, http: httpx.AsyncClient
) -> None:
    chain.answers = Answers(node_api="missing")
    inference_id = _infer(chain, wallet, models, 0)

    assert (await http.get(PATH + inference_id)).json() == {"inference_results": []}


async def test_other_hosts_are_refused(http: httpx.AsyncClient) -> None:
    answer = await http.get(PATH + "x", headers={"host": "evil.example"})

    assert answer.status_code == 403
    assert RESULTS_KEPT > 100
