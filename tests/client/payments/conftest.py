"""Fixtures of the tests that pay gateways."""

from __future__ import annotations

from pathlib import Path

import pytest

from og_mcp.errors import ApprovalRequiredError
from tests.books import Purse
from tests.client.payments.chats import OPG
from tests.localnet_client import LocalNetwork


@pytest.fixture
async def purse(localnet: LocalNetwork, tmp_path: Path) -> Purse:
    """A wallet with OPG that Permit2 may take."""
    purse = Purse(localnet, tmp_path)
    localnet.fund_opg(purse.address, 100 * OPG)
    localnet.fund(purse.address, chain="base_rpc")
    async with purse.session() as og:
        with pytest.raises(ApprovalRequiredError) as asked:
            await og.approve_opg("50")
        await og.approve(asked.value.approval_of)
        await og.approve_opg("50")
    return purse
