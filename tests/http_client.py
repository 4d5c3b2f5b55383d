"""MCP clients over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import httpx2
from mcp import Client
from mcp.client.session import ElicitationFnT
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

WAYS: Final = [(path, mode) for path in ("/mcp", "/sse") for mode in ("legacy", "2026-07-28")]
"""Every endpoint in every era."""

PATIENCE_S: Final = 60.0
"""A first call imports for seconds; httpx would hang up after five."""


@asynccontextmanager
async def connected(
    address: str, path: str, mode: str, person: ElicitationFnT | None = None
) -> AsyncIterator[Client]:
    """Connect a client to one endpoint."""
    async with httpx2.AsyncClient(trust_env=False, timeout=PATIENCE_S) as http:
        if path == "/sse":
            transport = sse_client(address + path)
        else:
            transport = streamable_http_client(address + path, http_client=http)
        async with Client(transport, mode=mode, elicitation_callback=person) as client:
            yield client
