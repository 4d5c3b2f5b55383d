"""Answers from an OpenAI-compatible server (Ollama, llama.cpp) that OG_LOCAL_LLM_URL names.

It is asked without streaming, since a whole answer is signed; pictures stay the local network's.
"""

from __future__ import annotations

from typing import Any, Final

import httpx

from og_mcp.localnet.gateway.asked import JSON, Asked
from og_mcp.localnet.gateway.responder import Answer, BuiltIn, count_tokens

TIMEOUT_S: Final = 600.0
"""A small machine may take minutes for an answer."""

_PASSED_ON: Final = (
    *("messages", "prompt", "max_tokens", "temperature", "stop"),
    *("tools", "tool_choice", "response_format"),
)


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

    async def chat(self, asked: Asked) -> Answer:
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
        finish = "tool_calls" if calls else choice.get("finish_reason")
        return _answer(asked, message.get("content"), finish, usage, calls)

    async def complete(self, asked: Asked) -> Answer:
        """Pass a completion on.

        Raises:
            UpstreamError: No usable answer came.
        """
        choice, usage = await self._ask("completions", asked)
        return _answer(asked, choice.get("text"), choice.get("finish_reason"), usage, [])

    async def _ask(self, path: str, asked: Asked) -> tuple[JSON, JSON]:
        body = {name: asked.body[name] for name in _PASSED_ON if asked.body.get(name)}
        body["model"] = await self._name(asked.model.name)
        answer = await self._send("POST", path, body)
        choices, usage = answer.get("choices"), answer.get("usage")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            raise UpstreamError("its answer has no choices")
        return choices[0], usage if isinstance(usage, dict) else {}

    async def _name(self, wanted: str) -> str:
        """Return the wanted name if the server has it, else the first that it has."""
        if not self._names:
            listed = (await self._send("GET", "models")).get("data")
            models = listed if isinstance(listed, list) else []
            self._names = [str(each["id"]) for each in models if isinstance(each, dict)]
        return wanted if wanted in self._names or not self._names else self._names[0]

    async def _send(self, method: str, path: str, body: JSON | None = None) -> JSON:
        try:
            reply = await self._http.request(method, path, json=body)
            reply.raise_for_status()
            answer = reply.json()
        except (httpx.HTTPError, ValueError) as exc:
            raise UpstreamError(f"{type(exc).__name__}: {str(exc)[:200]}") from exc
        if not isinstance(answer, dict):
            raise UpstreamError("its answer is not a JSON object")
        return answer


def _answer(asked: Asked, text: Any, finish: Any, usage: JSON, calls: list[JSON]) -> Answer:  # noqa: ANN401 - JSON
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
    return {
        "id": str(call.get("id", "")),
        "type": "function",
        "function": {
            "name": str(function.get("name", "")),
            "arguments": str(function.get("arguments", "")),
        },
    }
