"""The part of a request that a signature covers (protocol.md section 4, Signature).

Written from the protocol alone: the client has an encoder of its own, so that a mistake in one of
the two shows.
"""

from __future__ import annotations

import json
from typing import Any, Final

from eth_utils.crypto import keccak

JSON = dict[str, Any]

_AS_SENT: Final = ("stop", "tools", "response_format")
"""Covered as they were sent, where they say something."""


def chat_request(body: JSON, *, web_search: bool = True, parts_as_text: bool = False) -> JSON:
    """Return the covered part of a chat request.

    Args:
        body: The request as it came, checked by `asked`.
        web_search: Whether the wish to search is covered, as in newer gateways.
        parts_as_text: Whether a list of parts is covered as Python writes it, as in the public
            gateway; else as `{"type", "text"}` and `{"type", "filename"}`.
    """
    messages = [_message(message, parts_as_text=parts_as_text) for message in body["messages"]]
    covered = {"model": body["model"], "messages": messages, **_sampling(body)}
    covered |= {name: body[name] for name in _AS_SENT if body.get(name)}
    if web_search and body.get("web_search"):
        covered["web_search"] = True
    return covered


def completion_request(body: JSON) -> JSON:
    """Return the covered part of a completion request."""
    covered = {"model": body["model"], "prompt": body["prompt"], **_sampling(body)}
    return covered | ({"stop": body["stop"]} if body.get("stop") else {})


def search_request(body: JSON) -> JSON:
    """Return the covered part of a request to search: all of it."""
    return body


def request_hash(covered: JSON) -> bytes:
    """Hash the covered part, 32 bytes."""
    return keccak(text=json.dumps(covered, sort_keys=True))


def output_hash(content: str) -> bytes:
    """Hash what was answered, 32 bytes."""
    return keccak(content.encode("utf-8"))


def _sampling(body: JSON) -> JSON:
    temperature, most = body.get("temperature"), body.get("max_tokens")
    covered: JSON = {"temperature": 0.0 if temperature is None else float(temperature)}
    return covered if most is None else covered | {"max_tokens": most}


def _message(message: JSON, *, parts_as_text: bool) -> JSON:
    role, content = message["role"], message.get("content")
    if role in {"system", "developer"}:
        return {"role": "system", "content": content}
    if role == "user":
        return {"role": role, "content": _user_content(content, parts_as_text=parts_as_text)}
    if role == "assistant":
        return {"role": role, "content": content or "", **_calls(message.get("tool_calls"))}
    name = "tool_call_id" if role == "tool" else "name"
    return {"role": role, "content": content, name: message.get(name)}


def _user_content(content: Any, *, parts_as_text: bool) -> Any:  # noqa: ANN401 - text or parts
    if isinstance(content, str):
        return content
    return str(content) if parts_as_text else [_part(part) for part in content]


def _part(part: JSON) -> JSON:
    if part["type"] == "text":
        return {"type": "text", "text": part.get("text") or ""}
    file = part.get("file")
    name = (file.get("filename") if isinstance(file, dict) else None) or part.get("filename")
    return {"type": part["type"], **({"filename": name} if name else {})}


def _calls(calls: list[JSON] | None) -> JSON:
    return {"tool_calls": [_call(call) for call in calls]} if calls else {}


def _call(call: JSON) -> JSON:
    function = call.get("function", {})
    return {
        "id": call.get("id", ""),
        "type": call.get("type", "function"),
        "function": {
            "name": function.get("name", ""),
            "arguments": function.get("arguments", ""),
        },
    }
