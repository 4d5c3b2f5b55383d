"""The MCP Inspector, as people use it: it lists the tools and runs a model over every transport."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from og_mcp import tools
from tests.inspector import Inspector
from tests.localnet_client import LocalNetwork
from tests.server_process import command, over_http

pytestmark = pytest.mark.slow

ERAS = ("legacy", "modern")


@pytest.fixture(scope="module")
def inspector() -> Inspector:
    return Inspector.found_or_installed()


@pytest.fixture
def address(localnet: LocalNetwork) -> Iterator[str]:
    with over_http(localnet.environ) as served:
        yield served


def call_of(localnet: LocalNetwork) -> list[str]:
    sample = localnet.ready["sample_models"][0]
    arguments = {"model_cid": sample["cid"], "model_input": sample["model_input"]}
    return [
        *("--method", "tools/call", "--tool-name", "infer"),
        *("--tool-args-json", json.dumps(arguments)),
    ]


def test_it_finds_nothing_that_a_client_could_stumble_over(
    inspector: Inspector, localnet: LocalNetwork
) -> None:
    done = inspector.run(*command(), "--strict", "--method", "tools/list", environ=localnet.environ)

    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == ""
    listed = json.loads(done.stdout)["tools"]
    assert [tool["name"] for tool in listed] == [tool.name for tool in tools.ALL]


@pytest.mark.parametrize("era", ERAS)
def test_it_runs_a_model_over_stdio(inspector: Inspector, localnet: LocalNetwork, era: str) -> None:
    result = inspector.answer(
        *command(), "--protocol-era", era, *call_of(localnet), environ=localnet.environ
    )

    assert not result.get("isError")
    expected = localnet.ready["sample_models"][0]["model_output"]
    assert result["structuredContent"]["model_output"] == expected


@pytest.mark.parametrize("path", ["/mcp", "/sse"])
def test_it_lists_tools_and_runs_a_model_over_http(
    inspector: Inspector, localnet: LocalNetwork, address: str, path: str
) -> None:
    listed = inspector.answer(address + path, "--strict", "--method", "tools/list")
    result = inspector.answer(address + path, *call_of(localnet))

    assert [tool["name"] for tool in listed["tools"]] == [tool.name for tool in tools.ALL]
    expected = localnet.ready["sample_models"][0]["model_output"]
    assert result["structuredContent"]["model_output"] == expected


def test_it_reads_the_network(inspector: Inspector, localnet: LocalNetwork, address: str) -> None:
    read = inspector.answer(f"{address}/mcp", "--method", "resources/read", "--uri", "og://network")

    assert json.loads(read["contents"][0]["text"])["chain_id"] == localnet.ready["chain_id"]
