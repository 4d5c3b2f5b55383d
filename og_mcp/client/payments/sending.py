"""The way of a request to a gateway: what was sent, and what may have arrived."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import httpx

from og_mcp.client.tee.gateways import Gateway
from og_mcp.client.wire.http import mapped
from og_mcp.errors import AnswerLostError, ServiceError, ServiceUnreachableError
from og_mcp.networks import shown
from og_mcp.types import Cap

CONNECT_S: Final = 10.0


class Sending:
    """Sends requests; each once.

    Args:
        answer_s: Seconds to wait for an answer.
    """

    def __init__(self, answer_s: float) -> None:
        self._timeout = httpx.Timeout(answer_s, connect=min(answer_s, CONNECT_S))

    async def send(
        self,
        gateway: Gateway,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        paid_by: Cap | None = None,
    ) -> httpx.Response:
        """Send a request; its answer's body is not read yet.

        Raises:
            ServiceUnreachableError: Nothing was sent.
            AnswerLostError: Sent under a payment, and no answer came.
            ServiceError: Sent without one, and no answer came.
        """
        url = gateway.tee.endpoint.rstrip("/") + path
        request = gateway.http.build_request(
            "POST",
            url,
            content=body,
            headers={"Content-Type": "application/json", **headers},
            timeout=self._timeout,
        )
        try:
            with mapped("gateway", url):
                return await gateway.http.send(request, stream=True)
        except ServiceUnreachableError:
            raise
        except ServiceError as exc:
            if paid_by is None:
                raise
            raise AnswerLostError(shown(url), exc.args[0], paid_by.id) from exc
