"""Requests and answers of on-chain LLM calls, as call data and JSON both hold them.

A field that is left out travels as an empty text, so that a request has one form in call data and
one in JSON, and either can be read back from the other.

Source: protocol.md section 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar, Final

from og_mcp.types import CalledFunction, ToolCall

HUNDREDTHS: Final = 100

CUT_OFF: Final = "The answer was cut off at max_tokens; a call with a larger max_tokens gives more."
UINT32_LIMIT: Final = 2**32


class LLMMode(IntEnum):
    """How the node answers; the numbers are the contract's, and not those of model inference."""

    VANILLA = 0
    TEE = 1


@dataclass(frozen=True)
class FunctionCall:
    """A call of a function that the model asks for."""

    id: str
    name: str
    arguments: str
    """JSON text."""

    @property
    def shown(self) -> ToolCall:
        """The call as results and messages hold it."""
        function = CalledFunction(name=self.name, arguments=self.arguments)
        return ToolCall(id=self.id, type="function", function=function)


@dataclass(frozen=True)
class FunctionSpec:
    """A function that the model may ask for."""

    description: str
    name: str
    parameters: str
    """JSON text of a schema."""


@dataclass(frozen=True)
class Message:
    """One message of a chat; fields that it does not have are empty."""

    role: str
    content: str = ""
    name: str = ""
    tool_call_id: str = ""
    tool_calls: tuple[FunctionCall, ...] = ()

    @property
    def shown(self) -> dict[str, Any]:
        """The message in JSON, OpenAI-shaped."""
        rest = {
            "name": self.name,
            "tool_call_id": self.tool_call_id,
            "tool_calls": [call.shown.model_dump() for call in self.tool_calls],
        }
        given = {name: value for name, value in rest.items() if value}
        return {"role": self.role, "content": self.content, **given}


@dataclass(frozen=True, kw_only=True)
class LLMRequest:
    """The fields of both kinds of requests."""

    tool: ClassVar[str]
    """The tool that makes such requests."""

    mode: int
    """Of LLMMode; call data may hold another."""

    model: str
    """The whole name, `provider/name`."""

    max_tokens: int
    stop_sequence: tuple[str, ...] = ()
    temperature: int = 0
    """Hundredths."""

    @property
    def canonical(self) -> dict[str, Any]:
        """The request in JSON, as the journal and receipts hold it.

        Raises:
            ValueError: The mode is unknown.
        """
        return {
            "tool": self.tool,
            "model": self.model,
            "inference_mode": LLMMode(self.mode).name,
            "max_tokens": self.max_tokens,
            "stop_sequence": list(self.stop_sequence),
            "temperature": self.temperature / HUNDREDTHS,
        }


@dataclass(frozen=True, kw_only=True)
class ChatRequest(LLMRequest):
    """The request of `runLLMChat`."""

    tool: ClassVar[str] = "chat"
    messages: tuple[Message, ...]
    tools: tuple[FunctionSpec, ...] = ()
    tool_choice: str = ""

    @property
    def canonical(self) -> dict[str, Any]:
        """The request in JSON; a tool's `parameters` are the text that travels."""
        return {
            **super().canonical,
            "messages": [message.shown for message in self.messages],
            "tools": [vars(spec) for spec in self.tools],
            "tool_choice": self.tool_choice,
        }


@dataclass(frozen=True, kw_only=True)
class CompletionRequest(LLMRequest):
    """The request of `runLLMCompletion`."""

    tool: ClassVar[str] = "completion"
    prompt: str

    @property
    def canonical(self) -> dict[str, Any]:
        """The request in JSON."""
        return {**super().canonical, "prompt": self.prompt}


@dataclass(frozen=True)
class ChatResponse:
    """The answer to a chat."""

    finish_reason: str
    message: Message

    @property
    def is_empty(self) -> bool:
        """Whether there is no answer at all."""
        message = self.message
        return not (self.finish_reason or message.role or message.content or message.tool_calls)

    @property
    def shown(self) -> dict[str, Any]:
        """The answer in JSON, as results and receipts hold it."""
        return {
            "content": self.message.content,
            "tool_calls": [call.shown.model_dump() for call in self.message.tool_calls],
            "finish_reason": self.finish_reason,
        }


@dataclass(frozen=True)
class CompletionResponse:
    """The answer to a prompt."""

    answer: str

    @property
    def is_empty(self) -> bool:
        """Whether there is no answer at all."""
        return not self.answer

    @property
    def shown(self) -> dict[str, Any]:
        """The answer in JSON, as results and receipts hold it."""
        return {"text": self.answer}


LLMResponse = ChatResponse | CompletionResponse


def note_of_end(finish_reason: str) -> str:
    """Return a note about an answer by the reason why it ended; mostly empty."""
    return CUT_OFF if finish_reason == "length" else ""
