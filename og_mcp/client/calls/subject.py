"""How lists show a call: the model, and the first words of the request."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

FIRST: Final = 80
"""Characters of a prompt or input that a list shows."""

_NAMES: Final = ("model", "model_cid", "model_name")
_TEXTS: Final = ("query", "prompt", "model_desc", "notes")
"""Names of the text in a request; the first one that is not empty counts."""


def subject_of(request: Mapping[str, Any]) -> tuple[str, str]:
    """Return the model or repository that a canonical request names, and its first words.

    The words are the first 80 characters of its prompt or input, on one line. Either is empty
    where a request has none.
    """
    if "body" not in request:
        return _first(request, _NAMES), _cut(_first_words(request))
    # The journal keeps a gateway's request as the text that is sent.
    body = json.loads(request["body"])
    name = _first(body, _NAMES)
    model = name if "/" in name or not name else f"{request['provider']}/{name}"
    return model, _cut(_first_words(body))


def _first_words(asked: Mapping[str, Any]) -> str:
    if "messages" in asked:
        return _last_question(asked["messages"])
    if "model_input" in asked:
        return "".join(_beginning(asked["model_input"]))
    if "amount_opg" in asked:
        return f"{asked['amount_opg']} OPG"
    return _first(asked, _TEXTS) or str(asked.get("file", {}).get("path", ""))


def _first(asked: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return next((str(asked[name]) for name in names if asked.get(name)), "")


def _last_question(messages: list[Mapping[str, Any]]) -> str:
    """Return what the user said last: every turn of a conversation begins with the same words."""
    of_user = [message for message in messages if message.get("role") == "user"] or messages
    content = of_user[-1].get("content") if of_user else ""
    if isinstance(content, list):
        return next((part["text"] for part in content if part.get("text")), "")
    return content or ""


def _beginning(value: object) -> Iterator[str]:
    """Write the beginning of an input as JSON; a tensor may have millions of numbers."""
    length = 0
    # Unlike `encode`, this gives each piece before it makes the next.
    for piece in json.JSONEncoder(separators=(",", ":")).iterencode(value):
        yield piece
        length += len(piece)
        if length > FIRST:
            return


def _cut(text: str) -> str:
    return " ".join(text[: 4 * FIRST].split())[:FIRST]
