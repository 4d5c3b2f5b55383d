"""A chain of one's own with a funded wallet and a folder of models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount

from og_mcp.localnet.chain import Chain
from tests.localnet.graphs import Folder

CHAIN_ID = 31_555


@pytest.fixture
def wallet() -> LocalAccount:
    account: LocalAccount = Account.create()
    return account


@pytest.fixture
def models(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture
def chain(wallet: LocalAccount, models: Folder) -> Iterator[Chain]:
    chain = Chain(chain_id=CHAIN_ID, accounts=[wallet.address], models=models)
    yield chain
    chain.close()
