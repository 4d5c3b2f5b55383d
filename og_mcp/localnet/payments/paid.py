"""The middleware in front of a gateway's application."""

from __future__ import annotations

from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request as HTTPRequest
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from x402.http.utils import encode_payment_response_header

from og_mcp.localnet.payments.payment import Payment
from og_mcp.localnet.payments.payment_endpoint import Payments, Request
from og_mcp.localnet.payments.sessions import Session

PATHS: Final = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/web_search"})
SESSION_HEADER: Final = "X-Upto-Session"
SIGNATURE_HEADER: Final = "PAYMENT-SIGNATURE"
COST: Final = "cost_opg"
"""Key of `scope["state"]` under which the application tells what its answer costs."""


class Paid:
    """Lets a `POST` to one of `PATHS` through when it is paid.

    The application puts what an answer costs into `scope["state"]["cost_opg"]` (int, base units)
    before it sends the last body message. Without it, with a status other than 2xx, or when that
    last message never comes, nothing is charged.

    Requests without Authorization pass: the application refuses them, paid or not.
    """

    def __init__(self, app: ASGIApp, payments: Payments) -> None:
        self._app = app
        self._payments = payments

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Ask for a payment, or pass the request on and charge its answer."""
        if not _is_sold(scope):
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})
        request = _read(scope)
        admitted = await self._payments.admit(request)
        if isinstance(admitted, Session):
            await self._app(scope, receive, self._metered(scope, send, admitted))
        elif isinstance(admitted, Payment):
            await self._settled(scope, receive, send, request, admitted)
        else:
            await admitted(scope, receive, send)

    def _metered(self, scope: Scope, send: Send, session: Session) -> Send:
        status = 0

        async def metered(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[SESSION_HEADER] = session.id
            elif not message.get("more_body", False) and _is_success(status):
                self._payments.charge(session, scope["state"].get(COST, 0))
            await send(message)

        return metered

    async def _settled(
        self, scope: Scope, receive: Receive, send: Send, request: Request, payment: Payment
    ) -> None:
        answer: list[Message] = []

        async def keep(message: Message) -> None:
            answer.append(message)

        # The whole answer waits: the settlement stands in its headers, and may yet fail.
        await self._app(scope, receive, keep)
        if _is_whole_success(answer):
            said = await self._payments.settle_request(payment, scope["state"].get(COST, 0))
            told = encode_payment_response_header(said)
            if not said.success:
                refusal = self._payments.challenge(request, said.error_reason or "not settled")
                refusal.headers["PAYMENT-RESPONSE"] = told
                await refusal(scope, receive, send)
                return
            MutableHeaders(scope=answer[0])["PAYMENT-RESPONSE"] = told
        for message in answer:
            await send(message)


def _is_sold(scope: Scope) -> bool:
    return (
        scope["type"] == "http"
        and scope["method"] == "POST"
        and scope["path"] in PATHS
        and bool(Headers(scope=scope).get("authorization"))
    )


def _read(scope: Scope) -> Request:
    headers = Headers(scope=scope)
    return Request(
        method=scope["method"],
        path=scope["path"],
        url=str(HTTPRequest(scope).url),
        gateway=scope["server"][1],
        session_id=headers.get(SESSION_HEADER, ""),
        signature=headers.get(SIGNATURE_HEADER, ""),
    )


def _is_whole_success(answer: list[Message]) -> bool:
    return len(answer) > 1 and not answer[-1].get("more_body") and _is_success(answer[0]["status"])


def _is_success(status: int) -> bool:
    return 200 <= status < 300  # noqa: PLR2004 - what 2xx means
