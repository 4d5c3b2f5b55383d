"""Connections to TEE gateways: which one to ask next, by what is known of each.

A gateway that did not answer rests, for longer each time; one that shows another certificate than
the registry named is asked anew as soon as the registry names another.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from og_mcp import __version__
from og_mcp.client.tee.registry import TEE, Registry
from og_mcp.client.wire.connections import Connections
from og_mcp.client.wire.http import TIMEOUT, keep_secrets_from_logs, no_cookies
from og_mcp.client.wire.pinned import pinned_context
from og_mcp.errors import NoGatewayError
from og_mcp.networks import is_loopback

_Key = tuple[str, bytes]
"""Its endpoint and certificate."""

FIRST_REST_S: Final = 5.0
MAX_REST_S: Final = 300.0


@dataclass(frozen=True)
class Gateway:
    """A gateway, and the connections to it that trust its certificate alone."""

    tee: TEE
    http: httpx.AsyncClient
    """Takes absolute URLs; follows no redirect, keeps no cookie; timeouts are the caller's."""


@dataclass(frozen=True)
class _Rest:
    """The state of a gateway that did not answer."""

    key: _Key
    """The endpoint and certificate with which it was asked."""

    failures: int
    until: float
    """Seconds, by the clock of `Gateways`."""


class Gateways:
    """The gateways of one network, each with its connections.

    Args:
        registry: Which there are.
        local: Only this machine is spoken to, so nothing is taken from the environment; else a
            proxy is, where it names one for the endpoint (HTTPS_PROXY, ALL_PROXY, NO_PROXY).
        clock: Seconds, ever growing.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        local: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry, self._local, self._clock = registry, local, clock
        self._clients: dict[_Key, httpx.AsyncClient] = {}
        self._asked: dict[str, _Key] = {}
        """TEE id -> how it was asked last."""

        self._rests: dict[str, _Rest] = {}

    async def pick(self, *, but: Collection[str] = (), prefer: str = "") -> Gateway:
        """Choose a gateway: the preferred one if it is healthy, else a random healthy one.

        Where none is healthy, the one whose rest ends first.

        Args:
            but: Ids of TEEs that were asked in vain; one that the registry has since given
                another endpoint or certificate may be asked again.
            prefer: Id of a TEE, e.g. of the one that a payment session is with.

        Raises:
            NoGatewayError: There is none but these.
            ServiceError: The registry cannot be read.
        """
        left = self._but(await self._registry.active(), but)
        if not left:
            # A gateway that did not answer may have moved since the registry was read.
            await self._registry.refresh()
            left = self._but(await self._registry.active(), but)
        if not left:
            raise NoGatewayError("the registry has no other that is active", sorted(but))
        healthy = [tee for tee in left if not self._rests_now(tee)]
        if not healthy:
            return self._gateway(min(left, key=lambda tee: self._rests[tee.tee_id].until))
        preferred = [tee for tee in healthy if tee.tee_id == prefer]
        # To spread calls, not to keep a secret.
        return self._gateway(random.choice(preferred or healthy))  # noqa: S311

    def failed(self, tee_id: str) -> None:
        """Let a gateway rest that could not be connected to, or cannot answer just now."""
        key, rest, now = self._asked.get(tee_id), self._rests.get(tee_id), self._clock()
        if key is None:
            return
        failures = 1
        if rest is not None and rest.key == key:
            if rest.until > now:
                # Calls that failed together are one failure.
                return
            failures = rest.failures + 1
        # Bound the exponent: a gateway may be gone for months.
        rest_s = min(FIRST_REST_S * 2 ** min(failures - 1, 10), MAX_REST_S)
        self._rests[tee_id] = _Rest(key, failures, now + rest_s)

    def answered(self, tee_id: str) -> None:
        """Count a gateway as healthy."""
        self._rests.pop(tee_id, None)

    async def aclose(self) -> None:
        """Close every connection."""
        clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            await client.aclose()

    def _but(self, tees: Collection[TEE], but: Collection[str]) -> list[TEE]:
        """Leave out gateways that were asked without an answer."""
        return [
            tee for tee in tees if tee.tee_id not in but or self._asked.get(tee.tee_id) != _key(tee)
        ]

    def _rests_now(self, tee: TEE) -> bool:
        rest = self._rests.get(tee.tee_id)
        return rest is not None and rest.key == _key(tee) and rest.until > self._clock()

    def _gateway(self, tee: TEE) -> Gateway:
        key = _key(tee)
        if key not in self._clients:
            self._clients[key] = open_client(tee, local=self._local)
        self._asked[tee.tee_id] = key
        return Gateway(tee, self._clients[key])


def open_client(tee: TEE, *, local: bool) -> httpx.AsyncClient:
    """Open connections that trust a TEE's certificate alone; the caller closes them.

    Redirects are not followed and cookies not kept: a payment or a session must not travel on
    (threats.md T10).

    Args:
        tee: Whose certificate.
        local: As for `Gateways`.

    Raises:
        ValueError: It is not a certificate.
    """
    keep_secrets_from_logs()
    context = pinned_context(tee.tls_certificate)
    proxy = None if local else proxy_for(tee.endpoint)
    return httpx.AsyncClient(
        transport=Connections(context, proxy=proxy),
        timeout=TIMEOUT,
        headers={"User-Agent": f"og-mcp/{__version__}"},
        cookies=no_cookies(),
        follow_redirects=False,
        trust_env=False,
    )


def proxy_for(endpoint: str) -> str | None:
    """Find the proxy that the environment names for an endpoint; never for this machine."""
    host = urlsplit(endpoint).hostname or ""
    if is_loopback(endpoint) or proxy_bypass(host):
        return None
    found = getproxies()
    proxy = found.get("https") or found.get("all")
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"


def _key(tee: TEE) -> _Key:
    return tee.endpoint, tee.tls_certificate
