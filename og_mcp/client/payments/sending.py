"""The way of a request to a gateway: what was sent, and what may have arrived."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import httpx

from og_mcp.client.tee.gateways import Gateway
from og_mcp.client.wire.http import mapped
from og_mcp.errors import AnswerLostError, ServiceError, ServiceUnreachableError
from og_mcp.networks import shown
from og_mcp.types import Cap

CONNECT_S: Final = 10.0


@dataclass(frozen=True)
class Outgoing:
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


class Sending:
    """Sends requests; each once.

    Args:
        answer_s: Seconds to wait for an answer.
    """

    def __init__(self, answer_s: float) -> None:
        self._timeout = httpx.Timeout(answer_s, connect=min(answer_s, CONNECT_S))

    async def send(
        self,
        outgoing: Outgoing,
        payment: Mapping[str, str] | None = None,
        paid_by: Cap | None = None,
    ) -> httpx.Response:
        """Send a request; its answer's body is not read yet.

        Args:
            outgoing: What.
            payment: The header that pays for it.
            paid_by: What that header stands for.

        Raises:
            ServiceUnreachableError: Nothing was sent.
            AnswerLostError: Sent under a payment, and no answer came.
            ServiceError: Sent without one, and no answer came.
        """
        http = outgoing.gateway.http
        url = outgoing.gateway.tee.endpoint.rstrip("/") + outgoing.path
        request = http.build_request(
            "POST",
            url,
            content=outgoing.body,
            headers={"Content-Type": "application/json", **outgoing.headers, **(payment or {})},
            timeout=self._timeout,
        )
        try:
            with mapped("gateway", url):
                return await http.send(request, stream=True)
        except ServiceUnreachableError:
            raise
        except ServiceError as exc:
            if paid_by is None:
                raise
            raise AnswerLostError(shown(url), exc.args[0], paid_by.id) from exc
