"""Fetching an image by the URL that a gateway's answer names (threats.md T28).

The URL may have been made up by whoever wrote the prompt, and this machine may reach what they
cannot. So every host, that of each redirect too, is looked up once, its addresses are judged, and
the connection goes to one of those very addresses; the certificate still has to be the host's.
"""

from __future__ import annotations

import math
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from socket import SOCK_STREAM
from typing import Final

import anyio
import httpx
from anyio import to_thread

from og_mcp import __version__
from og_mcp.client.images.answer import MAX_BYTES
from og_mcp.client.wire.pinned import pinned_context
from og_mcp.client.wire.public_address import Address, is_public, parse
from og_mcp.errors import ImageRefusedError, quote
from og_mcp.networks import shown

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Host and port -> numeric addresses; OSError where there are none."""

LIMIT_S: Final = 30.0
"""Seconds for one image, redirects included."""

MAX_REDIRECTS: Final = 3
MAX_TRIED: Final = 3
"""Number of addresses of one host that are tried."""

PORTS: Final = {"https": 443, "http": 80}
LAST_PORT: Final = 65_535
TIMEOUT: Final = httpx.Timeout(10, connect=5)
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True)
class Pinned:
    """The gateway that answered: its own images are fetched by its registered certificate."""

    endpoint: str
    certificate: bytes
    """DER."""


async def resolve(host: str, port: int) -> list[str]:
    """Ask the system for the addresses of a host, the preferred one first."""
    found = await anyio.getaddrinfo(host, port, type=SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class ImageFetch:
    """Fetches images from public addresses only.

    Takes nothing from the environment: a proxy would look hosts up by itself.

    Args:
        local: The local network, whose gateway is on this machine: loopback addresses are allowed
            too, by plain HTTP as well.
        resolver: Looks hosts up.
        tls: Trusts the authorities of web servers; by default those of the package certifi.
        limit_s: Seconds that one image may take.
    """

    def __init__(
        self,
        *,
        local: bool = False,
        resolver: Resolve = resolve,
        tls: ssl.SSLContext | None = None,
        limit_s: float = LIMIT_S,
    ) -> None:
        self._local, self._resolve, self._tls, self._limit_s = local, resolver, tls, limit_s

    async def fetch(
        self, address: str, gateway: Pinned | None = None, *, within_s: float = math.inf
    ) -> bytes:
        """Get a file of at most `MAX_BYTES`, following at most `MAX_REDIRECTS` redirects.

        Args:
            address: Its URL.
            gateway: Whose answer named it.
            within_s: Seconds that are left, where they are fewer than one image may take.

        Raises:
            ImageRefusedError: It may not be asked for, or does not come whole and in time.
        """
        limit_s = max(min(self._limit_s, within_s), 0.0)
        try:
            with anyio.fail_after(limit_s):
                return await self._follow(_url(address), gateway)
        except TimeoutError as exc:
            what = f"{shown(address)} did not send it within {limit_s:.3g} s"
            raise ImageRefusedError(what) from exc

    async def _follow(self, url: httpx.URL, gateway: Pinned | None) -> bytes:
        for _ in range(MAX_REDIRECTS + 1):
            async with self._opened_response(url, gateway) as response:
                if response.status_code not in REDIRECTS:
                    return await _body(response, url)
                url = _next(url, response)
        raise ImageRefusedError(f"its URL redirects more than {MAX_REDIRECTS} times")

    @asynccontextmanager
    async def _opened_response(
        self, url: httpx.URL, gateway: Pinned | None
    ) -> AsyncIterator[httpx.Response]:
        """Ask one host at an address that was checked; the connection is closed afterwards."""
        addresses = await self._vetted(url)
        origin = shown(str(url))
        try:
            async with httpx.AsyncClient(
                verify=await self._context(origin, gateway), timeout=TIMEOUT, trust_env=False
            ) as http:
                response = await _connected(http, url, addresses)
                try:
                    yield response
                finally:
                    await response.aclose()
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise ImageRefusedError(f"it cannot be fetched from {origin}") from exc

    async def _context(self, origin: str, gateway: Pinned | None) -> ssl.SSLContext:
        if gateway is not None and origin == shown(gateway.endpoint):
            return pinned_context(gateway.certificate)
        if self._tls is None:
            # Reading the authorities takes 30 ms.
            self._tls = await to_thread.run_sync(lambda: httpx.create_ssl_context(trust_env=False))
        return self._tls

    async def _vetted(self, url: httpx.URL) -> list[str]:
        """Return the addresses of a URL's host, if none of them is out of bounds."""
        _check_form(url)
        port = url.port or PORTS[url.scheme]
        try:
            found = list(dict.fromkeys(await self._resolve(_host(url), port)))[:MAX_TRIED]
            parsed = [parse(text) for text in found]
        except (OSError, ValueError) as exc:
            raise ImageRefusedError(f"its host {quote(url.host)} is not known") from exc
        if not parsed or not all(map(self._may_ask, parsed)):
            raise ImageRefusedError(f"its host {quote(url.host)} has no public address")
        if url.scheme != "https" and any(map(is_public, parsed)):
            raise ImageRefusedError("its URL is plain http, and https alone is fetched")
        return found

    def _may_ask(self, address: Address) -> bool:
        return is_public(address) or (self._local and address.is_loopback)


async def _connected(
    http: httpx.AsyncClient, url: httpx.URL, addresses: Sequence[str]
) -> httpx.Response:
    """Send the request to the first address that takes connections."""
    error: httpx.HTTPError | None = None
    for address in addresses:
        request = http.build_request(
            "GET",
            url.copy_with(host=address, fragment=None),
            headers={
                "Host": url.netloc.decode("ascii"),
                "User-Agent": f"og-mcp/{__version__}",
                "Accept": "image/*",
                # The bytes as they are, whose number is what is bounded.
                "Accept-Encoding": "identity",
            },
            # The name that the certificate has to carry.
            extensions={"sni_hostname": _host(url).rstrip(".")},
        )
        try:
            return await http.send(request, stream=True)
        except (httpx.ConnectError, httpx.ConnectTimeout) as exc:
            error = exc
    raise error or httpx.ConnectError("no address")


def _url(text: str) -> httpx.URL:
    try:
        return httpx.URL(text)
    except (httpx.InvalidURL, ValueError, TypeError) as exc:
        raise ImageRefusedError("its address is not a URL") from exc


def _host(url: httpx.URL) -> str:
    """Return the host as it goes on the wire: in ASCII, an IPv6 address without brackets."""
    return url.raw_host.decode("ascii")


def _check_form(url: httpx.URL) -> None:
    if url.scheme not in PORTS:
        raise ImageRefusedError(f"its address is of scheme {quote(url.scheme)}; https is fetched")
    if not url.host or url.userinfo or not 0 < (url.port or PORTS[url.scheme]) <= LAST_PORT:
        raise ImageRefusedError("its URL has no host, no such port, or credentials in it")


def _next(url: httpx.URL, response: httpx.Response) -> httpx.URL:
    try:
        return url.join(response.headers["location"])
    except (KeyError, httpx.InvalidURL, ValueError) as exc:
        raise ImageRefusedError("its URL redirects to nowhere") from exc


async def _body(response: httpx.Response, url: httpx.URL) -> bytes:
    if response.status_code != HTTPStatus.OK:
        raise ImageRefusedError(f"{shown(str(url))} answered {response.status_code}")
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise ImageRefusedError(f"{shown(str(url))} sent it in an encoding that was not asked for")
    body = bytearray()
    async for part in response.aiter_raw():
        body += part
        if len(body) > MAX_BYTES:
            raise ImageRefusedError(f"it is longer than {MAX_BYTES} bytes")
    return bytes(body)
