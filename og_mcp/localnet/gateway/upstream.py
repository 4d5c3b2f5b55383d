"""Answers from an OpenAI-compatible server (Ollama, llama.cpp) that OG_LOCAL_LLM_URL names.

It is asked without streaming, since a whole answer is signed; pictures stay the local network's.
"""

from __future__ import annotations

import json
import secrets
from typing import Any, Final

import httpx
from pydantic_core import from_json

from og_mcp.localnet.gateway.requests import CHOICES, JSON, LLMRequest
from og_mcp.localnet.gateway.responder import Answer, BuiltIn, count_tokens

TIMEOUT_S: Final = 600.0
"""A small machine may take minutes for an answer."""

MAX_BYTES: Final = 16 * 2**20
"""Of an answer."""

_PASSED_ON: Final = ("prompt", "stop", "tools", "response_format")
_SAID: Final = 200
"""Characters of an error that are passed on."""


class UpstreamError(Exception):
    """The server did not answer as OpenAI's would; the text says how."""


class Upstream:
    """A server that answers in a gateway's place."""

    def __init__(self, url: str) -> None:
        base = url.rstrip("/").removesuffix("/v1")
        self._http = httpx.AsyncClient(
            base_url=f"{base}/v1/", timeout=TIMEOUT_S, trust_env=False, follow_redirects=False
        )
        self._names: list[str] = []

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def chat(self, asked: LLMRequest) -> Answer:
        """Pass a chat on; pictures are drawn here.

        Raises:
            UpstreamError: No usable answer came.
        """
        if asked.model.kind == "image":
            return await BuiltIn().chat(asked)
        choice, usage = await self._ask("chat/completions", asked)
        message = choice.get("message")
        if not isinstance(message, dict):
            raise UpstreamError("its answer has no message")
        calls = message.get("tool_calls") or []
        if not isinstance(calls, list):
            raise UpstreamError("its tool calls are not a list")
        finish = choice.get("finish_reason")
        if calls or finish == "tool_calls":
            # Some servers say the one and not the other.
            finish = "tool_calls" if calls else "stop"
        return _answer(asked, message.get("content"), finish, usage, calls)

    async def complete(self, asked: LLMRequest) -> Answer:
        """Pass a completion on.

        Raises:
            UpstreamError: No usable answer came.
        """
        choice, usage = await self._ask("completions", asked)
        return _answer(asked, choice.get("text"), choice.get("finish_reason"), usage, [])

    async def _ask(self, path: str, asked: LLMRequest) -> tuple[JSON, JSON]:
        body = _passed_on(asked)
        body["model"] = await self._name(asked.model.name)
        answer = await self._send("POST", path, body)
        choices, usage = answer.get("choices"), answer.get("usage")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            raise UpstreamError("its answer has no choices")
        return choices[0], usage if isinstance(usage, dict) else {}

    async def _name(self, wanted: str) -> str:
        """Return the wanted name if the server has it, else the first that it has."""
        if not self._names:
            try:
                listed = (await self._send("GET", "models")).get("data")
            except UpstreamError:
                # Not every server lists its models; one that is not there says so when it is asked.
                listed = None
            models = listed if isinstance(listed, list) else []
            named = (each.get("id") for each in models if isinstance(each, dict))
            self._names = [name for name in named if isinstance(name, str)]
        return wanted if wanted in self._names or not self._names else self._names[0]

    async def _send(self, method: str, path: str, body: JSON | None = None) -> JSON:
        try:
            async with self._http.stream(method, path, json=body) as reply:
                raw = b""
                async for part in reply.aiter_bytes():
                    raw += part
                    if len(raw) > MAX_BYTES:
                        raise UpstreamError(f"its answer is longer than {MAX_BYTES} bytes")
        except httpx.HTTPError as exc:
            # Not the error's own words: the URL in them may hold a password.
            raise UpstreamError(f"it cannot be reached ({type(exc).__name__})") from exc
        try:
            answer = from_json(raw)
        except ValueError:
            answer = None
        if not reply.is_success:
            raise UpstreamError(f"it answered {reply.status_code}{_words(answer)}")
        if not isinstance(answer, dict):
            raise UpstreamError("its answer is not a JSON object")
        return answer


def _passed_on(asked: LLMRequest) -> JSON:
    """Write a request that means to OpenAI's servers what it means to a gateway."""
    body = {name: asked.body[name] for name in _PASSED_ON if asked.body.get(name)}
    body |= {"stream": False, "max_tokens": asked.max_tokens}
    # Where nothing is said, a gateway takes 0 and these servers something warmer.
    body["temperature"] = asked.body.get("temperature") or 0.0
    if "messages" in asked.body:
        body["messages"] = [_message(message) for message in asked.body["messages"]]
    choice = asked.body.get("tool_choice")
    if choice and "tools" in body:
        named = isinstance(choice, str) and choice not in CHOICES
        body["tool_choice"] = (
            {"type": "function", "function": {"name": choice}} if named else choice
        )
    return body


def _message(message: JSON) -> JSON:
    """Rename the role that these servers do not know."""
    return {**message, "role": "system"} if message["role"] == "developer" else message


def _words(answer: Any) -> str:  # noqa: ANN401 - JSON
    """Find the sentence in an error: Ollama and llama.cpp have OpenAI's shape, others a plain one."""
    said = answer.get("error") if isinstance(answer, dict) else None
    if isinstance(said, dict):
        said = said.get("message")
    return f": {said[:_SAID]!r}" if isinstance(said, str) else ""


def _answer(asked: LLMRequest, text: Any, finish: Any, usage: JSON, calls: list[JSON]) -> Answer:  # noqa: ANN401 - JSON
    content = text if isinstance(text, str) else ""
    used = {name: usage.get(name) for name in ("prompt_tokens", "completion_tokens")}
    if not all(isinstance(count, int) and count >= 0 for count in used.values()):
        used = {
            "prompt_tokens": count_tokens(asked.prompt_text),
            "completion_tokens": count_tokens(content),
        }
    return Answer(
        content=content,
        finish_reason=str(finish or "stop"),
        tool_calls=[_call(call) for call in calls],
        prompt_tokens=used["prompt_tokens"] or 0,
        completion_tokens=used["completion_tokens"] or 0,
    )


def _call(call: Any) -> JSON:  # noqa: ANN401 - JSON
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        raise UpstreamError("its tool call has no function")
    arguments = function.get("arguments", "")
    return {
        "id": str(call.get("id") or f"call_{secrets.token_hex(12)}"),
        "type": "function",
        "function": {
            "name": str(function.get("name", "")),
            # Ollama's own API gives them as an object.
            "arguments": arguments if isinstance(arguments, str) else json.dumps(arguments),
        },
    }
