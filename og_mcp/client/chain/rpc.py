"""JSON-RPC over the shared httpx pool.

Errors say whether a request can have arrived; money depends on the difference.
"""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import httpx
from anyio import to_thread
from pydantic_core import from_json

from og_mcp.client.wire.http import map_httpx_errors
from og_mcp.errors import RateLimitError, ServiceRejectedError, ServiceReplyError
from og_mcp.networks import shown
from og_mcp.redaction import Redaction, url_secrets

CONNECT_TIMEOUT_S: Final = 10.0
MAX_REPLY_BYTES: Final = 128 * 2**20
THREAD_ABOVE_BYTES: Final = 256 * 2**10
"""Bodies above this are encoded and parsed off the event loop: JSON takes about 10 ms a MiB."""

_RATE_LIMIT_CODES: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, -32005, -32029})
_RATE_LIMIT_WORDS: Final = ("rate limit", "too many requests", "request limit", "limit exceeded")

Call = tuple[str, list[Any]]
"""A method and its parameters."""


class RPCError(Exception):
    """The node answered a JSON-RPC error. Internal: `RPC.rejected` turns it into ours."""

    def __init__(self, code: int, message: str, data: object = None) -> None:
        super().__init__(message)
        self.code, self.message, self.data = code, message, data


@dataclass(frozen=True)
class Reply:
    """One JSON-RPC answer: a result or an error."""

    result: Any
    error: RPCError | None = None

    def value(self) -> Any:  # noqa: ANN401 - JSON-RPC results have no common type
        """Return the result.

        Raises:
            RPCError: The node answered with an error.
        """
        if self.error is not None:
            raise self.error
        return self.result


class RPC:
    """One JSON-RPC endpoint.

    Args:
        http: The session's connection pool.
        url: The endpoint; shown in errors without path and credentials.
        service: What errors call it.
        timeout_s: For one answer.
    """

    def __init__(
        self, http: httpx.AsyncClient, url: str, service: str, *, timeout_s: float
    ) -> None:
        self._http, self._url = http, url
        self._timeout = httpx.Timeout(timeout_s, connect=min(timeout_s, CONNECT_TIMEOUT_S))
        self._redaction = Redaction(url_secrets(url))
        self.service = service
        self.batches: bool | None = None
        """Whether the endpoint takes batches; `None` until the first was tried."""

    @property
    def shown(self) -> str:
        """The endpoint's origin, fit for errors and results."""
        return shown(self._url)

    def rejected(self, error: RPCError) -> ServiceRejectedError:
        """Turn a JSON-RPC error into ours."""
        return self._rejected(error.code, error.message)

    def _rejected(self, status: int, message: str) -> ServiceRejectedError:
        said = message.lower()
        if status in _RATE_LIMIT_CODES or any(words in said for words in _RATE_LIMIT_WORDS):
            return RateLimitError(self.service, status, message)
        return ServiceRejectedError(self.service, status, message)

    async def ask(self, *calls: Call) -> list[Reply]:
        """Send calls in one HTTP request where the endpoint takes batches, else one by one.

        Raises:
            ServiceUnreachableError: Nothing was sent.
            ServiceError: No usable answer; the calls may have been carried out.
        """
        if len(calls) > 1 and self.batches is not False:
            replies = await self._ask_batch(calls)
            if replies is not None:
                return replies
        replies = [self._reply(await self._post(self._envelope(0, call))) for call in calls]
        if len(calls) > 1 and all(reply.error is not None for reply in replies):
            # The batch was not the reason.
            self.batches = None
        return replies

    async def call(self, method: str, *params: Any) -> Any:  # noqa: ANN401 - JSON values
        """Send one call and return its result.

        Raises:
            RPCError: The node answered with an error.
        """
        return (await self.ask((method, list(params))))[0].value()

    async def _ask_batch(self, calls: Sequence[Call]) -> list[Reply] | None:
        """Ask in one batch; `None` where the endpoint turns out not to take batches."""
        try:
            answer = await self._post([self._envelope(i, call) for i, call in enumerate(calls)])
        except RateLimitError:
            raise
        except ServiceRejectedError as exc:
            # Reads may be repeated; a transaction may have been sent.
            if _only_reads(calls) and exc.status < HTTPStatus.INTERNAL_SERVER_ERROR:
                self.batches = False
                return None
            raise
        if isinstance(answer, dict) and _only_reads(calls):
            error = self._reply(answer).error
            if error is not None and isinstance(limit := self.rejected(error), RateLimitError):
                raise limit
            self.batches = False
            return None
        replies = self._in_order(answer, len(calls))
        # If all are errors, they may be about the batch itself.
        self.batches = any(reply.error is None for reply in replies)
        return replies if self.batches or not _only_reads(calls) else None

    def _in_order(self, answer: object, count: int) -> list[Reply]:
        if not isinstance(answer, list):
            raise ServiceReplyError(self.service, "a batch was answered by a single object")
        items = [item for item in answer if isinstance(item, dict)]
        by_id = {item["id"]: item for item in items if isinstance(item.get("id"), (int, float))}
        if any(number not in by_id for number in range(count)):
            raise ServiceReplyError(self.service, "an answer of a batch is missing")
        return [self._reply(by_id[number]) for number in range(count)]

    def _reply(self, answer: object) -> Reply:
        if not isinstance(answer, dict):
            raise ServiceReplyError(self.service, "an answer is not an object")
        error = answer.get("error")
        if error is None:
            return Reply(answer.get("result"))
        if not isinstance(error, dict):
            raise ServiceReplyError(self.service, "an error is not an object")
        code = error.get("code")
        # Servers repeat the path they were asked for, and keys stand in paths.
        message = self._redaction.mask(str(error.get("message", "")))
        return Reply(
            None, RPCError(code if isinstance(code, int) else 0, message, error.get("data"))
        )

    @staticmethod
    def _envelope(number: int, call: tuple[str, Any]) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": number, "method": call[0], "params": list(call[1])}

    async def _post(self, message: object) -> Any:  # noqa: ANN401 - JSON
        body = await _off_loop_if_large(json.dumps, message, size=_size(message))
        with map_httpx_errors(self.service, self._url):
            async with self._http.stream(
                "POST",
                self._url,
                content=body,
                headers={"Content-Type": "application/json"},
                timeout=self._timeout,
            ) as response:
                raw = await self._read(response)
        return await _off_loop_if_large(self._parse, raw, response.status_code, size=len(raw))

    async def _read(self, response: httpx.Response) -> bytes:
        parts = bytearray()
        async for part in response.aiter_bytes():
            parts += part
            if len(parts) > MAX_REPLY_BYTES:
                raise ServiceReplyError(self.service, f"it is longer than {MAX_REPLY_BYTES} bytes")
        return bytes(parts)

    def _parse(self, raw: bytes, status: int) -> Any:  # noqa: ANN401 - JSON
        try:
            # Bounds the nesting by itself, whatever the process's recursion limit is.
            answer = from_json(raw.removeprefix(BOM_UTF8))
        except ValueError:
            answer = None
        # Some nodes put JSON-RPC errors behind an HTTP error status.
        if isinstance(answer, list) or (isinstance(answer, dict) and "jsonrpc" in answer):
            return answer
        if status >= HTTPStatus.BAD_REQUEST:
            # Mask before cutting: half of a key would not be recognised.
            said = self._redaction.mask(raw[:4000].decode(errors="replace"))
            raise self._rejected(status, said)
        raise ServiceReplyError(self.service, "it is not JSON-RPC")


def _size(message: Any) -> int:  # noqa: ANN401 - JSON
    """Add up the texts in a message: call data is the only long part."""
    if isinstance(message, str):
        return len(message)
    if isinstance(message, dict):
        message = message.values()
    elif not isinstance(message, list):
        return 0
    return sum(map(_size, message))


def _only_reads(calls: Sequence[Call]) -> bool:
    return all(method != "eth_sendRawTransaction" for method, _ in calls)


async def _off_loop_if_large(fn: Any, *args: Any, size: int) -> Any:  # noqa: ANN401 - any function
    return await to_thread.run_sync(fn, *args) if size > THREAD_ABOVE_BYTES else fn(*args)
