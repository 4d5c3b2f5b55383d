"""How a session chats, completes and draws: input checked, route chosen, results put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from anyio import to_thread

from og_mcp import catalogue
from og_mcp.client.session.gateway_asking import GatewayAsking, Shared
from og_mcp.client.session.gateway_requests import (
    chat_request,
    completion_request,
    image_request,
    search_request,
)
from og_mcp.client.session.gateway_results import (
    chat_result,
    completion_result,
    kept,
    search_result,
)
from og_mcp.client.session.loading import load
from og_mcp.client.session.parts import Parts
from og_mcp.client.session.payment_parts import PaymentParts
from og_mcp.client.session.routes import Fits, Routes
from og_mcp.client.session.wishes import Drawing, How, Sampling, Wishes
from og_mcp.errors import InputError, quote
from og_mcp.types import ChatResult, CompletionResult, ImageResult, SearchResult

if TYPE_CHECKING:
    from og_mcp.client.files.attachments import Attachments
    from og_mcp.client.llm.gateway_llm import Answered
    from og_mcp.client.session.onchain_asking import OnchainAsking


NO_SEARCH: Final = "web_search had no effect: today's gateways search by the tool web_search alone."


class Asking:
    """The language and image calls of one session.

    Args:
        parts: What they are carried out with.
        paying: What pays gateways.
    """

    def __init__(self, parts: Parts, paying: PaymentParts) -> None:
        self._parts = parts
        self._routes = Routes(parts)
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
        route, entry = await self._routes.to_llm(model, how.mode, wanted_by(messages, wishes))
        if route == "gateway":
            return await self._gateway_chat(entry, messages, sampling, wishes, how)
        _no_secret(how)
        if wishes.response_format or wishes.web_search:
            raise InputError(
                "On-chain chats take neither response_format nor web_search.",
                "Leave them out, or use a model that gateways answer.",
            )
        llm = await load("llm.onchain_requests")
        request = llm.chat_request(
            entry.id,
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
        route, entry = await self._routes.to_llm(model, how.mode, lambda _: True)
        if route == "gateway":
            return await self._gateway_completion(entry, prompt, sampling, how)
        _no_secret(how)
        llm = await load("llm.onchain_requests")
        request = llm.completion_request(
            entry.id,
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
        self, model: str, prompt: str, drawing: Drawing, how: How
    ) -> ImageResult:
        """Have images drawn by a gateway's model."""
        entry = await self._routes.to_image_model(model, drawn_by(drawing))
        images, principal = await self._parts.images.get(), how.terms.principal
        # The cheap refusals first: reading the pictures to start from takes time.
        drawing.sent(entry)
        await self._check_saving(drawing)
        attachments = await self._attachments()
        references = await self._references(drawing.images, attachments, principal)
        request = await image_request(entry, prompt, drawing, references, how, attachments)
        told = attachments.told
        if drawing.save_as:
            check = partial(images.check_free, drawing.save_as, drawing.count)
            request = replace(request, check=check)
        if how.dry_run:
            if request.check is not None:
                await request.check()
            priced = await self._gateway.price(request, principal)
            return ImageResult(**priced, attachments=told)

        async def read(answered: Answered, shared: Shared) -> ImageResult:
            found = await images.keep(
                answered.answer,
                principal,
                gateway=answered.tee,
                width=drawing.width,
                height=drawing.height,
            )
            refused = [*found.refused]
            missing = drawing.count - len(found.images) - len(refused)
            if missing > 0:
                refused.append(f"{missing} of {drawing.count} images: the gateway sent no more")
            if drawing.save_as:
                refused += await images.save(found.images, principal, drawing.save_as)
            return ImageResult(**shared, images=found.images, refused=refused, attachments=told)

        call = await self._gateway.make(request, how.terms, read)
        if call.status == "done" and call.result:
            return kept(ImageResult, call)
        return ImageResult(**self._gateway.so_far(call, request), attachments=told)

    async def web_search(
        self, query: str, num_results: int, recency_days: int, how: How
    ) -> SearchResult:
        """Have a gateway search the web."""
        await self._routes.to_gateway("search the web")
        request = await search_request(query, num_results, recency_days, how)
        if how.dry_run:
            return SearchResult(**await self._gateway.price(request, how.terms.principal))
        call = await self._gateway.make(request, how.terms, search_result)
        if call.status == "done" and call.result:
            return kept(SearchResult, call)
        return SearchResult(**self._gateway.so_far(call, request))

    async def _gateway_chat(
        self,
        entry: catalogue.Entry,
        messages: Sequence[Mapping[str, Any]],
        sampling: Sampling,
        wishes: Wishes,
        how: How,
    ) -> ChatResult:
        attachments = await self._attachments()
        request = await chat_request(entry, messages, sampling, wishes, how, attachments)
        told = attachments.told
        if how.dry_run:
            priced = await self._gateway.price(request, how.terms.principal)
            return ChatResult(**priced, attachments=told)

        async def read(answered: Answered, shared: Shared) -> ChatResult:
            result = await chat_result(answered, {**shared, "attachments": told})
            if wishes.web_search:
                result.note = f"{result.note} {NO_SEARCH}".lstrip()
            return result

        call = await self._gateway.make(request, how.terms, read, how.counted)
        if call.status == "done" and call.result:
            return kept(ChatResult, call)
        return ChatResult(**self._gateway.so_far(call, request), attachments=told)

    async def _gateway_completion(
        self, entry: catalogue.Entry, prompt: str, sampling: Sampling, how: How
    ) -> CompletionResult:
        request = await completion_request(entry, prompt, sampling, how)
        if how.dry_run:
            return CompletionResult(**await self._gateway.price(request, how.terms.principal))
        call = await self._gateway.make(request, how.terms, completion_result)
        if call.status == "done" and call.result:
            return kept(CompletionResult, call)
        return CompletionResult(**self._gateway.so_far(call, request))

    async def _attachments(self) -> Attachments:
        """Begin to gather the files of one request."""
        settings, files = self._parts.settings, await self._parts.files.get()
        takes_urls = settings.local or settings.allow_image_urls
        gathered: Attachments = (await load("files.attachments")).Attachments(
            files, takes_urls=takes_urls
        )
        return gathered

    async def _references(
        self, given: Sequence[Mapping[str, Any] | str], attachments: Attachments, principal: str
    ) -> list[str]:
        """Read the pictures to start from, as `data:` URIs."""
        images, kinds = await self._parts.images.get(), (await load("files.kind")).KINDS
        uris = []
        for index, one in enumerate(given):
            where = f"images[{index}]"
            named = dict(one) if isinstance(one, Mapping) else {"uri": one}
            path, uri = named.pop("file", None), named.pop("uri", None)
            if isinstance(path, str) and uri is None and not named:
                read = await to_thread.run_sync(attachments.read, path, kinds)
            elif isinstance(uri, str) and path is None and not named:
                data = await images.held(uri, where, principal)
                name = where if uri[:5].lower() == "data:" else uri
                read = await to_thread.run_sync(attachments.add, name, data, kinds)
            else:
                raise InputError(
                    f"{where} is {quote(one)}, which names no picture.",
                    'Use {"file": path}, or {"uri": ...} with og://images/... or a data: URI; '
                    "nothing was sent or paid.",
                )
            uris.append(read.uri)
        return uris

    async def _check_saving(self, drawing: Drawing) -> None:
        """Check the name that copies are saved under, where one is given (threats.md T50)."""
        if not drawing.save_as:
            return
        saved, images = await load("files.saved"), await load("images.images")
        if self._parts.settings.transport != "stdio":
            raise InputError(*saved.NOT_OVER_HTTP)
        saved.check_name(drawing.save_as, images.SAVED_AS)

    async def _onchain(self) -> OnchainAsking:
        asking: OnchainAsking = (await load("session.onchain_asking")).OnchainAsking(self._parts)
        return asking


def wanted_by(messages: Sequence[Any], wishes: Wishes) -> Fits:
    """Tell which models can do what a chat asks, so that one of them can be named."""
    contents = (one.get("content") for one in messages if isinstance(one, Mapping))
    parts = (part for content in contents if isinstance(content, list) for part in content)
    shows = any(isinstance(part, Mapping) and part.get("type") == "image_url" for part in parts)
    is_json = wishes.response_format.get("type") == "json_object"

    def fits(entry: catalogue.Entry) -> bool:
        able = (
            (shows, entry.image_input),
            (wishes.tools, entry.tools),
            (is_json, entry.json_object),
        )
        return entry.generation == "on_chain" or all(has or not asked for asked, has in able)

    return fits


def drawn_by(drawing: Drawing) -> Fits:
    """Tell which models can draw what is asked, so that one of them can be named."""

    def fits(entry: catalogue.Entry) -> bool:
        has_ratio = not drawing.aspect_ratio or drawing.aspect_ratio in entry.aspect_ratios
        has_tier = not drawing.resolution or drawing.resolution.upper() in entry.resolutions
        return has_ratio and has_tier and (entry.references or not drawing.images)

    return fits


def _no_secret(how: How) -> None:
    """Refuse to put on chain what is to be kept private.

    Raises:
        InputError: It is to be.
    """
    if how.settlement == "private":
        raise InputError(
            "On-chain calls publish request and answer, and settlement_mode is 'private'.",
            "Use batch, or a model that gateways answer.",
        )
