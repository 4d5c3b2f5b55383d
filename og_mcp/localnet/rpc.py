"""JSON-RPC 2.0 over HTTP, single calls and batches, as a geth node serves it.

Calls of a batch are carried out one after the other, so that a receipt asked for behind its
transaction is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeGuard

import anyio
from pydantic_core import from_json
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from og_mcp.localnet.chain import Chain
from og_mcp.localnet.faults import Fault, Faults, When
from og_mcp.localnet.methods import METHODS, QUICK_METHODS
from og_mcp.localnet.node_errors import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    NodeError,
)
from og_mcp.localnet.rpc_params import Params
from og_mcp.localnet.serving import FaultGate, LoopbackOnly, answer

MAX_BODY: Final = 128 * 2**20
"""Bytes; hex text of some 60 MiB of call data."""

JSON = dict[str, Any]


def rpc_app(chain: Chain, faults: Faults) -> Starlette:
    """Build the HTTP application that serves one chain.

    Args:
        chain: The chain.
        faults: Asked before and after every call, by its method.
    """
    node = _Node(chain, faults)
    return Starlette(
        routes=[Route("/", node.serve, methods=["POST"])],
        middleware=[
            Middleware(LoopbackOnly),
            Middleware(FaultGate, faults=faults, service=""),
        ],
    )


class _InsteadError(Exception):
    """A fault takes the place of the whole HTTP answer."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.action)
        self.fault = fault


class _Node:
    def __init__(self, chain: Chain, faults: Faults) -> None:
        self._chain = chain
        self._faults = faults

    async def serve(self, request: Request) -> Response:
        if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
            return PlainTextResponse(
                "invalid content type, only application/json is supported", 415
            )
        try:
            body = await _read(request)
        except ClientDisconnect:
            return Response()
        if body is None:
            return PlainTextResponse("content length too large", 413)
        try:
            answered = await self._answer(body)
        except _InsteadError as instead:
            response = await answer(instead.fault, self._faults, request.scope, request.receive)
            return response or Response()
        return Response() if answered is None else JSONResponse(answered)

    async def _answer(self, body: bytes) -> JSON | list[JSON] | None:
        try:
            # Not `json`: an import under py-evm lifts the recursion limit to where its reader of
            # deeply nested text overflows the stack.
            asked = from_json(body)
        except ValueError:
            return _failure(None, NodeError("parse error", PARSE_ERROR))
        if not isinstance(asked, list):
            return await self._single(asked)
        if not asked:
            return _failure(None, NodeError("empty batch", INVALID_REQUEST))
        answers = [await self._single(call) for call in asked]
        return [each for each in answers if each is not None] or None

    async def _single(self, asked: object) -> JSON | None:
        if not _is_request(asked):
            return _failure(_id_of(asked), NodeError("invalid request", INVALID_REQUEST))
        method: str = asked["method"]
        self._faults.count_call(method)
        try:
            result = await self._with_faults(method, asked.get("params"))
            answered = {"jsonrpc": "2.0", "id": asked.get("id"), "result": result}
        except NodeError as exc:
            answered = _failure(asked.get("id"), exc)
        return answered if "id" in asked else None

    async def _with_faults(self, method: str, params: object) -> object:
        before = await self._fault(method, "before")
        if before is not None:
            return before.result
        result = await self._execute(method, params)
        after = await self._fault(method, "after")
        return result if after is None else after.result

    async def _fault(self, method: str, when: When) -> Fault | None:
        """Show a fault; returns one whose result takes the true one's place."""
        fault = self._faults.take(method, when)
        if fault is None:
            return None
        if fault.action not in {"error", "result", "delay"}:
            raise _InsteadError(fault)
        await anyio.sleep(fault.delay_s)
        if fault.action == "error":
            raise NodeError(fault.message, fault.code, fault.data)
        return fault if fault.action == "result" else None

    async def _execute(self, method: str, params: object) -> object:
        if not isinstance(params, (list, type(None))):
            raise NodeError("non-array args", INVALID_PARAMS)
        values = Params(params or [])
        if method in QUICK_METHODS:
            return QUICK_METHODS[method](self._chain, values)
        if method not in METHODS:
            raise NodeError(
                f"the method {method} does not exist/is not available", METHOD_NOT_FOUND
            )
        return await self._chain.in_order(METHODS[method], self._chain, values)


async def _read(request: Request) -> bytes | None:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY:
            return None
    return bytes(body)


def _is_request(asked: object) -> TypeGuard[Mapping[str, Any]]:
    return (
        isinstance(asked, dict)
        and asked.get("jsonrpc") == "2.0"
        and isinstance(asked.get("method"), str)
        and isinstance(asked.get("id"), (str, int, float, type(None)))
    )


def _id_of(asked: object) -> str | float | None:
    given = asked.get("id") if isinstance(asked, dict) else None
    return given if isinstance(given, (str, int, float)) else None


def _failure(call_id: object, error: NodeError) -> JSON:
    return {"jsonrpc": "2.0", "id": call_id, "error": error.as_json()}
