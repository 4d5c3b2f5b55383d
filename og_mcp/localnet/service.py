"""One HTTP service of the local network on a loopback port of its own."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from og_mcp.localnet.faults import Faults
from og_mcp.localnet.serving import ClosableConnection
from og_mcp.localnet.tls import Certificate

LOOPBACK: Final = "127.0.0.1"
_KEEP_ALIVE_S: Final = 60
_GRACE_S: Final = 1
"""Seconds that requests under way may take when the service closes."""


class PortTakenError(Exception):
    """Another process listens on the port that was asked for."""

    def __init__(self, port: int) -> None:
        super().__init__(f"Port {port} is taken; choose another one, or 0 for a free one.")


class _Server(uvicorn.Server):
    """Ends as soon as it is told to; uvicorn's own looks ten times a second."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._told_to_end = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process: it runs several servers."""
        yield

    def end(self) -> None:
        """Close connections once their requests are answered; `serve` returns then."""
        self._told_to_end.set()

    async def main_loop(self) -> None:
        """Keep the Date header right until the end."""
        while not self._told_to_end.is_set():
            await self.on_tick(0)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._told_to_end.wait(), 1)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Refuse new connections, and wait `_GRACE_S` at most for requests that are under way."""
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        if under_way := set(self.server_state.tasks):
            _, late = await asyncio.wait(under_way, timeout=_GRACE_S)
            for request in late:
                request.cancel()


class Service:
    """An application that can refuse connections and take them again, on the same port.

    With a certificate it speaks HTTPS, else HTTP. Without a Date header the application tells it.
    """

    def __init__(
        self,
        app: ASGIApp,
        faults: Faults,
        port: int = 0,
        *,
        certificate: Certificate | None = None,
        date_header: bool = True,
    ) -> None:
        self.faults = faults
        """Faults, latency and counters of this service."""

        self.certificate = certificate
        """What it shows its clients; another one holds from the next `open` on."""

        self._app = app
        self._port = port
        self._date_header = date_header
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """The origin, without a slash at its end; known once it was open."""
        scheme = "http" if self.certificate is None else "https"
        return f"{scheme}://{LOOPBACK}:{self._port}"

    async def open(self) -> None:
        """Listen; no effect while open.

        Raises:
            PortTakenError: The port is not free.
        """
        if self._serving is not None:
            return
        listener = _listen(self._port)
        self._port = listener.getsockname()[1]
        config = uvicorn.Config(
            self._app,
            http=ClosableConnection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=self._date_header,
            timeout_keep_alive=_KEEP_ALIVE_S,
        )
        config.load()
        if self.certificate is not None:
            # uvicorn's own options name key files.
            config.ssl = self.certificate.server
        self._server = _Server(config)
        self._serving = asyncio.create_task(self._server.serve([listener]))

    async def close(self) -> None:
        """Let go of requests that hang, end open connections and refuse new ones."""
        if self._server is None or self._serving is None:
            return
        self.faults.clear()
        self._server.end()
        await self._serving
        self._server = self._serving = None

    async def probe(self) -> None:
        """Wait until the application has answered a request, which does not count."""
        tls = None if self.certificate is None else self.certificate.client()
        reader, writer = await asyncio.open_connection(LOOPBACK, self._port, ssl=tls)
        try:
            writer.write(
                f"GET / HTTP/1.1\r\nHost: {LOOPBACK}\r\nConnection: close\r\n\r\n".encode()
            )
            await writer.drain()
            await reader.readuntil(b"\r\n")
        finally:
            writer.close()
            await writer.wait_closed()
        self.faults.reset_counters()


def _listen(port: int) -> socket.socket:
    # asyncio turns Nagle's delay off only where the protocol is named; else answers take 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if sys.platform != "win32":
        # A port that was closed a moment ago can be taken again at once.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
        # From here on connections wait until the server takes them.
        listener.listen()
    except OSError as error:
        listener.close()
        raise PortTakenError(port) from error
    return listener
