"""The contracts have the selectors and topics of the public ones, and the code of their sources."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import decode, encode
from eth_account.signers.local import LocalAccount
from eth_utils.abi import event_abi_to_log_topic, function_abi_to_4byte_selector
from eth_utils.crypto import keccak
from x402.mechanisms.evm.constants import X402_UPTO_PERMIT2_PROXY_ABI

from og_mcp.localnet import contracts
from og_mcp.localnet.chain import Chain
from og_mcp.localnet.contracts import compiling
from og_mcp.localnet.evm import Call
from og_mcp.localnet.genesis import TEE_REGISTRY
from og_mcp.localnet.node_errors import NodeError
from tests.localnet.calls import MODEL_OUTPUT, REQUEST, raw_address, sign
from tests.localnet.conftest import CHAIN_ID

SELECTORS = {
    "Inference": {"run": "cbf09d80", "runLLMChat": "e39aa7e7", "runLLMCompletion": "14800c61"},
    "OPG": {
        "balanceOf": "70a08231",
        "allowance": "dd62ed3e",
        "approve": "095ea7b3",
        "transfer": "a9059cbb",
        "transferFrom": "23b872dd",
    },
    "Permit2": {
        "permitWitnessTransferFrom": "137c29fe",
        "nonceBitmap": "4fe02b44",
        "invalidateUnorderedNonces": "3ff9dcb1",
    },
    "TEERegistry": {"getActiveTEEs": "4b6014da", "getTEE": "418b207d", "isTEEActive": "a3bf31f1"},
}
TOPICS = {
    "InferenceResult": "c1396ff68bc2d8630100df29ce5561fa99078c602e8676ab72a53e37095d7168",
    "LLMChatResult": "53fcd580be8545626a896d86eb76e16597d793de715dda5d21df71d303d1ff96",
    "LLMCompletionResult": "e522a1a92cb132ca102e36a004efceb8c83284b64164e0d128ddce12e86cab7b",
}
"""protocol.md sections 3.2 and 3.5; ERC-20; Permit2 as it stands on public chains."""

TEE_INFO = (
    "(address,address,string,bytes,bytes,bytes32,uint8,bool,uint256,uint256,"
    "(uint8,uint16,uint16,uint16,bytes,bytes,uint256))"
)
REGISTRY = raw_address(TEE_REGISTRY)


def _members(name: str, kind: str) -> dict[str, Any]:
    return {each["name"]: each for each in contracts.load(name).abi if each["type"] == kind}


@pytest.mark.parametrize("name", SELECTORS)
def test_functions_have_the_selectors_of_the_public_contracts(name: str) -> None:
    functions = _members(name, "function")

    assert {
        member: function_abi_to_4byte_selector(functions[member]).hex()
        for member in SELECTORS[name]
    } == SELECTORS[name]


def test_the_proxy_settles_by_the_call_that_the_x402_package_makes() -> None:
    (theirs,) = X402_UPTO_PERMIT2_PROXY_ABI
    ours = _members("UptoProxy", "function")["settle"]

    assert function_abi_to_4byte_selector(ours) == function_abi_to_4byte_selector(theirs)  # type: ignore[arg-type] # the package types its ABIs as dicts


def test_events_have_the_topics_of_the_public_contract() -> None:
    events = _members("Inference", "event")

    assert {name: event_abi_to_log_topic(event).hex() for name, event in events.items()} == TOPICS


def test_the_precompiles_event_has_the_topic_of_the_public_one() -> None:
    signature = f"ModelInferenceEvent(string,{REQUEST},{MODEL_OUTPUT})"

    assert (
        keccak(text=signature).hex()
        == "1b283af3452f3718585ce100f80d9aa81fc60924db4a582a36db6aae3b109d87"
    )


def _tee(*, key: bytes = b"\x30\x82", enabled: bool = True, heartbeat: int, kind: int = 0) -> Any:  # noqa: ANN401 - an ABI tuple
    ohttp = (1, 2, 3, 4, b"\x05", b"\x06" * 40, 7)
    owner, pay_to = b"\x11" * 20, b"\x22" * 20
    certificate = b"\x30\x83" * 300
    head = ("0x" + owner.hex(), "0x" + pay_to.hex(), "https://127.0.0.1:1", key, certificate)
    return (*head, b"\x33" * 32, kind, enabled, 1_700_000_000, heartbeat, ohttp)


class Registry:
    def __init__(self, chain: Chain, owner: LocalAccount) -> None:
        self.chain, self.owner = chain, owner

    def write(self, name: str, kinds: list[str], *values: object) -> None:
        data = self._data(name, kinds, values)
        nonce = self.chain.nonce(raw_address(self.owner.address))
        raw = sign(self.owner, CHAIN_ID, nonce=nonce, to=TEE_REGISTRY, data=data, gas=5_000_000)
        self.chain.send_raw(raw)
        assert self.chain.records.head.transactions[0].succeeded

    def read(self, name: str, kinds: list[str], returns: str, *values: object) -> Any:  # noqa: ANN401 - ABI values
        data = self._data(name, kinds, values)
        sender = raw_address(self.owner.address)
        answer = self.chain.call(Call(sender=sender, to=REGISTRY, gas=10**7, data=data))
        return decode([returns], answer)[0]

    @staticmethod
    def _data(name: str, kinds: list[str], values: tuple[object, ...]) -> bytes:
        return keccak(text=f"{name}({','.join(kinds)})")[:4] + encode(kinds, values)


@pytest.fixture
def registry(chain: Chain, wallet: LocalAccount) -> Registry:
    return Registry(chain, wallet)


def test_the_registry_returns_what_its_owner_put_there(registry: Registry, chain: Chain) -> None:
    tee = _tee(heartbeat=chain.records.head.header.timestamp)
    registry.write("put", [TEE_INFO], tee)

    assert registry.read("getActiveTEEs", ["uint8"], f"{TEE_INFO}[]", 0) == (tee,)
    assert registry.read("getTEE", ["bytes32"], TEE_INFO, keccak(b"\x30\x82")) == tee
    assert registry.read("isTEEActive", ["bytes32"], "bool", keccak(b"\x30\x82"))
    assert registry.read("getActiveTEEs", ["uint8"], f"{TEE_INFO}[]", 1) == ()


def test_only_enabled_tees_with_a_fresh_heartbeat_are_active(
    registry: Registry, chain: Chain
) -> None:
    now = chain.records.head.header.timestamp
    registry.write("put", [TEE_INFO], _tee(key=b"fresh", heartbeat=now))
    registry.write("put", [TEE_INFO], _tee(key=b"stale", heartbeat=1))
    registry.write("put", [TEE_INFO], _tee(key=b"off", heartbeat=now, enabled=False))

    by_type = registry.read("getTEEsByType", ["uint8"], "bytes32[]", 0)
    enabled = registry.read("getEnabledTEEs", ["uint8"], "bytes32[]", 0)
    active = registry.read("getActiveTEEs", ["uint8"], f"{TEE_INFO}[]", 0)

    assert by_type == tuple(map(keccak, (b"fresh", b"stale", b"off")))
    assert enabled == tuple(map(keccak, (b"fresh", b"stale")))
    assert [tee[3] for tee in active] == [b"fresh"]


def test_a_tee_is_put_twice_and_stands_once(registry: Registry, chain: Chain) -> None:
    now = chain.records.head.header.timestamp
    for enabled in (False, True):
        registry.write("put", [TEE_INFO], _tee(heartbeat=now, enabled=enabled))

    assert registry.read("getTEEsByType", ["uint8"], "bytes32[]", 0) == (keccak(b"\x30\x82"),)
    assert registry.read("isTEEEnabled", ["bytes32"], "bool", keccak(b"\x30\x82"))


def test_nobody_but_the_owner_writes_to_the_registry(chain: Chain) -> None:
    data = Registry._data("setHeartbeatWindow", ["uint256"], (1,))  # noqa: SLF001 - this file's own
    stranger = raw_address("0x" + "77" * 20)

    with pytest.raises(NodeError, match="only the owner of the registry may do this"):
        chain.call(Call(sender=stranger, to=REGISTRY, gas=10**7, data=data))


def _solc_folder(tmp_path: Path) -> Path:
    """Where npm's solc is: `TEST_NODE_HOME` names the folder, or it is installed now."""
    if folder := os.environ.get("TEST_NODE_HOME"):
        return Path(folder)
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("solc needs node and npm, or TEST_NODE_HOME where both are already")
    wanted = f"solc@{compiling.SOLC_VERSION}"
    subprocess.run([npm, "install", "--no-audit", wanted], cwd=tmp_path, check=True)  # noqa: S603 - npm itself
    return tmp_path


@pytest.mark.slow
def test_the_committed_bytecode_is_what_the_sources_compile_to(tmp_path: Path) -> None:
    compiled = compiling.compile_all(_solc_folder(tmp_path))

    for name in contracts.NAMES:
        loaded = contracts.load(name)
        assert compiled[name]["deployed_bytecode"] == "0x" + loaded.deployed_bytecode.hex()
        assert compiled[name]["abi"] == loaded.abi
