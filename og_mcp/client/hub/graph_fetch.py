"""An ONNX file's graph from the hub, without its weights where the server gives parts of files."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import anyio
import httpx
from anyio import to_thread

from og_mcp.client.hub.records import MODEL_HUB
from og_mcp.client.wire.http import map_httpx_errors, shown
from og_mcp.errors import ServiceRejectedError, ServiceReplyError, ServiceTimeoutError
from og_mcp.onnxfile import OnnxFile, OnnxReader

MAX_BYTES: Final = 64 << 20
"""Bytes that are read of one file."""

LIMIT_S: Final = 5.0
"""Seconds; a call that checks its input waits for it."""

CHUNK: Final = 1 << 18

WORTH_ASKING_ANEW: Final = 1 << 20
"""Size of weights from which a new request is cheaper than reading on, in bytes."""

MAX_REQUESTS: Final = 100


async def fetch_onnx(
    http: httpx.AsyncClient, url: str, *, max_bytes: int = MAX_BYTES, limit_s: float = LIMIT_S
) -> OnnxFile:
    """Read an ONNX file on a server.

    Args:
        http: The session's connection pool.
        url: Of the file.
        max_bytes: The most that is transferred.
        limit_s: Seconds for all of it.

    Raises:
        ServiceError: It cannot be had, or not within these bounds.
        OnnxError: It is not an ONNX model.
    """
    download = _Download(http, url, max_bytes)
    try:
        with map_httpx_errors(MODEL_HUB, url), anyio.fail_after(limit_s):
            return await download.run()
    except TimeoutError as exc:
        raise ServiceTimeoutError(MODEL_HUB, shown(url), limit_s) from exc


class _Download:
    def __init__(self, http: httpx.AsyncClient, url: str, max_bytes: int) -> None:
        self._http, self._url, self._left = http, url, max_bytes
        self._reader = OnnxReader()
        self._at = 0
        self._parts_given = True

    async def run(self) -> OnnxFile:
        for _ in range(MAX_REQUESTS):
            if await self._request():
                return await to_thread.run_sync(self._reader.finish)
        raise ServiceReplyError(MODEL_HUB, "its file is in too many parts to be read")

    async def _request(self) -> bool:
        """Read the next part; true at the end of the file."""
        # In a compressed answer, positions would be different.
        headers = {"Accept-Encoding": "identity", "Range": f"bytes={self._at}-"}
        async with self._http.stream("GET", self._url, headers=headers) as response:
            size = self._check(response)
            async for chunk in response.aiter_raw(CHUNK):
                await self._take(chunk)
                idle = self._reader.idle
                if self._parts_given and idle >= WORTH_ASKING_ANEW and self._at + idle < size:
                    self._reader.step_over(idle)
                    self._at += idle
                    return False
        if size > 0 and self._at != size:
            raise ServiceReplyError(MODEL_HUB, "its file is shorter than it said")
        return True

    async def _take(self, chunk: bytes) -> None:
        self._left -= len(chunk)
        if self._left < 0:
            raise ServiceReplyError(MODEL_HUB, "its file is too long to be read")
        await to_thread.run_sync(self._reader.feed, chunk)
        self._at += len(chunk)

    def _check(self, response: httpx.Response) -> int:
        """Check that the answer goes on where we are; returns the file's size, -1 if not told."""
        if response.status_code >= HTTPStatus.BAD_REQUEST:
            raise ServiceRejectedError(MODEL_HUB, response.status_code)
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise ServiceReplyError(MODEL_HUB, "its file came compressed")
        if response.status_code == HTTPStatus.PARTIAL_CONTENT:
            start, _, size = response.headers.get("Content-Range", "").partition("/")
            if not start.startswith(f"bytes {self._at}-"):
                raise ServiceReplyError(MODEL_HUB, "it gave another part of its file")
            return _number(size)
        self._parts_given = False
        if response.status_code != HTTPStatus.OK or self._at:
            raise ServiceReplyError(MODEL_HUB, f"it gave no file (status {response.status_code})")
        return _number(response.headers.get("Content-Length", ""))


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else -1  # noqa: PLR2004 - int64
