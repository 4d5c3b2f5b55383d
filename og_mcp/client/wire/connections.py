"""Connections for paid requests: aiohttp behind httpx's transport interface.

aiohttp takes half the processor time of httpx's own transport for a request over TLS, and as much
with a hundred connections as with one, where httpcore 1.0 looks at every connection each time.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import aiohttp
import httpx
from yarl import URL

KEPT_S: Final = 30.0
"""Seconds after which unused connections are closed; gateways close idle ones too."""

MAX_HEADER_BYTES: Final = 100 * 2**10
"""Longest header line of an answer; a challenge is longer than aiohttp's default."""

WHOLE_BYTES: Final = 512 * 2**10
"""Largest body that is sent in one piece; aiohttp warns about larger ones."""

PART_BYTES: Final = 64 * 2**10

HTTPX_ERRORS: Final[Mapping[type[Exception], type[httpx.TransportError]]] = {
    # While the connection was made: nothing of the request has left (threats.md T9).
    aiohttp.ClientConnectorError: httpx.ConnectError,
    aiohttp.ClientConnectorDNSError: httpx.ConnectError,
    aiohttp.ConnectionTimeoutError: httpx.ConnectTimeout,
    aiohttp.ClientProxyConnectionError: httpx.ProxyError,
    aiohttp.ClientHttpProxyError: httpx.ProxyError,
    aiohttp.InvalidURL: httpx.UnsupportedProtocol,
    # From here on it may have.
    aiohttp.ServerTimeoutError: httpx.ReadTimeout,
    aiohttp.ClientResponseError: httpx.RemoteProtocolError,
    aiohttp.ServerDisconnectedError: httpx.RemoteProtocolError,
    aiohttp.ClientPayloadError: httpx.RemoteProtocolError,
    aiohttp.ClientError: httpx.ReadError,
    OSError: httpx.ReadError,
}
"""aiohttp's errors -> httpx's; the nearest ancestor of an error decides."""


class Connections(httpx.AsyncBaseTransport):
    """Sends each request once: nothing is repeated, redirected, cached or remembered.

    Args:
        context: What is trusted.
        proxy: URL of the proxy that leads there; none of the environment's is used.
    """

    def __init__(self, context: ssl.SSLContext, *, proxy: str | None = None) -> None:
        self._context, self._proxy = context, proxy
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; httpx's interface of transports."""
        _check_host(request)
        with map_aiohttp_errors(request):
            answer = await self._opened().request(
                request.method,
                # Otherwise the URL would be rewritten, "%2F" as "/".
                URL(str(request.url), encoded=True),
                headers=request.headers.multi_items(),
                data=_body(request),
                timeout=_timeout(request.extensions.get("timeout", {})),
                allow_redirects=False,
                proxy=self._proxy,
            )
        return httpx.Response(
            answer.status, headers=answer.raw_headers, stream=_ResponseStream(answer)
        )

    async def aclose(self) -> None:
        """Close every connection; closing twice does nothing."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    ssl=self._context, limit=0, keepalive_timeout=KEPT_S
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                # Send exactly the headers that httpx wrote.
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
                auto_decompress=False,
                trust_env=False,
                max_line_size=MAX_HEADER_BYTES,
                max_field_size=MAX_HEADER_BYTES,
            )
        return self._session


class _ResponseStream(httpx.AsyncByteStream):
    """An answer's body."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the body's parts as they come."""
        with map_aiohttp_errors():
            async for part in self._answer.content.iter_any():
                yield part

    async def aclose(self) -> None:
        """Return the connection to the pool if the body was read, else close it."""
        self._answer.close()


@contextmanager
def map_aiohttp_errors(request: httpx.Request | None = None) -> Iterator[None]:
    """Raise aiohttp's errors as httpx's."""
    try:
        yield
    except (aiohttp.ClientError, OSError) as exc:
        raise httpx_error_for(type(exc))(str(exc), request=request) from exc


def httpx_error_for(kind: type[Exception]) -> type[httpx.TransportError]:
    """Return the error of httpx for one of aiohttp or of the system."""
    return next(HTTPX_ERRORS[ancestor] for ancestor in kind.__mro__ if ancestor in HTTPX_ERRORS)


def _check_host(request: httpx.Request) -> None:
    """Refuse a host name that the resolver cannot take; its own error would be of another kind."""
    try:
        request.url.host.encode("idna")
    except UnicodeError as exc:
        raise httpx.ConnectError("the host's name is not one", request=request) from exc


def _body(request: httpx.Request) -> bytes | AsyncIterator[bytes] | None:
    try:
        content = request.content
    except httpx.RequestNotRead:
        assert isinstance(request.stream, httpx.AsyncByteStream)  # noqa: S101 - of an async client
        return aiter(request.stream)
    return content if len(content) <= WHOLE_BYTES else _parts(content)


async def _parts(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), PART_BYTES):
        yield content[start : start + PART_BYTES]


def _timeout(limits: Mapping[str, Any]) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(sock_connect=limits.get("connect"), sock_read=limits.get("read"))
