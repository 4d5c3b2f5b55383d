"""The parts work as one network: what the hub takes, the chain runs."""

from __future__ import annotations

import secrets
from typing import Any

import pytest
from eth_abi.abi import decode, encode

from og_mcp.localnet.samples import build
from tests.localnet_client import LocalNetwork, http_client

# Types and numbers of protocol.md sections 3.1 and 3.2.
NUMBERS = "(string,(int128,int128)[],uint32[])[]"
STRINGS = "(string,string[])[]"
ARGUMENTS = ("string", "uint8", f"({NUMBERS},{STRINGS})")
OUTPUT = (f"({NUMBERS},{STRINGS},(string,string)[],bool)",)
RUN = "0xcbf09d80"
INFERENCE_RESULT = "0xc1396ff68bc2d8630100df29ce5561fa99078c602e8676ab72a53e37095d7168"

COUNTS = ("counts", [(3, 0), (0, 0), (12, 0), (1, 0), (7, 0), (-2, 0)], [2, 3])
PRICES = ("prices", [(10125, 2), (1, 1), (95, 1)], [3])


@pytest.fixture
def cid(localnet: LocalNetwork) -> str:
    """A model that was uploaded a moment ago, with a hash of its own."""
    content = next(sample.content for sample in build() if sample.name == "portfolio-value")
    # Field 6 of ModelProto is its doc_string: another file, the same mathematics.
    content += b"\x32\x10" + secrets.token_hex(8).encode()
    name = f"model-{secrets.token_hex(4)}"
    models = f"{localnet.ready['hub_url']}/api/v0/models/"
    with http_client(models, token=localnet.sign_in()) as hub:
        hub.post("", json={"name": name, "description": ""}).raise_for_status()
        hub.post(f"{name}/versions", json={"notes": "", "is_major": False}).raise_for_status()
        sent = hub.post(f"{name}/versions/0.01/files", files={"file": ("m.onnx", content)})
    return str(sent.raise_for_status().json()["ipfsCid"])


def _call(cid: str) -> str:
    return RUN + encode(ARGUMENTS, [cid, 0, ([COUNTS, PRICES], [])]).hex()


def _numbers(output: str) -> dict[str, Any]:
    ((numbers, _strings, _jsons, is_simulation),) = decode(OUTPUT, bytes.fromhex(output[2:]))
    assert is_simulation
    return {
        name: ([value / 10**decimals for value, decimals in values], list(shape))
        for name, values, shape in numbers
    }


EXPECTED = {
    "values": ([303.75, 0, 114, 101.25, 0.7, -19], [2, 3]),
    "totals": ([417.75, 82.95], [2]),
    "largest": ([0, 0], [2, 1]),
}


def test_an_uploaded_model_answers_a_simulation(localnet: LocalNetwork, cid: str) -> None:
    call = {"to": localnet.ready["inference_contract"], "data": _call(cid)}

    assert _numbers(localnet.rpc("eth_call", call, "latest")) == EXPECTED


def test_an_uploaded_model_runs_in_a_transaction(localnet: LocalNetwork, cid: str) -> None:
    wallet = localnet.new_wallet()
    call = {"from": wallet.address, "to": localnet.ready["inference_contract"], "data": _call(cid)}
    signed = wallet.sign_transaction(
        {
            "to": localnet.ready["inference_contract"],
            "data": bytes.fromhex(_call(cid)[2:]),
            "gas": int(localnet.rpc("eth_estimateGas", call), 16),
            "gasPrice": int(localnet.rpc("eth_gasPrice"), 16),
            "nonce": 0,
            "chainId": localnet.ready["chain_id"],
        }
    )
    sent = localnet.rpc("eth_sendRawTransaction", signed.raw_transaction.to_0x_hex())
    receipt = localnet.rpc("eth_getTransactionReceipt", sent)

    assert receipt["status"] == "0x1"
    results = [log["data"] for log in receipt["logs"] if log["topics"] == [INFERENCE_RESULT]]
    assert [_numbers(data) for data in results] == [EXPECTED]


def test_a_file_that_was_never_uploaded_reverts(localnet: LocalNetwork) -> None:
    call = {"to": localnet.ready["inference_contract"], "data": _call("A" * 43)}

    with pytest.raises(AssertionError, match="execution reverted"):
        localnet.rpc("eth_call", call, "latest")


def test_every_account_but_the_last_can_pay(localnet: LocalNetwork) -> None:
    *able, last = [account["address"] for account in localnet.ready["accounts"]]

    assert localnet.opg(last) > 0
    assert localnet.allowance(last) == 0
    for address in able:
        assert localnet.allowance(address) > 0
