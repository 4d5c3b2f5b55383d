"""Tool infer takes a model's name where it stands for one file, and says which one ran."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from mcp import Client

from tests import onnx_files
from tests.localnet_client import LocalNetwork, http_client
from tests.tools.calls import answer, refusal

INPUT: dict[str, Any] = {"x": [[1, 2, 3]]}


@pytest.fixture
def name() -> str:
    return f"doubling-{uuid4().hex[:8]}"


async def test_a_model_s_name_stands_for_its_newest_onnx_file(
    mcp: Client, localnet: LocalNetwork, name: str
) -> None:
    cid = localnet.publish(name, onnx_files.small())
    author = (await answer(mcp, "get_model", model_name=name))["author"]

    for given in (name, f"{author}/{name}", f" {name}\n"):
        result = await answer(mcp, "infer", model_cid=given, model_input=INPUT)

        assert result["model_output"] == {"y": [[2, 4, 6]]}
        assert result["model_cid"] == cid
        assert result["note"] == f"The CID is of model '{name}' by '{author}', version '0.01'."


async def test_blanks_around_a_cid_are_not_part_of_it(
    mcp: Client, localnet: LocalNetwork, name: str
) -> None:
    cid = localnet.publish(name, onnx_files.small())

    result = await answer(mcp, "infer", model_cid=f"  {cid}\n", model_input=INPUT)

    assert result["model_cid"] == cid


async def test_a_name_that_is_no_model_is_told(mcp: Client) -> None:
    text = await refusal(mcp, "infer", model_cid="no such model", model_input=INPUT)
    other = await refusal(mcp, "infer", model_cid="nobody/candle-volatility", model_input=INPUT)

    assert text == (
        "'no such model' is not a model CID, and the Model Hub has no model of that name. "
        "search_models finds models, and get_model shows their CIDs; nothing was sent."
    )
    assert other.startswith("'nobody/candle-volatility' is not a model CID, and the Model Hub")


async def test_a_version_with_several_models_asks_for_the_cid(
    mcp: Client, localnet: LocalNetwork, name: str
) -> None:
    cid = localnet.publish(name, onnx_files.small())
    with http_client(localnet.ready["hub_url"], token=localnet.sign_in()) as hub:
        hub.post(
            f"/api/v0/models/{name}/versions/0.01/files",
            files={"file": ("other.onnx", onnx_files.small(width=4))},
        ).raise_for_status()

    text = await refusal(mcp, "infer", model_cid=name, model_input=INPUT)

    assert f"'0.01' of '{name}' has several ONNX files: 'model.onnx': '{cid}', 'other.onnx'" in text
    assert text.endswith("Give the CID of one as model_cid. Nothing was sent or paid.")


async def test_a_repository_without_onnx_is_told(
    mcp: Client, localnet: LocalNetwork, name: str
) -> None:
    localnet.publish(name, b"words", "model.txt")

    text = await refusal(mcp, "infer", model_cid=name, model_input=INPUT)

    assert text.startswith(f"The model '{name}' has no ONNX file.")
