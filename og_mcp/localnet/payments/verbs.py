"""What a test may ask of the payment side; the verbs are told in `og_mcp.localnet.admin`."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from x402.schemas import PaymentRequirements

from og_mcp.localnet.chain import Chain
from og_mcp.localnet.faucet import Faucet
from og_mcp.localnet.node_errors import NodeError
from og_mcp.localnet.payments.payment_endpoint import Payments
from og_mcp.localnet.verb_values import json_body, seconds, truth, whole


class PaymentVerbs:
    """The verbs under `/payments`.

    Args:
        payments: What they act on.
        chain: The payment chain.
        faucet: Holds OPG to give away.
    """

    def __init__(self, payments: Payments, chain: Chain, faucet: Faucet) -> None:
        self._payments = payments
        self._chain = chain
        self._faucet = faucet

    def routes(self) -> list[Route]:
        """List what the admin service mounts."""
        return [
            Route("/payments/terms", self.get_terms, methods=["GET"]),
            Route("/payments/terms", self.set_terms, methods=["PUT"]),
            Route("/payments/mode", self.set_mode, methods=["PUT"]),
            Route("/payments/refuse", self.refuse, methods=["POST"]),
            Route("/payments/sessions", self.list_sessions, methods=["GET"]),
            Route("/payments/advance", self.advance, methods=["POST"]),
            Route("/payments/end", self.end_all, methods=["POST"]),
            Route("/payments/settle", self.settle_all, methods=["POST"]),
            Route("/payments/settlements", self.list_settlements, methods=["GET"]),
            Route("/payments/counters", self.get_counters, methods=["GET"]),
            Route("/payments/fund", self.fund, methods=["POST"]),
        ]

    async def reset(self) -> None:
        """Settle what is open and take back what was changed."""
        await self._payments.sessions.settle_all()
        self._payments.as_at_start()

    async def get_terms(self, _request: Request) -> Response:
        """Tell what challenges ask for."""
        return JSONResponse(self._payments.requirement.model_dump())

    async def set_terms(self, request: Request) -> Response:
        """Let challenges ask for something else."""
        body = await json_body(request)
        after = whole(body.get("after_challenges", 0), "after_challenges")
        self._payments.change(self._terms(body.get("accepts")), after)
        return _DONE

    def _terms(self, changes: object) -> PaymentRequirements:
        current: dict[str, Any] = self._payments.requirement.model_dump()
        if not isinstance(changes, dict) or not changes.keys() <= current.keys():
            raise HTTPException(400, f"accepts is an object of {', '.join(current)}")
        extra = {**current["extra"], **changes.get("extra", {})}
        try:
            return PaymentRequirements.model_validate({**current, **changes, "extra": extra})
        except ValidationError as error:
            raise HTTPException(400, str(error)) from error

    async def set_mode(self, request: Request) -> Response:
        """Choose sessions or single settlements, and the idle time."""
        body = await json_body(request)
        if "sessions" in body:
            self._payments.with_sessions = truth(body["sessions"], "sessions")
        if "session_idle_s" in body:
            self._payments.sessions.idle_s = seconds(body["session_idle_s"], "session_idle_s")
        return _DONE

    async def refuse(self, request: Request) -> Response:
        """Answer valid payments by challenges, so many times."""
        self._payments.refusals = whole((await json_body(request)).get("times", 1), "times")
        return _DONE

    async def list_sessions(self, _request: Request) -> Response:
        """Describe all sessions."""
        return JSONResponse(self._payments.sessions.as_json())

    async def advance(self, request: Request) -> Response:
        """Move the time of sessions ahead, and wait until what is due then has settled."""
        self._payments.sessions.advance(
            seconds((await json_body(request)).get("seconds"), "seconds")
        )
        await self._payments.sessions.settled()
        return _DONE

    async def end_all(self, _request: Request) -> Response:
        """Let no session take more requests."""
        self._payments.sessions.end_all()
        return _DONE

    async def settle_all(self, _request: Request) -> Response:
        """Settle everything now."""
        await self._payments.sessions.settle_all()
        return JSONResponse(self._payments.settlements())

    async def list_settlements(self, _request: Request) -> Response:
        """Describe all settlements."""
        return JSONResponse(self._payments.settlements())

    async def get_counters(self, _request: Request) -> Response:
        """Tell how often what happened."""
        return JSONResponse(dict(self._payments.counters))

    async def fund(self, request: Request) -> Response:
        """Give OPG to an address, which may pay from then on."""
        body = await json_body(request)
        address, amount = str(body.get("address")), whole(body.get("opg"), "opg")
        try:
            sent = await self._chain.in_order(self._faucet.fund_opg, address, amount)
        except (ValueError, NodeError) as error:
            raise HTTPException(400, str(error)) from error
        self._payments.know(address)
        return JSONResponse({"transaction_hash": sent})


_DONE = Response(status_code=204)
