"""How a session chats, completes and draws: input checked, route chosen, results put together.

Two routes lead to language models: TEE gateways, and the inference contract of the network's first
generation (protocol.md sections 3 and 4). The local network has both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from og_mcp import catalogue
from og_mcp.client.session.calling import Terms
from og_mcp.client.session.gateway_asking import GatewayAsking, GatewayRequest, Shared
from og_mcp.client.session.parts import Parts, load
from og_mcp.client.session.payment_parts import PaymentParts
from og_mcp.errors import InputError, quote
from og_mcp.types import (
    ChatResult,
    CompletionResult,
    ImageResult,
    LLMModeName,
    SettlementModeName,
    ToolCall,
    Usage,
)

if TYPE_CHECKING:
    from og_mcp.client.llm.gateway_answer import Counted
    from og_mcp.client.llm.gateway_llm import Answered, Question
    from og_mcp.client.session.onchain_asking import OnchainAsking

Route = Literal["gateway", "VANILLA", "TEE"]
"""A gateway, or the mode of an on-chain call."""

MOST_TOKENS: Final = 2**20
HOTTEST: Final = 2.0
MOST_STOPS: Final = 16
LARGEST_SIDE: Final = 8192
"""Pixels of a drawn image."""

REASON: Final = re.compile(r"[a-z_]{1,40}")


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How an answer is to be made."""

    max_tokens: int = 100
    stop_sequence: Sequence[str] = ()
    temperature: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What a chat may ask for beside an answer."""

    tools: Sequence[Mapping[str, Any]] = ()
    tool_choice: str = ""
    response_format: Mapping[str, Any] = field(default_factory=dict)
    web_search: bool = False


@dataclass(frozen=True, kw_only=True)
class How:
    """On what terms a call is made."""

    terms: Terms
    mode: LLMModeName = "AUTO"
    settlement: SettlementModeName = "batch"
    max_retries: int = 5
    dry_run: bool = False
    counted: Counted | None = None


class Asking:
    """The language and image calls of one session.

    Args:
        parts: What they are carried out with.
        paying: What pays gateways.
    """

    def __init__(self, parts: Parts, paying: PaymentParts) -> None:
        self._parts = parts
        self._gateway = GatewayAsking(parts, paying)

    async def chat(
        self,
        model: str,
        messages: Sequence[Mapping[str, Any]],
        sampling: Sampling,
        wishes: Wishes,
        how: How,
    ) -> ChatResult:
        """Chat, by the route that network, mode and model call for."""
        route, entry = await self._route(model, how.mode)
        if route == "gateway":
            return await self._gateway_chat(entry, messages, sampling, wishes, how)
        if wishes.response_format or wishes.web_search:
            raise InputError(
                "On-chain chats take neither response_format nor web_search.",
                "Leave them out, or use a model that gateways answer.",
            )
        llm = await load("llm.onchain_requests")
        request = llm.chat_request(
            model,
            messages,
            (await load("codec.llm_shapes")).LLMMode[route],
            max_tokens=sampling.max_tokens,
            stop_sequence=sampling.stop_sequence,
            temperature=sampling.temperature,
            tools=wishes.tools,
            tool_choice=wishes.tool_choice,
        )
        asking = await self._onchain()
        if how.dry_run:
            return await asking.price_chat(request, max_retries=how.max_retries)
        return await asking.chat(request, how.terms, max_retries=how.max_retries)

    async def completion(
        self, model: str, prompt: str, sampling: Sampling, how: How
    ) -> CompletionResult:
        """Complete a prompt, by the route that network, mode and model call for."""
        route, entry = await self._route(model, how.mode)
        if route == "gateway":
            return await self._gateway_completion(entry, prompt, sampling, how)
        llm = await load("llm.onchain_requests")
        request = llm.completion_request(
            model,
            prompt,
            (await load("codec.llm_shapes")).LLMMode[route],
            max_tokens=sampling.max_tokens,
            stop_sequence=sampling.stop_sequence,
            temperature=sampling.temperature,
        )
        asking = await self._onchain()
        if how.dry_run:
            return await asking.price_completion(request, max_retries=how.max_retries)
        return await asking.completion(request, how.terms, max_retries=how.max_retries)

    async def generate_image(
        self, model: str, prompt: str, width: int, height: int, how: How
    ) -> ImageResult:
        """Have an image drawn by a gateway's model."""
        entry = await self._image_model(model)
        if not prompt.strip():
            raise InputError("There is no prompt.", "Say what is to be drawn.")
        for name, side in (("width", width), ("height", height)):
            if not 0 <= side <= LARGEST_SIDE:
                raise InputError(
                    f"{name} is {side}.", f"Use 0 (the model's own) to {LARGEST_SIDE}."
                )
        most_bytes = (await load("llm.gateway_answer")).MAX_IMAGE_BYTES
        # The network's gateways take no size: another one is made of what they send.
        body = {
            "model": entry.wire_name,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0.0,
        }
        request = GatewayRequest(
            tool="generate_image",
            model=entry,
            question=await self._question("CHAT", body, how, most_bytes=most_bytes),
            beside={"width": width, "height": height},
        )
        if how.dry_run:
            return ImageResult(**await self._gateway.price(request))
        images = await self._parts.images.get()

        async def read(answered: Answered, shared: Shared) -> ImageResult:
            found = await images.keep(
                answered.answer,
                how.terms.principal,
                gateway=answered.tee,
                width=width,
                height=height,
            )
            return ImageResult(**shared, images=found)

        call = await self._gateway.make(request, how.terms, read)
        if call.status == "done" and call.result:
            return ImageResult.model_validate_json(call.result)
        return ImageResult(**self._gateway.so_far(call, request))

    async def _gateway_chat(
        self,
        entry: catalogue.Entry,
        messages: Sequence[Mapping[str, Any]],
        sampling: Sampling,
        wishes: Wishes,
        how: How,
    ) -> ChatResult:
        check = await load("llm.messages")
        body = {
            "model": entry.wire_name,
            "messages": check.messages(messages),
            **_sampled(sampling),
        }
        tools = check.tools(wishes.tools)
        choice = check.tool_choice(wishes.tool_choice, tools)
        if tools:
            body |= {"tools": tools, "tool_choice": choice}
        takes_json = entry.json_object is not False
        format_ = check.response_format(
            wishes.response_format, model=entry.id, json_object=takes_json
        )
        if format_:
            body["response_format"] = format_
        if wishes.web_search:
            body["web_search"] = True
        # A stream costs time and says nothing before its end but how far it is; and those of some
        # gateways leave tool calls out.
        streams = how.counted is not None and not tools
        request = GatewayRequest(
            tool="chat",
            model=entry,
            question=await self._question("CHAT", body, how, streams=streams),
        )
        if how.dry_run:
            return ChatResult(**await self._gateway.price(request))
        call = await self._gateway.make(request, how.terms, _chat_result, how.counted)
        if call.status == "done" and call.result:
            return ChatResult.model_validate_json(call.result)
        return ChatResult(**self._gateway.so_far(call, request))

    async def _gateway_completion(
        self, entry: catalogue.Entry, prompt: str, sampling: Sampling, how: How
    ) -> CompletionResult:
        body = {"model": entry.wire_name, "prompt": prompt, **_sampled(sampling)}
        request = GatewayRequest(
            tool="completion",
            model=entry,
            question=await self._question("COMPLETION", body, how),
        )
        if how.dry_run:
            return CompletionResult(**await self._gateway.price(request))
        call = await self._gateway.make(request, how.terms, _completion_result)
        if call.status == "done" and call.result:
            return CompletionResult.model_validate_json(call.result)
        return CompletionResult(**self._gateway.so_far(call, request))

    async def _question(
        self,
        path: str,
        body: Mapping[str, Any],
        how: How,
        **rest: Any,  # noqa: ANN401 - fields of Question
    ) -> Question:
        module = await load("llm.gateway_llm")
        question: Question = module.Question(
            path=getattr(module, path), body=body, settlement=how.settlement, **rest
        )
        # Refused here rather than when it is sent: nothing is journalled for it.
        question.raw  # noqa: B018 - raises
        return question

    async def _onchain(self) -> OnchainAsking:
        asking: OnchainAsking = (await load("session.onchain_asking")).OnchainAsking(self._parts)
        return asking

    async def _route(self, model: str, mode: LLMModeName) -> tuple[Route, catalogue.Entry]:
        """Choose how a language model is reached.

        Raises:
            InputError: There is no such model, or not in this mode on this network.
        """
        network = await self._parts.network.get()
        by_gateway, on_chain = (catalogue.find(model, one) for one in ("gateway", "on_chain"))
        if not network.tee_registry:
            # The first generation: the contract alone. Its own words name the nearest models.
            return ("VANILLA" if mode == "AUTO" else mode), by_gateway or _any()
        if mode == "VANILLA":
            if not network.local:
                raise InputError(
                    f"Network {network.name} answers language models by TEE gateways alone.",
                    "Use inference_mode TEE or AUTO.",
                )
            return "VANILLA", by_gateway or _any()
        if by_gateway is not None and by_gateway.kind == "llm":
            return "gateway", by_gateway
        if on_chain is not None and network.local:
            return ("VANILLA" if mode == "AUTO" and not on_chain.in_tee else "TEE"), on_chain
        raise _unknown(model, "llm")

    async def _image_model(self, model: str) -> catalogue.Entry:
        network = await self._parts.network.get()
        if not network.tee_registry:
            raise InputError(
                f"Network {network.name} has no gateways, which images come from.",
                "Use OG_NETWORK=opengradient or local.",
            )
        entry = catalogue.find(model, "gateway")
        if entry is None or entry.kind != "image":
            raise _unknown(model, "image")
        return entry


async def _chat_result(answered: Answered, shared: Shared) -> ChatResult:
    evidence = answered.evidence
    choice = _choice(answered.answer)
    reason = choice.get("finish_reason")
    return ChatResult(
        **shared,
        content=evidence.text,
        tool_calls=[ToolCall.model_validate(_call_fields(call)) for call in evidence.tool_calls],
        finish_reason=reason if isinstance(reason, str) and REASON.fullmatch(reason) else "",
        usage=_usage(answered.answer),
    )


async def _completion_result(answered: Answered, shared: Shared) -> CompletionResult:
    return CompletionResult(**shared, text=answered.evidence.text, usage=_usage(answered.answer))


def _call_fields(call: Mapping[str, Any]) -> dict[str, Any]:
    """Take what a tool call consists of; gateways send more beside it."""
    function = call.get("function") or {}
    return {
        "id": call.get("id"),
        "function": {"name": function.get("name"), "arguments": function.get("arguments")},
    }


def _choice(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = answer.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else {}
    return first if isinstance(first, dict) else {}


def _usage(answer: Mapping[str, Any]) -> Usage:
    """Read the gateway's own count; nothing vouches for it."""
    given = answer.get("usage")
    counts = given if isinstance(given, dict) else {}
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    return Usage(
        **{
            name: counts[name]
            for name in names
            if isinstance(counts.get(name), int) and 0 <= counts[name] < 2**53
        }
    )


def _sampled(sampling: Sampling) -> dict[str, Any]:
    """Check how the answer is to be made, and write it as it is sent.

    Raises:
        InputError: A value is out of bounds.
    """
    if not 1 <= sampling.max_tokens <= MOST_TOKENS:
        raise InputError(f"max_tokens is {sampling.max_tokens}.", f"Use 1 to {MOST_TOKENS}.")
    if not 0 <= sampling.temperature <= HOTTEST:
        raise InputError(f"temperature is {sampling.temperature}.", f"Use 0 to {HOTTEST}.")
    stops = list(sampling.stop_sequence)
    if len(stops) > MOST_STOPS or not all(stops):
        raise InputError(
            f"stop_sequence has {len(stops)} texts, or an empty one.", f"Use up to {MOST_STOPS}."
        )
    sent: dict[str, Any] = {
        "max_tokens": sampling.max_tokens,
        # Zero has one form in what is hashed, whatever sign it came with.
        "temperature": float(sampling.temperature) or 0.0,
    }
    return sent | ({"stop": stops} if stops else {})


def _unknown(model: str, kind: catalogue.Kind) -> InputError:
    named = catalogue.find(model, "gateway")
    if named is not None:
        tool = "generate_image" if named.kind == "image" else "chat"
        return InputError(f"{named.id} is a model of kind {named.kind}.", f"Use it with {tool}.")
    near = ", ".join(catalogue.nearest(model, "gateway", kind=kind))
    return InputError(
        f"There is no {kind} model {quote(model)}.",
        f"The nearest are {near}; search_models with kind {kind} lists all.",
    )


def _any() -> catalogue.Entry:
    """Return an entry for where none is looked at: the contract's route checks the name itself."""
    return catalogue.MODELS[0]
