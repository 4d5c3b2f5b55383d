"""The public SDK works against the local network, unchanged.

It has an environment of its own: `TEST_SDK_HOME` names it, or one is made now.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
import pytest

from og_mcp.localnet import samples
from tests.localnet_client import LocalNetwork

SCRIPT: Final = Path(__file__).with_name("public_sdk.py")
DTYPES: Final = {"tensor(float)": "float32", "tensor(int64)": "int64", "tensor(string)": "str"}

pytestmark = pytest.mark.slow


def _ask(python: str, localnet: LocalNetwork, *calls: dict[str, Any]) -> list[dict[str, Any]]:
    told = {
        **{
            name: localnet.ready[name] for name in ("rpc_url", "node_api_url", "inference_contract")
        },
        "private_key": localnet.ready["accounts"][0]["private_key"],
        "calls": calls,
    }
    done = subprocess.run(  # noqa: S603 - the SDK's Python with a script of ours
        [python, str(SCRIPT)],
        input=json.dumps(told),
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=True,
        timeout=120,
    )
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


def _call(localnet: LocalNetwork, sample: samples.Sample, mode: int = 0) -> dict[str, Any]:
    (cid,) = [m["cid"] for m in localnet.ready["sample_models"] if m["name"] == sample.name]
    types = {each.name: DTYPES[each.type] for each in _session(sample).get_inputs()}
    values = {name: (types[name], array) for name, array in sample.model_input.items()}
    return {"cid": cid, "mode": mode, "model_input": values}


def _session(sample: samples.Sample) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(sample.content)


def _directly(sample: samples.Sample) -> dict[str, Any]:
    """Run the model without any network; numbers as the SDK gives them, which is float32."""
    session = _session(sample)
    feeds = {
        each.name: np.array(sample.model_input[each.name], DTYPES[each.type])
        for each in session.get_inputs()
    }
    names = [output.name for output in session.get_outputs()]
    return {
        name: (value if value.dtype == object else value.astype(np.float32)).tolist()
        for name, value in zip(names, session.run(None, feeds), strict=True)
    }


def test_the_sdk_gets_what_onnxruntime_gives_in_every_mode(
    sdk_python: str, localnet: LocalNetwork
) -> None:
    calls = [(sample, mode) for sample in samples.build() for mode in (0, 1, 2)]
    answers = _ask(sdk_python, localnet, *(_call(localnet, *call) for call in calls))

    assert len(calls) >= 6
    for (sample, _mode), answer in zip(calls, answers, strict=True):
        assert answer["model_output"] == _directly(sample)
        receipt = localnet.rpc("eth_getTransactionReceipt", "0x" + answer["transaction_hash"])
        assert receipt["status"] == "0x1"


@pytest.mark.parametrize("precompile_event", ["full", "empty"])
def test_the_sdk_falls_back_on_the_node_when_the_event_is_empty(
    sdk_python: str, localnet: LocalNetwork, precompile_event: str
) -> None:
    sample = samples.build()[0]
    localnet.answers(contract_event="empty", precompile_event=precompile_event)
    answers = _ask(sdk_python, localnet, *(_call(localnet, sample, mode) for mode in (0, 1, 2)))

    assert [answer["model_output"] for answer in answers] == [_directly(sample)] * 3


def test_the_sdk_reads_the_reason_of_a_refusal(sdk_python: str, localnet: LocalNetwork) -> None:
    call = _call(localnet, samples.build()[0])
    (unknown,) = _ask(sdk_python, localnet, {**call, "cid": "Qm-nowhere"})

    assert 'no model file has the CID "Qm-nowhere"' in unknown["error"]
