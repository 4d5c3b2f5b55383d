"""Connections of aiohttp: each request is sent once, and it is known whether any of it has left."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import anyio
import httpx
import pytest

from og_mcp.client.wire.connections import (
    MAX_HEADER_BYTES,
    WHOLE_BYTES,
    Connections,
    httpx_error_for,
    map_aiohttp_errors,
)
from og_mcp.client.wire.http import NOTHING_SENT
from og_mcp.client.wire.pinned import pinned_context
from tests.client.tls_server import issue, serving

GATEWAY = issue("gateway")
BEFORE_ANYTHING_IS_SENT = {
    "ClientConnectorError",
    "ClientConnectorDNSError",
    "ClientConnectorCertificateError",
    "ClientConnectorSSLError",
    "ClientSSLError",
    "ClientProxyConnectionError",
    "ClientHttpProxyError",
    "ConnectionTimeoutError",
    "InvalidURL",
    "InvalidUrlClientError",
    "InvalidUrlRedirectClientError",
}


def kinds_of_aiohttp() -> dict[str, type[Exception]]:
    """Every error that aiohttp raises while it asks."""
    return {
        name: kind
        for name, kind in vars(aiohttp).items()
        if isinstance(kind, type) and issubclass(kind, aiohttp.ClientError)
    }


@asynccontextmanager
async def opened(read_s: float = 5.0) -> AsyncIterator[httpx.AsyncClient]:
    transport = Connections(pinned_context(GATEWAY.der))
    timeout = httpx.Timeout(read_s, connect=5.0)
    async with httpx.AsyncClient(transport=transport, timeout=timeout, trust_env=False) as http:
        yield http


class Lying:
    """A server that reads whole requests and closes after so many answers."""

    def __init__(self, answers: int, *, silent: bool = False) -> None:
        self.answers, self.silent = answers, silent
        self.requests: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The client may leave as well.
        with contextlib.suppress(asyncio.IncompleteReadError):
            for _ in range(self.answers):
                await self._read(reader)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                await writer.drain()
            await self._read(reader)
            if self.silent:
                await reader.read()
        writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length:")
        )
        self.requests.append(head + await reader.readexactly(length))


@asynccontextmanager
async def lying(server: Lying) -> AsyncIterator[str]:
    listening = await asyncio.start_server(server, "127.0.0.1", 0, ssl=GATEWAY.context())
    async with listening:
        yield f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("name", sorted(kinds_of_aiohttp()))
def test_t9_nothing_was_sent_where_no_connection_was_made_and_perhaps_everywhere_else(
    name: str,
) -> None:
    kind = httpx_error_for(kinds_of_aiohttp()[name])

    assert issubclass(kind, NOTHING_SENT) == (name in BEFORE_ANYTHING_IS_SENT)


@pytest.mark.parametrize("kind", [ConnectionResetError, BrokenPipeError, ssl.SSLError, OSError])
def test_t9_a_bare_error_of_the_system_may_have_come_after_the_request(
    kind: type[OSError],
) -> None:
    with pytest.raises(httpx.ReadError), map_aiohttp_errors():
        raise kind


@pytest.mark.parametrize("answers", [0, 1], ids=["new", "kept"])
async def test_t9_a_request_whose_answer_does_not_come_is_not_sent_again(answers: int) -> None:
    server = Lying(answers)

    async with lying(server) as url, opened() as http:
        for _ in range(answers):
            assert (await http.post(url, content=b"paid")).text == "ok"
        with pytest.raises(httpx.RemoteProtocolError):
            await http.post(url, content=b"paid")

    assert len(server.requests) == answers + 1


async def test_a_silent_server_is_given_up_after_the_time_that_was_given() -> None:
    server = Lying(0, silent=True)

    async with lying(server) as url, opened(read_s=0.2) as http:
        with anyio.fail_after(5), pytest.raises(httpx.ReadTimeout):
            await http.post(url, content=b"paid")

    assert len(server.requests) == 1


async def test_nobody_there_is_a_connection_that_was_not_made() -> None:
    async with opened() as http:
        with pytest.raises(httpx.ConnectError):
            await http.post("https://127.0.0.1:9", content=b"paid")


async def test_what_is_sent_is_what_was_written_and_nothing_beside_it() -> None:
    server = Lying(1)

    async with lying(server) as url, opened() as http:
        request = http.build_request("POST", f"{url}/a%20b?c=%2F", content=b"{}")
        expected = [f"{name}: {value}".lower() for name, value in request.headers.items()]
        await http.send(request)

    start, *head = server.requests[0].split(b"\r\n\r\n")[0].decode().split("\r\n")
    assert start == "POST /a%20b?c=%2F HTTP/1.1"
    assert sorted(line.lower() for line in head) == sorted(expected)


@pytest.mark.parametrize("size", [0, WHOLE_BYTES, WHOLE_BYTES + 1, 5 * WHOLE_BYTES + 7])
async def test_a_body_of_any_size_arrives_whole(size: int) -> None:
    server, body = Lying(1), bytes(range(256)) * (size // 256) + b"x" * (size % 256)

    async with lying(server) as url, opened() as http:
        answer = await http.post(url, content=body)

    assert answer.text == "ok"
    assert server.requests[0].split(b"\r\n\r\n", 1)[1] == body


async def test_a_challenge_may_be_long_but_not_endless() -> None:
    def answer(size: int) -> bytes:
        return b"HTTP/1.1 402 Pay\r\nPAYMENT-REQUIRED: %b\r\nContent-Length: 0\r\n\r\n" % (
            b"x" * size
        )

    async with opened() as http:
        async with serving(GATEWAY.context(), answer(60_000)) as served:
            long = await http.get(served.url)
        async with serving(GATEWAY.context(), answer(2 * MAX_HEADER_BYTES)) as served:
            with pytest.raises(httpx.RemoteProtocolError):
                await http.get(served.url)

    assert len(long.headers["payment-required"]) == 60_000


async def test_an_answer_that_is_left_unread_closes_its_connection() -> None:
    big = b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n" + b"x" * 1000

    async with serving(GATEWAY.context(), big) as served, opened() as http:
        async with http.stream("GET", served.url) as answer:
            assert answer.status_code == 200
        with anyio.fail_after(5):
            await served.has_closed(1)
