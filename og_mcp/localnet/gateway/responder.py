"""Answers of the local network's own: they say so, and are the same for the same question."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from og_mcp.localnet.gateway import pictures, schema_values
from og_mcp.localnet.gateway.requests import JSON, LLMRequest, RequestError

_TOKEN: Final = re.compile(r"\w+|[^\w\s]")
_DIGEST_DIGITS: Final = 8
_ID_DIGITS: Final = 24


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model answered."""

    content: str
    finish_reason: str = "stop"
    tool_calls: list[JSON] = field(default_factory=list)
    images: list[bytes] = field(default_factory=list)
    """Whole image files."""

    prompt_tokens: int
    completion_tokens: int

    @property
    def signed_content(self) -> str:
        """The text whose hash is signed."""
        if self.finish_reason == "tool_calls":
            return json.dumps(self.tool_calls, sort_keys=True)
        return self.content

    @property
    def usage(self) -> dict[str, int]:
        """Token counts as OpenAI names them."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }


class Responder(Protocol):
    """Finds answers."""

    async def chat(self, request: LLMRequest) -> Answer:
        """Answer a chat."""

    async def complete(self, request: LLMRequest) -> Answer:
        """Continue a prompt."""

    async def close(self) -> None:
        """Let go of what it holds."""


class BuiltIn:
    """Answers without any model.

    A chat with tools is answered by a call where one has to be made: of the tool that
    `tool_choice` names; with `required`, or `auto` after a user's message, of the first tool that
    the message names, else of the first one.
    """

    async def chat(self, request: LLMRequest) -> Answer:
        """Call a tool, fill a schema in, draw, or say what answered."""
        came = "".join(f" With it came {one}." for one in request.attached)
        if request.model.kind == "image":
            # The first of several is the one that is drawn alone.
            prompts = [
                request.text + came,
                *(f"{request.text}{came} {n}" for n in range(1, request.count)),
            ]
            images = [await asyncio.to_thread(pictures.draw, one, request.size) for one in prompts]
            return _counted(request, f"Drawn by the local network.{came}", images=images)
        if request.tool is not None:
            return _called(request, request.tool)
        if request.schema is not None:
            return _cut(request, json.dumps(_value(request.schema)))
        return _cut(request, sentence(request.model.name, request.prompt_text) + came)

    async def complete(self, request: LLMRequest) -> Answer:
        """Say what answered."""
        return _cut(request, sentence(request.model.name, request.prompt_text))

    async def close(self) -> None:
        """Nothing is held."""


def sentence(model: str, question: str) -> str:
    """Say what answers, and which question, by its digest."""
    return (
        f"This is the built-in responder of the local network, not {model}: "
        f"your {count_tokens(question)} tokens have the digest {_digest(question)}."
    )


def count_tokens(text: str) -> int:
    """Count words and signs: the local network's tokens."""
    return sum(1 for _ in _TOKEN.finditer(text))


def _called(request: LLMRequest, function: JSON) -> Answer:
    arguments = json.dumps(_value(function["parameters"]))
    call = {
        "id": f"call_{_digest(request.prompt_text + function['name'], _ID_DIGITS)}",
        "type": "function",
        "function": {"name": function["name"], "arguments": arguments},
    }
    return Answer(
        content="",
        finish_reason="tool_calls",
        tool_calls=[call],
        prompt_tokens=count_tokens(request.prompt_text),
        completion_tokens=count_tokens(arguments),
    )


def _cut(request: LLMRequest, text: str) -> Answer:
    ends = [match.end() for match in _TOKEN.finditer(text)]
    if len(ends) <= request.max_tokens:
        return _counted(request, text)
    return _counted(request, text[: ends[request.max_tokens - 1]], finish_reason="length")


def _counted(request: LLMRequest, text: str, **rest: Any) -> Answer:  # noqa: ANN401 - fields of Answer
    return Answer(
        content=text,
        prompt_tokens=count_tokens(request.prompt_text),
        completion_tokens=count_tokens(text),
        **rest,
    )


def _value(schema: JSON) -> Any:  # noqa: ANN401 - whatever the schema describes
    try:
        return schema_values.value_for(schema)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as exc:
        # A schema may be malformed in any part.
        raise RequestError(f"the schema cannot be filled in: {exc}") from exc


def _digest(text: str, digits: int = _DIGEST_DIGITS) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:digits]
