"""The way of a request to a gateway: what was sent, and what may have arrived."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import httpx

from og_mcp.client.tee.gateways import Gateway
from og_mcp.client.wire.http import map_httpx_errors
from og_mcp.errors import AnswerLostError, ServiceError, ServiceUnreachableError
from og_mcp.networks import shown
from og_mcp.types import Cap

CONNECT_S: Final = 10.0


@dataclass(frozen=True)
class GatewayRequest:
    """A request as it goes out, but for what pays for it."""

    gateway: Gateway
    path: str
    """Below the gateway's endpoint, e.g. `/v1/chat/completions`."""

    body: bytes
    headers: Mapping[str, str]

    @property
    def where(self) -> str:
        """The gateway as errors name it."""
        return shown(self.gateway.tee.endpoint)


class RequestSender:
    """Sends requests; each once.

    Args:
        answer_s: Seconds to wait for an answer.
    """

    def __init__(self, answer_s: float) -> None:
        self._timeout = httpx.Timeout(answer_s, connect=min(answer_s, CONNECT_S))

    def request(
        self, outgoing: GatewayRequest, payment: Mapping[str, str] | None = None
    ) -> httpx.Request:
        """Make a request ready; whatever fails here, nothing was sent.

        Args:
            outgoing: What.
            payment: The header that pays for it.
        """
        return outgoing.gateway.http.build_request(
            "POST",
            outgoing.gateway.tee.endpoint.rstrip("/") + outgoing.path,
            content=outgoing.body,
            headers={"Content-Type": "application/json", **outgoing.headers, **(payment or {})},
            timeout=self._timeout,
        )

    @staticmethod
    async def send(
        outgoing: GatewayRequest, request: httpx.Request, paid_by: Cap | None = None
    ) -> httpx.Response:
        """Send a request; its answer's body is not read yet.

        Args:
            outgoing: What.
            request: The same, ready.
            paid_by: What its payment header stands for.

        Raises:
            ServiceUnreachableError: Nothing was sent.
            AnswerLostError: Sent under a payment, and no answer came.
            ServiceError: Sent without one, and no answer came.
        """
        url = outgoing.gateway.tee.endpoint
        try:
            with map_httpx_errors("gateway", url):
                return await outgoing.gateway.http.send(request, stream=True)
        except ServiceUnreachableError:
            raise
        except ServiceError as exc:
            if paid_by is None:
                raise
            raise AnswerLostError(shown(url), exc.args[0], paid_by.id) from exc
