"""Answers LLM calls on chain: judges the request, finds the built-in responder's words, writes them.

Whoever executes a block has to come to the same answer, as must the simulation before it: so the
answer is a function of the request alone. An LLM server (OG_LOCAL_LLM_URL) gives another text each
time and may be gone tomorrow; only the gateway asks it, which stands outside the chain.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from og_mcp import catalogue
from og_mcp.localnet.gateway.responder import sentence
from og_mcp.localnet.gateway.schema_values import value_for
from og_mcp.localnet.llm_wire import (
    ChatRequest,
    CompletionRequest,
    LLMRequest,
    encode_chat,
    encode_completion,
)
from og_mcp.localnet.wire import CallRefusedError

VANILLA: Final = 0
TEE: Final = 1
"""`LlmInferenceMode` of the public SDK; its numbers are not those of model inference."""

MAX_TEMPERATURE: Final = 100
"""Hundredths."""

CHOICES: Final = ("", "auto", "none", "required")
ID_DIGITS: Final = 24


def answer_chat(request: ChatRequest) -> bytes:
    """Answer a chat; returns an `LLMChatResponse` tuple.

    Raises:
        CallRefusedError: The model, mode, temperature or tool choice is none that is there.
    """
    model = _check(request)
    if not request.messages:
        raise CallRefusedError("the chat has no messages")
    function = _function_to_call(request)
    if function is not None:
        calls = [_call_of(function, request)]
        return encode_chat("tool_calls", {"role": "assistant", "tool_calls": calls})
    question = "\n".join(message["content"] for message in request.messages)
    content, finish_reason = _cut(sentence(model.name, question), request)
    return encode_chat(finish_reason, {"role": "assistant", "content": content})


def answer_completion(request: CompletionRequest) -> bytes:
    """Answer a completion; returns an `LLMCompletionResponse` tuple.

    Raises:
        CallRefusedError: The model, mode or temperature is none that is there.
    """
    model = _check(request)
    return encode_completion(_cut(sentence(model.name, request.prompt), request)[0])


def _check(request: LLMRequest) -> catalogue.CatalogueEntry:
    if request.mode not in {VANILLA, TEE}:
        raise CallRefusedError(f"the LLM inference mode {request.mode} is unknown")
    known = [entry for entry in catalogue.models() if entry.generation == "on_chain"]
    entry = next((entry for entry in known if entry.wire_name == request.model), None)
    if entry is None:
        raise CallRefusedError(f'there is no LLM "{request.model}" on chain')
    if request.mode == TEE and not entry.in_tee:
        raise CallRefusedError(f'the LLM "{request.model}" does not run in a TEE')
    if request.temperature > MAX_TEMPERATURE:
        raise CallRefusedError(f"the temperature {request.temperature} is above {MAX_TEMPERATURE}")
    return entry


def _function_to_call(request: ChatRequest) -> dict[str, Any] | None:
    """Return the function that has to be called: the choice's, or any after a user's message."""
    given: list[dict[str, Any]] = [tool["function"] for tool in request.tools]
    functions = {function["name"]: function for function in given}
    choice, last = request.tool_choice, request.messages[-1]
    if choice in functions:
        return functions[choice]
    if choice not in CHOICES:
        raise CallRefusedError(f'the tool choice "{choice}" names no tool of the request')
    if choice == "required" and not functions:
        raise CallRefusedError("a tool call is required and there are no tools")
    if choice == "none" or (choice != "required" and last["role"] != "user"):
        return None
    named = (function for name, function in functions.items() if name in last["content"])
    return next(named, next(iter(functions.values()), None))


def _call_of(function: dict[str, Any], request: ChatRequest) -> dict[str, Any]:
    name = function["name"]
    try:
        arguments = json.dumps(value_for(function["parameters"]), allow_nan=False)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as exc:
        # A schema may be malformed in any part.
        reason = f'the parameters of the tool "{name}" cannot be filled in: {exc}'
        raise CallRefusedError(reason) from exc
    call_id = f"call_{hashlib.sha256(request.encoded).hexdigest()[:ID_DIGITS]}"
    return {
        "id": call_id,
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def _cut(content: str, request: LLMRequest) -> tuple[str, str]:
    """End a text where the request wants it to; returns it and the finish reason.

    A word counts as one token; a limit of 0 stands for none.
    """
    for stop in filter(None, request.stop_sequence):
        content = content.split(stop, 1)[0]
    words = content.split(" ")
    if 0 < request.max_tokens < len(words):
        return " ".join(words[: request.max_tokens]), "length"
    return content, "stop"
