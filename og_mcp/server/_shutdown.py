"""The end of a server: it takes no new calls, and leaves once the paid ones have been answered."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context
from http import HTTPStatus
from types import TracebackType
from typing import TYPE_CHECKING, Final, Generic, Protocol, Self, TypeVar

import anyio
from mcp.shared.message import SessionMessage
from mcp.types import (
    INTERNAL_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
    RequestId,
)
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from og_mcp.client import Session

if TYPE_CHECKING:
    # mcp names them nowhere else.
    from mcp.shared._stream_protocols import ReadStream, WriteStream

CANCELLED: Final = "notifications/cancelled"
LISTEN: Final = "subscriptions/listen"
JSON: Final = "application/json"

ANSWERS_S: Final = 2.0
"""Seconds that answers have to go out once no call runs any more."""

NO_SESSIONS: Final = (
    "og-mcp is shutting down and takes no new sessions; nothing was sent or paid. Connect once it "
    "runs again."
)


def end_signals() -> list[signal.Signals]:
    """List the signals that end a server; one that is ignored stays ignored (nohup)."""
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    found = (getattr(signal, name) for name in names if hasattr(signal, name))
    return [number for number in found if signal.getsignal(number) is not signal.SIG_IGN]


class _Closable(Protocol):
    async def aclose(self) -> None: ...


StreamT = TypeVar("StreamT", bound=_Closable)


class Stream(Generic[StreamT]):
    """A stream in front of another one, which it closes.

    Args:
        inner: The other one.
    """

    def __init__(self, inner: StreamT) -> None:
        self.inner = inner

    async def aclose(self) -> None:
        """Close the other one."""
        await self.inner.aclose()

    async def __aenter__(self) -> Self:
        """Begin nothing."""
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        await self.aclose()


class Shutdown:
    """The end of one server, over whatever transport.

    Args:
        session: Whose calls are handed over, for at most OG_GRACE_S.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.is_begun = False
        """Whether nothing new is taken."""

        self.is_over = False
        """Whether no call runs any more, or time is up."""

        self._connections: set[Requests] = set()
        self._answering: set[object] = set()
        self._left = anyio.Event()

    async def hand_over(self) -> None:
        """End what is free, wait for what may be paid, and let the answers go out.

        Whoever asks a second time waits for nothing: it is under way.
        """
        if self.is_begun:
            return
        self.is_begun = True
        await self._session.end_calls(self._session.settings.grace_s)
        self.is_over = True
        for connection in self._connections:
            connection.end_if_answered()
        with anyio.move_on_after(ANSWERS_S):
            while self._connections or self._answering:
                await self._left.wait()
        for connection in self._connections:
            connection.end()

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Keep the server until something has been answered."""
        token = object()
        self._answering.add(token)
        try:
            yield
        finally:
            self._answering.discard(token)
            self._note_left()

    @contextmanager
    def connected(self, requests: Requests) -> Iterator[None]:
        """Keep the server, at its end, until a connection has answered its tool calls."""
        self._connections.add(requests)
        try:
            yield
        finally:
            self._connections.discard(requests)
            self._note_left()

    def _note_left(self) -> None:
        self._left.set()
        self._left = anyio.Event()


class Requests(Stream["ReadStream[SessionMessage | Exception]"]):
    """What a client sends; at the end of the server it ends once its tool calls were answered.

    mcp cancels what runs when this ends.

    Args:
        reader: Where it comes from.
        shutdown: The server's.
        at_end: Called where the client ends it, in place of ending then.
    """

    def __init__(
        self,
        reader: ReadStream[SessionMessage | Exception],
        shutdown: Shutdown,
        at_end: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(reader)
        self._shutdown, self._at_end = shutdown, at_end
        self._reading = anyio.CancelScope()
        self._unanswered: set[RequestId] = set()

    @property
    def last_context(self) -> Context | None:
        """The sender's, where the transport tells it."""
        return getattr(self.inner, "last_context", None)

    async def receive(self) -> SessionMessage | Exception:
        """Return the next message.

        Raises:
            EndOfStream: There is none.
        """
        with anyio.CancelScope() as self._reading:
            self.end_if_answered()
            try:
                item = await self.inner.receive()
            except anyio.EndOfStream:
                if self._at_end is None:
                    raise
                self._at_end()
                await anyio.sleep_forever()
            if isinstance(item, SessionMessage):
                self._note(item.message)
            return item
        raise anyio.EndOfStream

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        """Return the next message."""
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    def answered(self, request_id: RequestId | None) -> None:
        """Note that the answer to a request has gone out, or will not come."""
        self._unanswered.discard(request_id)
        self.end_if_answered()

    def end_if_answered(self) -> None:
        """End where the server has handed over, and no tool call waits for its answer."""
        if self._shutdown.is_over and not self._unanswered:
            self.end()

    def end(self) -> None:
        """End."""
        self._reading.cancel()

    def _note(self, message: JSONRPCMessage) -> None:
        if isinstance(message, JSONRPCRequest) and message.method == "tools/call":
            self._unanswered.add(message.id)
        elif isinstance(message, JSONRPCNotification) and message.method == CANCELLED:
            self.answered((message.params or {}).get("requestId"))


class Answers(Stream["WriteStream[SessionMessage]"]):
    """What is sent to a client.

    Args:
        writer: Where it goes.
        requests: What it answers.
    """

    def __init__(self, writer: WriteStream[SessionMessage], requests: Requests) -> None:
        super().__init__(writer)
        self._requests = requests

    async def send(self, item: SessionMessage, /) -> None:
        """Send a message."""
        try:
            await self.inner.send(item)
        finally:
            if isinstance(item.message, (JSONRPCResponse, JSONRPCError)):
                self._requests.answered(item.message.id)


class DrainMiddleware:
    """ASGI middleware that keeps the server until requests are answered, and takes no new sessions.

    Args:
        app: Answers them.
        shutdown: The server's.
    """

    def __init__(self, app: ASGIApp, shutdown: Shutdown) -> None:
        self._app, self._shutdown = app, shutdown

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 503."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if self._shutdown.is_begun and _opens_session(scope["path"], headers):
            await _refusal()(scope, receive, send)
        elif scope["path"] == "/mcp" and (scope["method"] == "GET" or _listens(headers)):
            # It goes on for as long as the client wants.
            await self._app(scope, receive, send)
        else:
            with self._shutdown.answering():
                await self._app(scope, receive, send)


def _listens(headers: Headers) -> bool:
    return headers.get("mcp-method") == LISTEN


def _opens_session(path: str, headers: Headers) -> bool:
    # Requests of protocol 2026-07-28 name their method, and belong to no session.
    is_alone = "mcp-session-id" not in headers and "mcp-method" not in headers
    return path == "/sse" or (path == "/mcp" and is_alone)


def _refusal() -> Response:
    error = ErrorData(code=INTERNAL_ERROR, message=NO_SESSIONS)
    body = JSONRPCError(jsonrpc="2.0", id=None, error=error)
    return Response(
        body.model_dump_json(by_alias=True), HTTPStatus.SERVICE_UNAVAILABLE, media_type=JSON
    )
