"""What of a gateway's answer its signature is about: the text, or the tool calls.

Source: protocol.md section 4, "Content hashed".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Content:
    """The content of an answer."""

    signed: str
    """What a signature covers."""

    text: str = ""
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    """Each with `id`, `type`, and the function's `name` and `arguments`, alone."""

    not_covered: tuple[str, ...] = ()
    """What came with it and no signature covers, in words."""

    @property
    def what(self) -> str:
        """The content."""
        return "tool_calls" if self.tool_calls else "text"


def chat_content(answer: Mapping[str, Any]) -> Content:
    """Read the content of a chat answer: tool calls where they are its end, else text.

    Raises:
        ValueError: It holds tool calls that no signature would cover.
        LookupError, TypeError: It is not a chat answer.
    """
    choice = answer["choices"][0]
    message, ended = choice["message"], choice.get("finish_reason")
    text, calls = _text(message.get("content")), message.get("tool_calls")
    pictures = answer.get("images") or message.get("images")
    not_covered: tuple[str, ...] = ("the bytes and addresses of the images",) if pictures else ()
    if calls and ended != "tool_calls":
        raise ValueError("it holds tool calls, and its finish_reason is not tool_calls")
    if calls:
        not_covered += ("the text beside the tool calls, which is left out",) if text else ()
        return Content(signed_calls(calls), "", tuple(map(reduced_call, calls)), not_covered)
    return Content(text, text, (), not_covered)


def completion_content(answer: Mapping[str, Any]) -> Content:
    """Read the text of a completion: of the first choice, or by its older name.

    Raises:
        ValueError: It holds two texts that differ.
        LookupError, TypeError: It is not a completion.
    """
    choices, named = answer.get("choices"), answer.get("completion")
    texts = {
        _text(one)
        for one in (choices[0].get("text") if choices else None, named)
        if one is not None
    }
    if len(texts) > 1:
        raise ValueError("its choices and its completion are different texts")
    if not texts:
        raise LookupError("it holds no text")
    text = texts.pop()
    return Content(text, text)


def search_content(answer: Mapping[str, Any]) -> Content:
    """Read the text that a search gave.

    Raises:
        LookupError, TypeError: It is not an answer to a search.
    """
    text = answer["content"]
    if not isinstance(text, str):
        raise TypeError("its content is not a text")
    not_covered = ("the citations",) if answer.get("citations") else ()
    return Content(text, text, (), not_covered)


def until_stop(text: str, stops: Iterable[str]) -> str:
    """Return a text up to the first of its stop sequences, without it.

    The public gateway hashes stop sequences and does not apply them.
    """
    found = (text.find(stop) for stop in stops if stop)
    return text[: min((place for place in found if place >= 0), default=len(text))]


def signed_calls(calls: Sequence[Any]) -> str:
    """Write tool calls as they are signed."""
    return json.dumps(calls, sort_keys=True)


def reduced_call(call: Mapping[str, Any]) -> dict[str, Any]:
    """Reduce a tool call to what results show of it.

    Raises:
        ValueError: A part of it is missing, or no text.
    """
    function = call["function"]
    parts = (call["id"], call.get("type", "function"), function["name"], function["arguments"])
    if not all(isinstance(part, str) for part in parts):
        raise ValueError("a part of a tool call is not a text")
    call_id, kind, name, arguments = parts
    return {"id": call_id, "type": kind, "function": {"name": name, "arguments": arguments}}


def _text(content: object) -> str:
    """Read a text, or the texts of a list of parts, as gateways join them."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise TypeError("its content is not a text")
    return "".join(str(part.get("text", "")) for part in content)
