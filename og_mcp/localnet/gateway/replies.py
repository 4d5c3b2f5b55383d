"""Answers as they stand on the wire: whole, or as frames of a stream (protocol.md section 4)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from starlette.responses import JSONResponse, Response

from og_mcp.localnet.gateway.requests import JSON, LLMRequest
from og_mcp.localnet.gateway.responder import Answer

DONE: Final = b"data: [DONE]\n\n"

OPG_PRICE_USD: Final = Decimal("1.00")
"""What the local network takes one OPG to be worth."""

MODERATED: Final = 451
"""The status of a request that moderation refused."""

_WORD: Final = re.compile(r"\s*\S+\s*$|\s*\S+")
_ID_DIGITS: Final = 24


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One answer with its evidence."""

    request: LLMRequest
    answer: Answer
    evidence: JSON
    """The `tee_*` fields; empty of an unsigned answer."""

    images: list[str]
    """`data:` URIs or URLs."""

    created: int
    """Unix seconds."""

    extras: JSON
    """Further fields that no signature covers: the costs, citations, a moderation."""

    def chat(self) -> JSON:
        """Write the answer to a chat."""
        message: JSON = {"role": "assistant", "content": self.answer.content}
        if self.answer.tool_calls:
            calls = self.answer.tool_calls
            message |= {"content": self.answer.content or None, "tool_calls": calls}
        if self.images:
            message["images"] = self.images
        return self._whole("chat.completion", {"message": message})

    def completion(self) -> JSON:
        """Write the answer to a completion."""
        return self._whole("text_completion", {"text": self.answer.content})

    def chat_frames(self) -> Iterator[JSON]:
        """Write the frames of a chat, the last one with usage and evidence."""
        kind = "chat.completion.chunk"
        yield self._frame(kind, {"delta": {"role": "assistant", "content": ""}})
        for piece in _pieces(self.answer.content):
            yield self._frame(kind, {"delta": {"content": piece}})
        if self.answer.tool_calls:
            calls = [{"index": n, **call} for n, call in enumerate(self.answer.tool_calls)]
            yield self._frame(kind, {"delta": {"tool_calls": calls}})
        yield self._last(kind, {"delta": {}})

    def completion_frames(self) -> Iterator[JSON]:
        """Write the frames of a completion, the last one with usage and evidence."""
        for piece in _pieces(self.answer.content):
            yield self._frame("text_completion", {"text": piece})
        yield self._last("text_completion", {"text": ""})

    def _whole(self, kind: str, choice: JSON) -> JSON:
        finish = {"finish_reason": self.answer.finish_reason}
        choices = [{"index": 0, **choice, **finish}]
        told = {"choices": choices, "usage": self.answer.usage, **self.evidence, **self.extras}
        return {**self._head(kind), **told}

    def _frame(self, kind: str, choice: JSON) -> JSON:
        return {**self._head(kind), "choices": [{"index": 0, **choice, "finish_reason": None}]}

    def _last(self, kind: str, choice: JSON) -> JSON:
        frame = self._whole(kind, choice)
        return {**frame, "images": self.images} if self.images else frame

    def _head(self, kind: str) -> JSON:
        name = self.evidence.get("tee_output_hash", "unsigned")[:_ID_DIGITS]
        return {
            "id": f"local-{name}",
            "object": kind,
            "created": self.created,
            "model": self.request.model.name,
        }


def costs(usd: Decimal) -> JSON:
    """Write what an answer costs, as newer gateways tell it: `cost_opg` is in base units."""
    base_units = int((usd / OPG_PRICE_USD).scaleb(18))
    return {
        "cost_opg": str(base_units),
        "cost_usd": f"{usd:f}",
        "opg_price_usd": f"{OPG_PRICE_USD:f}",
    }


def error_body(
    status: int, text: str, *, provider_status: int | None = None, retryable: bool = False
) -> JSON:
    """Write an error in the one shape that newer gateways have.

    Args:
        status: Of the HTTP answer.
        text: What is wrong.
        provider_status: What the provider answered; `None` where the gateway itself refuses.
        retryable: Whether the same request may succeed later.
    """
    body: JSON = {
        "error": text,
        "exception_type": "GatewayError" if provider_status is None else "ProviderError",
        "source": "gateway" if provider_status is None else "provider",
        "provider_status": provider_status,
        "retryable": retryable,
    }
    return {**body, "code": "moderation_blocked"} if status == MODERATED else body


def refusal(
    status: int, text: str, *, provider_status: int | None = None, retryable: bool = False
) -> Response:
    """Answer with an error; arguments as for `error_body`."""
    body = error_body(status, text, provider_status=provider_status, retryable=retryable)
    return JSONResponse(body, status)


def encoded(value: Any) -> bytes:  # noqa: ANN401 - JSON
    """Write JSON in ASCII, so that any text can be sent."""
    return json.dumps(value).encode("ascii")


def framed(value: JSON) -> bytes:
    """Write one frame of a stream of server-sent events."""
    return b"data: " + encoded(value) + b"\n\n"


def _pieces(text: str) -> list[str]:
    return _WORD.findall(text) or ([text] if text else [])
