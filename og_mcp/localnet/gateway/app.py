"""The gateway's HTTP application (protocol.md section 4).

* `POST /v1/chat/completions` and `POST /v1/completions`, whole or streamed; what goes wrong on
  request is told in `gateway_faults`.
* `POST /v1/web_search`, which searches nothing and says so.
* `GET /v1/models`, `GET /health`, `GET /signing-key`, and `GET /images/{name}` for images that
  were answered as URLs.
* `GET /enclave/attestation` is 501: there is no enclave.

Errors have the one shape of `replies.error_body`; none is charged. A body over 20 MiB is refused
before any payment (`Bounded`). What an answer costs stands in it, and is put into
`scope["state"]["cost_opg"]`, so that the settlement takes the sum of the told costs.
"""

from __future__ import annotations

import base64
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from decimal import Decimal
from typing import Any, Final

from eth_utils.crypto import keccak
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from og_mcp import catalogue
from og_mcp.localnet.faults import Fault, Faults
from og_mcp.localnet.gateway import canonical, gateway_faults, requests
from og_mcp.localnet.gateway.replies import Reply, costs, encoded, refusal
from og_mcp.localnet.gateway.requests import JSON, LLMRequest, RequestError
from og_mcp.localnet.gateway.responder import Answer, Responder, count_tokens
from og_mcp.localnet.gateway.tee import SigningKey
from og_mcp.localnet.gateway.upstream import UpstreamError

UNPRICED_USD: Final = Decimal("0.001")
"""For an answer of a model whose price the catalogue does not have."""

MAX_BODY: Final = 20 * 2**20
"""Bytes of a request."""

_IMAGES_KEPT: Final = 16
_MAX_RESULTS: Final = 10


class Gateway:
    """One gateway.

    Args:
        key: Signs the answers.
        faults: Where spoils wait, under names such as `gateway POST /v1/chat/completions`.
        responder: Finds the answers.
        name: First word of those names.
    """

    def __init__(
        self, key: SigningKey, faults: Faults, responder: Responder, name: str = "gateway"
    ) -> None:
        self._key, self._faults, self._responder, self._name = key, faults, responder, name
        self._images: OrderedDict[str, bytes] = OrderedDict()
        self._last = b""

    def app(self) -> Starlette:
        """Build the application."""
        return Starlette(
            routes=[
                Route("/v1/chat/completions", _guarded(self._chat), methods=["POST"]),
                Route("/v1/completions", _guarded(self._completion), methods=["POST"]),
                Route("/v1/web_search", _guarded(self._search), methods=["POST"]),
                Route("/v1/models", _models),
                Route("/health", _health),
                Route("/signing-key", self._signing_key),
                Route("/enclave/attestation", _attestation),
                Route("/images/{name}", self._image),
            ],
            exception_handlers={RequestError: _bad_request, UpstreamError: _bad_upstream},
        )

    async def _chat(self, request: Request) -> Response:
        fault = self._fault(request)
        if (other := gateway_faults.replacement(fault)) is not None:
            return other
        body, covers = requests.read_json(await request.body()), gateway_faults.coverage(fault)
        llm_request = requests.chat(
            body, catalogue.utc_today(), developer=not covers["parts_as_text"]
        )
        answer = await self._responder.chat(llm_request)
        covered = canonical.chat_request(body, **covers)
        reply = self._reply(request, fault, llm_request, answer, canonical.request_hash(covered))
        if llm_request.stream:
            return _streamed(
                request, fault, reply, gateway_faults.frames(fault, reply.chat_frames())
            )
        return self._whole(request, fault, reply, reply.chat())

    async def _completion(self, request: Request) -> Response:
        fault = self._fault(request)
        if (other := gateway_faults.replacement(fault)) is not None:
            return other
        body = requests.read_json(await request.body())
        llm_request = requests.completion(body, catalogue.utc_today())
        answer = await self._responder.complete(llm_request)
        covered = canonical.completion_request(body)
        reply = self._reply(request, fault, llm_request, answer, canonical.request_hash(covered))
        if llm_request.stream:
            frames = gateway_faults.frames(fault, reply.completion_frames())
            return _streamed(request, fault, reply, frames)
        return self._whole(request, fault, reply, reply.completion())

    async def _search(self, request: Request) -> Response:
        fault = self._fault(request)
        if (other := gateway_faults.replacement(fault)) is not None:
            return other
        body = requests.read_json(await request.body())
        query = requests.search(body)
        content, sources = searched(query, body.get("num_results") or 1)
        covered = canonical.request_hash(canonical.search_request(body))
        signed = canonical.output_hash(content)
        evidence = gateway_faults.evidence(fault, self._key, covered, signed)
        answer = {
            "id": f"local-{signed.hex()[:24]}",
            "object": "web_search",
            "created": int(time.time()),
            "query": query,
            "content": content + gateway_faults.more(fault),
            "citations": sources,
            **evidence,
            **gateway_faults.extras(fault, costs(catalogue.web_search_usd())),
        }
        _charge(request, catalogue.web_search_usd())
        return gateway_faults.whole_response(fault, encoded(answer), _headers(request, evidence))

    def _fault(self, request: Request) -> Fault | None:
        return self._faults.take(f"{self._name} {request.method} {request.url.path}", "within")

    def _reply(
        self,
        request: Request,
        fault: Fault | None,
        llm_request: LLMRequest,
        answer: Answer,
        covered: bytes,
    ) -> Reply:
        answer = gateway_faults.without_images(fault, answer)
        signed = canonical.output_hash(answer.signed_content)
        files = gateway_faults.image_files(fault, llm_request.text, answer.images)
        return Reply(
            request=llm_request,
            answer=gateway_faults.mislabelled(fault, answer),
            evidence=gateway_faults.evidence(fault, self._key, covered, signed),
            images=[self._shown(request, fault, file) for file in files],
            created=int(time.time()),
            extras=gateway_faults.extras(fault, costs(_usd(llm_request, answer))),
        )

    def _shown(self, request: Request, fault: Fault | None, file: bytes) -> str:
        if fault is None or fault.how != "http_images":
            return "data:image/png;base64," + base64.b64encode(file).decode()
        if fault.body:
            return fault.body
        name = f"{keccak(file).hex()}.png"
        self._images[name] = file
        if len(self._images) > _IMAGES_KEPT:
            self._images.popitem(last=False)
        return f"{request.base_url}images/{name}"

    def _whole(self, request: Request, fault: Fault | None, reply: Reply, body: JSON) -> Response:
        raw = encoded(gateway_faults.body(fault, body))
        if gateway_faults.kind(fault) == "replay" and self._last:
            raw = self._last
        self._last = raw
        if not gateway_faults.fails(fault):
            _charge(request, _usd(reply.request, reply.answer))
        return gateway_faults.whole_response(fault, raw, _headers(request, reply.evidence))

    async def _signing_key(self, _request: Request) -> Response:
        key = {"public_key": self._key.public_pem, "tee_id": "0x" + self._key.id.hex()}
        return JSONResponse(key)

    async def _image(self, request: Request) -> Response:
        file = self._images.get(request.path_params["name"])
        if file is None:
            return refusal(404, "no such image")
        return Response(file, media_type="image/png")


def _streamed(request: Request, fault: Fault | None, reply: Reply, frames: list[JSON]) -> Response:
    if not gateway_faults.fails(fault):
        _charge(request, _usd(reply.request, reply.answer))
    return gateway_faults.stream_response(fault, frames, _headers(request, reply.evidence))


def searched(query: str, results: int) -> tuple[str, list[JSON]]:
    """Answer a search: the local network has no web, says so, and makes up the addresses."""
    said = (
        "This is the local network, which searches nothing: "
        f"{count_tokens(query)} words were asked for."
    )
    sources = [
        {"title": f"Local result {number}", "url": f"https://example.com/local/{number}"}
        for number in range(1, min(results, _MAX_RESULTS) + 1)
    ]
    return said, sources


def _usd(llm_request: LLMRequest, answer: Answer) -> Decimal:
    """Price an answer by the catalogue, US dollars; models without a price there are cheap."""
    model = llm_request.model
    if answer.images:
        return len(answer.images) * (model.image_usd() or UNPRICED_USD)
    used = answer.usage
    usd = model.usd(input_tokens=used["prompt_tokens"], output_tokens=used["completion_tokens"])
    return usd or UNPRICED_USD


def _charge(request: Request, usd: Decimal) -> None:
    cost = int(costs(usd)["cost_opg"])
    request.scope.setdefault("state", {})["cost_opg"] = cost


def _headers(request: Request, evidence: JSON) -> dict[str, str]:
    if request.headers.get("x-settlement-type", "batch").lower() == "private":
        return {}
    hashes = (evidence.get(f"tee_{part}_hash", "") for part in ("request", "output"))
    return {"x-processing-hash": "0x" + keccak(bytes.fromhex("".join(hashes))).hex()}


Endpoint = Callable[[Request], Coroutine[Any, Any, Response]]


def _guarded(endpoint: Endpoint) -> Endpoint:
    async def checked(request: Request) -> Response:
        # Any value will do, as at the public gateway: the payment is what counts.
        if not request.headers.get("authorization"):
            return refusal(401, "Authorization is required")
        mode = request.headers.get("x-settlement-type", "batch")
        if mode.lower() not in requests.SETTLEMENT_TYPES:
            known = ", ".join(requests.SETTLEMENT_TYPES)
            return refusal(400, f"X-SETTLEMENT-TYPE is one of {known}")
        return await endpoint(request)

    return checked


async def _models(_request: Request) -> Response:
    listed = [
        {"id": entry.name, "object": "model", "created": 0, "owned_by": entry.provider}
        for entry in catalogue.living(catalogue.utc_today(), "gateway")
    ]
    return JSONResponse({"object": "list", "data": listed})


async def _health(_request: Request) -> Response:
    return JSONResponse({"status": "ok", "web_search_enabled": True, "moderation_enabled": False})


async def _attestation(_request: Request) -> Response:
    return refusal(501, "the local network runs in no enclave")


async def _bad_request(_request: Request, error: Exception) -> Response:
    return refusal(400, str(error))


async def _bad_upstream(_request: Request, error: Exception) -> Response:
    said = f"the server behind OG_LOCAL_LLM_URL: {error}"
    return refusal(502, said, provider_status=500, retryable=True)


class Bounded:
    """Refuses a body that is too long, before anybody asks for a payment."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, unless it says or turns out to be too long."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "0")
        if length.isdecimal() and int(length) > MAX_BODY:
            # Read to its end, or the sender would see a broken connection in place of the answer.
            while (await receive()).get("more_body"):
                pass
            said = f"The body is longer than {MAX_BODY} bytes"
            await refusal(413, said)(scope, receive, send)
            return
        await self._app(scope, receive, send)
