"""The TEE registry: what is read, how often, who vouches for it, and what is left out."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from eth_abi import abi as eth_abi
from eth_hash.auto import keccak

from og_mcp.client.chain.rpc import RPC
from og_mcp.client.hub.known import KnownGraphs
from og_mcp.client.resources import Resources
from og_mcp.client.tee.registry import FRESH_S, RENEW_AFTER_S, USABLE_S, Registry
from og_mcp.client.wire.http import open_http
from og_mcp.client.wire.timeouts import Timeouts
from og_mcp.errors import (
    NoGatewayError,
    RegistryConflictError,
    ServiceError,
    ServiceReplyError,
    VerificationError,
    WrongChainError,
)
from og_mcp.networks import from_ready_file
from og_mcp.settings import Settings
from tests.localnet_client import LocalNetwork

JSON = dict[str, Any]

OHTTP = "(uint8,uint16,uint16,uint16,bytes,bytes,uint256)"
TEE_INFO = f"(address,address,string,bytes,bytes,bytes32,uint8,bool,uint256,uint256,{OHTTP})"


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Wire(httpx.AsyncBaseTransport):
    """Carries requests to the local network's RPC, and changes them and their answers on the way.

    Args:
        asked: Changes each call of a batch.
        answered: Changes each answer of a batch, by the batch's number.
    """

    def __init__(
        self,
        localnet: LocalNetwork,
        *,
        asked: Callable[[JSON], None] = lambda _: None,
        answered: Callable[[int, JSON], None] = lambda _, __: None,
    ) -> None:
        self._url = localnet.ready["rpc_url"]
        self._asked, self._answered = asked, answered
        self._http = open_http(local=True)
        self.requests = 0
        self.down = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        if self.down:
            raise httpx.ConnectError("down")
        calls = json.loads(await request.aread())
        for call in calls:
            self._asked(call)
        answers = (await self._http.post(self._url, json=calls)).json()
        for answer in answers:
            self._answered(self.requests, answer)
        return httpx.Response(200, json=answers)

    async def aclose(self) -> None:
        await self._http.aclose()


@asynccontextmanager
async def reading(
    localnet: LocalNetwork,
    *wires: Wire,
    clock: Clock | None = None,
    tee_pcr: tuple[str, ...] = (),
    **network: Any,  # noqa: ANN401 - fields of the ready file
) -> AsyncIterator[Registry]:
    """Open a registry; leaving waits for what it reads in the background."""
    settings = Settings(network_name="local", data_dir=Path("/nowhere"), tee_pcr=tee_pcr)
    profile = from_ready_file(localnet.ready | network)
    clients = [httpx.AsyncClient(transport=wire) for wire in wires or (Wire(localnet),)]
    rpcs = [
        RPC(http, f"https://rpc{number}.example.com", "RPC", timeout_s=5)
        for number, http in enumerate(clients, 1)
    ]
    try:
        async with anyio.create_task_group() as tasks:
            yield Registry(rpcs, profile, settings, tasks, clock=clock or Clock())
    finally:
        for http in clients:
            await http.aclose()


@pytest.fixture
def wire(localnet: LocalNetwork) -> Wire:
    return Wire(localnet)


async def test_the_registry_names_the_gateway_and_who_vouches_in_one_request(
    localnet: LocalNetwork, wire: Wire
) -> None:
    async with reading(localnet, wire) as registry:
        (tee,) = await registry.active()
    (told,) = localnet.tees()
    block = localnet.rpc("eth_getBlockByNumber", hex(tee.source.block_number), False)

    assert wire.requests == 1
    assert tee.tee_id == told["tee_id"] == "0x" + keccak(tee.public_key).hex()
    assert tee.endpoint == localnet.ready["gateway_url"]
    assert tee.payment_address == told["payment_address"]
    assert tee.pcr_hash == told["pcr_hash"]
    assert tee.source.model_dump() == {
        "rpc": "https://rpc1.example.com",
        "chain_id": localnet.ready["chain_id"],
        "block_number": tee.source.block_number,
        "block_hash": block["hash"],
    }


async def test_a_session_reads_the_registry_of_its_network(
    localnet: LocalNetwork, tmp_path: Path
) -> None:
    settings = Settings.from_env({**localnet.environ, "OG_DATA_DIR": str(tmp_path)})
    resources = Resources(settings, Timeouts(), KnownGraphs())
    try:
        registry, gateways = await resources.registry.get(), await resources.gateways.get()
        (tee,) = await registry.active()
        gateway = await gateways.pick()
        health = await gateway.http.get(f"{gateway.tee.endpoint}/health")
    finally:
        await resources.aclose()

    assert gateway.tee == tee
    assert health.status_code == 200


async def test_the_block_that_vouches_is_the_one_that_was_asked_at(localnet: LocalNetwork) -> None:
    number = localnet.mine(3)

    def a_block_came_in_between(request: int, answer: JSON) -> None:
        if request == 1 and answer["id"] == 1:
            answer["result"]["hash"] = "0x" + "ee" * 32

    wire = Wire(localnet, answered=a_block_came_in_between)
    async with reading(localnet, wire) as registry:
        (tee,) = await registry.active()

    assert wire.requests == 2
    assert tee.source.block_number == number


async def test_a_reading_is_shared_by_all_who_ask_at_once(
    localnet: LocalNetwork, wire: Wire
) -> None:
    async with reading(localnet, wire) as registry, anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(registry.active)

    assert wire.requests == 1


async def test_an_older_reading_is_used_while_it_is_read_anew_behind(
    localnet: LocalNetwork, wire: Wire
) -> None:
    clock = Clock()
    async with reading(localnet, wire, clock=clock) as registry:
        before = await registry.active()
        clock.now += RENEW_AFTER_S
        assert await registry.active() is before
        assert wire.requests == 1
        clock.now += 1
        for _ in range(5):
            assert await registry.active() is before

    assert wire.requests == 2
    assert await registry.active() is not before


async def test_a_registry_that_cannot_be_read_is_used_for_ten_minutes(
    localnet: LocalNetwork, wire: Wire
) -> None:
    clock = Clock()
    async with reading(localnet, wire, clock=clock) as registry:
        before = await registry.active()
        wire.down = True
        clock.now += USABLE_S
        assert await registry.active() is before
        assert await registry.is_active(before[0].tee_id)
        clock.now += 1
        with pytest.raises(ServiceError):
            await registry.active()


async def test_that_a_tee_is_still_active_is_told_by_a_reading_of_the_last_minute(
    localnet: LocalNetwork, wire: Wire
) -> None:
    clock = Clock()
    async with reading(localnet, wire, clock=clock) as registry:
        (tee,) = await registry.active()
        localnet.change_tee(enabled=False)
        clock.now += FRESH_S
        assert await registry.is_active(tee.tee_id.upper().replace("0X", "0x"))
        assert wire.requests == 1
        clock.now += 1
        assert not await registry.is_active(tee.tee_id)
        assert wire.requests == 2


async def test_t9_what_cannot_be_read_after_an_answer_is_no_reason_to_ask_again(
    localnet: LocalNetwork, wire: Wire
) -> None:
    clock = Clock()
    async with reading(localnet, wire, clock=clock) as registry:
        (tee,) = await registry.active()
        wire.down = True
        clock.now += USABLE_S + 1
        with pytest.raises(VerificationError) as caught:
            await registry.is_active(tee.tee_id)

    assert not isinstance(caught.value, ServiceError)


async def test_what_changed_is_known_after_a_refresh(localnet: LocalNetwork, wire: Wire) -> None:
    clock = Clock()
    async with reading(localnet, wire, clock=clock) as registry:
        await registry.active()
        added = localnet.add_tee()
        assert len(await registry.active()) == 1
        clock.now += 1
        await registry.refresh()
        found = await registry.active()

    assert added["tee_id"] in [tee.tee_id for tee in found]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"endpoint": ""}, "no endpoint"),
        ({"tls_certificate": "0x"}, "no TLS certificate"),
        ({"tls_certificate": "0x00"}, "certificate cannot be read"),
        ({"endpoint": "http://127.0.0.1:1"}, "not a plain https URL"),
        ({"endpoint": "https://user:secret@127.0.0.1:1"}, "not a plain https URL"),
        ({"endpoint": "https://127.0.0.1:1/?a=b"}, "not a plain https URL"),
        ({"endpoint": "https://"}, "not a plain https URL"),
        ({"endpoint": "https://127.0.0.1:99999"}, "not a plain https URL"),
        ({"enabled": False}, "holds no active one"),
        ({"heartbeat": 1}, "holds no active one"),
    ],
)
async def test_t20_an_entry_that_cannot_be_used_is_left_out_and_it_is_told_why(
    localnet: LocalNetwork, changes: dict[str, Any], why: str
) -> None:
    localnet.change_tee(**changes)

    async with reading(localnet) as registry:
        with pytest.raises(NoGatewayError) as caught:
            await registry.active()

    assert why in str(caught.value)
    assert "https://rpc1.example.com" in str(caught.value)


async def test_as_many_entries_as_are_allowed_are_read(localnet: LocalNetwork) -> None:
    def many(_: int, answer: JSON) -> None:
        if answer["id"] == 2:
            answer["result"] = honest(256)

    async with reading(localnet, Wire(localnet, answered=many)) as registry:
        with pytest.raises(NoGatewayError, match="no TLS certificate") as caught:
            await registry.active()

    assert str(caught.value).count("no TLS certificate") == 5
    assert "and so on for 251 more" in str(caught.value)


async def test_an_endpoint_that_is_no_text_spoils_no_other_entry(localnet: LocalNetwork) -> None:
    localnet.add_tee()
    kept, spoiled = localnet.tees()

    def garbled(_: int, answer: JSON) -> None:
        if answer["id"] == 2:
            endpoint = spoiled["url"].encode()
            other = b"\xff" + endpoint[1:]
            answer["result"] = answer["result"].replace(endpoint.hex(), other.hex())

    async with reading(localnet, Wire(localnet, answered=garbled)) as registry:
        (tee,) = await registry.active()

    assert tee.tee_id == kept["tee_id"]


async def test_only_accepted_code_measurements_are_used(localnet: LocalNetwork) -> None:
    accepted = "0x" + "ab" * 32
    second = localnet.add_tee()
    localnet.change_tee(second["service"], pcr_hash=accepted)

    async with reading(localnet, tee_pcr=(accepted,)) as registry:
        assert [tee.tee_id for tee in await registry.active()] == [second["tee_id"]]
    async with reading(localnet, tee_pcr=("0x" + "cd" * 32,)) as registry:
        with pytest.raises(NoGatewayError, match="OG_TEE_PCR"):
            await registry.active()


async def test_t4_another_chain_vouches_for_nothing(localnet: LocalNetwork) -> None:
    async with reading(localnet, chain_id=1) as registry:
        with pytest.raises(WrongChainError):
            await registry.active()


async def test_where_there_is_no_registry_it_is_said(localnet: LocalNetwork) -> None:
    async with reading(localnet, tee_registry="0x" + "12" * 20) as registry:
        with pytest.raises(ServiceReplyError, match="no TEE registry at that address"):
            await registry.active()


def words(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(32, "big") for number in numbers)


def honest(count: int) -> str:
    """Entries without any mistake, more than a registry has."""
    zero = "0x" + "00" * 20
    ohttp = (0, 0, 0, 0, b"", b"", 0)
    infos = [
        (zero, zero, "https://203.0.113.7", b"%d" % number, b"", bytes(32), 0, True, 0, 0, ohttp)
        for number in range(count)
    ]
    return "0x" + eth_abi.encode([f"{TEE_INFO}[]"], [infos]).hex()


def pointing_at_one(count: int, size: int) -> str:
    """Entries that are all the same one: kilobytes that would be read as gigabytes."""
    at, behind = 11 * 32, 11 * 32 + 32 + size
    members = words(0, 0, at, at, at, 0, 0, 1, 0, 0, behind)
    no_ohttp = words(0, 0, 0, 0, 7 * 32, 7 * 32, 0, 0)
    entry = members + words(size) + b"a" * size + no_ohttp
    return "0x" + (words(32, count) + words(count * 32) * count + entry).hex()


@pytest.mark.parametrize(
    "result",
    [
        *("0x1234", "no hex", None, 5, ["0x"], {}, "0x" + "ff" * 64),
        "0x" + words(32, 2**64).hex(),
        pointing_at_one(2000, 320_000),
        honest(257),
        "0x" + "00" * (4 * 2**20 + 1),
    ],
    ids=lambda result: str(result)[:12],
)
async def test_a_malformed_answer_is_an_error_of_ours(
    localnet: LocalNetwork, result: object
) -> None:
    def garbled(_: int, answer: JSON) -> None:
        if answer["id"] == 2:
            answer["result"] = result

    async with reading(localnet, Wire(localnet, answered=garbled)) as registry:
        with pytest.raises(ServiceReplyError):
            await registry.active()


@pytest.mark.parametrize("number", [[], {"a": 1}, "0", None, True])
async def test_an_answer_to_nothing_that_was_asked_is_an_error_of_ours(
    localnet: LocalNetwork, number: object
) -> None:
    def mislabelled(_: int, answer: JSON) -> None:
        if answer["id"] == 0:
            answer["id"] = number

    async with reading(localnet, Wire(localnet, answered=mislabelled)) as registry:
        with pytest.raises(ServiceReplyError):
            await registry.active()


def lagging(localnet: LocalNetwork, number: int) -> Wire:
    """An RPC that has not seen the blocks after one."""

    def older(call: JSON) -> None:
        call["params"] = [hex(number) if one == "latest" else one for one in call["params"]]

    return Wire(localnet, asked=older)


def another(localnet: LocalNetwork) -> Wire:
    """An RPC that says something else: the certificate's last byte is another one."""

    def forged(_: int, answer: JSON) -> None:
        if answer["id"] == 2:
            certificate = localnet_certificate(localnet)
            other = certificate[:-2] + ("00" if certificate[-2:] != "00" else "01")
            answer["result"] = answer["result"].replace(certificate, other)

    return Wire(localnet, answered=forged)


def localnet_certificate(localnet: LocalNetwork) -> str:
    """The certificate that the gateway shows, hex."""
    host, port = localnet.ready["gateway_url"].removeprefix("https://").split(":")
    return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate((host, int(port)))).hex()


async def test_t15_rpcs_at_different_blocks_agree_at_the_lowest(localnet: LocalNetwork) -> None:
    number = localnet.mine()
    localnet.change_tee(payment_address="0x" + "ab" * 20)

    wires = Wire(localnet), lagging(localnet, number)
    async with reading(localnet, *wires) as registry:
        (tee,) = await registry.active()

    assert tee.source.block_number == number
    assert tee.source.rpc == "https://rpc1.example.com, https://rpc2.example.com"
    assert tee.payment_address.lower() != "0x" + "ab" * 20


async def test_t15_an_rpc_that_says_something_else_is_named(localnet: LocalNetwork) -> None:
    async with reading(localnet, another(localnet), Wire(localnet), Wire(localnet)) as registry:
        with pytest.raises(RegistryConflictError) as caught:
            await registry.active()

    assert caught.value.odd == ("https://rpc1.example.com",)
    assert caught.value.agreed == ("https://rpc2.example.com", "https://rpc3.example.com")


async def test_t15_every_rpc_must_answer(localnet: LocalNetwork) -> None:
    down = Wire(localnet)
    down.down = True

    async with reading(localnet, Wire(localnet), down) as registry:
        with pytest.raises(ServiceError, match=r"rpc2\.example\.com"):
            await registry.active()
