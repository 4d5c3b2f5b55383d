"""Chats and completions that a TEE gateway answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from og_mcp.catalogue import CatalogueEntry
from og_mcp.client.codec.llm_shapes import note_of_end
from og_mcp.client.files.attachments import Attachments
from og_mcp.client.llm import messages as shapes
from og_mcp.client.llm.gateway_answer import OnProgress
from og_mcp.client.llm.gateway_llm import GatewayAnswer
from og_mcp.client.llm.question import CHAT, COMPLETION
from og_mcp.client.operations.gateway import (
    GatewayAccess,
    GatewayOperation,
    finish_reason,
    usage_of,
    write_question,
)
from og_mcp.client.operations.models import Fits
from og_mcp.client.operations.options import ChatOptions, SamplingOptions
from og_mcp.types import ChatResult, CompletionResult, ToolCall

NO_SEARCH: Final = "web_search had no effect: today's gateways search by the tool web_search alone."


class Chat(GatewayOperation[ChatResult]):
    """A chat."""

    tool = "chat"
    result = ChatResult
    attachments: Attachments
    asks_for_search: bool = False

    @classmethod
    async def of(  # noqa: PLR0913, PLR0917 - what is asked, how, and what goes along
        cls,
        access: GatewayAccess,
        model: CatalogueEntry,
        messages: Sequence[Mapping[str, Any]],
        sampling: SamplingOptions,
        options: ChatOptions,
        attachments: Attachments,
        on_progress: OnProgress | None = None,
    ) -> Chat:
        """Write a chat, with the files that it names.

        Raises:
            InputError: No gateway can be asked this.
        """
        # A stream costs time and says nothing before its end but how far it is; and those of some
        # gateways leave tool calls out.
        streams = on_progress is not None and not options.tools
        given: list[object] = [messages, options.tools, options.response_format]
        if shapes.has_parts(messages):
            # A path is short, but its file has to be read.
            given.append(attachments)
        body = partial(_chat_body, model, messages, sampling, options, attachments)
        question = await write_question(CHAT, body, given, access, streams=streams)
        chat = cls(access, question, model, attachments.in_request)
        chat.attachments, chat.on_progress = attachments, on_progress
        chat.asks_for_search = options.web_search
        return chat

    @property
    def fields(self) -> dict[str, Any]:
        """The model, and the files that went along."""
        return {**super().fields, "attachments": self.attachments.told}

    async def read(self, answered: GatewayAnswer, fields: Mapping[str, Any]) -> ChatResult:
        """Put together what `chat` returns."""
        evidence = answered.evidence
        reason = "stop" if evidence.is_cut else finish_reason(answered.answer)
        search = NO_SEARCH if self.asks_for_search else ""
        return ChatResult(
            **_noted(fields, note_of_end(reason), search),
            content=evidence.text,
            tool_calls=[ToolCall.model_validate(_tool_call(call)) for call in evidence.tool_calls],
            finish_reason=reason,
            usage=usage_of(answered.answer),
        )


class Completion(GatewayOperation[CompletionResult]):
    """A completion."""

    tool = "completion"
    result = CompletionResult

    @classmethod
    async def of(
        cls, access: GatewayAccess, model: CatalogueEntry, prompt: str, sampling: SamplingOptions
    ) -> Completion:
        """Write a completion.

        Raises:
            InputError: No gateway can be asked this.
        """
        body: Callable[[], dict[str, Any]] = partial(
            dict, model=model.wire_name, prompt=prompt, **sampling.as_sent(model)
        )
        return cls(access, await write_question(COMPLETION, body, prompt, access), model)

    async def read(self, answered: GatewayAnswer, fields: Mapping[str, Any]) -> CompletionResult:
        """Put together what `completion` returns."""
        evidence = answered.evidence
        reason = "" if evidence.is_cut else finish_reason(answered.answer)
        return CompletionResult(
            **_noted(fields, note_of_end(reason)),
            text=evidence.text,
            usage=usage_of(answered.answer),
        )


def fits_chat(messages: Sequence[Any], options: ChatOptions) -> Fits:
    """Tell which models can do what a chat asks, so that one of them can be named."""
    contents = (one.get("content") for one in messages if isinstance(one, Mapping))
    parts = (part for content in contents if isinstance(content, list) for part in content)
    shows = any(isinstance(part, Mapping) and part.get("type") == "image_url" for part in parts)
    return partial(_can_chat, options, shows=shows)


def _can_chat(options: ChatOptions, model: CatalogueEntry, *, shows: bool) -> bool:
    is_json = options.response_format.get("type") == "json_object"
    able = (
        (shows, model.image_input),
        (options.tools, model.tools),
        (is_json, model.json_object),
    )
    return model.generation == "on_chain" or all(has or not asked for asked, has in able)


def _chat_body(
    model: CatalogueEntry,
    messages: Sequence[Mapping[str, Any]],
    sampling: SamplingOptions,
    options: ChatOptions,
    attachments: Attachments,
) -> dict[str, Any]:
    tools = shapes.tools(options.tools)
    choice = shapes.tool_choice(options.tool_choice, tools)
    takes_json = model.json_object is not False
    format_ = shapes.response_format(
        options.response_format, model=model.id, json_object=takes_json
    )
    return {
        "model": model.wire_name,
        "messages": shapes.messages(messages, attachments),
        **sampling.as_sent(model),
        **({"tools": tools, "tool_choice": choice} if tools else {}),
        **({"response_format": format_} if format_ else {}),
        **({"web_search": True} if options.web_search else {}),
    }


def _noted(fields: Mapping[str, Any], *notes: str) -> dict[str, Any]:
    """Add to what is known of the model how the answer ended."""
    return {**fields, "note": " ".join(filter(None, (fields["note"], *notes)))}


def _tool_call(call: Mapping[str, Any]) -> dict[str, Any]:
    """Keep the parts of a tool call; gateways send other fields, too."""
    function = call.get("function") or {}
    return {
        "id": call.get("id"),
        "type": "function",
        "function": {"name": function.get("name"), "arguments": function.get("arguments")},
    }
