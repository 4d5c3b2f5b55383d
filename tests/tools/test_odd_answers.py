"""Bytes that no library expects, at each step of a call: told in our words, with the right stage.

What httpx, aiohttp, web3, eth_abi, eth_account and x402 raise for them must not reach a model as an
unexpected error, and nothing that may have left may be told as not sent.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final

import pytest
from mcp import Client

from og_mcp.client import Session, Timeouts
from og_mcp.networks import PERMIT2
from og_mcp.server import build_server
from og_mcp.types import Stage
from tests.books import Purse
from tests.client.payments.chats import OPG
from tests.client.payments.test_exposure import send
from tests.localnet_client import LocalNetwork
from tests.lying_gateway import Answer, Lie, LyingGateway, header, lying_gateway
from tests.lying_rpc import Asked, LyingRPC, RefusalError, lying, raw, says
from tests.tools.calls import text_of

BRIEF: Final = Timeouts(rpc_s=5.0, look_up_s=0.2, receipt_s=0.2, gateway_s=5.0)
SEND: Final = "eth_sendRawTransaction"
OK: Final = b"HTTP/1.1 200 OK\r\n"
SPENT: Final = {Stage.SENT_UNKNOWN, Stage.CHARGED}


def document(body: bytes) -> bytes:
    return OK + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


BYTES: Final = {
    "nothing": b"",
    "words": b"garbage\r\n\r\n",
    "binary": b"\x00\xff\x16\x03\x01" * 40,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "no length": OK + b"\r\n",
    "a body that breaks off": OK + b"Content-Length: 100\r\n\r\nshort",
    "a bad chunk": OK + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\nxx",
    "a chunk that breaks off": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
    "an unknown transfer": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "no gzip": OK + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello",
    "no deflate": OK + b"Content-Encoding: deflate\r\nContent-Length: 5\r\n\r\nhello",
    "no brotli": OK + b"Content-Encoding: br\r\nContent-Length: 5\r\n\r\nhello",
    "a negative length": OK + b"Content-Length: -5\r\n\r\n{}",
    "two lengths": OK + b"Content-Length: 5\r\nContent-Length: 7\r\n\r\nhello",
    "a status of two digits": b"HTTP/1.1 42 x\r\nContent-Length: 0\r\n\r\n",
    "a status of 999": b"HTTP/1.1 999 \xff\xfe\r\nContent-Length: 0\r\n\r\n",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "another protocol": b"HTTP/1.1 101 x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    "continue alone": b"HTTP/1.1 100 Continue\r\n\r\n" * 3,
    "a redirect to nowhere": b"HTTP/1.1 302 x\r\nLocation: http://[::1\r\nContent-Length: 0\r\n\r\n",
    "a redirect of bytes": b"HTTP/1.1 302 x\r\nLocation: \xff\xfe\r\nContent-Length: 0\r\n\r\n",
    "a long header": OK + b"X: " + b"a" * 300_000 + b"\r\n\r\n",
    "many headers": OK + b"".join(b"X%d: a\r\n" % n for n in range(20_000)) + b"\r\n",
    "a header with a zero": OK + b"X\x00Y: a\r\nContent-Length: 2\r\n\r\n{}",
    "odd cookies": OK + b"Set-Cookie: \xff=\xfe; expires=x\r\nContent-Length: 2\r\n\r\n{}",
    "an odd date": OK + b"Date: Thu, 99 Foo 99999999999 99:99:99\r\nContent-Length: 2\r\n\r\n{}",
    "an odd charset": OK + b"Content-Type: text/html; charset=\xff\r\nContent-Length: 2\r\n\r\n{}",
    "a wait for ever": b"HTTP/1.1 429 x\r\nRetry-After: 9e999\r\nContent-Length: 0\r\n\r\n",
    "an odd challenge": b"HTTP/1.1 402 x\r\nPAYMENT-REQUIRED: \xff\xfe\r\nContent-Length: 0\r\n\r\n",
    "a long challenge": b"HTTP/1.1 402 x\r\nPAYMENT-REQUIRED: %s\r\nContent-Length: 0\r\n\r\n"
    % (b"A" * 50_000),
    "a list challenge": b"HTTP/1.1 402 x\r\nPAYMENT-REQUIRED: W10=\r\nContent-Length: 0\r\n\r\n",
    "a surrogate in words": b'HTTP/1.1 500 x\r\nContent-Length: 20\r\n\r\n{"error": "\\ud800 \\n"}',
    "UTF-16": document('{"jsonrpc": "2.0"}'.encode("utf-16")),
    "a BOM": document(b'\xef\xbb\xbf{"jsonrpc": "2.0", "id": 0, "result": "x"}'),
    "no UTF-8": document(b'{"jsonrpc": "\xff", "id": 0, "result": "\xff"}'),
    "a number of 5,000 digits": document(b'{"jsonrpc": "2.0", "result": %s}' % (b"9" * 5_000)),
    "a document without end": document(b"[" * 100_000),
    "numbers that are none": document(b'{"jsonrpc": NaN, "id": Infinity, "result": -Infinity}'),
    "an id that is none": document(b'[{"jsonrpc": "2.0", "id": 1e999, "result": 1}, 5]'),
    "an error of a surrogate": document(b'{"jsonrpc": "2.0", "error": {"message": "\\ud800"}}'),
    "an error that is none": document(b'{"jsonrpc": "2.0", "error": {"code": [], "message": {}}}'),
}


SOME: Final = dict(islice(BYTES.items(), 1, None, 8))
some_or_all = pytest.mark.parametrize(
    "odd", [SOME, pytest.param(BYTES, marks=pytest.mark.slow)], ids=["some", "all"]
)


class Seen:
    """A wallet and its host, who see the network through what may answer anything."""

    def __init__(self, purse: Purse, mcp: Client) -> None:
        self.purse, self.mcp = purse, mcp

    async def failed(self, tool: str, **arguments: object) -> dict[str, Any]:
        """Call a tool that has to fail in words of ours; returns what programs read."""
        result = await self.mcp.call_tool(tool, arguments)
        text = text_of(result)
        facts: dict[str, Any] | None = result.structured_content
        assert result.is_error, text
        assert "did not expect" not in text
        # mcp says no more of an exception that is not ours.
        assert text != f"Error executing tool {tool}"
        assert facts is not None
        assert facts["stage"] != "not_sent" or "othing was" in text, text
        assert facts["call_id"], text
        told = await self.mcp.call_tool("get_call", {"call_id": facts["call_id"], "wait_s": 0})
        assert told.structured_content is not None
        assert told.structured_content["status"] == "failed"
        return facts

    async def infer(self, key: str = "", **more: object) -> dict[str, Any]:
        sample = self.purse.localnet.ready["sample_models"][0]
        arguments = {"model_cid": sample["cid"], "model_input": sample["model_input"], **more}
        key = key.replace(" ", "-")
        return await self.failed("infer", idempotency_key=key, max_retries=0, **arguments)

    async def chat(self, key: str) -> dict[str, Any]:
        key, model = key.replace(" ", "-"), "openai/gpt-5.4-mini"
        return await self.failed("chat", model=model, messages="Who?", idempotency_key=key)


@pytest.fixture
async def rpc(localnet: LocalNetwork) -> AsyncIterator[LyingRPC]:
    async with lying(localnet.ready["rpc_url"]) as rpc:
        yield rpc


@pytest.fixture
async def base(localnet: LocalNetwork) -> AsyncIterator[LyingRPC]:
    async with lying(localnet.ready["base_rpc_url"]) as base:
        yield base


@pytest.fixture
async def gateway(localnet: LocalNetwork) -> AsyncIterator[LyingGateway]:
    async with lying_gateway(localnet) as gateway:
        yield gateway


@asynccontextmanager
async def seen(
    localnet: LocalNetwork, folder: Path, rpc: LyingRPC | None, base: LyingRPC | None
) -> AsyncIterator[Seen]:
    purse = Purse(
        localnet,
        folder,
        rpc_url=rpc.url if rpc else "",
        base_rpc_url=base.url if base else "",
    )
    if rpc is None or base is not None:
        localnet.fund_opg(purse.address, 100 * OPG)
        localnet.fund(purse.address, chain="base_rpc")
        send(purse, localnet.ready["opg_token"], "approve(address,uint256)", [PERMIT2, 50 * OPG])
    async with Client(build_server(Session(purse.settings(), timeouts=BRIEF))) as mcp:
        yield Seen(purse, mcp)


# Before anything leaves


@some_or_all
async def test_odd_bytes_before_a_transaction_are_told_as_not_sent(
    localnet: LocalNetwork, tmp_path: Path, rpc: LyingRPC, odd: dict[str, bytes]
) -> None:
    async with seen(localnet, tmp_path, rpc, None) as host:
        for name, sent in odd.items():
            rpc.on("eth_estimateGas", raw(sent))
            assert (await host.infer(name))["stage"] == Stage.NOT_SENT, name

    assert (host.purse.sent("pending"), rpc.sent) == (0, [])


@some_or_all
async def test_odd_bytes_of_the_payment_chain_are_told_as_not_sent(
    localnet: LocalNetwork, tmp_path: Path, base: LyingRPC, odd: dict[str, bytes]
) -> None:
    async with seen(localnet, tmp_path, None, base) as host:
        for name, sent in odd.items():
            base.on("eth_call", raw(sent))
            assert (await host.chat(name))["stage"] == Stage.NOT_SENT, name


@some_or_all
async def test_odd_bytes_of_a_gateway_that_is_not_paid_yet_are_told_as_not_sent(
    localnet: LocalNetwork, tmp_path: Path, gateway: LyingGateway, odd: dict[str, bytes]
) -> None:
    async with seen(localnet, tmp_path, None, None) as host:
        for name, sent in odd.items():
            gateway.on(raw(sent))
            facts = await host.chat(name)
            assert facts["stage"] == Stage.NOT_SENT, name
        listed = await host.mcp.call_tool("list_calls", {})

    assert listed.structured_content is not None
    assert listed.structured_content["open_opg"] == "0"


CHALLENGES: Final[dict[str, Any]] = {
    "a number": 5,
    "nothing": {},
    "nothing accepted": {"accepts": []},
    "numbers accepted": {"accepts": [5]},
    "a scheme alone": {"accepts": [{"scheme": "upto"}]},
    "no extra": {"extra": None},
    "an odd extra": {"extra": {"facilitatorAddress": 5, "assetTransferMethod": []}},
    "a negative amount": {"amount": "-1"},
    "an amount in words": {"amount": "much"},
    "an amount of 5,000 digits": {"amount": "9" * 5_000},
    "an amount of other digits": {"amount": "\u0661\u0662"},
    "a negative time": {"maxTimeoutSeconds": -1},
    "a time for ever": {"maxTimeoutSeconds": 10**400},
    "a network that is none": {"network": "eip155:\ud7ff"},
    "an address that is none": {"payTo": "0x" + "zz" * 20},
    "an asset that is none": {"asset": {"a": 1}},
}
"""A whole challenge, or what of a genuine one is another."""


async def test_odd_challenges_are_told_as_not_sent(
    localnet: LocalNetwork, tmp_path: Path, gateway: LyingGateway
) -> None:
    def challenge(odd: Any) -> Lie:  # noqa: ANN401 - JSON
        def lie(answer: Answer) -> Answer | Awaitable[Answer]:
            told = json.loads(b64decode(dict(answer.headers)["payment-required"]))
            if isinstance(odd, dict) and odd and "accepts" not in odd:
                made = {**told, "accepts": [{**told["accepts"][0], **odd}]}
            else:
                made = {**told, **odd} if odd and isinstance(odd, dict) else odd
            return header("payment-required", b64encode(json.dumps(made).encode()))(answer)

        return lie

    async with seen(localnet, tmp_path, None, None) as host:
        for name, odd in CHALLENGES.items():
            gateway.on(challenge(odd))
            assert (await host.chat(name))["stage"] == Stage.NOT_SENT, name


# After it has left


def paid_by(lie: Lie) -> Lie:
    """Lie in place of a good answer alone."""
    return lambda answer: lie(answer) if answer.status == 200 else answer


@pytest.mark.sweep(quick=4)
@pytest.mark.parametrize("name", BYTES)
@pytest.mark.parametrize("method", [SEND, "eth_getTransactionReceipt"])
async def test_odd_bytes_after_a_transaction_are_told_as_perhaps_sent(
    localnet: LocalNetwork, tmp_path: Path, rpc: LyingRPC, method: str, name: str
) -> None:
    async with seen(localnet, tmp_path, rpc, None) as host:
        rpc.on(method, raw(BYTES[name]))
        facts = await host.infer()

    assert facts["stage"] in SPENT
    assert len(set(rpc.sent)) == 1


@some_or_all
async def test_odd_bytes_of_a_gateway_that_is_paid_are_told_as_perhaps_paid(
    localnet: LocalNetwork, tmp_path: Path, gateway: LyingGateway, odd: dict[str, bytes]
) -> None:
    async with seen(localnet, tmp_path, None, None) as host:
        for name, sent in odd.items():
            gateway.on(paid_by(raw(sent)))
            facts = await host.chat(name)
            assert Stage(facts["stage"]) in SPENT, name


# JSON that no node would answer

VALUES: Final[dict[str, object]] = {
    "null": None,
    "true": True,
    "a fraction": 1.5,
    "a huge number": 10**4000,
    "nothing": "",
    "no digits": "0x",
    "a negative": "-0x1",
    "blanks": " 0x1 ",
    "other digits": "0x\u0661",
    "too many digits": "0x" + "f" * 200_000,
    "a surrogate": "\ud800",
    "lists": [[[]]],
    "an object": {"number": "0x1", "timestamp": "0x1", "hash": 5, "baseFeePerGas": "\ud800"},
}
ERRORS: Final[dict[str, Any]] = {
    "empty": {},
    "a surrogate": {"code": 1, "message": "\ud800\x1b[2J"},
    "of other types": {"code": "x", "message": 5, "data": [1]},
    "a code like none": {"code": 1e300, "message": None},
    "a reason that is cut": {"code": 3, "message": "execution reverted", "data": "0x08c379a0zz"},
    "a reason without end": {
        "code": 3,
        "message": "execution reverted",
        "data": "0x08c379a0" + "f" * 64,
    },
    "a reason of a surrogate": {"code": 3, "message": "execution reverted: \ud800"},
}
BEFORE: Final = (
    *("eth_chainId", "eth_getBlockByNumber", "eth_estimateGas", "eth_gasPrice"),
    *("eth_getTransactionCount", "eth_getBalance", "eth_call"),
)


def error(told: Any) -> Any:  # noqa: ANN401 - a lie of the bench
    def lie(_: Asked) -> None:
        refusal = RefusalError("")
        refusal.error = told
        raise refusal

    return lie


LIES: Final = {
    **{f"result: {name}": says(value) for name, value in VALUES.items()},
    **{f"error: {name}": error(told) for name, told in ERRORS.items()},
}


@pytest.mark.sweep(quick=2)
@pytest.mark.parametrize("method", BEFORE)
async def test_odd_json_of_a_node_ends_in_words_or_changes_nothing(
    localnet: LocalNetwork, tmp_path: Path, rpc: LyingRPC, method: str
) -> None:
    async with seen(localnet, tmp_path, rpc, None) as host:
        sample = localnet.ready["sample_models"][0]
        for name, lie in LIES.items():
            rpc.honest()
            rpc.on(method, lie)
            result = await host.mcp.call_tool(
                "infer",
                {
                    "model_cid": sample["cid"],
                    "model_input": sample["model_input"],
                    "max_retries": 0,
                    "idempotency_key": name.replace(" ", "-"),
                },
            )
            text = text_of(result)
            assert "did not expect" not in text, name
            assert text != "Error executing tool infer", name
            if result.is_error:
                assert result.structured_content is not None
                assert result.structured_content["stage"] == Stage.NOT_SENT, (name, text)
