"""Tool create_version: a full result, the question, and unknown models."""

from __future__ import annotations

from uuid import uuid4

import pytest
from mcp import Client

from og_mcp.client import Session
from og_mcp.server import build_server
from tests.localnet_client import LocalNetwork
from tests.tools.calls import answer, refusal
from tests.tools.person import Person


@pytest.fixture
async def name(mcp: Client) -> str:
    made = await answer(
        mcp, "create_model", model_name=f"model-{uuid4().hex}", model_desc="About it."
    )
    return str(made["model_name"])


async def test_a_version_is_added_and_named(mcp: Client, name: str) -> None:
    minor = await answer(mcp, "create_version", model_name=name, notes="better")
    major = await answer(mcp, "create_version", model_name=name, is_major=True)

    assert len(minor.pop("call_id")) == 32
    assert minor == {"network": "local", "status": "done", "model_name": name, "version": "0.02"}
    assert major["version"] == "1.00"


async def test_a_model_that_is_not_there_is_told(mcp: Client) -> None:
    text = await refusal(mcp, "create_version", model_name="no-such-model")

    assert text.startswith("The Model Hub has no model 'no-such-model'.")


async def test_a_person_is_asked_where_one_can_be(localnet: LocalNetwork, name: str) -> None:
    person = Person()
    server = build_server(Session.from_env(localnet.environ))
    async with Client(server, elicitation_callback=person) as mcp:
        made = await answer(mcp, "create_version", model_name=name)

    (question,) = person.heard
    assert question.startswith(
        f"May og-mcp add a minor version to the published model '{name}'? This cannot be undone."
    )
    assert made["call_id"] in question


async def test_where_0_asks_before_everything_it_does_not_on_the_local_network(
    localnet: LocalNetwork, name: str
) -> None:
    environ = {**localnet.environ, "OG_CONFIRM_ABOVE": "0"}
    async with Client(build_server(Session.from_env(environ))) as mcp:
        assert (await answer(mcp, "create_version", model_name=name))["version"] == "0.02"
