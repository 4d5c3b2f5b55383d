"""Chats and completions for the inference contract, checked: what it cannot carry is refused here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from og_mcp import catalogue
from og_mcp.client.codec.llm_abi import encode_request
from og_mcp.client.codec.llm_shapes import (
    HUNDREDTHS,
    UINT32_LIMIT,
    ChatRequest,
    CompletionRequest,
    FunctionCall,
    FunctionSpec,
    LLMMode,
    Message,
)
from og_mcp.client.wire.canonical_json import canonical
from og_mcp.errors import InputError, quote
from og_mcp.types import DEFAULT_MAX_TOKENS

ROLES: Final = ("system", "developer", "user", "assistant", "tool", "function")
FIELDS: Final = ("role", "content", "name", "tool_call_id", "tool_calls")
CHOICES: Final = ("auto", "none", "required")


def chat_request(  # noqa: PLR0913 - the arguments of the tool
    model: str,
    messages: Sequence[Mapping[str, Any]],
    mode: LLMMode,
    *,
    max_tokens: int = DEFAULT_MAX_TOKENS,
    stop_sequence: Sequence[str] = (),
    temperature: float = 0.0,
    tools: Sequence[Mapping[str, Any]] = (),
    tool_choice: str = "",
) -> ChatRequest:
    """Check a chat.

    Args:
        model: `provider/name`, a bare name, or an enum member's name.
        messages: OpenAI-shaped; text alone.
        mode: How the node answers.
        max_tokens: At most so many.
        stop_sequence: Texts that end the answer.
        temperature: 0 to 1, in hundredths.
        tools: OpenAI-shaped functions.
        tool_choice: `auto`, `none`, `required`, a function's name; empty for `auto` where there
            are tools.

    Raises:
        InputError: The contract cannot be asked this.
    """
    if not messages:
        raise InputError("The chat has no messages.", "Give one message at least.")
    specs = tuple(_spec(tool, index) for index, tool in enumerate(tools))
    request = ChatRequest(
        mode=mode,
        model=find_model(model, mode),
        messages=tuple(_message(message, index) for index, message in enumerate(messages)),
        tools=specs,
        tool_choice=_choice(tool_choice, specs),
        **_limits(max_tokens, stop_sequence, temperature),
    )
    # Refused here rather than when it is sent: nothing is journalled for it.
    encode_request(request)
    return request


def completion_request(  # noqa: PLR0913 - the arguments of the tool
    model: str,
    prompt: str,
    mode: LLMMode,
    *,
    max_tokens: int = DEFAULT_MAX_TOKENS,
    stop_sequence: Sequence[str] = (),
    temperature: float = 0.0,
) -> CompletionRequest:
    """Check a completion; the arguments are those of `chat_request`.

    Raises:
        InputError: The contract cannot be asked this.
    """
    request = CompletionRequest(
        mode=mode,
        model=find_model(model, mode),
        prompt=prompt,
        **_limits(max_tokens, stop_sequence, temperature),
    )
    encode_request(request)
    return request


def find_model(model: str, mode: LLMMode) -> str:
    """Return the whole name of a model that the contract knows.

    Raises:
        InputError: There is none of that name, or not in this mode.
    """
    entry = catalogue.find(model, "on_chain")
    if entry is None:
        by_gateway = catalogue.find(model, "gateway") is not None
        where = "is answered by gateways, not on chain" if by_gateway else "is not an LLM on chain"
        known = [one for one in catalogue.models() if one.generation == "on_chain"]
        near = ", ".join(catalogue.nearest(model, known))
        raise InputError(f"The model {quote(model)} {where}.", f"On chain the nearest are {near}.")
    if mode is LLMMode.TEE and not entry.in_tee:
        in_tee = (
            one.id for one in catalogue.models() if one.generation == "on_chain" and one.in_tee
        )
        names = ", ".join(in_tee)
        raise InputError(f"The model {entry.id} does not run in a TEE on chain.", f"Use {names}.")
    return entry.wire_name


def _limits(max_tokens: int, stop_sequence: Sequence[str], temperature: float) -> dict[str, Any]:
    if not 1 <= max_tokens < UINT32_LIMIT:
        raise InputError(f"max_tokens is {max_tokens}.", f"Use 1 to {UINT32_LIMIT - 1}.")
    return {
        "max_tokens": max_tokens,
        "stop_sequence": tuple(stop_sequence),
        "temperature": _hundredths(temperature),
    }


def _hundredths(temperature: float) -> int:
    if not 0 <= temperature <= 1:
        raise InputError(
            f"The temperature is {temperature}, and on-chain calls take 0 to 1.",
            "Give a lower one, or ask a gateway (inference_mode AUTO).",
        )
    hundredths = Decimal(str(temperature)) * HUNDREDTHS
    if hundredths != int(hundredths):
        raise InputError(
            f"The temperature {temperature} has more than two decimals, and on-chain calls carry "
            "hundredths.",
            f"Give {round(temperature, 2)}.",
        )
    return int(hundredths)


def _choice(choice: str, specs: Sequence[FunctionSpec]) -> str:
    names = [spec.name for spec in specs]
    if not choice:
        return "auto" if specs else ""
    if choice not in {*CHOICES, *names}:
        raise InputError(
            f"tool_choice {quote(choice)} names no tool of the request.",
            f"Use {', '.join([*CHOICES, *map(quote, names[:10])])}.",
        )
    if not specs and choice == "required":
        raise InputError("tool_choice is 'required' and there are no tools.", "Give a tool.")
    # Without tools a choice says nothing; it travels as none.
    return choice if specs else ""


def _message(message: Mapping[str, Any], index: int) -> Message:
    where = f"Message {index}"
    if not isinstance(message, Mapping):
        raise InputError(f"{where} is not an object.", f"Give {', '.join(FIELDS)}.")
    unknown = sorted(set(message) - set(FIELDS))
    if unknown:
        raise InputError(
            f"{where} has the field {quote(unknown[0])}, which on-chain chats do not carry.",
            f"Use {', '.join(FIELDS)}.",
        )
    role = message.get("role")
    if role not in ROLES:
        raise InputError(f"{where} has the role {quote(role)}.", f"Use {', '.join(ROLES)}.")
    calls = message.get("tool_calls") or ()
    if not isinstance(calls, Sequence) or isinstance(calls, (str, bytes)):
        raise InputError(f"{where} has tool_calls that are not a list.", "Give a list.")
    return Message(
        role=str(role),
        content=_content(message.get("content"), where),
        name=_text(message, "name", where),
        tool_call_id=_text(message, "tool_call_id", where),
        tool_calls=tuple(_call(call, where) for call in calls),
    )


def _content(content: object, where: str) -> str:
    """Return a message's text; parts of text become lines of one."""
    if isinstance(content, Sequence) and not isinstance(content, str):
        parts = [part if isinstance(part, Mapping) else {} for part in content]
        if any(part.get("type") != "text" for part in parts):
            raise InputError(
                f"{where} has a part that is not a text, and on-chain chats carry text alone.",
                "Leave images and files out, or ask a gateway (inference_mode AUTO).",
            )
        return "\n".join(_text(part, "text", where) for part in parts)
    if content is not None and not isinstance(content, str):
        raise InputError(f"{where} has a content that is not a text.", "Give a text.")
    return content or ""


def _call(call: object, where: str) -> FunctionCall:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(call, Mapping) or not isinstance(function, Mapping):
        raise InputError(
            f"{where} has a tool call without a function.",
            'A tool call is {"id", "type": "function", "function": {"name", "arguments"}}.',
        )
    return FunctionCall(
        _text(call, "id", where),
        _text(function, "name", where),
        _text(function, "arguments", where),
    )


def _spec(tool: object, index: int) -> FunctionSpec:
    where = f"Tool {index}"
    function = tool.get("function") if isinstance(tool, Mapping) else None
    if not isinstance(function, Mapping) or not function.get("name"):
        raise InputError(
            f"{where} is not a function with a name.",
            'A tool is {"type": "function", "function": {"name", "description", "parameters"}}.',
        )
    parameters = function.get("parameters") or {}
    if not isinstance(parameters, Mapping):
        raise InputError(f"{where} has parameters that are not a JSON schema.", "Give an object.")
    try:
        schema = canonical(dict(parameters))
    except ValueError as exc:
        raise InputError(f"{where} has parameters that are not JSON: {quote(exc)}.") from exc
    return FunctionSpec(
        _text(function, "description", where), _text(function, "name", where), schema
    )


def _text(value: Mapping[str, Any], name: str, where: str) -> str:
    text = value.get(name)
    if text is not None and not isinstance(text, str):
        raise InputError(f"{where} has a {name} that is not a text.", "Give a text.")
    return text or ""
