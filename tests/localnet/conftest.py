"""A chain of one's own with a funded wallet and a folder of models; the public SDK's Python."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount

from og_mcp.localnet.chain import Chain
from tests.localnet.graphs import Folder

CHAIN_ID = 31_555

SDK: Final = "opengradient==1.1.4"


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


@pytest.fixture(scope="session")
def sdk_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The Python of the public SDK's environment: `TEST_SDK_HOME` names it, or it is made now."""
    if home := os.environ.get("TEST_SDK_HOME"):
        return _python(Path(home))
    folder = tmp_path_factory.mktemp("sdk")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)  # noqa: S603 - our own Python
    install = [_python(folder), "-m", "pip", "install", "--quiet", SDK]
    subprocess.run(install, check=True)  # noqa: S603 - the new environment's pip
    return _python(folder)


def _python(home: Path) -> str:
    return str(home / ("Scripts" if os.name == "nt" else "bin") / "python")
