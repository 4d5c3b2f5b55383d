"""The body of an upload: one file as a multipart field, read ahead of the sending in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from secrets import token_hex
from types import TracebackType
from typing import Self

import anyio
from anyio import to_thread

from og_mcp.client.calls.context import CallContext
from og_mcp.client.files.model_file import Publishable
from og_mcp.types import Progress


class UploadBody:
    """The body of one request. A context manager: a thread reads ahead from the file.

    Args:
        model: The file; its content passes through `Publishable.pieces`.
        call: Committed with the last boundary: before that the hub has no whole request.
        progress: Counts the bytes that were sent.
    """

    def __init__(self, model: Publishable, call: CallContext, progress: Progress) -> None:
        self._call, self._progress = call, progress
        self._pieces: Iterator[bytes] = model.pieces()
        # One piece: a thread that reads more of them at once slows the sending down.
        self._ahead: asyncio.Task[bytes] | None = None
        boundary = token_hex(24)
        # Publishable takes no name that would end between the quotes.
        self._head = (
            f"--{boundary}\r\n"
            f'Content-Disposition: form-data; name="file"; filename="{model.name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self.headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(self._head) + model.size + len(self._tail)),
        }
        """The headers that describe the body."""

    async def __aenter__(self) -> Self:
        """Begin to read."""
        self._read_on()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Wait until the thread no longer reads the file."""
        if self._ahead is not None:
            with anyio.CancelScope(shield=True):
                await asyncio.wait([self._ahead])
            if not self._ahead.cancelled():
                self._ahead.exception()

    async def content(self) -> AsyncIterator[bytes]:
        """Give the body, piece by piece.

        Raises:
            UnfitFileError: The file must not be published; the last boundary is not given then.
        """
        yield self._head
        sent = 0
        while piece := await self._next():
            yield piece
            sent += len(piece)
            self._progress.count = max(self._progress.count, sent)
        self._call.committed = True
        yield self._tail

    async def _next(self) -> bytes:
        """Return the next piece; nothing after the last."""
        assert self._ahead is not None  # noqa: S101 - entered
        # Shielded: a read that is given up would go on in its thread unseen.
        piece = await asyncio.shield(self._ahead)
        if piece:
            self._read_on()
        return piece

    def _read_on(self) -> None:
        self._ahead = asyncio.create_task(to_thread.run_sync(next, self._pieces, b""))
