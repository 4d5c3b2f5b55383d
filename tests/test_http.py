"""The HTTP server as a process: both endpoints, both eras, and who is let in (threats.md T24)."""

from __future__ import annotations

import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import anyio
import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from og_mcp.server._connection import BODY_S, HEADERS_S, MAX_CONNECTIONS
from tests.localnet_client import LocalNetwork
from tests.server_process import END_S, ending, over_http, run, start

pytestmark = pytest.mark.process

TOKEN = "made-up-token-of-a-test-0123456789"
KEY = "0x" + "11" * 32
LOCAL = {"OG_NETWORK": "local"}
REAL = {"OG_NETWORK": "opengradient", "OG_PRIVATE_KEY": KEY}
"""A real network's wallet; nothing here ever calls that network."""

PATHS = [("POST", "/mcp"), ("GET", "/sse"), ("POST", "/messages/?session_id=0"), ("GET", "/nosuch")]


@pytest.fixture(scope="module")
def unopened() -> Iterator[str]:
    with over_http(LOCAL) as address:
        yield address


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    with over_http({**REAL, "OG_HTTP_TOKEN": TOKEN}) as address:
        yield address


def status_of(method: str, url: str, **headers: str) -> tuple[int, httpx.Headers]:
    """Ask, and let go of an answer that goes on."""
    with (
        httpx.Client(trust_env=False, timeout=10) as client,
        client.stream(method, url, headers=headers) as answer,
    ):
        return answer.status_code, answer.headers


@asynccontextmanager
async def connected(address: str, path: str, mode: str, token: str = "") -> AsyncIterator[Client]:
    """Connect a client to one endpoint."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with httpx2.AsyncClient(headers=headers, trust_env=False, timeout=60) as http:
        if path == "/sse":
            transport = sse_client(address + path, headers=headers)
        else:
            transport = streamable_http_client(address + path, http_client=http)
        async with Client(transport, mode=mode) as client:
            yield client


async def infer_over(localnet: LocalNetwork, address: str, path: str, mode: str) -> None:
    sample = localnet.ready["sample_models"][0]
    arguments = {"model_cid": sample["cid"], "model_input": sample["model_input"]}
    async with connected(address, path, mode) as mcp:
        result = await mcp.call_tool("infer", arguments)
    assert not result.is_error, result.content
    assert result.structured_content is not None
    assert result.structured_content["model_output"] == sample["model_output"]


async def test_a_model_runs_over_both_endpoints_of_one_server_in_both_eras(
    localnet: LocalNetwork,
) -> None:
    with over_http(localnet.environ) as address:
        for mode in ("legacy", "2026-07-28", "auto"):
            await infer_over(localnet, address, "/mcp", mode)
            await infer_over(localnet, address, "/sse", mode)


@pytest.mark.slow
async def test_the_sse_transport_offers_sse_alone() -> None:
    with over_http(LOCAL, "sse") as address:
        assert status_of("POST", f"{address}/mcp")[0] == 404
        # The end of one connection must not end the session of the next.
        for _ in range(2):
            async with connected(address, "/sse", "legacy") as mcp:
                assert (await mcp.list_tools()).tools


@pytest.mark.slow
@pytest.mark.parametrize(("method", "path"), PATHS)
@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:80", "localhost.evil.example", "1.2.3.4", "127.0.0.1@e", ""],
)
def test_a_foreign_host_is_refused(unopened: str, method: str, path: str, host: str) -> None:
    assert status_of(method, unopened + path, Host=host)[0] == 421


@pytest.mark.parametrize(("method", "path"), PATHS)
@pytest.mark.parametrize(
    "origin",
    [
        *("http://evil.example", "https://localhost.evil.example", "null", "file://", "localhost"),
        *("http://1.2.3.4", "chrome-extension://abc", "http://localhost@evil.example"),
    ],
)
def test_a_foreign_origin_is_refused(unopened: str, method: str, path: str, origin: str) -> None:
    assert status_of(method, unopened + path, Origin=origin)[0] == 403


@pytest.mark.parametrize("origin", ["http://localhost:6274", "http://127.0.0.1", "http://[::1]:1"])
@pytest.mark.parametrize("host", ["localhost", "localhost:1", "127.0.0.1:80", "[::1]:8000"])
def test_a_page_of_this_machine_may_call(unopened: str, host: str, origin: str) -> None:
    assert status_of("GET", f"{unopened}/sse", Host=host, Origin=origin)[0] == 200


def test_a_body_beyond_four_mebibytes_is_refused(unopened: str) -> None:
    answer = httpx.post(
        f"{unopened}/mcp",
        content=b" " * (4 * 1024 * 1024 + 1),
        headers={"Content-Type": "application/json"},
        trust_env=False,
    )

    assert answer.status_code == 413


@pytest.mark.parametrize("transport", ["http", pytest.param("sse", marks=pytest.mark.slow)])
def test_t24_a_real_wallet_on_loopback_does_not_start_without_a_token(transport: str) -> None:
    done = run("serve", "--transport", transport, "--port", "0", environ=REAL)

    assert done.returncode == 2
    assert "OG_HTTP_TOKEN" in done.stderr
    assert KEY[2:] not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("method", "path"), PATHS)
@pytest.mark.parametrize(
    "header",
    [
        *(
            None,
            "",
            "Bearer",
            "Bearer wrong",
            f"Bearer {TOKEN}x",
            f"Bearer {TOKEN[:-1]}",
        ),
        *(TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN.upper()}", "Bearer ü"),
    ],
)
def test_t24_nothing_is_answered_without_the_token(
    guarded: str, method: str, path: str, header: str | None
) -> None:
    headers = {} if header is None else {b"Authorization": header.encode()}
    with (
        httpx.Client(trust_env=False, timeout=10) as client,
        client.stream(method, guarded + path, headers=headers) as answer,
    ):
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/mcp", "/sse"])
@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_t24_with_the_token_it_serves(guarded: str, path: str, mode: str) -> None:
    async with connected(guarded, path, mode, TOKEN) as mcp:
        listed = await mcp.list_tools()

    assert "infer" in {tool.name for tool in listed.tools}


def test_t24_the_token_does_not_open_the_door_to_a_foreign_page(guarded: str) -> None:
    headers = {"Authorization": f"bearer {TOKEN}"}

    assert status_of("GET", f"{guarded}/sse", **headers)[0] == 200
    assert status_of("GET", f"{guarded}/sse", **headers, Host="evil.example")[0] == 421
    assert status_of("GET", f"{guarded}/sse", **headers, Origin="http://evil.example")[0] == 403


@pytest.mark.slow
def test_off_loopback_it_does_not_start_without_a_token() -> None:
    done = run("serve", "--transport", "http", "--host", "0.0.0.0", environ=LOCAL)  # noqa: S104 - is refused

    assert done.returncode == 2
    assert "OG_HTTP_TOKEN" in done.stderr


@pytest.mark.slow
def test_on_every_address_names_stay_a_closed_list() -> None:
    environ = {**LOCAL, "OG_HTTP_TOKEN": TOKEN, "OG_HOST": "0.0.0.0"}  # noqa: S104 - what is tested
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with over_http(environ) as bound:
        url = bound.replace("0.0.0.0", "127.0.0.1") + "/sse"  # noqa: S104 - as above

        assert status_of("GET", url, **headers, Host="192.0.2.7:8000")[0] == 200
        assert status_of("GET", url, **headers, Host="evil.example")[0] == 421
        assert (
            status_of("GET", url, **headers, Host="192.0.2.7", Origin="http://192.0.2.7")[0] == 200
        )
        # An origin that is an address of someone else's is no reason to trust it.
        assert (
            status_of("GET", url, **headers, Host="192.0.2.7", Origin="http://198.51.100.1")[0]
            == 403
        )


@pytest.mark.slow
def test_a_port_in_use_is_told(unopened: str) -> None:
    port = unopened.rsplit(":", 1)[1]
    done = run("serve", "--transport", "http", "--port", port, environ=LOCAL)

    assert done.returncode == 2
    assert f"127.0.0.1 port {port} cannot be used" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_signal_ends_the_server_while_a_stream_is_open(number: signal.Signals) -> None:
    with ending(start(LOCAL, "serve", "--transport", "http", "--port", "0")) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        address = process.stderr.readline().split()[2]
        url = address.removesuffix("/mcp") + "/sse"
        with httpx.Client(trust_env=False) as client, client.stream("GET", url) as stream:
            assert stream.status_code == 200
            process.send_signal(number)
            assert process.wait(END_S) == 0
        log = process.stderr.read()
        assert process.stdout.read() == ""

    assert "Traceback" not in log


def raw(address: str, *pieces: bytes, pause_s: float = 0) -> bytes:
    """Send bytes piece by piece; returns what comes until the server closes."""
    host, _, port = address.removeprefix("http://").rpartition(":")
    received = b""
    with socket.create_connection((host, int(port)), timeout=90) as connection:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(pause_s)
        while more := connection.recv(65536):
            received += more
    return received


@pytest.mark.slow
def test_t43_headers_that_do_not_end_are_waited_for_ten_seconds(unopened: str) -> None:
    began = time.monotonic()
    silent, slow = raw(unopened), raw(unopened, b"POST /mcp HTTP/1.1\r\n", b"Host: local")

    assert silent.startswith(b"HTTP/1.1 408 ")
    assert slow.startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - began >= 2 * HEADERS_S
    assert status_of("GET", f"{unopened}/sse")[0] == 200


@pytest.mark.slow
def test_t43_bytes_that_trickle_in_win_no_time_and_a_body_has_a_minute(unopened: str) -> None:
    name = unopened.removeprefix("http://")
    head = f"POST /mcp HTTP/1.1\r\nHost: {name}\r\nContent-Length: 9\r\n\r\n".encode()
    began = time.monotonic()

    trickling = raw(unopened, *(b"G", b"E", b"T", b" ", b"/"), pause_s=2.2)
    after_headers = time.monotonic() - began
    unended = raw(unopened, head, b"{")

    assert trickling.startswith(b"HTTP/1.1 408 ")
    assert after_headers < 2 * HEADERS_S
    assert unended.startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - began - after_headers >= BODY_S
    assert status_of("GET", f"{unopened}/sse")[0] == 200


@pytest.mark.slow
def test_t43_connections_are_bounded_and_their_room_comes_back(unopened: str) -> None:
    host, _, port = unopened.removeprefix("http://").rpartition(":")
    held = [socket.create_connection((host, int(port))) for _ in range(MAX_CONNECTIONS)]
    try:
        refused = raw(unopened)
    finally:
        for connection in held:
            connection.close()

    assert refused.startswith(b"HTTP/1.1 503 ")
    assert status_of("GET", f"{unopened}/sse")[0] == 200


@pytest.mark.slow
async def test_t43_a_stream_stays_open_beyond_the_time_of_a_request(
    localnet: LocalNetwork,
) -> None:
    with over_http(localnet.environ) as address:
        async with connected(address, "/sse", "legacy") as mcp:
            await anyio.sleep(1.2 * HEADERS_S)

            assert (await mcp.list_tools()).tools
