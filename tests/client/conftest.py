"""A wallet whose node is seen through an RPC that may lie."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.books import Purse
from tests.localnet_client import LocalNetwork
from tests.lying_rpc import LyingRPC, lying


@pytest.fixture
async def rpc(localnet: LocalNetwork) -> AsyncIterator[LyingRPC]:
    """The proxy in front of the network's RPC; honest until it is told otherwise."""
    async with lying(localnet.ready["rpc_url"]) as rpc:
        yield rpc


@pytest.fixture
def purse(localnet: LocalNetwork, rpc: LyingRPC, tmp_path: Path) -> Purse:
    """A wallet that no fee empties, behind that proxy."""
    return Purse(localnet, tmp_path, funds=10**24, rpc_url=rpc.url)
