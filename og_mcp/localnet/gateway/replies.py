"""Answers as they stand on the wire: whole, or as frames of a stream (protocol.md section 4)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from og_mcp.localnet.gateway.asked import JSON, Asked
from og_mcp.localnet.gateway.responder import Answer

DONE: Final = b"data: [DONE]\n\n"

_WORD: Final = re.compile(r"\s*\S+\s*$|\s*\S+")
_ID_DIGITS: Final = 24


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One answer with its evidence."""

    asked: Asked
    answer: Answer
    evidence: JSON
    """The `tee_*` fields; empty of an unsigned answer."""

    images: list[str]
    """`data:` URIs or URLs."""

    created: int
    """Unix seconds."""

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
        return {**self._head(kind), "choices": choices, "usage": self.answer.usage, **self.evidence}

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
            "model": self.asked.model.name,
        }


def encoded(value: Any) -> bytes:  # noqa: ANN401 - JSON
    """Write JSON in ASCII, so that any text can be sent."""
    return json.dumps(value).encode("ascii")


def framed(value: JSON) -> bytes:
    """Write one frame of a stream of server-sent events."""
    return b"data: " + encoded(value) + b"\n\n"


def _pieces(text: str) -> list[str]:
    return _WORD.findall(text) or ([text] if text else [])
