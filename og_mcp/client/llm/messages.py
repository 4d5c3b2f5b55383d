"""Messages, tools and formats in OpenAI's shape: checked, and written as they are sent.

Only what the gateways know goes out (protocol.md section 4), key by key in one order, so that the
request that is signed for, hashed and sent is one and the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from og_mcp.client.files.attachments import NOTHING_SENT, PDF, PICTURES, Attachments
from og_mcp.errors import InputError, quote

CHOICES: Final = ("auto", "none", "required")
FUNCTION_NAME: Final = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
FORMATS: Final = ("text", "json_object", "json_schema")
PARTS: Final[Mapping[str, type]] = {"text": str, "image_url": Mapping, "file": Mapping}
"""Type of a content part, which is also the key of its value -> what that value is."""

NAMED: Final = 10
"""Tools that an error names."""

NO_CONTENT: Final = frozenset({"assistant"})
"""Roles that may say nothing, where they call tools."""

_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "system": ("role", "content", "name"),
    "developer": ("role", "content", "name"),
    "user": ("role", "content", "name"),
    "assistant": ("role", "content", "name", "tool_calls"),
    "tool": ("role", "content", "tool_call_id", "name"),
    "function": ("role", "content", "name"),
}
"""Role -> what its message may hold."""

_NEEDED: Final[Mapping[str, str]] = {"tool": "tool_call_id", "function": "name"}


def messages(given: Sequence[Any], attachments: Attachments) -> list[dict[str, Any]]:
    """Check messages and return them as they are sent.

    Args:
        given: OpenAI-shaped; an image or file part may name a file by `{"file": path}`.
        attachments: Reads those files, and judges addresses.

    Raises:
        InputError: Names the message and what is wrong with it.
    """
    if not given:
        raise InputError("There are no messages.", "Give at least one message of role user.")
    return [
        _message(message, f"Message {index}", attachments) for index, message in enumerate(given)
    ]


def tools(given: Sequence[Any]) -> list[dict[str, Any]]:
    """Check tool definitions and return them in OpenAI's shape; bare functions are wrapped.

    Raises:
        InputError: Names the tool and what is wrong with it.
    """
    found = [_tool(tool, f"Tool {index}") for index, tool in enumerate(given)]
    names = [tool["function"]["name"] for tool in found]
    if len(set(names)) != len(names):
        raise InputError("Two tools have one name.", "Give each tool a name of its own.")
    return found


def tool_choice(given: str, offered: Sequence[Mapping[str, Any]]) -> str | dict[str, Any]:
    """Return the choice as it is sent: a word, or the function that must be called.

    Raises:
        InputError: It is neither a known word nor the name of an offered tool.
    """
    if given == "required" and not offered:
        raise InputError("tool_choice is 'required' and there are no tools.", "Give a tool.")
    if not given or given in CHOICES:
        return given or "auto"
    names = [tool["function"]["name"] for tool in offered]
    if given not in names:
        raise InputError(
            f"tool_choice is {quote(given)}, which is not a tool of this call.",
            f"Use one of {', '.join((*CHOICES, *names[:NAMED]))}.",
        )
    return {"type": "function", "function": {"name": given}}


def response_format(given: Mapping[str, Any], *, model: str, json_object: bool) -> dict[str, Any]:
    """Check a response format; empty stays empty.

    Args:
        given: OpenAI's shape: `{"type": "json_schema", "json_schema": {...}}`.
        model: Named in errors.
        json_object: Whether the model takes the format of that name.

    Raises:
        InputError: There is no such format, or the model does not take it.
    """
    if not given:
        return {}
    kind = given.get("type")
    if kind not in FORMATS:
        raise InputError(f"response_format has type {quote(kind)}.", f"Use {', '.join(FORMATS)}.")
    if kind == "json_object" and not json_object:
        raise InputError(
            f"{model} does not take the response format json_object.",
            "Use json_schema with a schema, or ask for JSON in a message.",
        )
    if kind != "json_schema":
        _only(given, ("type",), "response_format")
        return {"type": kind}
    _only(given, ("type", "json_schema"), "response_format")
    schema = given.get("json_schema")
    if not isinstance(schema, Mapping) or not isinstance(schema.get("schema"), Mapping):
        raise InputError(
            "response_format has no json_schema.schema.",
            'Use {"type": "json_schema", "json_schema": {"name": ..., "schema": {...}}}.',
        )
    return {"type": kind, "json_schema": dict(schema)}


def has_parts(given: Sequence[Any]) -> bool:
    """Whether a message has content other than text, which may name files."""
    contents = (one.get("content") for one in given if isinstance(one, Mapping))
    return any(not isinstance(content, str | None) for content in contents)


def _message(given: object, where: str, attachments: Attachments) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise InputError(f"{where} is not an object.", 'Use {"role": "user", "content": "..."}.')
    role = given.get("role")
    if not isinstance(role, str) or role not in _KEYS:
        raise InputError(f"{where} has role {quote(role)}.", f"Use {', '.join(_KEYS)}.")
    _only(given, _KEYS[role], where)
    # What a developer says is hashed as the system's, and some gateways know no other name for it.
    sent: dict[str, Any] = {"role": "system" if role == "developer" else role}
    calls = given.get("tool_calls")
    sent["content"] = _content(given.get("content"), where, attachments, empty=role in NO_CONTENT)
    for name in ("name", "tool_call_id"):
        if given.get(name):
            sent[name] = _text(given[name], f"{where}: {name}")
    if calls:
        sent["tool_calls"] = _each(calls, f"{where}: tool_calls", _tool_call)
    needed = _NEEDED.get(role)
    if needed is not None and needed not in sent:
        raise InputError(f"{where} of role {role} has no {needed}.", f"Give its {needed}.")
    return sent


def _content(given: object, where: str, attachments: Attachments, *, empty: bool) -> Any:  # noqa: ANN401 - text or parts
    if isinstance(given, str):
        return given
    if given is None and empty:
        return ""
    if isinstance(given, Sequence) and not isinstance(given, bytes) and given:
        return _each(given, f"{where}: content", partial(_part, attachments=attachments))
    raise InputError(
        f"{where} has no content.", "Use text, or a list of parts of types text, image_url or file."
    )


def _part(given: object, where: str, *, attachments: Attachments) -> dict[str, Any]:
    kind = given.get("type") if isinstance(given, Mapping) else None
    if not isinstance(given, Mapping) or not isinstance(kind, str) or kind not in PARTS:
        raise InputError(f"{where} has type {quote(kind)}.", f"Use {', '.join(PARTS)}.")
    # A file's name stands beside it in what a gateway's TEE hashes.
    _only(given, ("type", kind, "filename"), where)
    value = given.get(kind)
    if isinstance(value, str) and kind != "text":
        # A path, or an address in its older form.
        attachments.check_address(value, f"{where}: {kind}")
    if not isinstance(value, PARTS[kind]):
        raise InputError(f"{where} has no {kind}.", f'Use {{"type": "{kind}", "{kind}": ...}}.')
    sent: dict[str, Any] = {"type": kind, kind: value}
    if isinstance(value, Mapping):
        sent[kind] = _carried(value, kind, where, attachments)
    if "filename" in given:
        sent["filename"] = _text(given["filename"], f"{where}: filename")
    return sent


def _carried(
    value: Mapping[str, Any], kind: str, where: str, attachments: Attachments
) -> dict[str, Any]:
    """Check the address of an image or file, or read the file that stands in its place."""
    address, detail = ("url", "detail") if kind == "image_url" else ("file_data", "filename")
    place = f"{where}: {kind}"
    _only(value, ("file", address, detail), place)
    if value.get("file") is None:
        attachments.check_address(_text(value.get(address), f"{place}.{address}"), place)
        return dict(value)
    if value.get(address) is not None:
        raise InputError(f"{place} has both file and {address}.", f"Give one. {NOTHING_SENT}")
    path = _text(value["file"], f"{place}.file")
    read = attachments.read(path, PICTURES if kind == "image_url" else (PDF,))
    name = {"filename": read.name} if kind == "file" else {}
    rest = {detail: value[detail]} if value.get(detail) is not None else {}
    return {**name, **rest, address: read.uri}


def _tool_call(given: object, where: str) -> dict[str, Any]:
    function = given.get("function") if isinstance(given, Mapping) else None
    if not isinstance(given, Mapping) or not isinstance(function, Mapping):
        raise InputError(
            f"{where} is not a tool call.",
            'Use {"id": ..., "type": "function", "function": {"name": ..., "arguments": "..."}}.',
        )
    _only(given, ("id", "type", "function"), where)
    _only(function, ("name", "arguments"), where)
    return {
        "id": _text(given.get("id"), f"{where}: id"),
        "type": "function",
        "function": {
            "name": _text(function.get("name"), f"{where}: name"),
            "arguments": _text(function.get("arguments"), f"{where}: arguments", empty=True),
        },
    }


def _tool(given: object, where: str) -> dict[str, Any]:
    function = given.get("function", given) if isinstance(given, Mapping) else None
    if not isinstance(given, Mapping) or not isinstance(function, Mapping):
        raise InputError(
            f"{where} is not a tool.",
            'Use {"type": "function", "function": {"name": ..., "parameters": {...}}}.',
        )
    if function is not given:
        _only(given, ("type", "function"), where)
    _only(function, ("type", "name", "description", "parameters", "strict"), where)
    name = function.get("name")
    if not isinstance(name, str) or not FUNCTION_NAME.fullmatch(name):
        raise InputError(
            f"{where} has the name {quote(name)}.", "Use letters, digits, _, . and -, at most 64."
        )
    parameters = function.get("parameters") or {"type": "object", "properties": {}}
    if not isinstance(parameters, Mapping):
        raise InputError(f"{where}: parameters is not an object.", "Give a JSON schema.")
    sent: dict[str, Any] = {"name": name}
    if function.get("description"):
        sent["description"] = _text(function["description"], f"{where}: description")
    sent["parameters"] = dict(parameters)
    if isinstance(function.get("strict"), bool):
        sent["strict"] = function["strict"]
    return {"type": "function", "function": sent}


def _each(
    given: object, where: str, check: Callable[[object, str], dict[str, Any]]
) -> list[dict[str, Any]]:
    if not isinstance(given, Sequence) or isinstance(given, (str, bytes)):
        raise InputError(f"{where} is not a list.", "Give a list.")
    return [check(item, f"{where}[{index}]") for index, item in enumerate(given)]


def _text(given: object, where: str, *, empty: bool = False) -> str:
    if not isinstance(given, str) or not (given or empty):
        raise InputError(f"{where} is {quote(given)}, no text.", "Give a text.")
    return given


def _only(given: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    """Refuse keys that would be dropped, or would reach a gateway that knows nothing of them."""
    for key, value in given.items():
        if key not in known and value is not None:
            raise InputError(
                f"{where} has the unknown key {quote(key)}.", f"Known are {', '.join(known)}."
            )
