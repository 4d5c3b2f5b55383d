"""Reading what a gateway answers: one JSON document, or a stream of events put together again.

Its size is bounded, and nothing is shown before it is verified; progress is a count (threats.md T16).
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import anyio
import httpx
from anyio import to_thread
from pydantic_core import from_json

from og_mcp.client.wire.http import map_httpx_errors
from og_mcp.errors import (
    AnswerLostError,
    GatewayRefusal,
    GatewayRejectedError,
    OGError,
    ServiceError,
    ServiceReplyError,
    quote,
)
from og_mcp.networks import shown
from og_mcp.types import Stage

MAX_TEXT_BYTES: Final = 16 * 2**20
MAX_IMAGE_BYTES: Final = 160 * 2**20
"""An image of 20 MB is 27 MB of base64, and one answer may hold several."""

MAX_ERROR_BYTES: Final = 64 * 2**10
PAYMENT_RESPONSE: Final = "PAYMENT-RESPONSE"
"""The header by which a gateway tells that it has settled."""

STATUSES: Final = range(100, 600)
MAX_ANSWER_S: Final = 1800.0
"""Seconds from the first byte of an answer to its last, for answers that come slowly."""

THREAD_ABOVE: Final = 256 * 2**10
ENCODINGS: Final = ("gzip", "deflate")
"""Content encodings whose ratio is at most 1,000; others have no bound."""

EVENT_STREAM: Final = "text/event-stream"
TEE_FIELDS: Final = (
    "tee_signature",
    "tee_request_hash",
    "tee_output_hash",
    "tee_timestamp",
    "tee_id",
)

COST_FIELD: Final = "opengradient"
"""What an answer costs, as the gateway tells it."""

_CHARGED: Final = frozenset({*TEE_FIELDS, COST_FIELD})
"""Fields of an answer that is charged."""

_STREAMED: Final = (
    *("id", "model", "usage", "images", "citations", "moderation"),
    *(COST_FIELD, *TEE_FIELDS),
)
"""Fields of a stream's frames that the whole answer has, too."""

ENDS_S: Final = 5.0
"""Seconds from an error in a stream to the stream's end."""

OnProgress = Callable[[int], Awaitable[None]]
"""Told how many pieces of text have come so far, about one a token."""


async def read(  # noqa: PLR0913 - an answer and its bounds, by name
    response: httpx.Response,
    *,
    cap_id: str,
    max_bytes: int,
    on_progress: OnProgress | None = None,
    max_answer_s: float = MAX_ANSWER_S,
    ends_s: float = ENDS_S,
) -> dict[str, Any]:
    """Read an answer of status 200 whole, as the JSON document it is or would have been.

    Args:
        response: Opened, its body not read.
        cap_id: The payment it came under; empty for none.
        max_bytes: Of the body.
        on_progress: Told of progress, where the answer is a stream.
        max_answer_s: Seconds that it may take to come.
        ends_s: Seconds that a stream may go on after it has told of an error.

    Raises:
        GatewayRejectedError: Another status, or an error in the stream or in place of the answer.
        AnswerLostError: It came under a payment, and broke off or cannot be used.
        ServiceError: The same, without one.
    """
    where = shown(str(response.url))
    if not response.is_success:
        raise await _rejection(response, cap_id, max_answer_s)
    try:
        with map_httpx_errors("gateway", where), anyio.fail_after(max_answer_s):
            if response.headers.get("content-type", "").startswith(EVENT_STREAM):
                stream = _Stream(ends_s)
                answer = await stream.read(_bounded(response, max_bytes), on_progress)
                is_whole = stream.is_whole
            else:
                body = b"".join([part async for part in _bounded(response, max_bytes)])
                answer, is_whole = await parsed(body), True
            if answer.get("error") is not None:
                raise _rejected(response, answer, cap_id, is_whole=is_whole)
    except ServiceError as exc:
        if not cap_id:
            raise
        raise AnswerLostError(where, exc.args[0], cap_id) from exc
    except TimeoutError as exc:
        raise _lost(where, f"it was not whole after {max_answer_s:g} s", cap_id) from exc
    except ValueError as exc:
        raise _lost(where, f"it is not what the protocol allows ({exc})", cap_id) from exc
    return answer


def _lost(where: str, why: str, cap_id: str) -> OGError:
    """Make the error of an answer that cannot be used; one without a payment has cost nothing."""
    return AnswerLostError(where, why, cap_id) if cap_id else ServiceReplyError("gateway", why)


async def parsed(body: bytes) -> dict[str, Any]:
    """Parse a JSON object; large ones off the event loop.

    Raises:
        ValueError: It is none.
    """
    answer = (
        await to_thread.run_sync(from_json, body) if len(body) > THREAD_ABOVE else from_json(body)
    )
    if not isinstance(answer, dict):
        raise ValueError("no object")  # noqa: TRY004 - all that is wrong is one error
    return answer


async def _rejection(
    response: httpx.Response, cap_id: str, max_answer_s: float
) -> GatewayRejectedError:
    try:
        with anyio.fail_after(max_answer_s):
            body = b"".join([part async for part in _bounded(response, MAX_ERROR_BYTES)])
        said = from_json(body)
    except (httpx.HTTPError, TimeoutError, ValueError):
        said = None
    return _rejected(response, said if isinstance(said, dict) else {}, cap_id, is_whole=True)


def _rejected(
    response: httpx.Response, said: dict[str, Any], cap_id: str, *, is_whole: bool
) -> GatewayRejectedError:
    """Make the error of what a gateway says in place of an answer, or at the end of one.

    Args:
        response: What it came with.
        said: Its JSON; for a stream, with what came of an answer before.
        cap_id: The payment it came under; empty for none.
        is_whole: Whether nothing was to follow it.
    """
    refusal = GatewayRefusal(
        status=response.status_code,
        detail=_error_text(said),
        source=said["source"] if said.get("source") in ("gateway", "provider") else "",
        provider_status=_status(said.get("provider_status")),
        retryable=said.get("retryable") is True,
        is_own=is_whole
        and _has_error_shape(said)
        and not _CHARGED & said.keys()
        and PAYMENT_RESPONSE not in response.headers,
    )
    stage = Stage.SENT_UNKNOWN if cap_id else Stage.NOT_SENT
    return GatewayRejectedError(shown(str(response.url)), refusal, stage=stage)


def _has_error_shape(said: dict[str, Any]) -> bool:
    """Tell whether an error has the shape that newer gateways use."""
    texts = all(isinstance(said.get(name), str) for name in ("error", "exception_type"))
    provider_status = said.get("provider_status")
    return (
        texts
        and said.get("source") in ("gateway", "provider")
        and isinstance(said.get("retryable"), bool)
        and (provider_status is None or _status(provider_status) > 0)
    )


def _status(value: object) -> int:
    """Read an HTTP status; 0 where it is none."""
    return value if type(value) is int and value in STATUSES else 0


def _error_text(said: dict[str, Any]) -> str:
    """Find the sentences in an error body, in any of the shapes that gateways use."""
    found = (said.get(name) for name in ("detail", "error", "message"))
    texts = [one.get("message") if isinstance(one, dict) else one for one in found]
    return ": ".join(one for one in texts if isinstance(one, str) and one)


async def _bounded(response: httpx.Response, most: int) -> AsyncIterator[bytes]:
    encoding = response.headers.get("content-encoding", "identity").lower()
    if encoding not in {"identity", *ENCODINGS}:
        raise ValueError(f"its content encoding is {quote(encoding)}")
    size = 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > most:
            raise ValueError(f"longer than {most} bytes")
        yield part


class _Stream:
    """Puts the server-sent events of a chat together to the answer that is not streamed."""

    is_whole: bool = True
    """False if more events followed an error."""

    def __init__(self, ends_s: float) -> None:
        self._ends_s = ends_s
        self._error: dict[str, Any] = {}
        self._content: list[str] = []
        self._message: dict[str, Any] = {"role": "assistant"}
        self._finish_reason: object = None
        self._rest: dict[str, Any] = {}
        self._is_done = False

    async def read(
        self, parts: AsyncIterator[bytes], on_progress: OnProgress | None
    ) -> dict[str, Any]:
        """Read all events; the result has `error` if one of them does."""
        with anyio.CancelScope() as after_error:
            await self._read(parts, on_progress, after_error)
        if self._error:
            self.is_whole = self.is_whole and not after_error.cancelled_caught
            return {**self._rest, **self._error}
        # Some gateways send no [DONE]; what is signed is whole, or it is a mismatch.
        if not self._is_done and "tee_signature" not in self._rest:
            raise ValueError("the stream broke off before its end")
        self._message["content"] = "".join(self._content)
        choice = {"index": 0, "message": self._message, "finish_reason": self._finish_reason}
        return {**self._rest, "choices": [choice]}

    async def _read(
        self,
        parts: AsyncIterator[bytes],
        on_progress: OnProgress | None,
        after_error: anyio.CancelScope,
    ) -> None:
        unfinished = bytearray()
        async for part in parts:
            unfinished += part
            if b"\n" not in part:
                # Parse only whole events: bytes that come one by one must not cost more.
                continue
            *lines, rest = unfinished.split(b"\n")
            unfinished = rest
            before = len(self._content)
            for line in lines:
                self._take(line.strip())
            if self._error and after_error.deadline == math.inf:
                # The stream has to end soon: a charge might still come.
                after_error.deadline = anyio.current_time() + self._ends_s
            if on_progress is not None and len(self._content) > before:
                await on_progress(len(self._content))
        self._take(unfinished.strip())

    def _take(self, line: bytearray) -> None:
        if not line.startswith(b"data:"):
            return
        data = bytes(line.removeprefix(b"data:").strip())
        if data == b"[DONE]":
            self._is_done = True
            return
        frame = from_json(data)
        if not isinstance(frame, dict):
            raise ValueError("a frame is not an object")  # noqa: TRY004 - as above
        if self._error:
            self.is_whole = False
        elif frame.get("error") is not None:
            self._error = frame
        else:
            self._add(frame)

    def _add(self, frame: dict[str, Any]) -> None:
        choices = frame.get("choices") or [{}]
        choice = choices[0] if isinstance(choices, list) else None
        if not isinstance(choice, dict):
            raise ValueError("a choice is not an object")  # noqa: TRY004 - as above
        # Some gateways say `message` where the protocol has `delta`.
        delta = choice.get("delta") or choice.get("message") or {}
        if not isinstance(delta, dict):
            raise ValueError("a delta is not an object")  # noqa: TRY004 - as above
        if isinstance(delta.get("content"), str) and delta["content"]:
            self._content.append(delta["content"])
        for name in ("images", "tool_calls"):
            if delta.get(name):
                self._extend(name, delta[name])
        self._finish_reason = choice.get("finish_reason") or self._finish_reason
        self._rest |= {name: frame[name] for name in _STREAMED if frame.get(name) is not None}

    def _extend(self, name: str, more: object) -> None:
        if not isinstance(more, list):
            raise ValueError(f"its {name} are not a list")  # noqa: TRY004 - as above
        self._message.setdefault(name, []).extend(more)
