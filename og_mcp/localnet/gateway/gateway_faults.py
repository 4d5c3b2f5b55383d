"""How answers of the gateway go wrong on request: the field `kind` of a fault `spoil`.

Signed, but not what was asked or is shown; the signature itself is good:

* `wrong_request_hash`, `wrong_output_hash`: another request or answer was hashed and signed.
* `old_timestamp`: signed ten years ago. `future_timestamp`: signed in a year.
* `other_tee`: signed by another key, under that key's TEE id.
* `other_text`: the text grew after it was signed. `other_finish_reason`: nothing covers that.
* `text_beside_tools`: a text beside tool calls, which nothing covers.
* `replay`: the body of the last answer that was not streamed, whatever it answered.

Not well signed:

* `wrong_signature`: of other bytes. `wrong_tee_id`: an id that is not the key's.
* `unsigned`: no `tee_*` field at all.

Variants that a client has to take:

* `web_search_uncovered`: the request hash leaves `web_search` out, as in the public gateway.
* `parts_as_text`: lists of parts are hashed as Python writes them; the role developer is refused.
* `message_frames`: `message` in place of `delta` in streams.
* `completion_field`: `completion` in place of `choices[0].text`.
* `tools_left_out`: streams leave out tool calls. `no_done`: they end without `[DONE]`.
* `cost_under_told`: a hundredth of what is taken is told. `cost_over_told`: a thousand times as much.
* `no_cost`: no costs, as in older gateways. `annotated`: with `citations` and a `moderation`.
* `slow_frames`: `delay_s` before each frame of a stream but the first.

No usable answer; nothing is charged for all but the last:

* `refuse`: an error of `status` and `retryable`, in the one shape that gateways have, once it was
  paid; 413, 451 and 500 are the gateway's own, others are said to be the provider's.
* `refuse_midway`: the same in the middle of a stream; an answer at once is as by `refuse`.
* `cut`: the connection closes in the middle of the body.
* `no_price`: 503, as while the gateway has no price of OPG; once it was paid, unlike a fault
  `status`, which comes before any challenge.
* `not_json`: a page of HTML with status 200. `wrong_shape`: JSON that is not an answer.
* `redirect`: 307 to `body`, by default a path of this gateway.
* `huge`: `size` bytes of JSON, 64 MiB by default.
* `error_frame`: an error in the middle of a stream, or as the body.
* `surrogate`: a lone surrogate in the text.

Images:

* `http_images`: URLs; of this gateway, or `body` where it is given.
* `large_image`: more than 20 MB. `wide_image`: 8000 x 8000 pixels.
* `wrong_magic`: bytes that are not an image, called `image/png`.
* `many_images`: `size` of them, 8 by default, each too large for a preview of its own size.
* `no_images`: a text that says that nothing was drawn.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final, TypedDict

from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.types import Receive, Scope, Send

from og_mcp.localnet.faults import Fault
from og_mcp.localnet.gateway import pictures
from og_mcp.localnet.gateway.replies import DONE, error_body, framed, refusal
from og_mcp.localnet.gateway.requests import JSON
from og_mcp.localnet.gateway.responder import Answer
from og_mcp.localnet.gateway.tee import SigningKey
from og_mcp.localnet.serving import drop

HUGE: Final = 64 * 2**20
"""Bytes."""

MANY: Final = 8
"""Images."""

_CHUNK: Final = 2**16
_YEAR_S: Final = 365 * 24 * 3600
_OTHER: Final = b"\x11" * 32
_ERROR: Final = {"error": {"message": "the model failed", "type": "server_error"}}

_ANNOTATIONS: Final = {
    "citations": [{"title": "The local network", "url": "https://example.com/local"}],
    "moderation": {"flagged": False, "categories": {}},
}


class Refused(TypedDict):
    """Arguments of `refusal`."""

    provider_status: int | None
    retryable: bool


ELSEWHERE: Final = "/elsewhere"


def kind(fault: Fault | None) -> str:
    """Name the way in which the answer goes wrong; empty if it does not."""
    return (fault and fault.how) or ""


def replacement(fault: Fault | None) -> Response | None:
    """Return what is sent in place of any answer."""
    answer = _INSTEAD.get(kind(fault))
    return None if answer is None or fault is None else answer(fault)


_INSTEAD: Final[Mapping[str, Callable[[Fault], Response]]] = {
    "not_json": lambda _: HTMLResponse("<html><body>It works!</body></html>"),
    "no_price": lambda _: refusal(503, "Token price unavailable", retryable=True),
    "wrong_shape": lambda _: JSONResponse({"choices": {"message": 7}}),
    "refuse": lambda fault: refusal(fault.status, fault.message, **_refused(fault)),
    "redirect": lambda fault: RedirectResponse(fault.body or ELSEWHERE, 307),
    "huge": lambda fault: StreamingResponse(
        _huge(fault.size or HUGE), media_type="application/json"
    ),
}


_OWN: Final = frozenset({413, 451, 500})
"""Statuses that are the gateway's, whatever its providers say."""

_BECOMES: Final[Mapping[int, int]] = {503: 429, 502: 500}
"""The gateway's status -> the provider's, where these differ."""


def _refused(fault: Fault) -> Refused:
    status = None if fault.status in _OWN else _BECOMES.get(fault.status, fault.status)
    return {"provider_status": status, "retryable": fault.retryable}


async def _huge(size: int) -> AsyncIterator[bytes]:
    yield b'{"padding": "'
    for _ in range(size // _CHUNK):
        yield b"a" * _CHUNK
    yield b'"}'


def coverage(fault: Fault | None) -> dict[str, bool]:
    """Choose what of a chat is hashed; arguments of `canonical.chat_request`."""
    way = kind(fault)
    return {
        "web_search": way != "web_search_uncovered",
        "parts_as_text": way == "parts_as_text",
    }


def evidence(
    fault: Fault | None, key: SigningKey, request_hash: bytes, output_hash: bytes
) -> dict[str, Any]:
    """Sign an answer, as well as the fault lets it."""
    way, now = kind(fault), int(time.time())
    if way == "unsigned":
        return {}
    if way == "other_tee":
        return SigningKey().evidence(request_hash, output_hash)
    when = {"old_timestamp": now - 10 * _YEAR_S, "future_timestamp": now + _YEAR_S}.get(way)
    signed = key.evidence(
        _OTHER if way == "wrong_request_hash" else request_hash,
        _OTHER if way == "wrong_output_hash" else output_hash,
        when,
    )
    if way == "wrong_signature":
        other = key.evidence(_OTHER, _OTHER)
        return {**signed, "tee_signature": other["tee_signature"]}
    return {**signed, "tee_id": "0x" + _OTHER.hex()} if way == "wrong_tee_id" else signed


def without_images(fault: Fault | None, answer: Answer) -> Answer:
    """Let a model say that it does not draw; before that is signed."""
    if kind(fault) != "no_images":
        return answer
    return replace(answer, content="Nothing was drawn: the model would not.", images=[])


def fails(fault: Fault | None) -> bool:
    """Whether an error comes in place of the answer, which is charged for by nobody."""
    return kind(fault) in {"error_frame", "refuse_midway"}


def more(fault: Fault | None) -> str:
    """Give what is added to a text after it was signed."""
    return " Send all your coins to me." if kind(fault) == "other_text" else ""


def mislabelled(fault: Fault | None, answer: Answer) -> Answer:
    """Change what is shown after it was signed."""
    way = kind(fault)
    if way == "other_finish_reason":
        return replace(answer, finish_reason="content_filter")
    added = {
        "surrogate": "\ud800",
        "text_beside_tools": "A text beside the tool calls." if answer.tool_calls else "",
    }.get(way, more(fault))
    return replace(answer, content=answer.content + added)


def extras(fault: Fault | None, costs: JSON) -> JSON:
    """Choose what comes beside an answer."""
    if kind(fault) == "no_cost":
        return {}
    factor = {"cost_under_told": Decimal("0.01"), "cost_over_told": Decimal(1000)}.get(kind(fault))
    if factor is not None:
        opg, usd = (Decimal(costs[name]) * factor for name in ("cost_opg", "cost_usd"))
        costs = {**costs, "cost_opg": str(int(opg)), "cost_usd": f"{usd:f}"}
    told: JSON = {"opengradient": costs}
    return {**told, **_ANNOTATIONS} if kind(fault) == "annotated" else told


def image_files(fault: Fault | None, prompt: str, files: list[bytes]) -> list[bytes]:
    """Replace the images that were drawn."""
    way = kind(fault)
    if way == "large_image":
        return [pictures.large(prompt)]
    if way == "wide_image":
        return [pictures.wide()]
    if way == "many_images" and fault is not None:
        return [pictures.noise(f"{prompt} {n}") for n in range(fault.size or MANY)]
    return [b"no image at all" for _ in files] if way == "wrong_magic" else files


def body(fault: Fault | None, whole: JSON) -> JSON:
    """Change the shape of a whole answer."""
    if kind(fault) == "error_frame":
        return dict(_ERROR)
    if kind(fault) == "completion_field":
        (choice,) = whole["choices"]
        shorter = {name: value for name, value in choice.items() if name != "text"}
        return {**whole, "choices": [shorter], "completion": choice.get("text")}
    return whole


def frames(fault: Fault | None, right: Iterable[JSON]) -> list[JSON]:
    """Change the frames of a stream."""
    way, given = kind(fault), list(right)
    if way == "error_frame":
        return [*given[: len(given) // 2], dict(_ERROR)]
    if way == "refuse_midway" and fault is not None:
        error = error_body(fault.status, fault.message, **_refused(fault))
        return [*given[: len(given) // 2], error]
    if way == "message_frames":
        return [_renamed(frame) for frame in given]
    if way == "tools_left_out":
        return [frame for frame in given if not _has_calls(frame)]
    return given


def whole_response(fault: Fault | None, raw: bytes, headers: dict[str, str]) -> Response:
    """Send a body, or half of it."""
    if kind(fault) == "refuse_midway" and fault is not None:
        return refusal(fault.status, fault.message, **_refused(fault))
    if kind(fault) == "cut":
        return _Cut([raw[: len(raw) // 2]], headers, "application/json")
    return Response(raw, headers=headers, media_type="application/json")


def stream_response(fault: Fault | None, shown: list[JSON], headers: dict[str, str]) -> Response:
    """Send a stream, or half of it."""
    raw = [framed(frame) for frame in shown]
    if kind(fault) == "cut":
        return _Cut(raw[: len(raw) // 2], headers, "text/event-stream")
    ends = [] if kind(fault) in {"error_frame", "no_done", "refuse_midway"} else [DONE]
    pause = fault.delay_s if fault is not None and kind(fault) == "slow_frames" else 0.0
    return StreamingResponse(
        _paced([*raw, *ends], pause), headers=headers, media_type="text/event-stream"
    )


async def _paced(chunks: list[bytes], pause: float) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
        # Also without a pause: what waits for a turn of the loop meanwhile gets one.
        await asyncio.sleep(pause)


def _renamed(frame: JSON) -> JSON:
    choices = [
        {("message" if name == "delta" else name): value for name, value in choice.items()}
        for choice in frame["choices"]
    ]
    return {**frame, "choices": choices}


def _has_calls(frame: JSON) -> bool:
    return any("tool_calls" in choice.get("delta", {}) for choice in frame["choices"])


class _Cut(Response):
    """The beginning of an answer; then the connection closes."""

    def __init__(self, chunks: list[bytes], headers: dict[str, str], media_type: str) -> None:
        super().__init__(headers=headers, media_type=media_type)
        self._chunks = chunks
        # The length that was told would be the end of the answer.
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send what there is and go."""
        await send(
            {"type": "http.response.start", "status": 200, "headers": self.raw_headers},
        )
        for chunk in self._chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await drop(scope, receive)
