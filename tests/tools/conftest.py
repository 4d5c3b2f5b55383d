"""Fixtures of the tools' tests: an MCP client of the whole server on the local network."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from mcp import Client

from og_mcp.client import Session
from og_mcp.server import build_server
from tests.localnet_client import LocalNetwork


@pytest.fixture
async def mcp(localnet: LocalNetwork) -> AsyncIterator[Client]:
    async with Client(build_server(Session.from_env(localnet.environ))) as client:
        yield client
