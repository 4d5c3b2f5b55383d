"""Control of a running local network for tests: faults, counters, blocks (its `admin_url`).

Bodies and answers are JSON. SERVICE is `rpc`, `base_rpc`, `node_api`, `hub`, `hub_read`, `auth`,
`gateway` or one that was added (`gateway2`);
CHAIN is `rpc` or `base_rpc`. What a fault looks like, and which requests it meets, is told in
`og_mcp.localnet.faults`.

* `POST /services/SERVICE/faults` a fault: 201 `{"id": n}`. `GET` lists what still waits, `DELETE`
  forgets all of it and takes latency away.
* `PUT /services/SERVICE/latency` `{"latency_s": 0.05}`: added to each HTTP request.
* `GET /services/SERVICE/counters`: `{"http_requests": n, "calls": {name: n}}`; `DELETE` counts
  from zero.
* `POST /services/SERVICE/close`: connections are refused, open ones end, its faults are forgotten;
  `POST /services/SERVICE/open` listens again on the same port.
* `POST /chains/CHAIN/hold`: transactions wait; `POST /chains/CHAIN/release` mines what waits;
  `POST /chains/CHAIN/mine` `{"blocks": 1}` mines also while held: `{"block_number": n}`.
* `POST /chains/CHAIN/fund` `{"address": "0x...", "wei": n}`: a transfer to that address, mined at
  once unless blocks are held: `{"transaction_hash"}`.
* `PUT /chains/CHAIN/prices` `{"gas_price": wei, "least_gas_price": wei}`, either or both: what
  `eth_gasPrice` says, and below which a transaction stays pending. Wei are integers here.
* `PUT /chains/CHAIN/safe` `{"depth": n}`: the tags `safe` and `finalized` mean the block n below
  the newest; 0 at the start.
* `PUT /chains/rpc/answers` with fields of `og_mcp.localnet.precompile.Answers`: where results of
  an inference appear.
* `PUT /payments/terms` `{"accepts": {...}, "after_challenges": 0}`: fields of what challenges ask
  for (`accepts[0]`: `amount`, `asset`, `payTo`, `network`, `maxTimeoutSeconds`, `scheme`, `extra`),
  once so many challenges have still asked for the old: with 1, the requirement changes between a
  client's challenge and its payment. `GET` tells it.
* `PUT /payments/mode` `{"sessions": false, "session_idle_s": 0.2}`, either or both: without
  sessions each request is paid and settled by itself. A new idle time holds from the next charge on.
* `POST /payments/refuse` `{"times": 1}`: so many valid payments are answered by 402 all the same.
* `GET /payments/sessions`: `[{"session", "payer", "nonce", "path", "cap", "spent", "open"}]`;
  amounts are text in base units, `session` is the beginning of the id.
* `POST /payments/advance` `{"seconds": n}`: the time of sessions moves ahead by so much, and what is
  due then settles; that of the chains does not.
* `POST /payments/end`: no session takes more requests; they settle when they would have.
* `POST /payments/settle`: every session ends and settles now, and all settlements are listed, as by
  `GET /payments/settlements`: `[{"session", "payer", "nonce", "amount", "transaction_hash",
  "status", "error"}]`; `status` is `settled`, `pending` (blocks are held) or `failed`.
* `GET /payments/counters`: `challenges`, `verifications`, `sessions`, `charged`, `uncharged`,
  `settlements`, as far as there were any.
* `POST /payments/fund` `{"address": "0x...", "opg": n}`: base units of OPG for any address, which
  may pay from then on: `{"transaction_hash"}`.
* `GET /tees`: the gateways and what the registry says of each: `[{"service", "tee_id", "url",
  "endpoint", "enabled", "payment_address", "pcr_hash", "heartbeat", "certificate_matches"}]`.
* `POST /tees`: 201, one more gateway with keys of its own, registered; described as by `GET`. To
  have it down, close its service.
* `PUT /tees/SERVICE` `{"enabled": false, "heartbeat": unix_s, "endpoint", "payment_address",
  "pcr_hash": "0x...", "tls_certificate": "0x..."}`, each if wanted: changes its registry entry.
* `POST /tees/SERVICE/rotate` `{"register": false}`: it serves with another certificate, which the
  registry learns of only if told to.
* `POST /hub/accounts` `{"email", "password", "username", "disabled"}`: one more hub account.
* `POST /hub/expire_tokens`: every id token ends; refresh tokens stay good.
* `POST /reset`: all of the above as at the start, except hub accounts and what is on chain; open
  sessions are settled.

Errors are `{"detail": text}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from og_mcp.localnet.chain import Chain
from og_mcp.localnet.faucet import Faucet
from og_mcp.localnet.faults import Fault, FaultError
from og_mcp.localnet.gateway.fleet import Fleet
from og_mcp.localnet.gateway.verbs import TEEVerbs
from og_mcp.localnet.node_errors import NodeError
from og_mcp.localnet.payments import Payments
from og_mcp.localnet.payments.verbs import PaymentVerbs
from og_mcp.localnet.precompile import Answers
from og_mcp.localnet.service import Service
from og_mcp.localnet.serving import LoopbackOnly
from og_mcp.localnet.signin import Account, Accounts
from og_mcp.localnet.verb_values import json_body, seconds, whole

T = TypeVar("T")


@dataclass(frozen=True)
class Controls:
    """The parts that the verbs act on."""

    services: Mapping[str, Service]
    chains: Mapping[str, Chain]
    faucets: Mapping[str, Faucet]
    accounts: Accounts
    payments: Payments
    fleet: Fleet


def admin_app(controls: Controls) -> ASGIApp:
    """Build the admin service; pages in a browser may not call it."""
    services = _ServiceVerbs(controls.services)
    chains = _ChainVerbs(controls.chains, controls.faucets)
    payments = PaymentVerbs(
        controls.payments, controls.chains["base_rpc"], controls.faucets["base_rpc"]
    )

    tees = TEEVerbs(controls.fleet)

    async def reset(_request: Request) -> Response:
        await services.reset()
        await chains.reset()
        await tees.reset()
        await payments.reset()
        return _DONE

    app = Starlette(
        routes=[
            *services.routes(),
            *chains.routes(),
            *payments.routes(),
            *tees.routes(),
            *_hub_routes(controls.accounts),
            Route("/reset", reset, methods=["POST"]),
        ],
        exception_handlers={HTTPException: _refused, FaultError: _bad_fault},
    )
    return LoopbackOnly(_NoBrowser(app))


_DONE: Final = Response(status_code=204)


class _NoBrowser:
    """Refuses requests with an Origin header: web pages send one, tests do not."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if "origin" in Headers(scope=scope):
            refusal = JSONResponse({"detail": "Not for pages in a browser"}, 403)
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)


class _ServiceVerbs:
    def __init__(self, services: Mapping[str, Service]) -> None:
        self._services = services

    def routes(self) -> list[Route]:
        faults, counters = "/services/{service}/faults", "/services/{service}/counters"
        return [
            Route(faults, self.add_fault, methods=["POST"]),
            Route(faults, self.list_faults, methods=["GET"]),
            Route(faults, self.clear_faults, methods=["DELETE"]),
            Route("/services/{service}/latency", self.set_latency, methods=["PUT"]),
            Route(counters, self.get_counters, methods=["GET"]),
            Route(counters, self.reset_counters, methods=["DELETE"]),
            Route("/services/{service}/close", self.close, methods=["POST"]),
            Route("/services/{service}/open", self.open, methods=["POST"]),
        ]

    async def reset(self) -> None:
        for service in self._services.values():
            service.faults.clear()
            service.faults.reset_counters()
            await service.open()

    async def add_fault(self, request: Request) -> Response:
        fault = Fault.from_json(await json_body(request))
        return JSONResponse({"id": self._service(request).faults.add(fault)}, 201)

    async def list_faults(self, request: Request) -> Response:
        return JSONResponse(self._service(request).faults.pending())

    async def clear_faults(self, request: Request) -> Response:
        self._service(request).faults.clear()
        return _DONE

    async def set_latency(self, request: Request) -> Response:
        latency_s = (await json_body(request)).get("latency_s")
        self._service(request).faults.latency_s = seconds(latency_s, "latency_s")
        return _DONE

    async def get_counters(self, request: Request) -> Response:
        return JSONResponse(self._service(request).faults.counters())

    async def reset_counters(self, request: Request) -> Response:
        self._service(request).faults.reset_counters()
        return _DONE

    async def close(self, request: Request) -> Response:
        await self._service(request).close()
        return _DONE

    async def open(self, request: Request) -> Response:
        await self._service(request).open()
        return _DONE

    def _service(self, request: Request) -> Service:
        return _named(self._services, request.path_params["service"])


class _ChainVerbs:
    def __init__(self, chains: Mapping[str, Chain], faucets: Mapping[str, Faucet]) -> None:
        self._chains = chains
        self._faucets = faucets
        self._prices = {name: _prices(chain) for name, chain in chains.items()}
        self._answers = {name: chain.answers for name, chain in chains.items()}

    def routes(self) -> list[Route]:
        return [
            Route("/chains/{chain}/hold", self.hold, methods=["POST"]),
            Route("/chains/{chain}/release", self.release, methods=["POST"]),
            Route("/chains/{chain}/mine", self.mine, methods=["POST"]),
            Route("/chains/{chain}/fund", self.fund, methods=["POST"]),
            Route("/chains/{chain}/prices", self.set_prices, methods=["PUT"]),
            Route("/chains/{chain}/safe", self.set_safe, methods=["PUT"]),
            Route("/chains/{chain}/answers", self.set_answers, methods=["PUT"]),
        ]

    async def reset(self) -> None:
        for name, chain in self._chains.items():
            chain.answers, chain.safe_depth = self._answers[name], 0
            for price, wei in self._prices[name].items():
                setattr(chain, price, wei)
            await chain.in_order(chain.release_blocks)

    async def hold(self, request: Request) -> Response:
        chain = self._chain(request)
        await chain.in_order(chain.hold_blocks)
        return _DONE

    async def release(self, request: Request) -> Response:
        chain = self._chain(request)
        await chain.in_order(chain.release_blocks)
        return _DONE

    async def mine(self, request: Request) -> Response:
        chain = self._chain(request)
        blocks = whole((await json_body(request)).get("blocks", 1), "blocks")
        return JSONResponse({"block_number": await chain.in_order(chain.mine, blocks)})

    async def fund(self, request: Request) -> Response:
        chain, body = self._chain(request), await json_body(request)
        faucet = _named(self._faucets, request.path_params["chain"])
        address, wei = str(body.get("address")), whole(body.get("wei"), "wei")
        try:
            sent = await chain.in_order(faucet.fund, address, wei)
        except (ValueError, NodeError) as error:
            raise HTTPException(400, str(error)) from error
        return JSONResponse({"transaction_hash": sent})

    async def set_prices(self, request: Request) -> Response:
        chain = self._chain(request)
        for name, wei in (await json_body(request)).items():
            if name not in _prices(chain):
                raise HTTPException(400, f"There is no price {name!r}")
            setattr(chain, name, whole(wei, name))
        return _DONE

    async def set_safe(self, request: Request) -> Response:
        depth = whole((await json_body(request)).get("depth"), "depth")
        self._chain(request).safe_depth = depth
        return _DONE

    async def set_answers(self, request: Request) -> Response:
        chain = self._chain(request)
        try:
            chain.answers = Answers.from_json(await json_body(request))
        except ValueError as error:
            raise HTTPException(400, str(error)) from error
        return _DONE

    def _chain(self, request: Request) -> Chain:
        return _named(self._chains, request.path_params["chain"])


def _hub_routes(accounts: Accounts) -> list[Route]:
    async def add_account(request: Request) -> Response:
        try:
            accounts.add(Account(**await json_body(request)))
        except TypeError as error:
            raise HTTPException(400, str(error)) from error
        return _DONE

    async def expire_tokens(_request: Request) -> Response:
        accounts.expire_id_tokens()
        return _DONE

    return [
        Route("/hub/accounts", add_account, methods=["POST"]),
        Route("/hub/expire_tokens", expire_tokens, methods=["POST"]),
    ]


def _prices(chain: Chain) -> dict[str, int]:
    return {"gas_price": chain.gas_price, "least_gas_price": chain.least_gas_price}


def _named(parts: Mapping[str, T], name: str) -> T:
    if name not in parts:
        raise HTTPException(404, f"There is no {name!r}, only {', '.join(parts)}")
    return parts[name]


async def _refused(_request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return JSONResponse({"detail": error.detail}, error.status_code)


async def _bad_fault(_request: Request, error: Exception) -> Response:
    return JSONResponse({"detail": str(error)}, 400)
