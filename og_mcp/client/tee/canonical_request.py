"""The part of a gateway request that a TEE's signature covers, in every form that gateways hash.

It is derived from the bytes that are sent, so that nothing can be hashed that was not asked. Where
generations of gateways differ, each form is given, and what each leaves out is known.

Source: protocol.md section 4, "Signature"; the public gateway's three ways to hash a user's parts.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from og_mcp.client.wire.json_text import is_deeper
from og_mcp.errors import QUOTE_LIMIT, InputError, quote

MAX_DEPTH: Final = 64
MAX_INTEGER: Final = 2**1024
"""A larger integer does not fit a float64, and some parsers read it as infinite."""

FOLLOWS: Final = ("stop", "tools")
"""Fields that are covered as they were sent, where they say something."""

LATER: Final = (("response_format", "web_search"), ("response_format",), ())
"""Fields that gateways began to cover over time; the newest gateways' first."""


@dataclass(frozen=True)
class Covered:
    """One form in which a request may have been hashed."""

    text: bytes
    """The canonical request: JSON with sorted keys, ASCII."""

    fields: tuple[str, ...]
    """Fields of the request that are in it."""

    left_out: tuple[str, ...]
    """What was sent and is not in it, in words."""

    stops: tuple[str, ...] = ()
    """The stop sequences of the request."""


def encode_body(request: Mapping[str, Any]) -> bytes:
    """Write a request as the bytes to be sent; UTF-8 JSON in the order of its fields.

    Raises:
        InputError: It holds a value that JSON does not carry alike everywhere (threats.md T19):
            NaN, an infinity, -0.0, half a surrogate pair, an integer beyond 2**1024, a key that is
            no text, something that is not JSON, or nesting deeper than 64.
    """
    _check(request, "", 0)
    return json.dumps(request, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def read_body(body: bytes) -> dict[str, Any]:
    """Read a request back from what was sent.

    Raises:
        ValueError: It is not a JSON object, too deep, or has a key twice.
    """
    text = body.decode()
    if is_deeper(text, MAX_DEPTH + 1):
        raise ValueError("the request is nested too deeply")
    request = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_object)
    if not isinstance(request, dict):
        raise ValueError("the request is not a JSON object")  # noqa: TRY004 - of the content
    return request


def chat_forms(body: bytes) -> Iterator[Covered]:
    """Give every form in which gateways hash a chat request; the newest gateways' first.

    Args:
        body: The request as it is sent.

    Raises:
        InputError: It is a request whose hash cannot be known, e.g. with an unknown role.
    """
    request = _read_own(body)
    messages = request.get("messages")
    if not isinstance(messages, list) or not all(isinstance(one, dict) for one in messages):
        raise InputError("The field messages is not a list of objects.")
    given: set[bytes] = set()
    for shape, later in itertools.product(_SHAPES, LATER):
        shaped = [_message(message, shape) for message in messages]
        covered = {"model": request.get("model"), "messages": shaped, **_sampling(request)}
        covered |= {name: request[name] for name in (*FOLLOWS, *later) if request.get(name)}
        form = _form(request, covered, tuple(_left_out_of(messages, shape)))
        if form.text not in given:
            given.add(form.text)
            yield form


def completion_forms(body: bytes) -> Iterator[Covered]:
    """Give every form in which gateways hash a completion request: there is one.

    Raises:
        InputError: It is a request whose hash cannot be known.
    """
    request = _read_own(body)
    covered = {
        "model": request.get("model"),
        "prompt": request.get("prompt"),
        **_sampling(request),
        **({"stop": request["stop"]} if request.get("stop") else {}),
    }
    yield _form(request, covered, ())


def search_forms(body: bytes) -> Iterator[Covered]:
    """Give every form in which gateways hash a request to search: all of it.

    Raises:
        InputError: It is a request whose hash cannot be known.
    """
    request = _read_own(body)
    yield _form(request, request, ())


def request_forms(body: bytes) -> Iterator[Covered]:
    """Give every form in which gateways hash a request, whatever it is.

    Raises:
        InputError: It is a request whose hash cannot be known.
    """
    return FORMS[tool_of(_read_own(body))](body)


def tool_of(request: Mapping[str, Any]) -> str:
    """Tell which kind of request it is, by the field that only that kind has."""
    if "messages" in request:
        return "chat"
    return "web_search" if "query" in request else "completion"


FORMS: Final = {"chat": chat_forms, "completion": completion_forms, "web_search": search_forms}
"""Kind of request -> the forms in which it is hashed."""


def _form(request: dict[str, Any], covered: dict[str, Any], left_out: tuple[str, ...]) -> Covered:
    # `stream` says how the answer travels, and nothing of what is asked.
    others = [name for name in request if name not in covered and name != "stream"]
    fields = (f"the request's {', '.join(others)}",) if others else ()
    return Covered(_dumps(covered), tuple(covered), (*fields, *left_out), stops_of(request))


def stops_of(request: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the stop sequences of a request, which may be one text or a list."""
    stop = request.get("stop")
    given = stop if isinstance(stop, list) else [stop]
    return tuple(one for one in given if isinstance(one, str))


def _sampling(request: Mapping[str, Any]) -> dict[str, Any]:
    temperature, most = request.get("temperature"), request.get("max_tokens")
    covered: dict[str, Any] = {"temperature": 0.0 if temperature is None else float(temperature)}
    return covered if most is None else {**covered, "max_tokens": most}


def _message(message: Mapping[str, Any], shape: Callable[[Any], Any]) -> dict[str, Any]:
    role, content = message.get("role"), message.get("content")
    if role in {"system", "developer"}:
        return {"role": "system", "content": content}
    if role == "user":
        return {"role": "user", "content": content if isinstance(content, str) else shape(content)}
    if role == "assistant":
        calls = message.get("tool_calls")
        called = {"tool_calls": [_tool_call(call) for call in calls]} if calls else {}
        return {"role": "assistant", "content": content or "", **called}
    if role in {"tool", "function"}:
        of = "tool_call_id" if role == "tool" else "name"
        return {"role": role, "content": content, of: message.get(of)}
    raise InputError(
        f"A message has the role {quote(role)}.",
        "Roles are system, developer, user, assistant, tool and function.",
    )


def _tool_call(call: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Reduce a tool call of an earlier answer; gateways differ where a part is missing."""
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not (
        {"id", "type"} <= call.keys() and {"name", "arguments"} <= function.keys()
    ):
        raise InputError(
            "A tool call of an assistant message lacks id, type, or the function's name or arguments.",
            "Pass the tool calls of an answer back as they were returned.",
        )
    return {
        "id": call["id"],
        "type": call["type"],
        "function": {"name": function["name"], "arguments": function["arguments"]},
    }


def _reduced(content: Any) -> Any:  # noqa: ANN401 - JSON
    """Reduce parts to their text or type, as the newest gateways do."""
    return [_part(part) for part in content] if isinstance(content, list) else str(content)


def _part(part: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    if not isinstance(part, dict):
        return {"type": "text", "text": str(part)}
    if part.get("type") == "text":
        return {"type": "text", "text": part.get("text") or ""}
    file = part.get("file")
    name = (file.get("filename") if isinstance(file, dict) else None) or part.get("filename")
    return {"type": part.get("type"), **({"filename": name} if name else {})}


def _as_sent(content: Any) -> Any:  # noqa: ANN401 - JSON
    """Keep parts as they are, as gateways did for a while."""
    return content


_SHAPES: Final[tuple[Callable[[Any], Any], ...]] = (_reduced, _as_sent, str)
"""Ways to hash a user's content that is not a text; the last is Python's `repr`."""


def _left_out_of(messages: list[Any], shape: Callable[[Any], Any]) -> Iterator[str]:
    """Tell what of the messages a form leaves out."""
    kept = [_message(message, shape) for message in messages]
    pairs = zip(messages, kept, strict=True)
    names = {name for sent, one in pairs for name in sent if name not in one and sent[name]}
    if names:
        yield f"the messages' {', '.join(sorted(names))}"
    users = [one.get("content") for one in messages if one["role"] == "user"]
    parts = [part for content in users if isinstance(content, list) for part in content]
    others = (isinstance(part, dict) and part.get("type") != "text" for part in parts)
    if shape is _reduced and any(others):
        yield "the bytes and addresses of the messages' images and files"


def _read_own(body: bytes) -> dict[str, Any]:
    try:
        return read_body(body)
    except ValueError as exc:
        raise InputError(f"The request cannot be read back: {exc}.") from exc


def _dumps(value: object) -> bytes:
    """Write JSON as Python does by default, with sorted keys: what gateways hash."""
    return json.dumps(value, sort_keys=True, allow_nan=False).encode()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        # Readers would disagree which one counts.
        raise ValueError("an object in it has a key twice")
    return made


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _check(value: object, where: str, depth: int) -> None:
    """Refuse values that parsers read differently.

    Raises:
        InputError: Names the place.
    """
    why = _unfit(value) if depth <= MAX_DEPTH else f"is nested deeper than {MAX_DEPTH}"
    if why:
        raise InputError(
            f"The request's {quote(where or 'body')} {why}, and JSON does not carry that alike "
            "everywhere; nothing was sent."
        )
    if isinstance(value, Mapping):
        for key, member in value.items():
            if not isinstance(key, str):
                raise InputError(
                    f"The request's {quote(where or 'body')} has a key that is not a text."
                )
            place = f"{where}.{key}".lstrip(".")[-QUOTE_LIMIT:]
            _check(key, place, depth + 1)
            _check(member, place, depth + 1)
    elif isinstance(value, (list, tuple)):
        for index, member in enumerate(value):
            _check(member, f"{where}[{index}]", depth + 1)


def _unfit(value: object) -> str:
    """Say why parsers would read a value differently; empty if they do not."""
    if value is None or isinstance(value, (bool, Mapping, list, tuple)):
        return ""
    if isinstance(value, str):
        return "holds half of a surrogate pair" if not _is_utf8(value) else ""
    if isinstance(value, int):
        return "" if abs(value) < MAX_INTEGER else "is an integer beyond 2**1024"
    if isinstance(value, float):
        if not math.isfinite(value):
            return f"is {value}"
        return "is -0.0" if value == 0 and math.copysign(1, value) < 0 else ""
    return f"is a {type(value).__name__}"


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
