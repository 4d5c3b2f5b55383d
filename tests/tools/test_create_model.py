"""Tool create_model: full results, the one question, and what is told when a step fails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from mcp import Client

from og_mcp.client import Session
from og_mcp.server import build_server
from tests import onnx_files
from tests.localnet_client import LocalNetwork
from tests.tools.calls import answer, refusal
from tests.tools.person import Person


@pytest.fixture
def environ(localnet: LocalNetwork, tmp_path: Path) -> dict[str, str]:
    return {**localnet.environ, "OG_UPLOAD_ROOTS": str(tmp_path)}


@pytest.fixture
async def mcp(environ: dict[str, str]) -> AsyncIterator[Client]:
    async with Client(build_server(Session.from_env(environ))) as client:
        yield client


@pytest.fixture
def name() -> str:
    return f"model-{uuid4().hex}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "doubling.onnx"
    path.write_bytes(onnx_files.small())
    return path


async def test_a_repository_is_made_with_an_empty_version(mcp: Client, name: str) -> None:
    result = await answer(mcp, "create_model", model_name=name, model_desc="Doubles.")

    assert len(result.pop("call_id")) == 32
    assert result == {
        "network": "local",
        "status": "done",
        "model_name": name,
        "version": "0.01",
    }


async def test_with_a_file_it_is_published_and_told_as_upload_tells_it(
    mcp: Client, name: str, path: Path
) -> None:
    arguments = {"model_name": name, "model_desc": "", "model_path": str(path)}
    result = await answer(mcp, "create_model", **arguments)
    shown = await answer(mcp, "get_model", model_name=name)

    upload = result["upload"]
    assert (upload["file_name"], upload["call_id"]) == ("doubling.onnx", result["call_id"])
    assert shown["versions"][0]["files"][0]["model_cid"] == upload["model_cid"]
    assert shown["example_input"].keys() == {"x"}


async def test_a_step_that_fails_tells_what_was_done_and_the_same_call_continues(
    mcp: Client, localnet: LocalNetwork, name: str, path: Path
) -> None:
    arguments = {"model_name": name, "model_desc": "", "model_path": str(path)}
    localnet.fault("hub POST */files", "error", service="hub", status=413, message="no room")
    text = await refusal(mcp, "create_model", **arguments)
    again = await answer(mcp, "create_model", **arguments)

    assert text.startswith(
        f"Model '{name}' was created, with version 0.01; the next step failed: The upload of "
        "'doubling.onnx' did not succeed: the Model Hub answered 413: 'no room'. The file is "
        "not published; the call can be repeated. The same call again continues from there."
    )
    assert (again["already_there"], again["version"]) == (True, "0.01")
    assert again["upload"]["file_name"] == "doubling.onnx"


async def test_a_person_is_asked_once_for_all_of_it(
    environ: dict[str, str], localnet: LocalNetwork, name: str, path: Path
) -> None:
    person = Person()
    async with Client(build_server(Session.from_env(environ)), elicitation_callback=person) as mcp:
        arguments = {"model_name": name, "model_desc": "", "model_path": str(path)}
        result = await answer(mcp, "create_model", **arguments)

    (question,) = person.heard
    assert question == (
        f"May og-mcp publish the model repository '{name}' with the file '{path}' "
        f"({len(onnx_files.small())} bytes, SHA-256 {result['upload']['sha256']})? This cannot be "
        f"undone. Network local. Call {result['call_id']}."
    )
    assert localnet.ready["hub_login"]["email"] not in question


async def test_a_person_who_does_not_agree_keeps_it_from_being_created(
    environ: dict[str, str], name: str
) -> None:
    person = Person("decline")
    async with Client(build_server(Session.from_env(environ)), elicitation_callback=person) as mcp:
        text = await refusal(mcp, "create_model", model_name=name, model_desc="")
        missing = await refusal(mcp, "get_model", model_name=name)

    assert "A person declined this request (call " in text
    assert "no model" in missing


async def test_a_name_of_one_s_own_says_which_version_is_added_and_keeps_its_description(
    environ: dict[str, str], name: str, path: Path
) -> None:
    person = Person()
    model: dict[str, Any] = {"model_name": name, "model_path": str(path)}
    async with Client(build_server(Session.from_env(environ)), elicitation_callback=person) as mcp:
        await answer(mcp, "create_model", **model, model_desc="The first words.")
        path.write_bytes(onnx_files.small(width=7))  # noqa: ASYNC240 - a few bytes
        added = await answer(mcp, "create_model", **model, model_desc="Other words.")
        found = await answer(mcp, "get_model", model_name=name)

    assert person.heard[1].startswith(
        f"May og-mcp add version 0.02 to your existing model '{name}', with the file '{path}' ("
    )
    assert (added["version"], added["already_there"]) == ("0.02", True)
    assert added["note"] == (
        f"You had a model '{name}' before: version 0.02 was added. Its description stays 'The first "
        "words.'; the new one was not taken over. Put what is new into the notes of create_version."
    )
    assert found["description"] == "The first words."


async def test_a_version_that_is_not_there_is_told_with_those_that_are(
    mcp: Client, name: str, path: Path
) -> None:
    await answer(mcp, "create_model", model_name=name, model_desc="")
    await answer(mcp, "create_version", model_name=name)

    listed = await refusal(mcp, "list_files", model_name=name, version="v2")
    uploaded = await refusal(mcp, "upload", model_name=name, version="2", model_path=str(path))

    assert all(
        f"of model '{name}'; it has '0.01', '0.02'." in text
        and "add the next one with create_version" in text
        for text in (listed, uploaded)
    )


async def test_without_an_account_the_variables_are_named(tmp_path: Path) -> None:
    environ = {"OG_NETWORK": "opengradient", "OG_DATA_DIR": str(tmp_path / "data")}
    async with Client(build_server(Session.from_env(environ))) as mcp:
        text = await refusal(mcp, "create_model", model_name="m", model_desc="")

    assert "OG_EMAIL and OG_PASSWORD and FIREBASE_API_KEY are not set" in text


@pytest.mark.parametrize(
    "arguments", [{"model_name": ""}, {"model_name": "m" * 101}, {"dry_run": True}]
)
async def test_what_the_schema_does_not_allow_is_refused(
    mcp: Client, arguments: dict[str, object]
) -> None:
    text = await refusal(mcp, "create_model", **{"model_name": "m", "model_desc": "", **arguments})

    assert "create_model takes model_name, model_desc, model_path." in text
