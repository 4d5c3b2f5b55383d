"""Fixtures of the tests that pay gateways."""

from __future__ import annotations

from pathlib import Path

import pytest

from og_mcp.errors import ApprovalRequiredError
from tests.books import Purse
from tests.client.payments.chats import OPG
from tests.localnet_client import LocalNetwork


def new_purse(localnet: LocalNetwork, folder: Path) -> Purse:
    """Make a wallet with 100 OPG, of which Permit2 may take 50."""
    purse = _with_opg(localnet, folder)
    localnet.approve_permit2(purse.wallet, 50 * OPG)
    return purse


def _with_opg(localnet: LocalNetwork, folder: Path) -> Purse:
    purse = Purse(localnet, folder)
    localnet.fund_opg(purse.address, 100 * OPG)
    localnet.fund(purse.address, chain="base_rpc")
    return purse


@pytest.fixture
def purse(localnet: LocalNetwork, tmp_path: Path) -> Purse:
    """A wallet with OPG that Permit2 may take."""
    return new_purse(localnet, tmp_path)


@pytest.fixture
def fresh_purse(fresh_localnet: LocalNetwork, tmp_path: Path) -> Purse:
    """The same, on a local network of its own."""
    return new_purse(fresh_localnet, tmp_path)


@pytest.fixture
async def used_purse(localnet: LocalNetwork, tmp_path: Path) -> Purse:
    """A wallet as `purse`, approved by a session: its journal knows the fee, and was there from the start."""
    purse = _with_opg(localnet, tmp_path)
    async with purse.session() as og:
        with pytest.raises(ApprovalRequiredError) as asked:
            await og.approve_opg("50")
        await og.approve(asked.value.approval_of)
        await og.approve_opg("50")
    return purse
