"""Fixtures of the tools' tests: an MCP client of the whole server on the local network."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from mcp import Client

from og_mcp.client import Session
from og_mcp.server import build_server
from tests.localnet_client import LocalNetwork


@pytest.fixture
async def mcp(localnet: LocalNetwork) -> AsyncIterator[Client]:
    async with Client(build_server(Session.from_env(localnet.environ))) as client:
        yield client


@pytest.fixture
def sample(localnet: LocalNetwork) -> dict[str, Any]:
    """A model that takes `open_high_low_close`, 1 x 10 x 4 floats."""
    (found,) = (m for m in localnet.ready["sample_models"] if m["name"] == "candle-volatility")
    return dict(found)


@pytest.fixture
def request_of_sample(sample: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `infer` that run the sample."""
    return {"model_cid": sample["cid"], "model_input": sample["model_input"]}
