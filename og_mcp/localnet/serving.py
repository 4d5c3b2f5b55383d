"""What every HTTP service of the local network shares: who may ask, faults, and going silent.

Serve with `uvicorn.Config(app, http=ClosableConnection, ...)`: faults of the kinds `drop` and
`hang` close the connection, which ASGI alone cannot do. An application that is called without a
server raises `ConnectionDroppedError` in their place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

import anyio
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from og_mcp.localnet.faults import Fault, Faults, When

LOOPBACK_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "::1"})
CONNECTION: Final = "connection"
"""Key of `scope["state"]` under which a request finds its transport."""


class ConnectionDroppedError(Exception):
    """A fault closed the connection; raised only where there is no connection to close."""


class ClosableConnection(H11Protocol):
    """An HTTP connection whose requests can close it: `scope["state"]["connection"]`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # uvicorn's own signature, narrower than asyncio's
        """Hand the transport to every request of this connection."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, CONNECTION: transport}

    def shutdown(self) -> None:
        """Let the server end; an idle TLS connection would wait for its client to say goodbye."""
        super().shutdown()
        if self.transport.is_closing() and not self.transport.get_write_buffer_size():
            self.transport.abort()


class LoopbackOnly:
    """Middleware that answers 403 unless the Host header names this machine.

    A page that a browser loads can reach loopback ports under a name of its own; its requests are
    told by that name.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "http" and not names_loopback(Headers(scope=scope).get("host", "")):
            await PlainTextResponse("invalid host specified", 403)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def names_loopback(host: str) -> bool:
    """Whether a Host header (name, optional port) names this machine."""
    try:
        return urlsplit(f"//{host}").hostname in LOOPBACK_HOSTS
    except ValueError:
        return False


class FaultGate:
    """Middleware that counts requests, adds latency, and shows the faults of a plain HTTP service.

    The name that a fault's pattern meets is `SERVICE METHOD PATH`. JSON-RPC calls have names of
    their own: with an empty `service`, requests are counted and delayed, and nothing more.
    """

    def __init__(self, app: ASGIApp, *, faults: Faults, service: str) -> None:
        self._app = app
        self._faults = faults
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, unless a fault stands before it or in its answer's place."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        self._faults.count_request()
        await anyio.sleep(self._faults.latency_s)
        if not self._service:
            await self._app(scope, receive, send)
            return
        name = f"{self._service} {scope['method']} {scope['path']}"
        self._faults.count_call(name)
        if await self._show(name, "before", scope, receive, send):
            return
        answered = _Answered(send, lambda: self._show(name, "after", scope, receive, send))
        midway = self._faults.take(name, "midway")
        if midway is None:
            await self._app(scope, receive, answered.take)
            return
        body = _InterruptedBody(receive, midway)
        with suppress(_MidwayError):
            await self._app(scope, body.receive, body.unless_interrupted(answered.take))
        if body.interrupted:
            await self._send(midway, scope, receive, send)

    async def _show(
        self, name: str, when: When, scope: Scope, receive: Receive, send: Send
    ) -> bool:
        fault = self._faults.take(name, when)
        return fault is not None and await self._send(fault, scope, receive, send)

    async def _send(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> bool:
        """Carry a fault out; tells whether it stands in the answer's place."""
        response = await answer(fault, self._faults, scope, receive)
        if response is not None:
            await response(scope, receive, send)
        return response is not None


class _MidwayError(Exception):
    """Ends a request in the middle of its body."""


class _InterruptedBody:
    """A request's body until a fault comes in between."""

    def __init__(self, receive: Receive, fault: Fault) -> None:
        self._receive, self._fault = receive, fault
        self._come = 0
        self.interrupted = False

    async def receive(self) -> Message:
        """Give the next piece, late or not at all."""
        if self._come >= self._fault.after_bytes:
            if self._fault.action != "delay":
                self.interrupted = True
                raise _MidwayError
            await anyio.sleep(self._fault.delay_s)
        message = await self._receive()
        self._come += len(message.get("body", b""))
        return message

    def unless_interrupted(self, send: Send) -> Send:
        """Let nothing out that an application says of the interruption."""

        async def sending(message: Message) -> None:
            if not self.interrupted:
                await send(message)

        return sending


class _Answered:
    """Holds an answer back until it is whole, or turns out to be a stream.

    By then it is known whether a fault takes its place.
    """

    def __init__(self, send: Send, show_fault: Callable[[], Awaitable[bool]]) -> None:
        self._send, self._show_fault = send, show_fault
        self._start: Message | None = None
        self._replaced = False

    async def take(self, message: Message) -> None:
        """Take the application's next message."""
        if message["type"] == "http.response.start":
            self._start = message
            return
        if self._start is not None:
            start, self._start = self._start, None
            self._replaced = await self._show_fault()
            if not self._replaced:
                await self._send(start)
        if not self._replaced:
            await self._send(message)


async def answer(fault: Fault, faults: Faults, scope: Scope, receive: Receive) -> Response | None:
    """Carry a fault out on a whole HTTP request.

    Returns:
        What to send in place of the true answer, or None after a mere delay.

    Raises:
        ConnectionDroppedError: The fault drops the connection and there is no server.
    """
    await anyio.sleep(fault.delay_s)
    if fault.action == "hang":
        with anyio.move_on_after(fault.limit_s):
            await _until_gone_or_released(faults, receive)
    if fault.action in {"hang", "drop"}:
        await drop(scope, receive)
        # Nobody reads this: uvicorn discards what is sent after the connection has closed.
        return Response()
    if fault.action == "status":
        return PlainTextResponse(fault.body, fault.status)
    if fault.action == "error":
        return JSONResponse({"detail": fault.message}, fault.status)
    return JSONResponse(fault.result) if fault.action == "result" else None


async def _until_gone_or_released(faults: Faults, receive: Receive) -> None:
    async with anyio.create_task_group() as waits:

        async def released() -> None:
            await faults.until_released()
            waits.cancel_scope.cancel()

        waits.start_soon(released)
        await _until_gone(receive)
        waits.cancel_scope.cancel()


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def drop(scope: Scope, receive: Receive) -> None:
    """Close the connection of a request.

    Raises:
        ConnectionDroppedError: There is no server that could.
    """
    connection = scope.get("state", {}).get(CONNECTION)
    if connection is None:
        raise ConnectionDroppedError
    connection.close()
    await _until_gone(receive)
