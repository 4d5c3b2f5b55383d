"""A bench for lies: a TLS proxy in front of the local gateway, whose every answer can change.

```
async with lying_gateway(localnet) as gateway:
    gateway.on(header("X-Upto-Session", b"odd \\xff bytes"))
    gateway.on(without_fields("tee_signature"), path="*/completions", times=2)
    gateway.on(whole(b"<html>", status=502))
```

A lie is a small function of the true answer, which the gateway has carried out by then. It returns
what is sent (it may have to be awaited), or raises `DroppedError` (the connection closes). The newest lie about a path counts;
`honest()` takes all of them away. Streams are read to their end before they are passed on.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from og_mcp.localnet.faults import Faults
from og_mcp.localnet.service import Service
from og_mcp.localnet.tls import Certificate
from tests.localnet_client import LocalNetwork
from tests.lying_rpc import DroppedError

HOST = "127.0.0.1"
OF_THE_HOP = {"connection", "content-encoding", "content-length", "transfer-encoding"}


@dataclass(frozen=True)
class Answer:
    """One whole answer, as a lie sees it."""

    status: int
    headers: tuple[tuple[str, bytes], ...]
    """Names in small letters."""

    body: bytes


Lie = Callable[[Answer], Answer | Awaitable[Answer]]


@dataclass
class _Told:
    path: str
    lie: Lie
    left: int | None


class LyingGateway:
    """A proxy that tells the truth until it is told otherwise.

    Args:
        upstream: URL of the gateway.
    """

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._http = httpx.AsyncClient(trust_env=False, verify=False, timeout=30)  # noqa: S501 - a service of this machine
        self._lies: list[_Told] = []
        self.received: list[httpx.Headers] = []
        """The headers of every request, in order."""

    def on(self, lie: Lie, *, path: str = "*", times: int | None = None) -> None:
        """Answer on a path (a pattern) by a lie, so many times or from now on."""
        self._lies.insert(0, _Told(path, lie, times))

    def honest(self) -> None:
        """Tell the truth from now on."""
        self._lies.clear()

    async def serve(self, request: Request) -> Response:
        """Answer one HTTP request."""
        headers = httpx.Headers(request.headers.raw)
        self.received.append(headers)
        sent = [one for one in request.headers.raw if one[0].decode() not in {"host", *OF_THE_HOP}]
        try:
            true = _read(
                await self._http.request(
                    request.method,
                    self._upstream + request.url.path,
                    content=await request.body(),
                    headers=sent,
                )
            )
            told = self._lie(request.url.path)(true)
            answer = await told if inspect.isawaitable(told) else told
        except DroppedError as exc:
            return await exc.on(request)
        response = Response(answer.body, answer.status)
        length = (b"content-length", str(len(answer.body)).encode())
        response.raw_headers = [*((name.encode(), value) for name, value in answer.headers), length]
        return response

    def _lie(self, path: str) -> Lie:
        for told in self._lies:
            if not fnmatchcase(path, told.path) or told.left == 0:
                continue
            if told.left is not None:
                told.left -= 1
            return told.lie
        return _truth

    async def aclose(self) -> None:
        """Close the connections to the gateway."""
        await self._http.aclose()


def header(name: str, value: bytes) -> Lie:
    """Add a header to the true answer, or change it."""

    def lie(answer: Answer) -> Answer:
        others = (one for one in answer.headers if one[0] != name.lower())
        return replace(answer, headers=(*others, (name.lower(), value)))

    return lie


def whole(body: bytes, status: int = 200) -> Lie:
    """Answer something else altogether."""
    return lambda _: Answer(status, (("content-type", b"text/html"),), body)


def document(change: Callable[[dict[str, Any]], object]) -> Lie:
    """Answer what a function makes of the JSON document, where the true answer is a good one."""

    def lie(answer: Answer) -> Answer:
        if answer.status != httpx.codes.OK:
            return answer
        return replace(answer, body=json.dumps(change(json.loads(answer.body))).encode())

    return lie


def without_fields(*names: str) -> Lie:
    """Leave fields out of the JSON document."""
    return document(lambda told: {name: told[name] for name in told if name not in names})


def drops(_: Answer) -> Answer:
    """Close the connection, once the gateway has carried the request out."""
    raise DroppedError


def _truth(answer: Answer) -> Answer:
    return answer


def _read(response: httpx.Response) -> Answer:
    headers = ((name.decode().lower(), value) for name, value in response.headers.raw)
    kept = tuple(one for one in headers if one[0] not in OF_THE_HOP)
    return Answer(response.status_code, kept, response.content)


@asynccontextmanager
async def lying_gateway(localnet: LocalNetwork) -> AsyncGenerator[LyingGateway]:
    """Run a proxy in front of the local gateway, which the registry names in its place."""
    gateway, certificate = LyingGateway(localnet.ready["gateway_url"]), Certificate(HOST)
    methods = ["GET", "POST"]
    app = Starlette(routes=[Route("/{path:path}", gateway.serve, methods=methods)])
    # The gateway's own Date is passed on.
    service = Service(app, Faults(), certificate=certificate, date_header=False)
    await service.open()
    try:
        localnet.change_tee(endpoint=service.url, tls_certificate="0x" + certificate.der.hex())
        yield gateway
    finally:
        await service.close()
        await gateway.aclose()
