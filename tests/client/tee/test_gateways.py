"""Gateways: which one is asked, over which connections, and what becomes of one that fails."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import httpx
import pytest

from og_mcp.client.chain.rpc import RPC
from og_mcp.client.tee.gateways import (
    FIRST_REST_S,
    MAX_REST_S,
    Gateway,
    Gateways,
    open_client,
    proxy_for,
)
from og_mcp.client.tee.registry import Registry
from og_mcp.client.wire.http import open_http
from og_mcp.errors import NoGatewayError
from og_mcp.networks import from_ready_file
from og_mcp.settings import Settings
from tests.client.enclave import Enclave
from tests.client.tls_server import Issued, Served, issue, serving
from tests.localnet_client import LocalNetwork


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


CONCURRENT = 100


@asynccontextmanager
async def opened(localnet: LocalNetwork, clock: Clock | None = None) -> AsyncIterator[Gateways]:
    """Open the gateways of the local network."""
    settings = Settings(network_name="local", data_dir=Path("/nowhere"))
    network, clock = from_ready_file(localnet.ready), clock or Clock()
    async with open_http(local=True) as http, anyio.create_task_group() as tasks:
        rpc = RPC(http, network.rpc_url, "RPC", timeout_s=5)
        registry = Registry([rpc], network, settings, tasks, clock=clock)
        gateways = Gateways(registry, local=True, clock=clock)
        try:
            yield gateways
        finally:
            await gateways.aclose()


async def health(gateway: Gateway) -> int:
    return (await gateway.http.get(f"{gateway.tee.endpoint}/health")).status_code


async def picked(gateways: Gateways, times: int = 20) -> set[str]:
    return {(await gateways.pick()).tee.tee_id for _ in range(times)}


async def test_a_gateway_is_reached_by_its_registered_certificate(localnet: LocalNetwork) -> None:
    async with opened(localnet) as gateways:
        assert await health(await gateways.pick()) == 200


async def test_t20_a_gateway_has_one_client_for_each_endpoint_and_certificate(
    localnet: LocalNetwork,
) -> None:
    clock = Clock()
    async with opened(localnet, clock) as gateways:
        first, again = await gateways.pick(), await gateways.pick()
        assert first.http is again.http
        localnet.rotate_certificate(register=True)
        clock.now += 1000
        rotated = await gateways.pick()

        assert rotated.http is not first.http
        assert await health(rotated) == 200
        with pytest.raises(httpx.ConnectError):
            await health(first)


async def test_t9_a_certificate_that_was_rotated_is_found_again_after_one_failure(
    localnet: LocalNetwork,
) -> None:
    clock = Clock()
    async with opened(localnet, clock) as gateways:
        first = await gateways.pick()
        localnet.rotate_certificate(register=True)
        with pytest.raises(httpx.ConnectError):
            await health(first)
        gateways.failed(first.tee.tee_id)
        clock.now += 0.1

        second = await gateways.pick(but=[first.tee.tee_id])

        assert second.tee.tee_id == first.tee.tee_id
        assert await health(second) == 200


async def test_t20_a_certificate_that_the_registry_does_not_know_is_not_spoken_to(
    localnet: LocalNetwork,
) -> None:
    localnet.rotate_certificate(register=False)
    async with opened(localnet) as gateways:
        gateway = await gateways.pick()
        with pytest.raises(httpx.ConnectError):
            await health(gateway)
        gateways.failed(gateway.tee.tee_id)
        with pytest.raises(NoGatewayError) as caught:
            await gateways.pick(but=[gateway.tee.tee_id])

    assert gateway.tee.tee_id in str(caught.value)
    assert caught.value.tried == (gateway.tee.tee_id,)


async def test_calls_are_spread_over_healthy_gateways_unless_one_is_preferred(
    localnet: LocalNetwork,
) -> None:
    second = localnet.add_tee()["tee_id"]
    async with opened(localnet) as gateways:
        everyone = await picked(gateways, 60)

        assert len(everyone) == 2
        assert {(await gateways.pick(prefer=second)).tee.tee_id for _ in range(20)} == {second}
        (first,) = everyone - {second}
        assert (await gateways.pick(but=[second], prefer=second)).tee.tee_id == first


async def test_a_gateway_that_failed_rests_for_a_growing_time(localnet: LocalNetwork) -> None:
    clock = Clock()
    localnet.add_tee()
    async with opened(localnet, clock) as gateways:
        everyone = await picked(gateways, 60)
        down = everyone.pop()
        rests = []
        for _ in range(9):
            for _ in range(CONCURRENT):
                gateways.failed(down)
            started = clock.now
            while down not in await picked(gateways):
                clock.now += 2.5
            rests.append(clock.now - started)

    assert rests[:3] == [FIRST_REST_S, 2 * FIRST_REST_S, 4 * FIRST_REST_S]
    assert rests[-2:] == [MAX_REST_S, MAX_REST_S]


async def test_a_gateway_that_answered_is_healthy_again(localnet: LocalNetwork) -> None:
    localnet.add_tee()
    async with opened(localnet) as gateways:
        down, *_ = await picked(gateways, 60)
        gateways.failed(down)
        assert down not in await picked(gateways)
        gateways.answered(down)

        assert down in await picked(gateways, 60)


async def test_where_none_is_healthy_the_one_that_rests_least_is_asked(
    localnet: LocalNetwork,
) -> None:
    clock = Clock()
    localnet.add_tee()
    async with opened(localnet, clock) as gateways:
        first, second = await picked(gateways, 60)
        gateways.failed(first)
        clock.now += 1
        gateways.failed(second)

        assert await picked(gateways) == {first}


async def test_what_was_never_asked_cannot_fail(localnet: LocalNetwork) -> None:
    async with opened(localnet) as gateways:
        gateways.failed("0x" + "00" * 32)
        gateways.answered("0x" + "00" * 32)

        assert await health(await gateways.pick()) == 200


@asynccontextmanager
async def connected(served: Served, shown: Issued) -> AsyncIterator[httpx.AsyncClient]:
    """Open a gateway's connections to a server of one's own."""
    tee = replace(Enclave().tee, endpoint=served.url, tls_certificate=shown.der)
    async with open_client(tee, local=True) as http:
        yield http


async def test_t10_a_redirect_is_not_followed_even_to_the_same_certificate() -> None:
    shown = issue("gateway")
    async with serving(shown.context()) as other:
        answer = f"HTTP/1.1 307 There\r\nLocation: {other.url}/\r\nContent-Length: 0\r\n\r\n"
        async with (
            serving(shown.context(), answer.encode()) as served,
            connected(served, shown) as http,
        ):
            asked = await http.get(served.url, headers={"X-Upto-Session": "secret"})

    assert asked.status_code == 307
    assert other.received == b""


async def test_a_hundred_calls_run_at_once_and_come_again_over_the_same_connections() -> None:
    shown = issue("gateway")
    async with serving(shown.context()) as served, connected(served, shown) as http:
        for _ in range(2):
            async with anyio.create_task_group() as tasks:
                for _ in range(CONCURRENT):
                    tasks.start_soon(http.get, served.url)

    assert served.received.count(b"GET ") == 2 * CONCURRENT
    assert served.connections <= CONCURRENT


@asynccontextmanager
async def tunnelling(to: str) -> AsyncIterator[str]:
    """Run a proxy that leads every tunnel to one server."""
    host, port = to.removeprefix("https://").split(":")

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            while part := await reader.read(65536):
                writer.write(part)
                await writer.drain()
        writer.close()

    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        assert asked.startswith(b"CONNECT 203.0.113.7:443 ")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        behind, ahead = await asyncio.open_connection(host, int(port))
        await asyncio.gather(pipe(reader, ahead), pipe(behind, writer))

    server = await asyncio.start_server(tunnel, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_t20_a_proxy_is_passed_through_and_shown_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown, other = issue("gateway"), issue("proxy's own")
    tee = replace(Enclave().tee, tls_certificate=shown.der)
    async with serving(shown.context()) as gateway, serving(other.context()) as intruder:
        answers = {}
        for name, served in (("gateway", gateway), ("intruder", intruder)):
            async with tunnelling(served.url) as proxy:
                monkeypatch.setenv("HTTPS_PROXY", proxy)
                async with open_client(tee, local=False) as http:
                    try:
                        answers[name] = (await http.get(tee.endpoint)).status_code
                    except httpx.ConnectError:
                        answers[name] = 0

    assert answers == {"gateway": 200, "intruder": 0}
    assert intruder.received == b""


@pytest.mark.parametrize("variable", ["NO_PROXY", "local"])
async def test_no_proxy_is_used_where_none_is_wanted(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    shown = issue("gateway")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "203.0.113.7" if variable == "NO_PROXY" else "")
    tee = replace(Enclave().tee, tls_certificate=shown.der)

    assert proxy_for(tee.endpoint) == (None if variable == "NO_PROXY" else "http://127.0.0.1:1")
    async with serving(shown.context()) as served:
        tee = replace(tee, endpoint=served.url)
        async with open_client(tee, local=variable == "local") as http:
            assert (await http.get(served.url)).status_code == 200


async def test_t10_cookies_are_neither_kept_nor_sent() -> None:
    shown = issue("gateway")
    async with serving(shown.context()) as served, connected(served, shown) as http:
        answers = [await http.get(served.url) for _ in range(2)]

    assert all("set-cookie" in answer.headers for answer in answers)
    assert b"cookie" not in served.received.lower()


async def test_closing_ends_every_connection(localnet: LocalNetwork) -> None:
    async with opened(localnet) as gateways:
        gateway = await gateways.pick()
        await gateways.aclose()
        await gateways.aclose()

        assert gateway.http.is_closed
