"""JSON-RPC over HTTP: batches, errors and shapes as geth has them."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx
import pytest
from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from inline_snapshot import snapshot
from onnx import TensorProto
from web3 import AsyncHTTPProvider, AsyncWeb3

from og_mcp.localnet import rpc
from og_mcp.localnet.chain import Chain
from og_mcp.localnet.faults import Faults
from og_mcp.localnet.genesis import INFERENCE_CONTRACT
from og_mcp.localnet.rpc import rpc_app
from og_mcp.localnet.service import Service
from og_mcp.networks import LOCAL_WALLET_WEI
from tests.localnet import graphs
from tests.localnet.calls import INFERENCE_RESULT, numbers, run_data, sign
from tests.localnet.conftest import CHAIN_ID
from tests.localnet.graphs import Folder

RECIPIENT = to_checksum_address(b"\x22" * 20)
NOBODY = "0x" + "00" * 32


class Node:
    """The application, called without a server."""

    def __init__(self, chain: Chain, faults: Faults) -> None:
        self.chain, self.faults = chain, faults
        transport = httpx.ASGITransport(app=rpc_app(chain, faults))
        self.http = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8545")

    async def post(self, body: Any) -> Any:  # noqa: ANN401 - JSON
        answer = await self.http.post("/", json=body)
        return answer.json() if answer.content else None

    async def ask(self, method: str, *params: object) -> Any:  # noqa: ANN401 - JSON
        """Make one call; returns its result, or its error as an object."""
        answer = await self.post({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        return answer.get("result", answer.get("error"))

    async def batch(self, *calls: tuple[str, list[object]]) -> list[Any]:
        body = [
            {"jsonrpc": "2.0", "id": index, "method": method, "params": params}
            for index, (method, params) in enumerate(calls)
        ]
        answered: list[Any] = await self.post(body)
        return answered


@pytest.fixture
async def node(chain: Chain) -> AsyncIterator[Node]:
    node = Node(chain, Faults())
    yield node
    await node.http.aclose()


def _hex(raw: bytes) -> str:
    return "0x" + raw.hex()


# The protocol


async def test_single_calls_and_batches_are_answered_by_their_ids(node: Node) -> None:
    single = await node.post({"jsonrpc": "2.0", "id": "a", "method": "eth_chainId"})
    batch = await node.post(
        [
            {"jsonrpc": "2.0", "id": 2, "method": "eth_chainId", "params": []},
            {"jsonrpc": "2.0", "id": None, "method": "no_such", "params": []},
            {"jsonrpc": "2.0", "method": "eth_chainId", "params": []},
            7,
            {"id": 9, "method": "eth_chainId"},
        ]
    )

    assert single == {"jsonrpc": "2.0", "id": "a", "result": hex(CHAIN_ID)}
    assert batch == snapshot(
        [
            {"jsonrpc": "2.0", "id": 2, "result": "0x7b43"},
            {
                "jsonrpc": "2.0",
                "id": None,
                "error": {
                    "code": -32601,
                    "message": "the method no_such does not exist/is not available",
                },
            },
            {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "invalid request"}},
            {"jsonrpc": "2.0", "id": 9, "error": {"code": -32600, "message": "invalid request"}},
        ]
    )


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", -32700),
        (b"{", -32700),
        (b"\xff", -32700),
        (b"[" * 100_000, -32700),
        (b"[]", -32600),
        (b"7", -32600),
        (b"{}", -32600),
        (b'{"jsonrpc": "2.0", "id": {}, "method": "eth_chainId"}', -32600),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": {}}', -32602),
    ],
)
async def test_what_is_no_request_is_told(node: Node, body: bytes, code: int) -> None:
    answer = await node.http.post("/", content=body, headers={"content-type": "application/json"})

    assert answer.status_code == 200
    assert answer.json()["error"]["code"] == code


async def test_notifications_get_no_answer(node: Node) -> None:
    assert await node.post({"jsonrpc": "2.0", "method": "eth_chainId"}) is None
    assert await node.post([{"jsonrpc": "2.0", "method": "eth_chainId"}]) is None


async def test_a_batch_is_carried_out_in_order(node: Node, wallet: LocalAccount) -> None:
    raw = sign(wallet, CHAIN_ID)
    before, sent, receipt, after = await node.batch(
        ("eth_getTransactionCount", [wallet.address, "latest"]),
        ("eth_sendRawTransaction", [_hex(raw)]),
        ("eth_getTransactionReceipt", [_hex(keccak(raw))]),
        ("eth_getTransactionCount", [wallet.address, "latest"]),
    )

    assert (before["result"], after["result"]) == ("0x0", "0x1")
    assert receipt["result"]["transactionHash"] == sent["result"]
    assert receipt["result"]["status"] == "0x1"


@pytest.mark.parametrize("host", ["127.0.0.1:1", "localhost", "[::1]:8545", "LOCALHOST:2"])
async def test_loopback_hosts_are_served(node: Node, host: str) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId"}
    answer = await node.http.post("/", json=body, headers={"host": host})

    assert answer.status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "", "[::1", "192.168.0.1"]
)
async def test_other_hosts_are_refused(node: Node, host: str) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId"}
    answer = await node.http.post("/", json=body, headers={"host": host})

    assert (answer.status_code, answer.text) == (403, "invalid host specified")
    assert node.faults.counters()["http_requests"] == 0


async def test_other_content_types_and_verbs_are_refused(node: Node) -> None:
    answer = await node.http.post("/", content=b"{}", headers={"content-type": "text/plain"})

    assert answer.status_code == 415
    assert (await node.http.get("/")).status_code == 405


async def test_bodies_of_several_megabytes_are_read(node: Node) -> None:
    data = _hex(bytes(3 * 2**20))
    call = {"from": RECIPIENT, "to": RECIPIENT, "data": data}

    assert await node.ask("eth_call", call, "latest") == "0x"


async def test_bodies_beyond_the_limit_are_not_kept(node: Node) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(2**20)

    headers = {"content-type": "application/json"}
    answer = await node.http.post("/", content=endless(), headers=headers)

    assert answer.status_code == 413
    assert rpc.MAX_BODY >= 100 * 2**20


@pytest.mark.parametrize(
    ("method", "params", "message"),
    [
        ("eth_getBalance", [], "missing value for required argument 0"),
        ("eth_getBalance", ["0x12"], "invalid argument 0: hex string has length 2, want 40"),
        ("eth_getBalance", ["12"], "invalid argument 0: hex string without 0x prefix"),
        ("eth_getBalance", ["0xzz"], "invalid argument 0: invalid hex string"),
        (
            "eth_getBalance",
            [RECIPIENT, "yesterday"],
            "invalid argument 1: not a hex number with 0x prefix, of at most 256 bits",
        ),
        ("eth_getBalance", [RECIPIENT, "latest", 1], "too many arguments, want at most 2"),
        ("eth_call", ["0x"], "invalid argument 0: not an object"),
        (
            "eth_call",
            [{}, "latest", {"0x": {}}],
            "invalid argument 2: state overrides are not supported",
        ),
        ("eth_getBlockByNumber", ["latest", "yes"], "invalid argument 1: not a boolean"),
        (
            "eth_getLogs",
            [{"topics": "0x"}],
            "invalid argument 0: topics are a list of at most four",
        ),
        (
            "eth_getLogs",
            [{"fromBlock": "latest", "toBlock": "earliest"}],
            "invalid block range params",
        ),
    ],
)
async def test_wrong_parameters_are_named(
    node: Node, method: str, params: list[object], message: str
) -> None:
    node.chain.mine()

    assert await node.ask(method, *params) == {"code": -32602, "message": message}


# Answers


async def test_the_node_tells_who_and_where_it_is(node: Node) -> None:
    asked = [
        *("eth_chainId", "net_version", "eth_gasPrice", "eth_blockNumber", "eth_syncing"),
        *("eth_accounts", "net_listening", "eth_maxPriorityFeePerGas"),
    ]
    told = {method: await node.ask(method) for method in asked}

    assert told == snapshot(
        {
            "eth_chainId": "0x7b43",
            "net_version": "31555",
            "eth_gasPrice": "0x3b9aca00",
            "eth_blockNumber": "0x0",
            "eth_syncing": False,
            "eth_accounts": [],
            "net_listening": True,
            "eth_maxPriorityFeePerGas": "0x3b9ac9f9",
        }
    )
    assert (await node.ask("web3_clientVersion")).startswith("og-mcp-localnet/v")
    assert await node.ask("web3_sha3", "0x68656c6c6f20776f726c64") == _hex(keccak(b"hello world"))


async def test_state_is_read_at_every_block(node: Node, wallet: LocalAccount) -> None:
    await node.ask("eth_sendRawTransaction", _hex(sign(wallet, CHAIN_ID, value=5)))
    balances = {
        block: await node.ask("eth_getBalance", RECIPIENT, block)
        for block in ("earliest", "0x0", "0x1", "latest", "pending", "safe", "finalized")
    }
    latest = await node.ask("eth_getBlockByNumber", "latest", False)
    by_hash = await node.ask("eth_getBalance", RECIPIENT, {"blockHash": latest["hash"]})
    by_number = await node.ask("eth_getBalance", RECIPIENT, {"blockNumber": "0x0"})

    assert balances == {
        **dict.fromkeys(("earliest", "0x0"), "0x0"),
        **dict.fromkeys(("0x1", "latest", "pending", "safe", "finalized"), "0x5"),
    }
    assert (by_hash, by_number) == ("0x5", "0x0")
    assert await node.ask("eth_getBalance", RECIPIENT, "0x7") == {
        "code": -32000,
        "message": "header not found",
    }


async def test_code_and_storage_are_read(node: Node, wallet: LocalAccount) -> None:
    registry = "0x703cB174AEadB35D611858369B4b1111dC9Abda6"
    owner = await node.ask("eth_getStorageAt", registry, "0x0", "latest")

    assert owner == "0x" + "00" * 12 + wallet.address[2:].lower()
    assert len(await node.ask("eth_getCode", INFERENCE_CONTRACT, "latest")) > 1000
    assert await node.ask("eth_getCode", RECIPIENT) == "0x"


async def test_a_transaction_is_found_before_and_after_it_is_mined(
    node: Node, wallet: LocalAccount
) -> None:
    node.chain.hold_blocks()
    sent = await node.ask("eth_sendRawTransaction", _hex(sign(wallet, CHAIN_ID)))
    waiting = await node.ask("eth_getTransactionByHash", sent)
    pending = await node.ask("eth_getBlockByNumber", "pending", True)

    assert (waiting["blockNumber"], waiting["from"]) == (None, wallet.address)
    assert await node.ask("eth_getTransactionReceipt", sent) is None
    assert await node.ask("eth_getTransactionCount", wallet.address, "pending") == "0x1"
    assert await node.ask("eth_getTransactionCount", wallet.address, "latest") == "0x0"
    assert (pending["number"], pending["hash"]) == ("0x1", None)
    assert pending["transactions"] == [waiting]

    node.chain.release_blocks()
    mined = await node.ask("eth_getTransactionByHash", sent)

    assert mined["blockNumber"] == "0x1"
    assert {**mined, "blockHash": None, "blockNumber": None, "transactionIndex": None} == waiting


async def test_what_is_not_there_is_null(node: Node) -> None:
    for method in ("eth_getTransactionByHash", "eth_getTransactionReceipt", "eth_getBlockByHash"):
        assert await node.ask(method, NOBODY) is None
    assert await node.ask("eth_getBlockByNumber", "0x99") is None
    assert await node.ask("eth_getBlockReceipts", "0x99") is None


async def test_logs_are_found_by_address_topic_and_block(
    node: Node, wallet: LocalAccount, models: Folder
) -> None:
    models.add("identity", graphs.identity(TensorProto.FLOAT, [1]))
    data = run_data("identity", [numbers("x", [1.0])])
    sent = await node.ask(
        "eth_sendRawTransaction",
        _hex(sign(wallet, CHAIN_ID, to=INFERENCE_CONTRACT, gas=10**6, data=data)),
    )
    receipt = await node.ask("eth_getTransactionReceipt", sent)
    precompile_log, contract_log = receipt["logs"]
    topic = _hex(INFERENCE_RESULT)

    assert [log["logIndex"] for log in receipt["logs"]] == ["0x0", "0x1"]
    assert await node.ask("eth_getLogs", {"fromBlock": "earliest"}) == receipt["logs"]
    assert await node.ask("eth_getLogs", {"blockHash": receipt["blockHash"]}) == receipt["logs"]
    assert await node.ask("eth_getLogs", {"address": INFERENCE_CONTRACT}) == [contract_log]
    assert await node.ask(
        "eth_getLogs", {"address": [precompile_log["address"]], "topics": [None]}
    ) == [precompile_log]
    assert await node.ask("eth_getLogs", {"topics": [[NOBODY, topic]]}) == [contract_log]
    assert await node.ask("eth_getLogs", {"topics": [topic, topic]}) == []
    assert await node.ask("eth_getLogs", {"fromBlock": "pending", "toBlock": "pending"}) == []
    assert await node.ask("eth_getLogs", {"blockHash": NOBODY}) == {
        "code": -32000,
        "message": "unknown block",
    }
    assert await node.ask("eth_getBlockReceipts", receipt["blockNumber"]) == [receipt]


async def test_a_revert_has_code_3_its_reason_and_its_data(
    node: Node, wallet: LocalAccount
) -> None:
    call = {
        "from": wallet.address,
        "to": INFERENCE_CONTRACT,
        "input": _hex(run_data("Qm-nowhere")),
    }

    for method in ("eth_call", "eth_estimateGas"):
        error = await node.ask(method, call)
        assert error["code"] == 3
        assert error["message"] == 'execution reverted: no model file has the CID "Qm-nowhere"'
        assert error["data"].startswith("0x08c379a0")


async def test_a_revert_without_words_has_data_only(node: Node) -> None:
    # PUSH0 PUSH0 REVERT as a contract's constructor.
    error = await node.ask("eth_call", {"data": "0x5f5ffd"})

    assert error == {"code": 3, "message": "execution reverted", "data": "0x"}


async def test_an_estimate_looks_at_the_senders_funds(node: Node, wallet: LocalAccount) -> None:
    poor = {"from": RECIPIENT, "to": wallet.address, "gasPrice": "0x1"}
    rich = {"from": wallet.address, "to": RECIPIENT, "gasPrice": "0x1", "value": "0x1"}

    assert await node.ask("eth_estimateGas", rich) == hex(21_000)
    assert await node.ask("eth_estimateGas", poor) == {
        "code": -32000,
        "message": "intrinsic gas too low: gas 0, minimum needed 21000",
    }
    assert await node.ask("eth_estimateGas", {**poor, "value": "0x1"}) == {
        "code": -32000,
        "message": "insufficient funds for transfer",
    }


async def test_input_and_data_may_not_differ(node: Node) -> None:
    error = await node.ask("eth_call", {"to": RECIPIENT, "input": "0x01", "data": "0x02"})

    assert error["message"].startswith('both "data" and "input" are set and not equal')


async def test_web3_reads_every_shape(chain: Chain, wallet: LocalAccount) -> None:
    faults = Faults()
    service = Service(rpc_app(chain, faults), faults)
    await service.open()
    w3 = AsyncWeb3(AsyncHTTPProvider(service.url))
    fees = {"maxFeePerGas": 2 * 10**9, "maxPriorityFeePerGas": 10**9}
    filled: Any = {
        "to": RECIPIENT,
        "value": 1,
        "nonce": 0,
        "gas": 21_000,
        "chainId": await w3.eth.chain_id,
        **fees,
    }
    sent = await w3.eth.send_raw_transaction(wallet.sign_transaction(filled).raw_transaction)
    receipt = await w3.eth.wait_for_transaction_receipt(sent)
    transaction = await w3.eth.get_transaction(sent)
    block = await w3.eth.get_block("latest", full_transactions=True)
    history = await w3.eth.fee_history(1, "latest", [50.0])

    assert (receipt["status"], receipt["effectiveGasPrice"]) == (1, 10**9 + 7)
    assert transaction["maxFeePerGas"] == 2 * 10**9
    assert block["transactions"][0] == transaction
    assert history["gasUsedRatio"] == [block["gasUsed"] / block["gasLimit"]]
    assert await w3.eth.get_balance(wallet.address) < LOCAL_WALLET_WEI
    assert await w3.client_version
    await w3.provider.disconnect()
    await service.close()


async def test_receipts_are_read_while_the_chain_is_busy(node: Node, wallet: LocalAccount) -> None:
    sent = await node.ask("eth_sendRawTransaction", _hex(sign(wallet, CHAIN_ID)))
    go_on = threading.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(node.chain.in_order, go_on.wait)
        receipt = await node.ask("eth_getTransactionReceipt", sent)
        go_on.set()

    assert receipt["status"] == "0x1"
