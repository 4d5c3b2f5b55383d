"""The HTTP application: streamable HTTP at /mcp and SSE at /sse, behind one guard."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import FrameType
from typing import Final

import uvicorn
from mcp.server import MCPServer
from mcp.server.sse import SseServerTransport
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import HANDLED_SIGNALS

from og_mcp.client import Session
from og_mcp.errors import ConfigurationError, SettingProblem
from og_mcp.llm import openai_routes
from og_mcp.server._connection import HTTPConnection
from og_mcp.server._guard import Guard, HostRule
from og_mcp.server._server import build_server, serve_connection
from og_mcp.server._shutdown import DrainMiddleware, Shutdown, end_signals

# The guard in front checks Host and Origin of every path, by one rule.
_GUARDED: Final = TransportSecuritySettings(enable_dns_rebinding_protection=False)

STREAMS_S: Final = 2
"""Seconds that streams which clients hold open have to end once all calls are handed over."""


class _Server(uvicorn.Server):
    """A uvicorn server that hands its calls over before it ends.

    Args:
        config: Its own.
        shutdown: The end of what it serves.
    """

    def __init__(self, config: uvicorn.Config, shutdown: Shutdown) -> None:
        super().__init__(config)
        self._shutdown = shutdown
        self._handing_over: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - as uvicorn calls it
        """Begin to end with the first signal, and end at once with the second."""
        # The handler runs between any two steps of the loop's own thread.
        self._loop.call_soon_threadsafe(self._end)

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until it is ended."""
        self._loop = asyncio.get_running_loop()
        for number in set(end_signals()) - set(HANDLED_SIGNALS):
            signal.signal(number, self.handle_exit)
        await super().serve(sockets)

    def _end(self) -> None:
        if self._handing_over is None:
            self._handing_over = asyncio.create_task(self._hand_over())
        else:
            self.config.timeout_graceful_shutdown = 0
            self._handing_over.cancel()

    async def _hand_over(self) -> None:
        try:
            await self._shutdown.hand_over()
        finally:
            self.should_exit = True


def http_app(
    session: Session,
    *,
    sse_only: bool = False,
    openai: bool = False,
    shutdown: Shutdown | None = None,
) -> ASGIApp:
    """Make the ASGI application: `/mcp` and `/sse` with its `/messages/`, or `/sse` alone.

    With `openai` also `/v1/chat/completions` and `/v1/models`, on the same session.

    Its lifespan opens the session and closes it. Every request passes the guard: Host and Origin
    always, the bearer token where settings hold one.
    """
    settings, server, shutdown = (
        session.settings,
        build_server(session),
        shutdown or Shutdown(session),
    )
    streamable = server.streamable_http_app(transport_security=_GUARDED)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with server.session_manager.run():
            yield

    routes = [*_sse_routes(server, shutdown), *([] if sse_only else streamable.routes)]
    if openai:
        routes += openai_routes(session)
    token = settings.http_token.get_secret_value() if settings.http_token else ""
    app = DrainMiddleware(Starlette(routes=routes, lifespan=lifespan), shutdown)
    return Guard(app, HostRule.of(settings.host), token)


def _sse_routes(server: MCPServer[Session], shutdown: Shutdown) -> list[BaseRoute]:
    transport = SseServerTransport("/messages/", security_settings=_GUARDED)

    class Endpoint:
        """An ASGI application: mcp's own endpoint would answer a second time when the stream ends."""

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            async with transport.connect_sse(scope, receive, send) as (reader, writer):
                await serve_connection(server, reader, writer, shutdown)

    return [
        Route("/sse", Endpoint(), methods=["GET"]),
        Mount("/messages/", transport.handle_post_message),
    ]


async def serve_http(
    session: Session, announce: Callable[[str], None], *, openai: bool = False
) -> None:
    """Serve MCP over HTTP until SIGINT, SIGTERM or SIGHUP.

    Calls that may be paid get OG_GRACE_S to end; a second signal ends at once.

    Args:
        session: Opened with the server, closed with it; its settings hold host, port and token.
        announce: Called with the endpoints, in words, once the port is bound.
        openai: Serve OpenAI's chat API beside it.

    Raises:
        ConfigurationError: Host and port cannot be bound.
    """
    settings = session.settings
    sse_only = settings.transport == "sse"
    shutdown, listener = Shutdown(session), _listen(settings.host, settings.port)
    config = uvicorn.Config(
        http_app(session, sse_only=sse_only, openai=openai, shutdown=shutdown),
        http=HTTPConnection,
        log_config=None,
        access_log=False,  # the path of an SSE message holds its session id
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=STREAMS_S,
    )
    paths = ["/sse"] if sse_only else ["/mcp", "/sse"]
    announce(f"http://{_authority(listener)}{' and '.join([*paths, *['/v1'] * openai])}")
    await _Server(config, shutdown).serve(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as exc:
        reason = (exc.strerror or "unknown").partition(" (")[0]
        what = f"{host} port {port} cannot be used: {reason}"
        raise ConfigurationError([SettingProblem("OG_HOST, OG_PORT", what)]) from exc


def _authority(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
