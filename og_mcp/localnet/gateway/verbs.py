"""What a test may ask of the gateways and their registry entries (`og_mcp.localnet.admin`)."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from og_mcp.localnet.gateway.fleet import Fleet
from og_mcp.localnet.verb_values import json_body, truth


class _Change(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    enabled: bool | None = None
    heartbeat: int | None = Field(default=None, ge=0, lt=2**256)
    endpoint: str | None = None
    payment_address: str | None = Field(default=None, pattern="^0x[0-9a-fA-F]{40}$")
    pcr_hash: str | None = Field(default=None, pattern="^0x[0-9a-fA-F]{64}$")
    tls_certificate: str | None = Field(default=None, pattern="^0x([0-9a-fA-F]{2})*$")

    def fields(self) -> dict[str, Any]:
        """Return what is to be changed, hex read as bytes."""
        given = self.model_dump(exclude_none=True)
        hexes = given.keys() & {"pcr_hash", "tls_certificate"}
        return given | {name: bytes.fromhex(given[name][2:]) for name in hexes}


class TEEVerbs:
    """Verbs under `/tees`."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def routes(self) -> list[Route]:
        """List the verbs."""
        return [
            Route("/tees", self._list, methods=["GET"]),
            Route("/tees", self._add, methods=["POST"]),
            Route("/tees/{name}", self._change, methods=["PUT"]),
            Route("/tees/{name}/rotate", self._rotate, methods=["POST"]),
        ]

    async def reset(self) -> None:
        """Set everything as it was at the start."""
        await self._fleet.reset()

    async def _list(self, _request: Request) -> Response:
        return JSONResponse([self._fleet.describe(name) for name in self._fleet.names()])

    async def _add(self, _request: Request) -> Response:
        return JSONResponse(self._fleet.describe(await self._fleet.add()), 201)

    async def _change(self, request: Request) -> Response:
        name = self._named(request)
        try:
            change = _Change.model_validate(await json_body(request))
        except ValidationError as error:
            first = error.errors()[0]
            raise HTTPException(400, f"{first['loc']}: {first['msg']}") from error
        await self._fleet.change(name, **change.fields())
        return JSONResponse(self._fleet.describe(name))

    async def _rotate(self, request: Request) -> Response:
        name = self._named(request)
        register = truth((await json_body(request)).get("register", False), "register")
        await self._fleet.rotate(name, register=register)
        return JSONResponse(self._fleet.describe(name))

    def _named(self, request: Request) -> str:
        name: str = request.path_params["name"]
        if name not in self._fleet:
            raise HTTPException(404, f"There is no {name!r}, only {', '.join(self._fleet.names())}")
        return name
