"""One server with OpenAI's API for all tests of it, and the two clients people use."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import openai
import pytest

from tests.localnet_client import LocalNetwork, running
from tests.server_process import over_http


@pytest.fixture(scope="package")
def _network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalNetwork]:
    with running() as network:
        network.data_dir = tmp_path_factory.mktemp("openai-data")
        yield network


@pytest.fixture(scope="package")
def address(_network: LocalNetwork) -> Iterator[str]:
    with over_http(_network.environ, "http", "--openai") as address:
        yield address


@pytest.fixture
def network(_network: LocalNetwork) -> Iterator[LocalNetwork]:
    """The local network behind the server; faults of a test are gone after it."""
    yield _network
    _network.reset()


@pytest.fixture
def client(address: str) -> Iterator[openai.OpenAI]:
    """OpenAI's own client, its retries as they come."""
    with (
        httpx2.Client(trust_env=False, timeout=60) as http,
        openai.OpenAI(base_url=f"{address}/v1", api_key="anything", http_client=http) as client,
    ):
        yield client
