"""Tool list_files."""

from __future__ import annotations

from mcp import Client

from tests.localnet_client import LocalNetwork
from tests.tools.calls import answer, refusal


async def test_the_files_of_a_version_are_listed_with_their_tensors(
    mcp: Client, localnet: LocalNetwork
) -> None:
    sample = localnet.ready["sample_models"][0]

    result = await answer(mcp, "list_files", model_name=sample["name"], version=sample["version"])

    (file,) = result.pop("files")
    assert result == {
        "network": "local",
        "model_name": sample["name"],
        "version": sample["version"],
    }
    assert file["model_cid"] == sample["cid"]
    assert file["name"].endswith(".onnx")
    assert file["size"] > 0
    assert [tensor["name"] for tensor in file["inputs"]] == list(sample["model_input"])


async def test_an_unknown_model_is_named(mcp: Client) -> None:
    text = await refusal(mcp, "list_files", model_name="no-such-model", version="1.00")

    assert "'no-such-model'" in text
    assert "search_models" in text


async def test_an_unknown_version_is_named(mcp: Client, localnet: LocalNetwork) -> None:
    name = localnet.ready["sample_models"][0]["name"]

    text = await refusal(mcp, "list_files", model_name=name, version="99.99")

    assert "'99.99'" in text
    assert "it has '0.01'" in text
    assert "create_version" in text
