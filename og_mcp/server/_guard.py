"""Who may talk to the HTTP application: Host and Origin first, then the token.

mcp has its own check of Host and Origin. It takes lists of names only, so it would have to be switched
off for a wildcard address; and on SSE it ends a refusal with a traceback.
"""

from __future__ import annotations

import hmac
import re
import socket
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

_AUTHORITY: Final = re.compile(r"(?P<name>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def is_loopback(host: str) -> bool:
    """Whether an address or name to bind can be reached from this machine only."""
    return host in _LOOPBACK or (_is_address(host) and ip_address(host).is_loopback)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


@dataclass(frozen=True)
class HostRule:
    """Which `Host` and `Origin` headers belong to a server bound to one address.

    A page that rebinds its DNS name to our address sends that name as Host: names are therefore
    a closed list. An address literal cannot be rebound, so a wildcard bind takes any of them.
    """

    names: frozenset[str]
    any_address: bool

    @classmethod
    def of(cls, bound: str) -> HostRule:
        """Make the rule for the address or name that the server is bound to."""
        if is_loopback(bound):
            return cls(_LOOPBACK | {bound.lower()}, any_address=False)
        if _is_address(bound) and ip_address(bound).is_unspecified:
            return cls(_LOOPBACK | {socket.gethostname().lower()}, any_address=True)
        return cls(frozenset({bound.lower()}), any_address=False)

    def allows_host(self, header: str) -> bool:
        """Whether the `Host` header names this server."""
        name = _name_in(header)
        return name in self.names or (self.any_address and _is_address(name))

    def allows_origin(self, header: str, host: str) -> bool:
        """Whether a page of that origin may call, given the `Host` header it calls."""
        scheme, separator, authority = header.partition("://")
        name = _name_in(authority)
        return (
            bool(separator and name)
            and scheme in {"http", "https"}
            and (name in self.names or name == _name_in(host))
        )


def _name_in(authority: str) -> str:
    match = _AUTHORITY.fullmatch(authority)
    return match["name"].strip("[]").lower() if match else ""


class Guard:
    """ASGI middleware that refuses strangers before anything else sees the request."""

    def __init__(self, app: ASGIApp, rule: HostRule, token: str) -> None:
        self.app, self.rule = app, rule
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 421, 403 or 401."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            refused = self._refusal(Headers(scope=scope))
            await (refused or self.app)(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    def _refusal(self, headers: Headers) -> Response | None:
        host, origins = headers.get("host", ""), headers.getlist("origin")
        if len(headers.getlist("host")) != 1 or not self.rule.allows_host(host):
            return PlainTextResponse("This server does not serve that Host.", 421)
        if not all(self.rule.allows_origin(origin, host) for origin in origins):
            return PlainTextResponse("Pages of that Origin may not call this server.", 403)
        if not self._has_token(headers):
            return PlainTextResponse(
                "Send the token that OG_HTTP_TOKEN holds: Authorization: Bearer <token>.",
                401,
                {"WWW-Authenticate": "Bearer"},
            )
        return None

    def _has_token(self, headers: Headers) -> bool:
        if not self._token:
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        # Compared in constant time: how far a guess was right must not show.
        right = hmac.compare_digest(given.strip().encode(), self._token)
        return right and scheme.lower() == "bearer"
