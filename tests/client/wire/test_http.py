"""httpx's errors become ours at one place, and none is forgotten."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any

import anyio
import anyio.abc
import httpx
import pytest

from og_mcp import __version__
from og_mcp.client.wire.http import (
    BROKEN_OFF,
    MAX_JSON_BYTES,
    fetch_json,
    map_httpx_errors,
    nothing_sent,
    open_http,
)
from og_mcp.errors import (
    ServiceError,
    ServiceRejectedError,
    ServiceReplyError,
    ServiceTimeoutError,
    ServiceUnreachableError,
)

URL = "https://user:secret@rpc.example.com/v1/secret?key=secret"
REQUEST = httpx.Request("GET", "https://rpc.example.com")

BECOMES: dict[type[Exception], type[ServiceError]] = {
    httpx.ConnectError: ServiceUnreachableError,
    httpx.ConnectTimeout: ServiceUnreachableError,
    httpx.PoolTimeout: ServiceUnreachableError,
    httpx.ProxyError: ServiceUnreachableError,
    httpx.UnsupportedProtocol: ServiceUnreachableError,
    httpx.InvalidURL: ServiceUnreachableError,
    httpx.ReadTimeout: ServiceTimeoutError,
    httpx.WriteTimeout: ServiceTimeoutError,
    httpx.ReadError: ServiceReplyError,
    httpx.WriteError: ServiceReplyError,
    httpx.CloseError: ServiceReplyError,
    httpx.LocalProtocolError: ServiceUnreachableError,
    httpx.RemoteProtocolError: ServiceReplyError,
    httpx.DecodingError: ServiceReplyError,
    httpx.TooManyRedirects: ServiceReplyError,
    httpx.HTTPStatusError: ServiceRejectedError,
}

MISUSE = (
    httpx.CookieConflict,
    httpx.RequestNotRead,
    httpx.ResponseNotRead,
    httpx.StreamClosed,
    httpx.StreamConsumed,
)
"""Mistakes of a programmer; they stay what they are."""


def leaves() -> set[type[Exception]]:
    """Every exception of httpx that nothing else of httpx is derived from."""
    kinds = {
        value
        for value in vars(httpx).values()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    return {kind for kind in kinds if not any(other in kind.__subclasses__() for other in kinds)}


def made(kind: type[Exception]) -> Exception:
    if issubclass(kind, httpx.HTTPStatusError):
        return kind("words", request=REQUEST, response=httpx.Response(502, request=REQUEST))
    if issubclass(kind, (httpx.RequestError, httpx.InvalidURL, httpx.CookieConflict)):
        return kind("words")
    return kind("words") if kind is httpx.StreamError else kind()


def test_every_error_of_httpx_is_mapped_or_a_mistake_of_ours() -> None:
    assert leaves() == BECOMES.keys() | set(MISUSE)


@pytest.mark.parametrize(("kind", "ours"), BECOMES.items())
def test_an_error_of_httpx_becomes_ours_and_shows_the_origin_alone(
    kind: type[Exception], ours: type[ServiceError]
) -> None:
    cause = made(kind)

    with pytest.raises(ServiceError) as caught, map_httpx_errors("node", URL):
        raise cause

    assert type(caught.value) is ours
    assert caught.value.__cause__ is cause
    assert "node" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("kind", MISUSE, ids=lambda kind: kind.__name__)
def test_misuse_of_httpx_is_not_disguised(kind: type[Exception]) -> None:
    cause = made(kind)

    with pytest.raises(kind) as caught, map_httpx_errors("node", URL):
        raise cause

    assert caught.value is cause


@pytest.mark.parametrize(("kind", "ours"), BECOMES.items())
def test_only_an_unreachable_service_has_certainly_not_seen_the_request(
    kind: type[Exception], ours: type[ServiceError]
) -> None:
    with pytest.raises(ServiceError) as caught, map_httpx_errors("node", URL):
        raise made(kind)

    assert nothing_sent(made(kind)) is (ours is ServiceUnreachableError)
    assert nothing_sent(caught.value) is (ours is ServiceUnreachableError)


class Served:
    """A real TCP server that answers every connection with fixed bytes, and what it was sent."""

    def __init__(self, port: int, received: list[bytes]) -> None:
        self.port, self.received = port, received

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with open_http(local=True) as client:
        yield client


class Server:
    """Starts servers inside a test's task group."""

    def __init__(self, tasks: anyio.abc.TaskGroup, closing: AsyncExitStack) -> None:
        self._tasks, self._closing = tasks, closing

    async def answer(self, reply: bytes) -> Served:
        received: list[bytes] = []
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")

        async def handle(stream: anyio.abc.SocketStream) -> None:
            async with stream:
                received.append(await stream.receive())
                await stream.send(reply)

        self._closing.push_async_callback(listener.aclose)
        self._tasks.start_soon(listener.serve, handle)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 - anyio's, not Django's
        return Served(port, received)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with AsyncExitStack() as closing, anyio.create_task_group() as tasks:
        yield Server(tasks, closing)
        tasks.cancel_scope.cancel()


def reply(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join([*head, "", ""]).encode() + body


async def test_json_is_fetched_with_our_name_in_the_request(
    http: httpx.AsyncClient, server: Server
) -> None:
    served = await server.answer(reply(b'{"a": [1, "\xc3\xa9"]}'))

    document = await fetch_json(http, "hub", served.url, params={"q": "a b"})

    assert document == {"a": [1, "é"]}
    assert served.received[0].startswith(b"GET /?q=a+b HTTP/1.1\r\n")
    assert f"user-agent: og-mcp/{__version__}".encode() in served.received[0].lower()


async def test_a_log_of_requests_shows_no_more_than_the_origin(
    http: httpx.AsyncClient, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    served = await server.answer(reply(b"{}"))
    caplog.set_level(logging.DEBUG)

    await fetch_json(http, "hub", f"{served.url}/v1/secret", params={"key": "secret"})

    assert f'HTTP Request: GET {served.url} "HTTP/1.1 200 OK"' in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff", b"[" * 100_000, b'{"a":' * 50_000])
async def test_what_is_no_json_is_a_bad_reply(
    body: bytes, http: httpx.AsyncClient, server: Server
) -> None:
    served = await server.answer(reply(body))

    with pytest.raises(ServiceReplyError, match="it is not JSON"):
        await fetch_json(http, "hub", served.url)


async def test_an_http_error_tells_status_and_detail(
    http: httpx.AsyncClient, server: Server
) -> None:
    served = await server.answer(reply(b'{"detail": "no such thing"}', "404 Not Found"))

    with pytest.raises(ServiceRejectedError) as caught:
        await fetch_json(http, "hub", served.url)

    assert (caught.value.status, caught.value.detail) == (404, "no such thing")


@pytest.mark.parametrize("body", [b"<html>oops</html>", b"[]", b'{"detail": [{"loc": []}]}', b""])
async def test_an_http_error_without_words_is_told_by_its_status(
    body: bytes, http: httpx.AsyncClient, server: Server
) -> None:
    served = await server.answer(reply(body, "500 Internal Server Error"))

    with pytest.raises(ServiceRejectedError) as caught:
        await fetch_json(http, "hub", served.url)

    assert (caught.value.status, caught.value.detail) == (500, "")


async def test_a_redirect_is_not_followed(http: httpx.AsyncClient, server: Server) -> None:
    elsewhere = await server.answer(reply(b"{}"))
    served = await server.answer(reply(b"", "302 Found", f"Location: {elsewhere.url}"))

    with pytest.raises(ServiceReplyError, match="redirects"):
        await fetch_json(http, "hub", served.url)

    assert elsewhere.received == []


async def test_an_answer_too_long_is_given_up(http: httpx.AsyncClient, server: Server) -> None:
    served = await server.answer(reply(b" " * (MAX_JSON_BYTES + 1)))

    with pytest.raises(ServiceReplyError, match="longer than"):
        await fetch_json(http, "hub", served.url)


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", b"what?"]
)
async def test_an_answer_that_breaks_off_may_have_been_carried_out(
    answer: bytes, http: httpx.AsyncClient, server: Server
) -> None:
    served = await server.answer(answer)

    with pytest.raises(ServiceReplyError, match=BROKEN_OFF) as caught:
        await fetch_json(http, "hub", served.url)

    assert not nothing_sent(caught.value)
    assert len(served.received) == 1


async def test_a_closed_port_is_unreachable(http: httpx.AsyncClient) -> None:
    with closed_port() as port, pytest.raises(ServiceUnreachableError) as caught:
        await fetch_json(http, "hub", f"http://127.0.0.1:{port}/secret")

    assert str(caught.value).startswith(f"The hub at http://127.0.0.1:{port} cannot be reached.")


async def test_silence_is_a_timeout(http: httpx.AsyncClient) -> None:
    with silent_port() as port, pytest.raises(ServiceTimeoutError), map_httpx_errors("hub", URL):
        await http.get(f"http://127.0.0.1:{port}", timeout=0.05)


async def test_an_address_that_is_none_is_unreachable(http: httpx.AsyncClient) -> None:
    with pytest.raises(ServiceUnreachableError):
        await fetch_json(http, "hub", "http://exa mple.com:x/")


@pytest.mark.parametrize("local", [True, False])
async def test_proxies_of_the_environment_never_see_what_stays_on_this_machine(
    local: bool, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = await server.answer(reply(b'"proxy"'))
    served = await server.answer(reply(b'"direct"'))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy.url)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)

    async with open_http(local=local) as client:
        assert await fetch_json(client, "hub", served.url) == "direct"
        assert await fetch_json(client, "hub", f"http://localhost:{served.port}") == "direct"

    assert proxy.received == []


async def test_a_proxy_of_the_environment_is_used_for_other_hosts(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = await server.answer(reply(b'"proxy"'))
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("http_proxy", proxy.url)

    async with open_http() as client:
        assert await fetch_json(client, "hub", "http://hub.example.invalid/x") == "proxy"


@contextmanager
def closed_port() -> Iterator[int]:
    """A port that nothing else can take and that refuses connections: bound, not listening."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@contextmanager
def silent_port() -> Iterator[Any]:
    """A port that takes connections and never says anything."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]
