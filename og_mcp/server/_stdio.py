"""The stdio transport, on two descriptors that nothing else in the process uses."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING, Final, Self, TypeVar, cast

import anyio
from anyio import AsyncFile, CancelScope
from anyio.lowlevel import checkpoint
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage
from mcp.types import INVALID_REQUEST, PARSE_ERROR, ErrorData, JSONRPCError
from pydantic import ValidationError

from og_mcp.client import Session
from og_mcp.server._server import build_server, serve_connection
from og_mcp.server._shutdown import Shutdown, Stream, end_signals

if TYPE_CHECKING:
    # As in `_server`: mcp has no other name for them.
    from mcp.shared._stream_protocols import ReadStream, WriteStream

T = TypeVar("T")

_CHUNK: Final = 1 << 16

_MARK: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]')
"""A string of JSON, or what opens and closes a level."""

_ID: Final = re.compile(r'\s*:\s*(?:(-?[0-9]{1,18})(?=\s*[,}])|"([^"\\]{1,200})")')
_BEGINNING: Final = 1 << 16
"""Characters of a broken frame that are searched for its id."""


async def _abandonable(work: Callable[[], T]) -> T:
    """Run blocking `work` in a thread that neither a cancellation nor the exit waits for.

    anyio's worker threads are joined when the interpreter ends, so a host that keeps its end of
    stdin open without writing would keep a server alive that was told to stop.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: OSError | None) -> None:
        if outcome.done():
            return
        if error is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(cast("T", result))

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except OSError as exc:
            error = exc
        # The loop is closed once the call was abandoned.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, result, error)

    Thread(target=run, daemon=True).start()
    return await outcome


class _Lines:
    """The lines that arrive on a descriptor, decoded."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._tail: list[bytes] = []
        self._ready: list[bytes] = []
        self._ended = False
        self._reading = CancelScope()

    def end(self) -> None:
        """Read no more."""
        self._ended = True
        self._reading.cancel()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        while not self._ready and not self._ended:
            with CancelScope() as self._reading:
                self._take(await _abandonable(lambda: os.read(self._descriptor, _CHUNK)))
        if not self._ready:
            raise StopAsyncIteration
        return self._ready.pop().decode(errors="replace")

    def _take(self, chunk: bytes) -> None:
        self._ended = self._ended or not chunk
        *lines, rest = chunk.split(b"\n")
        if lines:
            lines[0] = b"".join([*self._tail, lines[0]])
            self._tail.clear()
        self._tail.append(rest)
        self._ready = lines[::-1]


class _Writer:
    """Writes text to a descriptor, whole."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    async def write(self, text: str) -> None:
        try:
            await _abandonable(lambda: self._write(text.encode()))
        except BrokenPipeError:
            # The host is gone; mcp ends its writer quietly on this error.
            raise anyio.ClosedResourceError from None

    async def flush(self) -> None:
        await checkpoint()

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]


class _Messages(Stream["ReadStream[SessionMessage | Exception]"]):
    """The messages that arrive; what is not a message is answered with an error here.

    mcp drops a frame that it cannot read, and its sender would wait for ever.
    """

    def __init__(
        self,
        lines: _Lines,
        reader: ReadStream[SessionMessage | Exception],
        writer: WriteStream[SessionMessage],
    ) -> None:
        super().__init__(reader)
        self._lines, self._writer = lines, writer

    async def receive(self) -> SessionMessage:
        while True:
            item = await self.inner.receive()
            if isinstance(item, SessionMessage):
                return item
            if isinstance(item, ValidationError) and (error := _error_for(item)) is not None:
                await self._writer.send(SessionMessage(error))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        # mcp's reader of lines would fail where nobody takes what it has just read.
        self._lines.end()
        with suppress(anyio.EndOfStream, anyio.ClosedResourceError):
            while True:
                await self.inner.receive()
        await super().aclose()


def _error_for(refused: ValidationError) -> JSONRPCError | None:
    """Say what is wrong with a frame, under its id where one can be found; nothing if it is blank."""
    problems = refused.errors(include_url=False, include_context=False)
    frames = [problem["input"] for problem in problems]
    if problems[0]["type"] != "json_invalid":
        ids = (frame["id"] for frame in frames if isinstance(frame, dict) and "id" in frame)
        named = next((one for one in ids if isinstance(one, (int, str))), None)
        what = ErrorData(code=INVALID_REQUEST, message="This is not a JSON-RPC 2.0 message.")
        return JSONRPCError(jsonrpc="2.0", id=named, error=what)
    text = str(frames[0])[:_BEGINNING]
    if not text.strip():
        return None
    what = ErrorData(code=PARSE_ERROR, message="This line is not JSON.")
    return JSONRPCError(jsonrpc="2.0", id=_id_in(text), error=what)


def _id_in(text: str) -> int | str | None:
    """Find the id of a broken frame: at its first level alone, since arguments may have ids too."""
    depth = 0
    for mark in _MARK.finditer(text):
        if mark[0] in "[{":
            depth += 1
        elif mark[0] in "]}":
            depth -= 1
        elif depth == 1 and mark[0] == '"id"' and (value := _ID.match(text, mark.end())):
            number, word = value.groups()
            return int(number) if number else str(word)
    return None


async def serve_stdio(session: Session, stdin: int, stdout: int) -> None:
    """Serve MCP on two descriptors until the host closes `stdin`, or a signal to end comes.

    Calls that may be paid get OG_GRACE_S to end; a second signal ends at once.

    Args:
        session: Opened with the connection, closed with it.
        stdin: Descriptor that requests are read from.
        stdout: Descriptor that answers are written to; nothing else may write there.
    """
    server, shutdown, lines = build_server(session), Shutdown(session), _Lines(stdin)
    reader, writer = cast("AsyncFile[str]", lines), cast("AsyncFile[str]", _Writer(stdout))
    async with anyio.create_task_group() as group:

        def end() -> None:
            group.start_soon(shutdown.hand_over)

        group.start_soon(_end_on_signal, end, group.cancel_scope)
        async with stdio_server(reader, writer) as (messages, answers):
            wire = _Messages(lines, messages, answers)
            await serve_connection(server, wire, answers, shutdown, end)
        group.cancel_scope.cancel()


async def _end_on_signal(end: Callable[[], None], scope: CancelScope) -> None:
    """End with the first signal, and at once with the second."""
    if sys.platform == "win32":
        return
    with anyio.open_signal_receiver(*end_signals()) as signals:
        async for _ in signals:
            end()
            break
        async for _ in signals:
            scope.cancel()
            return
