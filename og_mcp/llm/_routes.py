"""OpenAI's chat API on a session: `POST /v1/chat/completions`, `GET /v1/models`.

Every call passes the session's caps and journal and leaves a receipt; the answer is shown once it
is verified. The header `Idempotency-Key` names a request as `idempotency_key` does.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import anyio
from pydantic_core import from_json
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from og_mcp import catalogue
from og_mcp.client import Session
from og_mcp.client.wire.offloading import off_loop
from og_mcp.errors import InputError, OGError, quote
from og_mcp.llm._errors import MediaTypeError, TooLargeError, failure, refusal
from og_mcp.llm._request import OpenAIRequest, read
from og_mcp.llm._response import completion, events
from og_mcp.types import HTTP_PRINCIPAL, ChatResult

logger = logging.getLogger(__name__)

MAX_BODY: Final = 32 * 2**20
"""Bytes; images travel in messages as base64."""

KEY: Final = re.compile(r"[!-~]{0,128}")
JSON: Final = "application/json"
GONE: Final = 499
"""Status that is logged where the client has hung up."""


def openai_routes(session: Session) -> list[BaseRoute]:
    """Make the routes; Host, Origin and token are the application's to check."""
    endpoint = _Endpoint(session)
    return [
        Route("/v1/chat/completions", endpoint.chat, methods=["POST"]),
        Route("/v1/models", endpoint.models, methods=["GET"]),
        Route("/v1/models/{model:path}", endpoint.model, methods=["GET"]),
    ]


class _Endpoint:
    def __init__(self, session: Session) -> None:
        self._session = session

    async def chat(self, request: Request) -> Response:
        """Answer a chat."""
        try:
            asked = await _request_of(request)
            result = await self._unless_gone(request, asked)
        except OGError as exc:
            return refusal(exc)
        except ClientDisconnect:
            result = None
        except Exception:
            # Clients repeat a request that ends in 500 by themselves, unless told not to (T13).
            logger.exception("a chat of OpenAI's API")
            return failure()
        if result is None:
            # A call that has begun goes on; repeating it gets its answer.
            return Response(status_code=GONE)
        headers = {"x-og-call-id": result.call_id}
        created = int(time.time())
        if not asked.stream:
            return JSONResponse(completion(result, created), headers=headers)
        body = events(result, created, include_usage=asked.include_usage)
        # Starlette would ask a thread for each event of an iterator that is not async.
        return StreamingResponse(_at_once(body), media_type="text/event-stream", headers=headers)

    async def models(self, _request: Request) -> Response:
        """List the models that can chat."""
        found = [_model_facts(entry) for entry in self._chatting()]
        return JSONResponse({"object": "list", "data": found})

    async def model(self, request: Request) -> Response:
        """Describe one model; a name that is not in the catalogue may be known to a gateway."""
        name, living = request.path_params["model"], self._chatting()
        entry = next((one for one in living if one.is_named(name)), None)
        entry = entry or (None if catalogue.find(name) else catalogue.unlisted(name))
        if entry is None:
            near = ", ".join(catalogue.nearest(name, living))
            error = InputError(f"There is no model {quote(name)}.", f"The nearest are {near}.")
            response = refusal(error)
            response.status_code = 404
            return response
        return JSONResponse(_model_facts(entry))

    async def _unless_gone(self, request: Request, asked: OpenAIRequest) -> ChatResult | None:
        """Chat until there is an answer, or the client has hung up."""
        key = request.headers.get("idempotency-key", "")
        if not KEY.fullmatch(key):
            raise InputError(
                f"Idempotency-Key is {quote(key)}.", "Use up to 128 printable ASCII characters."
            )
        outcome: ChatResult | OGError | None = None
        async with anyio.create_task_group() as group:

            async def watch() -> None:
                while (await request.receive())["type"] != "http.disconnect":
                    pass
                group.cancel_scope.cancel()

            group.start_soon(watch)
            try:
                outcome = await self._chat(asked, key)
            except OGError as exc:
                outcome = exc
            group.cancel_scope.cancel()
        if isinstance(outcome, OGError):
            raise outcome
        return outcome

    async def _chat(self, asked: OpenAIRequest, key: str) -> ChatResult:
        return await self._session.chat(
            asked.model,
            asked.messages,
            max_tokens=asked.max_tokens,
            stop_sequence=asked.stop_sequence,
            temperature=asked.temperature,
            tools=asked.tools,
            tool_choice=asked.tool_choice,
            response_format=asked.response_format,
            web_search=asked.web_search,
            settlement_mode=asked.settlement_mode,
            idempotency_key=key,
            principal=HTTP_PRINCIPAL,
        )

    def _chatting(self) -> list[catalogue.CatalogueEntry]:
        """List the models that this network answers in a chat."""
        return [entry for entry in self._session.models() if entry.kind == "llm"]


async def _request_of(request: Request) -> OpenAIRequest:
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if kind.lower() != JSON:
        # A page of another origin may send the few other types without asking first (T24).
        raise MediaTypeError(f"Content-Type is {quote(kind)}.", f"Send {JSON}.")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY:
            raise TooLargeError(f"The body is longer than {MAX_BODY} bytes.", "Send less.")
    raw = bytes(body)
    return await off_loop(lambda: _read(raw), raw)


def _read(body: bytes) -> OpenAIRequest:
    try:
        document = from_json(body)
    except ValueError as exc:
        raise InputError("The body is not JSON.", "See OpenAI's chat completions API.") from exc
    return read(document)


async def _at_once(events: Iterator[str]) -> AsyncIterator[str]:
    for event in events:
        yield event


def _model_facts(entry: catalogue.CatalogueEntry) -> dict[str, Any]:
    return {"id": entry.id, "object": "model", "created": 0, "owned_by": entry.provider}
