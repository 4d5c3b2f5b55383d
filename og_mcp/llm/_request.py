"""Reads an OpenAI chat request: what is honoured, what changes nothing, what is refused.

Source: OpenAI's API reference, "Create chat completion". A parameter that would be dropped in
silence is refused, unless its value asks for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, ValidationError

from og_mcp.errors import InputError, quote
from og_mcp.types import SettlementModeName

MAX_TOKENS: Final = 4096
"""What gateways use where `max_tokens` is missing."""

NEUTRAL: Final[Mapping[str, tuple[object, ...]]] = {
    "n": (1,),
    "top_p": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "store": (False,),
    "modalities": (["text"],),
    "parallel_tool_calls": (True, False),
    "service_tier": ("auto", "default"),
}
"""Parameter -> values that ask for what gateways do anyway."""

WITHOUT_EFFECT: Final = frozenset({"user", "metadata", "safety_identifier", "prompt_cache_key"})
"""Parameters about the caller, which do not change the answer."""


class _StreamOptions(BaseModel):
    model_config = ConfigDict(extra="ignore")

    include_usage: StrictBool = False


class _Body(BaseModel):
    model_config = ConfigDict(extra="allow")

    model: Annotated[StrictStr, Field(max_length=200)] = ""
    """Empty for OG_CHAT_MODEL."""

    messages: list[dict[str, Any]]
    max_tokens: StrictInt | None = None
    max_completion_tokens: StrictInt | None = None
    temperature: float | None = None
    stop: StrictStr | list[StrictStr] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: StrictStr | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    stream: StrictBool | None = None
    stream_options: _StreamOptions | None = None
    web_search: StrictBool = False
    settlement_mode: Literal["private", "batch"] = Field(default="batch")


@dataclass(frozen=True, kw_only=True)
class OpenAIRequest:
    """A chat as a session takes it, and how its answer is wanted."""

    model: str
    messages: list[dict[str, Any]]
    max_tokens: int
    temperature: float
    stop_sequence: list[str]
    tools: list[dict[str, Any]]
    tool_choice: str
    response_format: dict[str, Any]
    web_search: bool
    settlement_mode: SettlementModeName
    stream: bool
    include_usage: bool


def read(document: object) -> OpenAIRequest:
    """Read a request.

    Raises:
        InputError: It is not a chat request, or asks for something that would be dropped.
    """
    try:
        body = _Body.model_validate(document)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        raise InputError(
            f"{where} cannot be used: {first['msg']}.", "See OpenAI's chat completions API."
        ) from exc
    _refuse_unknown(body.model_extra or {})
    stop = [body.stop] if isinstance(body.stop, str) else body.stop or []
    return OpenAIRequest(
        model=body.model,
        messages=[_message(message) for message in body.messages],
        max_tokens=_max_tokens(body),
        temperature=body.temperature or 0.0,
        stop_sequence=stop,
        tools=body.tools or [],
        tool_choice=_choice(body.tool_choice),
        response_format=body.response_format or {},
        web_search=body.web_search,
        settlement_mode=body.settlement_mode,
        stream=bool(body.stream),
        include_usage=body.stream_options is not None and body.stream_options.include_usage,
    )


def _max_tokens(body: _Body) -> int:
    """Take the newer name before the older one; zero counts as given, and is refused later."""
    given = (body.max_completion_tokens, body.max_tokens)
    return next((limit for limit in given if limit is not None), MAX_TOKENS)


def _refuse_unknown(extra: Mapping[str, Any]) -> None:
    for name, value in extra.items():
        if value is None or name in WITHOUT_EFFECT or value in NEUTRAL.get(name, ()):
            continue
        raise InputError(
            f"The parameter {quote(name)} is {quote(value)}, which no gateway of the network "
            "takes.",
            "Leave it out.",
        )


def _message(given: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out fields of an earlier answer that clients send back and gateways do not take."""
    kept = {name: value for name, value in given.items() if value is not None}
    for name in ("refusal", "annotations", "audio", "function_call"):
        if not kept.get(name):
            kept.pop(name, None)
    return kept


def _choice(given: str | Mapping[str, Any] | None) -> str:
    if given is None or isinstance(given, str):
        return given or ""
    function = given.get("function")
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(name, str):
        raise InputError(f"tool_choice is {quote(given)}.", "Name a function, or use auto.")
    return name
