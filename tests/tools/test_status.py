"""Tool status."""

from __future__ import annotations

import sys

import pytest
from mcp import Client

from og_mcp.client import Session
from og_mcp.server import build_server
from tests.localnet_client import LocalNetwork
from tests.tools.calls import answer


async def test_a_funded_wallet_is_ready(mcp: Client, localnet: LocalNetwork) -> None:
    result = await answer(mcp, "status")

    assert (result["network"], result["ready"], result["problems"]) == ("local", True, [])
    assert result["chain_id"] == localnet.ready["chain_id"]
    assert result["address"] == localnet.ready["accounts"][0]["address"]
    assert result["balances"]


async def test_without_a_wallet_it_says_what_to_set() -> None:
    async with Client(build_server(Session.from_env({"OG_NETWORK": "opengradient"}))) as mcp:
        result = await answer(mcp, "status")

    assert (result["address"], result["ready"]) == ("", False)
    assert "OG_PRIVATE_KEY" in result["problems"][0]["fix"]


async def test_a_chain_that_is_gone_is_a_problem_and_no_error(
    mcp: Client, localnet: LocalNetwork
) -> None:
    localnet.close_service("rpc")

    result = await answer(mcp, "status")

    assert result["ready"] is False
    assert "cannot be reached" in result["problems"][0]["what"]


async def test_a_key_that_is_not_used_is_told_and_keeps_nothing_from_working(
    localnet: LocalNetwork,
) -> None:
    environ = {**localnet.environ, "OG_PRIVATE_KEY": "0x" + "5" * 64}
    async with Client(build_server(Session.from_env(environ))) as mcp:
        status = await answer(mcp, "status")

    assert status["ready"] is True
    (problem,) = status["problems"]
    assert problem["what"].startswith("OG_PRIVATE_KEY: set and not used, since OG_NETWORK=local")
    assert "OG_NETWORK=opengradient" in problem["fix"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limits")
async def test_t44_a_disk_that_takes_nothing_is_told(localnet: LocalNetwork) -> None:
    import resource  # noqa: PLC0415 - not on Windows

    async with Client(build_server(Session.from_env(localnet.environ))) as mcp:
        await answer(mcp, "status")
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        # Files that this process writes end there, as on a disk that is full.
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
        try:
            full = await answer(mcp, "status")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    (problem,) = full["problems"]
    assert full["ready"] is False
    assert problem["what"].startswith(
        f"Nothing can be written to the data folder '{localnet.data_dir}': "
    )
    assert "set OG_DATA_DIR" in problem["fix"]
