"""Tool get_model."""

from __future__ import annotations

from mcp import Client

from tests.localnet_client import LocalNetwork
from tests.tools.calls import answer, refusal


async def test_a_model_is_told_with_what_infer_needs(mcp: Client, localnet: LocalNetwork) -> None:
    sample = localnet.ready["sample_models"][0]

    result = await answer(mcp, "get_model", model_name=sample["name"])

    assert (result["network"], result["name"]) == ("local", sample["name"])
    assert result["author"] == sample["author"]
    assert result["example_input"] == sample["model_input"]
    (version,) = result["versions"]
    (file,) = version["files"]
    assert (version["version"], file["model_cid"]) == (sample["version"], sample["cid"])
    assert file["inputs"] == [
        {"name": "open_high_low_close", "dtype": "float", "shape": [1, 10, 4]}
    ]


async def test_the_author_may_be_given(mcp: Client, localnet: LocalNetwork) -> None:
    sample = localnet.ready["sample_models"][0]

    result = await answer(mcp, "get_model", model_name=sample["name"], author=sample["author"])

    assert result["author"] == sample["author"]


async def test_an_unknown_model_is_named(mcp: Client) -> None:
    text = await refusal(mcp, "get_model", model_name="no-such-model")

    assert "'no-such-model'" in text


async def test_another_author_has_no_such_model(mcp: Client, localnet: LocalNetwork) -> None:
    name = localnet.ready["sample_models"][0]["name"]

    text = await refusal(mcp, "get_model", model_name=name, author="nobody")

    assert name in text


async def test_a_hub_that_is_gone_is_told_by_its_address(
    mcp: Client, localnet: LocalNetwork
) -> None:
    localnet.close_service("hub_read")

    text = await refusal(mcp, "get_model", model_name="anything")

    assert "cannot be reached" in text
