"""Requests to the gateway, checked before they are answered."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from pydantic_core import from_json

from og_mcp import catalogue

JSON = dict[str, Any]

DEFAULT_MAX_TOKENS: Final = 4096
"""What the public gateway takes a missing or zero `max_tokens` for."""

WARMEST: Final = 2.0
MAX_SIDE: Final = 4096
DEFAULT_SIZE: Final = (1024, 1024)

MAX_IMAGES: Final = 10
"""Of one answer, and to start from."""

_SIDES: Final = {"1.5K": 1536, "2K": 2048}

SETTLEMENT_TYPES: Final = ("private", "batch", "individual")

_DATA: Final = re.compile("data:[^,]*,", re.IGNORECASE)
_SIDE: Final = re.compile("[0-9]{1,5}")
_ROLES: Final = ("system", "developer", "user", "assistant", "tool", "function")
_FORMATS: Final = ("text", "json_object", "json_schema")
CHOICES: Final = ("auto", "none", "required")


class RequestError(ValueError):
    """A request that the gateway answers with 400; the text says why."""


@dataclass(frozen=True, kw_only=True)
class LLMRequest:
    """A request that can be answered."""

    model: catalogue.CatalogueEntry
    body: JSON
    """As it was sent."""

    text: str
    """What it is about: the prompt, or the text of the last message."""

    prompt_text: str
    """All the text there is, for counting tokens."""

    attached: Sequence[str] = ()
    """What came along with the last message, each with its type, size and SHA-256."""

    tool: JSON | None
    """The function (`{name, description, parameters}`) that has to be called."""

    size: tuple[int, int]
    """Pixels asked of an image model."""

    @property
    def count(self) -> int:
        """How many images are wanted."""
        return self.body.get("n") or 1

    @property
    def max_tokens(self) -> int:
        """How long the answer may be."""
        return self.body.get("max_tokens") or DEFAULT_MAX_TOKENS

    @property
    def stream(self) -> bool:
        """Whether the answer is asked for piece by piece."""
        return bool(self.body.get("stream"))

    @property
    def schema(self) -> JSON | None:
        """JSON schema that the answer has to follow; an empty one for any object."""
        wanted = self.body.get("response_format") or {}
        if wanted.get("type") == "json_schema":
            return dict(wanted["json_schema"].get("schema") or {})
        return {"type": "object"} if wanted.get("type") == "json_object" else None


def read_json(raw: bytes) -> JSON:
    """Read the body of a request.

    Raises:
        RequestError: It is not a JSON object, or holds NaN or infinity.
    """
    try:
        # Bounded in depth, which json is not any more: py-evm takes Python's own guard away.
        body = from_json(raw, allow_inf_nan=False)
    except ValueError as exc:
        raise RequestError("the body is not JSON") from exc
    if not isinstance(body, dict):
        raise RequestError("the body is not a JSON object")
    return body


def chat(body: JSON, today: date, *, developer: bool = True) -> LLMRequest:
    """Check a chat request.

    Args:
        body: The request's JSON.
        today: The day in UTC, by which models are retired.
        developer: Whether the role `developer` is known.

    Raises:
        RequestError: The gateway cannot answer it.
    """
    messages = body.get("messages")
    _require(isinstance(messages, list) and bool(messages), "messages is a list that is not empty")
    for message in messages or ():
        _check_message(message, developer=developer)
    model = _model(body, today)
    _check_format(body, model)
    _check_drawing(body, model)
    texts = [_content_text(message.get("content")) for message in messages or ()]
    return LLMRequest(
        model=model,
        body=body,
        text=texts[-1],
        prompt_text="\n".join(texts),
        attached=[_described(uri) for uri in _addresses((messages or [{}])[-1].get("content"))],
        tool=_tool(body, messages or ()),
        size=_size(body) if model.kind == "image" else DEFAULT_SIZE,
    )


def completion(body: JSON, today: date) -> LLMRequest:
    """Check a completion request.

    Raises:
        RequestError: The gateway cannot answer it.
    """
    model, prompt = _model(body, today), body.get("prompt")
    _require(model.kind == "llm", f"{model.name} draws images: ask for a chat completion")
    _require(isinstance(prompt, str), "prompt is a text")
    text = str(prompt)
    return LLMRequest(
        model=model, body=body, text=text, prompt_text=text, tool=None, size=DEFAULT_SIZE
    )


def search(body: JSON) -> str:
    """Check a request to search the web; returns its query.

    Raises:
        RequestError: The gateway cannot answer it.
    """
    query = body.get("query")
    _require(isinstance(query, str) and bool(query.strip()), "query is a text that is not empty")
    for name in ("num_results", "recency_days"):
        number = body.get(name)
        _require(number is None or (_whole(number) and number > 0), f"{name} is a whole number")
    return str(query)


def _model(body: JSON, today: date) -> catalogue.CatalogueEntry:
    name = body.get("model")
    living = catalogue.living(today, "gateway")
    known = {bare: each for each in living for bare in (each.name, *each.aliases)}
    if not isinstance(name, str) or name not in known:
        raise RequestError(f"unknown model {str(name)[:100]!r}")
    most, warmth = body.get("max_tokens"), body.get("temperature")
    _require(most is None or (_whole(most) and most >= 0), "max_tokens is a whole number")
    _require(warmth is None or _is_warmth(warmth), f"temperature is 0 to {WARMEST:g}")
    # The public SDK sends 0 whether it was asked for or not.
    _require(not warmth or known[name].temperature, f"{name} takes no temperature")
    stop = body.get("stop") or []
    _require(isinstance(stop, str) or _are(stop, str), "stop is a text or a list of texts")
    return known[name]


def _check_message(message: Any, *, developer: bool) -> None:  # noqa: ANN401 - JSON
    _require(isinstance(message, dict), "each message is an object")
    role, content = message.get("role"), message.get("content")
    known = role in _ROLES and (developer or role != "developer")
    _require(known, f"unknown role {str(role)[:100]!r}")
    if isinstance(content, list):
        parts = all(
            isinstance(part, dict) and isinstance(part.get("type"), str) for part in content
        )
        _require(parts, "each part of a message is an object with a type")
    else:
        absent = content is None and role == "assistant"
        _require(isinstance(content, str) or absent, f"a {role} message has text or parts")
    calls = message.get("tool_calls") or []
    _require(_are(calls, dict), "tool_calls is a list of objects")
    functions = all(isinstance(call.get("function", {}), dict) for call in calls)
    _require(functions, "the function of a tool call is an object")


def _check_format(body: JSON, model: catalogue.CatalogueEntry) -> None:
    wanted = body.get("response_format") or {}
    _require(isinstance(wanted, dict), "response_format is an object")
    kind = wanted.get("type", "text")
    _require(kind in _FORMATS, f"response_format.type is one of {', '.join(_FORMATS)}")
    if kind == "json_object":
        _require(model.json_object is not False, f"{model.name} has no json_object")
    if kind == "json_schema":
        described = wanted.get("json_schema")
        _require(isinstance(described, dict), "json_schema is an object")
        schema = (described or {}).get("schema") or {}
        _require(isinstance(schema, dict), "json_schema.schema is an object")


def _tool(body: JSON, messages: Sequence[JSON]) -> JSON | None:
    tools = body.get("tools") or []
    _require(_are(tools, dict), "tools is a list of objects")
    functions = {_function(tool)["name"]: _function(tool) for tool in tools}
    choice = body.get("tool_choice") or "auto"
    if isinstance(choice, Mapping):
        chosen = choice.get("function")
        choice = chosen.get("name") if isinstance(chosen, Mapping) else None
    if isinstance(choice, str) and choice in functions:
        return functions[choice]
    _require(choice in CHOICES, f"there is no tool {str(choice)[:100]!r} to choose")
    if not functions or choice == "none":
        return None
    last = messages[-1]
    if choice == "auto" and last["role"] != "user":
        return None
    text, default = _content_text(last.get("content")), next(iter(functions.values()))
    return next((f for name, f in functions.items() if name in text), default)


def _function(tool: JSON) -> JSON:
    function = tool.get("function")
    _require(isinstance(function, dict), "a tool has a function")
    name, parameters = (function or {}).get("name"), (function or {}).get("parameters") or {}
    _require(isinstance(name, str) and bool(name), "a function has a name")
    _require(isinstance(parameters, dict), "parameters is a JSON schema")
    return {**(function or {}), "parameters": parameters}


def _check_drawing(body: JSON, model: catalogue.CatalogueEntry) -> None:
    """Hold what is asked of an image model to what that takes."""
    if model.kind != "image":
        return
    number, ratio, tier = (body.get(name) for name in ("n", "aspect_ratio", "resolution"))
    counts = number is None or (_whole(number) and 1 <= number <= MAX_IMAGES)
    _require(counts, f"n is 1 to {MAX_IMAGES}")
    is_taken = ratio is None or ratio in model.aspect_ratios
    _require(is_taken, f"aspect_ratio is one of {', '.join(model.aspect_ratios)}")
    _require(tier is None or tier in model.resolutions, f"{model.name} has no such resolution")
    references = _addresses(body["messages"][-1].get("content"))
    _require(not references or model.references, f"{model.name} takes no pictures to start from")
    _require(len(references) <= MAX_IMAGES, f"at most {MAX_IMAGES} pictures to start from")
    held = all(_DATA.match(reference) for reference in references)
    _require(held, "pictures to start from are data: URIs")


def _size(body: JSON) -> tuple[int, int]:
    given = body.get("size")
    if given is None:
        side = _SIDES.get(body.get("resolution", ""), DEFAULT_SIZE[0])
        wide, high = map(float, (body.get("aspect_ratio") or "1:1").split(":"))
        # As many pixels as a square of that side has, in exactly that ratio.
        unit = int(side / math.sqrt(wide * high))
        return round(wide * unit), round(high * unit)
    sides = str(given).split("x")
    numbers = tuple(int(side) for side in sides if _SIDE.fullmatch(side))
    fits = len(sides) == len(numbers) == len(DEFAULT_SIZE) and min(numbers) > 0
    _require(fits and max(numbers) <= MAX_SIDE, f"size is WxH, each 1 to {MAX_SIDE}")
    return numbers[0], numbers[1]


def _content_text(content: Any) -> str:  # noqa: ANN401 - text, parts or nothing
    if isinstance(content, list):
        return "\n".join(str(part.get("text") or "") for part in content if part["type"] == "text")
    return content or ""


def _addresses(content: Any) -> list[str]:  # noqa: ANN401 - text, parts or nothing
    """Find the addresses of the images and files of a message."""
    parts = content if isinstance(content, list) else []
    values = [part.get(part["type"]) for part in parts if part["type"] != "text"]
    found = [
        value.get("url", value.get("file_data")) for value in values if isinstance(value, dict)
    ]
    return [address for address in found if isinstance(address, str)]


def _described(address: str) -> str:
    """Tell what an address holds; one that is not a `data:` URI is not fetched."""
    if not _DATA.match(address):
        return "an address that was not fetched"
    data = _held(address)
    kind = address[len("data:") : address.index(",")].split(";", maxsplit=1)[0]
    return f"{kind} of {len(data)} bytes with SHA-256 {hashlib.sha256(data).hexdigest()}"


def _held(data_uri: str) -> bytes:
    declared, _, body = data_uri.partition(",")
    try:
        return base64.b64decode(body + "==") if ";base64" in declared else unquote_to_bytes(body)
    except ValueError as exc:
        raise RequestError("a data: URI is not base64") from exc


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_warmth(value: object) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and 0 <= float(value) <= WARMEST  # type: ignore[arg-type] # a number, as just seen


def _are(values: object, kind: type) -> bool:
    return isinstance(values, list) and all(isinstance(each, kind) for each in values)


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise RequestError(what)
