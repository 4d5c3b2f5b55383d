"""A bench for lies: a JSON-RPC proxy in front of the local network, whose every answer can change.

```
async with lying(localnet.ready["rpc_url"]) as rpc:
    rpc.on("eth_getTransactionReceipt", says(None))
    rpc.on("eth_sendRawTransaction", refuses("txpool is full"), times=2)
    rpc.on("eth_gasPrice", says("0x0"))
```

A lie is a small function of the question. It returns the result, or raises `RefusalError` (a JSON-RPC
error), `InsteadError` (the whole HTTP answer) or `DroppedError` (the connection closes). Whatever it does not
ask for (`await asked.truth()`) is not carried out. The newest lie about a method counts; `honest()`
takes all of them away.
"""

from __future__ import annotations

import inspect
import json
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from og_mcp.localnet.faults import Faults
from og_mcp.localnet.service import Service
from og_mcp.localnet.serving import CONNECTION, drop

JSON = dict[str, Any]


class RefusalError(Exception):
    """A JSON-RPC error in place of a result."""

    def __init__(self, message: str, code: int = -32000, data: object = None) -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message, **({"data": data} if data else {})}


class InsteadError(Exception):
    """A whole HTTP answer in place of JSON-RPC."""

    def __init__(self, body: str, status: int = 200) -> None:
        super().__init__(body)
        self.body, self.status = body, status


class DroppedError(Exception):
    """The connection closes without an answer, or after a few bytes that need not be HTTP."""

    def __init__(self, sent: bytes = b"") -> None:
        super().__init__(sent)
        self.sent = sent

    async def on(self, request: Request) -> Response:
        """Do it to the connection of a request."""
        if self.sent:
            request.scope["state"][CONNECTION].write(self.sent)
        await drop(request.scope, request.receive)
        return Response()


@dataclass(frozen=True)
class Asked:
    """One question, as a lie sees it."""

    method: str
    params: list[Any]
    _rpc: LyingRPC

    async def truth(self) -> Any:  # noqa: ANN401 - JSON
        """Let the node carry the call out, and return what it says.

        Raises:
            RefusalError: It answers with an error.
        """
        return await self._rpc.forward(self.method, self.params)


Lie = Callable[[Asked], Any]
Batch = Callable[[list[JSON]], object]


@dataclass
class _Told:
    method: str
    lie: Lie
    left: int | None


class LyingRPC:
    """A proxy that tells the truth until it is told otherwise.

    Args:
        upstream: URL of the node.
    """

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._http = httpx.AsyncClient(trust_env=False, verify=False, timeout=30)  # noqa: S501 - plain HTTP on this machine
        self._lies: list[_Told] = []
        self.url = ""
        self.sent: list[str] = []
        """Every signed transaction that came by, in order, whatever was answered."""

        self.asked: Counter[str] = Counter()
        """Calls by method."""

        self.batch: Batch | None = None
        """Changes the list of answers to a batch; what it returns is sent."""

    def on(self, method: str, lie: Lie, *, times: int | None = None) -> None:
        """Answer calls of a method (a pattern) by a lie, so many times or from now on."""
        self._lies.insert(0, _Told(method, lie, times))

    def honest(self) -> None:
        """Tell the truth from now on."""
        self._lies.clear()
        self.batch = None

    async def forward(self, method: str, params: list[Any]) -> Any:  # noqa: ANN401 - JSON
        """Ask the node."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = (await self._http.post(self._upstream, json=body)).json()
        if "error" in answer:
            error = answer["error"]
            raise RefusalError(error["message"], error["code"], error.get("data"))
        return answer["result"]

    async def replay(self) -> None:
        """Bring everything that was ever sent to the node, honestly: what can be mined now is.

        Several times, from either end: each order that a hoarder of the bytes might choose.
        """
        for _ in range(2):
            for raw in (*self.sent, *reversed(self.sent)):
                try:
                    await self.forward("eth_sendRawTransaction", [raw])
                except RefusalError:
                    continue

    async def serve(self, request: Request) -> Response:
        """Answer one HTTP request."""
        asked = json.loads(await request.body())
        try:
            if not isinstance(asked, list):
                return _json(await self._single(asked))
            answers = [await self._single(one) for one in asked]
            return _json(self.batch(answers) if self.batch else answers)
        except InsteadError as exc:
            return Response(exc.body, exc.status, media_type="text/html")
        except DroppedError as exc:
            return await exc.on(request)

    async def _single(self, call: JSON) -> JSON:
        method, params = call["method"], call.get("params") or []
        self.asked[method] += 1
        if method == "eth_sendRawTransaction":
            self.sent.append(params[0])
        answer: JSON = {"jsonrpc": "2.0", "id": call["id"]}
        asked = Asked(method, params, self)
        try:
            lie = self._lie(method)
            result = await asked.truth() if lie is None else lie(asked)
            return {**answer, "result": await result if inspect.isawaitable(result) else result}
        except RefusalError as exc:
            return {**answer, "error": exc.error}

    def _lie(self, method: str) -> Lie | None:
        for told in self._lies:
            if not fnmatchcase(method, told.method) or told.left == 0:
                continue
            if told.left is not None:
                told.left -= 1
            return told.lie
        return None

    async def aclose(self) -> None:
        """Close the connections to the node."""
        await self._http.aclose()


def says(result: object) -> Lie:
    """Answer with a result, without asking the node."""
    return lambda _: result


def refuses(message: str, code: int = -32000) -> Lie:
    """Answer with an error, without asking the node."""

    def lie(_: Asked) -> None:
        raise RefusalError(message, code)

    return lie


def does_and(lie: Lie) -> Lie:
    """Let the node carry the call out, and answer by a lie all the same."""

    async def both(asked: Asked) -> object:
        with suppress(RefusalError):
            await asked.truth()
        return lie(asked)

    return both


def http(body: str, status: int) -> Lie:
    """Answer the whole HTTP request with something else."""

    def lie(_: Asked) -> None:
        raise InsteadError(body, status)

    return lie


def drops(_: Asked) -> None:
    """Close the connection."""
    raise DroppedError


def raw(sent: bytes) -> Callable[[object], Any]:
    """Send bytes that need not be HTTP, and close the connection; a gateway's lie, too."""

    def lie(_: object) -> None:
        raise DroppedError(sent)

    return lie


def without(*fields: str, **others: object) -> Lie:
    """Leave fields out of the true result, and change others."""

    async def lie(asked: Asked) -> object:
        result = await asked.truth()
        if not isinstance(result, dict):
            return result
        return {k: v for k, v in result.items() if k not in fields} | others

    return lie


@asynccontextmanager
async def lying(upstream: str) -> AsyncGenerator[LyingRPC]:
    """Run a proxy in front of a node."""
    rpc = LyingRPC(upstream)
    service = Service(Starlette(routes=[Route("/", rpc.serve, methods=["POST"])]), Faults())
    await service.open()
    rpc.url = service.url
    try:
        yield rpc
    finally:
        await service.close()
        await rpc.aclose()


def _json(answer: object) -> Response:
    return Response(json.dumps(answer), media_type="application/json")
