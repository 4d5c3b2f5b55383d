"""Writes a verified answer in OpenAI's form: whole, or as the events of a stream.

A stream begins once the whole answer is verified (threats.md T16): its events are cut from it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from og_mcp.types import ChatResult

PIECE: Final = 40
"""Characters of one event's text."""

DONE: Final = "data: [DONE]\n\n"


def completion(result: ChatResult, created: int) -> dict[str, Any]:
    """Write an answer as one `chat.completion`.

    Args:
        result: Done.
        created: Unix seconds.
    """
    choice = {
        "index": 0,
        "message": {
            "role": "assistant",
            "content": result.content or (None if result.tool_calls else ""),
            **({"tool_calls": _calls(result)} if result.tool_calls else {}),
        },
        "logprobs": None,
        "finish_reason": result.finish_reason or "stop",
    }
    return {
        **_head(result, created, "chat.completion"),
        "choices": [choice],
        "usage": result.usage.model_dump(),
        "opengradient": _proof(result),
    }


def events(result: ChatResult, created: int, *, include_usage: bool) -> Iterator[str]:
    """Write an answer as the events of a stream of `chat.completion.chunk`."""
    head = _head(result, created, "chat.completion.chunk")

    def event(delta: dict[str, Any], reason: str | None = None, **rest: Any) -> str:  # noqa: ANN401 - JSON
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return _event({**head, "choices": [choice], **rest})

    yield event({"role": "assistant", "content": ""})
    for start in range(0, len(result.content), PIECE):
        yield event({"content": result.content[start : start + PIECE]})
    if result.tool_calls:
        calls = [{"index": index, **call} for index, call in enumerate(_calls(result))]
        yield event({"tool_calls": calls})
    yield event({}, result.finish_reason or "stop", opengradient=_proof(result))
    if include_usage:
        yield _event({**head, "choices": [], "usage": result.usage.model_dump()})
    yield DONE


def _head(result: ChatResult, created: int, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{result.call_id}",
        "object": kind,
        "created": created,
        "model": result.model,
    }


def _calls(result: ChatResult) -> list[dict[str, Any]]:
    return [call.model_dump() for call in result.tool_calls]


def _proof(result: ChatResult) -> dict[str, Any]:
    """Return the call, its payment and its proof; clients that do not know the field ignore it."""
    return {
        "call_id": result.call_id,
        "transaction_hash": result.transaction_hash,
        "payment": result.payment.model_dump(),
        "verification": result.verification.model_dump(),
    }


def _event(document: dict[str, Any]) -> str:
    return f"data: {json.dumps(document)}\n\n"
