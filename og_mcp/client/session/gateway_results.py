"""Results of gateway calls: made of what was verified, and of the gateway's own words beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

from og_mcp.client.codec.llm_shapes import note_of_end
from og_mcp.client.payments.told import payment_of, settlement_note
from og_mcp.client.session.gateway_asking import Shared
from og_mcp.types import (
    Call,
    ChatResult,
    CompletionResult,
    ImageResult,
    SearchResult,
    ToolCall,
    Usage,
)

if TYPE_CHECKING:
    from og_mcp.client.llm.gateway_llm import Answered

R = TypeVar("R", ChatResult, CompletionResult, ImageResult, SearchResult)

REASON: Final = re.compile(r"[a-z_]{1,40}")


def kept(shape: type[R], call: Call) -> R:
    """Read what the journal kept of a done call, with what is known now of its payment."""
    result = shape.model_validate_json(call.result)
    if call.cap is None:
        return result
    note = " ".join(filter(None, (result.note, settlement_note(call.cap))))
    return result.model_copy(update={"note": note, "payment": payment_of(call.cap)})


async def chat_result(answered: Answered, shared: Shared) -> ChatResult:
    """Put together what `chat` returns."""
    evidence = answered.evidence
    reason = "stop" if evidence.is_cut else _reason(answered.answer)
    return ChatResult(
        **_noting(shared, reason),
        content=evidence.text,
        tool_calls=[ToolCall.model_validate(_call_fields(call)) for call in evidence.tool_calls],
        finish_reason=reason,
        usage=_usage(answered.answer),
    )


async def completion_result(answered: Answered, shared: Shared) -> CompletionResult:
    """Put together what `completion` returns."""
    evidence = answered.evidence
    reason = "" if evidence.is_cut else _reason(answered.answer)
    return CompletionResult(
        **_noting(shared, reason),
        text=evidence.text,
        usage=_usage(answered.answer),
    )


async def search_result(answered: Answered, shared: Shared) -> SearchResult:
    """Put together what `web_search` returns."""
    return SearchResult(**shared, content=answered.evidence.text)


def _noting(shared: Shared, reason: str) -> Shared:
    """Add to what is known of the model how the answer ended."""
    notes = filter(None, (shared["note"], note_of_end(reason)))
    return {**shared, "note": " ".join(notes)}


def _call_fields(call: Mapping[str, Any]) -> dict[str, Any]:
    """Take what a tool call consists of; gateways send more beside it."""
    function = call.get("function") or {}
    return {
        "id": call.get("id"),
        "type": "function",
        "function": {"name": function.get("name"), "arguments": function.get("arguments")},
    }


def _reason(answer: Mapping[str, Any]) -> str:
    """Read why the answer ended; nothing vouches for it."""
    choices = answer.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else {}
    reason = first.get("finish_reason") if isinstance(first, dict) else ""
    return reason if isinstance(reason, str) and REASON.fullmatch(reason) else ""


def _usage(answer: Mapping[str, Any]) -> Usage:
    """Read the gateway's own count; nothing vouches for it."""
    given = answer.get("usage")
    counts = given if isinstance(given, dict) else {}
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    return Usage(
        **{
            name: counts[name]
            for name in names
            if isinstance(counts.get(name), int) and 0 <= counts[name] < 2**53
        }
    )
