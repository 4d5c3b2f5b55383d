"""The server through a real MCP client, in memory, in both eras of the protocol."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import jsonschema
import pytest
from inline_snapshot import snapshot
from mcp import Client, MCPError
from mcp.server import MCPServer

import og_mcp
from og_mcp.client import Session
from og_mcp.server import build_server
from og_mcp.tools import _progress
from og_mcp.tools._injected import Call
from og_mcp.types import TOOL_NAMES
from tests.localnet_client import LocalNetwork
from tests.tools.calls import refusal, text_of

UNOPENED = {"OG_NETWORK": "local"}
"""A local network that no test here uses: it starts at the first use, which does not come."""


@pytest.fixture(params=["legacy", "2026-07-28"])
async def mcp(request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    async with Client(build_server(Session.from_env(UNOPENED)), mode=request.param) as client:
        yield client


async def test_the_server_says_who_it_is() -> None:
    async with Client(build_server(Session.from_env(UNOPENED))) as mcp:
        info, instructions = mcp.server_info, mcp.instructions

    assert info is not None
    assert (info.name, info.title, info.version) == ("og-mcp", "OpenGradient", og_mcp.__version__)
    assert info.website_url
    assert instructions
    assert len(instructions) < 600


@pytest.mark.parametrize(
    "flags",
    [{"OG_READ_ONLY": "1"}, *({"OG_TOOLSETS": one} for one in ("models", "llm", "hub", "calls"))],
)
async def test_the_instructions_name_only_what_is_offered(flags: dict[str, str]) -> None:
    async with Client(build_server(Session.from_env({**UNOPENED, **flags}))) as mcp:
        instructions = mcp.instructions or ""
        offered = {tool.name for tool in (await mcp.list_tools()).tools}

    said = set(re.findall(r"[a-z_]+", instructions)) & TOOL_NAMES
    assert said == offered


async def test_a_published_model_is_offered_with_what_waits_for_it() -> None:
    environ = {**UNOPENED, "OG_TOOLSETS": "models", "OG_MODELS": "Qm1:volatility"}
    async with Client(build_server(Session.from_env(environ))) as mcp:
        offered = [tool.name for tool in (await mcp.list_tools()).tools]

    assert offered == ["infer", "get_call", "list_calls", "volatility"]


async def test_an_argument_that_may_be_left_out_is_not_one_of_nothing(mcp: Client) -> None:
    text = await refusal(mcp, "search_models", kind="audio")

    assert "Argument kind must be one of onnx, llm, image or left out, not 'audio'." in text


async def test_listings_may_be_kept_for_a_while() -> None:
    async with Client(build_server(Session.from_env(UNOPENED)), mode="2026-07-28") as mcp:
        listed = await mcp.list_tools()

    assert (listed.ttl_ms, listed.cache_scope) == (300_000, "public")


async def test_a_misspelt_argument_is_refused_with_the_nearest_one(mcp: Client) -> None:
    text = await refusal(mcp, "get_model", model_name="m", auther="me")

    assert text == snapshot(
        "Unknown argument 'auther'; did you mean author? get_model takes model_name, author."
    )


async def test_an_argument_of_no_tool_is_refused(mcp: Client) -> None:
    text = await refusal(mcp, "status", verbose=True)

    assert text == snapshot("Unknown argument 'verbose'. status takes no arguments.")


async def test_dryrun_does_not_pay(mcp: Client) -> None:
    text = await refusal(mcp, "infer", model_cid="Qm", model_input={"x": 1}, dryrun=True)

    assert "Unknown argument 'dryrun'; did you mean dry_run?" in text


async def test_every_wrong_argument_is_told_at_once(mcp: Client) -> None:
    text = await refusal(mcp, "infer", model_cid="", inference_mode="FAST", max_retries=21)

    assert text == snapshot(
        "Argument model_cid must be text of 1 to 256 characters, not ''. "
        "Argument model_input is missing. "
        "Argument inference_mode must be one of VANILLA, ZKML, TEE, not 'FAST'. "
        "Argument max_retries must be a whole number from 0 to 20, not 21. "
        "infer takes model_cid, model_input, inference_mode, max_retries, idempotency_key, dry_run. "
        "Nothing was sent or paid."
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ([1, 2], "an array of 2"),
        (7, "7"),
        (None, "null"),
        (True, "true"),
        ("[1, 2]", "an array of 2"),
        ('{"x": [1, 2', "'{\"x\": [1, 2'"),
    ],
)
async def test_what_is_no_object_is_no_model_input(mcp: Client, value: object, shown: str) -> None:
    text = await refusal(mcp, "infer", model_cid="Qm", model_input=value)

    assert f"Argument model_input must be an object, not {shown}." in text


@pytest.mark.parametrize("value", [True, "true", 1.5, "many", "", [5]])
async def test_what_is_no_whole_number_is_no_count(mcp: Client, value: object) -> None:
    text = await refusal(mcp, "infer", model_cid="Qm", model_input={}, max_retries=value)

    assert "Argument max_retries must be a whole number from 0 to 20, not " in text


async def test_a_number_is_no_version(mcp: Client) -> None:
    text = await refusal(mcp, "list_files", model_name="m", version=1.0)

    assert "Argument version must be text of 1 to 50 characters, not 1.0." in text


async def test_a_refusal_repeats_at_most_two_hundred_characters_of_a_value(mcp: Client) -> None:
    text = await refusal(
        mcp, "infer", model_cid="x" * 5000, model_input="y" * 5000, max_retries=10**4000
    )

    assert "x" * 199 in text
    assert "x" * 200 not in text
    assert "y" * 200 not in text
    assert "not a number of 13288 bits." in text
    assert len(text) < 1000


async def test_many_unknown_arguments_are_not_all_repeated(mcp: Client) -> None:
    text = await refusal(mcp, "status", **{f"n{index:03}": index for index in range(500)})

    assert "495 more problem(s)." in text
    assert len(text) < 1000


async def test_an_unknown_tool_is_an_error(mcp: Client) -> None:
    assert await refusal(mcp, "nosuch") == "Unknown tool: nosuch"


async def test_an_unknown_resource_is_an_error(mcp: Client) -> None:
    with pytest.raises(MCPError) as refused:
        await mcp.read_resource("og://nosuch")

    assert refused.value.code == -32602


async def test_arguments_sent_as_text_are_repaired(localnet: LocalNetwork) -> None:
    sample = localnet.ready["sample_models"][0]
    arguments = {
        "model_cid": sample["cid"],
        "model_input": json.dumps(sample["model_input"]),
        "max_retries": "3",
    }
    async with Client(build_server(Session.from_env(localnet.environ))) as mcp:
        result = await mcp.call_tool("infer", arguments)

    assert not result.is_error, text_of(result)
    assert result.structured_content is not None
    assert result.structured_content["model_output"] == sample["model_output"]


@pytest.mark.slow
async def test_results_keep_the_published_schema_and_are_text_too(
    localnet: LocalNetwork, tmp_path: Path
) -> None:
    notes = tmp_path / "notes.md"
    notes.write_text("What the model is for.")
    repository = {"model_name": "schema-kept"}
    sample = localnet.ready["sample_models"][0]
    calls: dict[str, dict[str, Any]] = {
        "infer": {"model_cid": sample["cid"], "model_input": sample["model_input"]},
        "list_files": {"model_name": sample["name"], "version": sample["version"]},
        "get_model": {"model_name": sample["name"]},
        "status": {},
        "list_calls": {},
        "chat": {"model": "gpt-5.4", "messages": [{"role": "user", "content": "Hello"}]},
        "completion": {"model": "gpt-5.4", "prompt": "Once"},
        "generate_image": {"model": "gpt-image-2", "prompt": "a boat", "dry_run": True},
        "web_search": {"query": "rain", "dry_run": True},
        "approve_opg": {"amount_opg": "1", "dry_run": True},
        "create_model": {**repository, "model_desc": "Holds notes."},
        "create_version": repository,
        "upload": {**repository, "model_path": str(notes), "version": "0.01"},
        "search_models": {"query": "schema-kept"},
    }
    environ = {**localnet.environ, "OG_UPLOAD_ROOTS": str(tmp_path)}
    async with Client(build_server(Session.from_env(environ))) as mcp:
        listed = {tool.name: tool for tool in (await mcp.list_tools()).tools}
        results = {name: await mcp.call_tool(name, arguments) for name, arguments in calls.items()}
        made = {"call_id": (results["infer"].structured_content or {})["call_id"]}
        results |= {
            name: await mcp.call_tool(name, made) for name in ("get_call", "verify_receipt")
        }

    assert results.keys() == listed.keys()
    for name, result in results.items():
        schema = listed[name].output_schema
        assert schema is not None
        assert not result.is_error, text_of(result)
        jsonschema.validate(result.structured_content, schema)
        assert json.loads(text_of(result)) == result.structured_content
        assert "\n" not in text_of(result)


async def test_the_network_is_a_resource(localnet: LocalNetwork) -> None:
    async with Client(build_server(Session.from_env(localnet.environ))) as mcp:
        listed = {str(one.uri): one for one in (await mcp.list_resources()).resources}
        (content,) = (await mcp.read_resource("og://network")).contents

    info = json.loads(getattr(content, "text", ""))
    assert set(listed) == {"og://models", "og://network"}
    assert listed["og://network"].mime_type == "application/json"
    assert content.mime_type == "application/json"
    assert (info["network"], info["local"]) == ("local", True)
    assert info["chain_id"] == localnet.ready["chain_id"]
    assert info["sample_models"] == localnet.ready["sample_models"]


async def test_a_resource_that_cannot_be_read_says_why(localnet: LocalNetwork) -> None:
    missing = {**localnet.environ, "OG_LOCALNET": f"{localnet.ready_file}.gone"}
    async with Client(build_server(Session.from_env(missing)), mode="legacy") as mcp:
        with pytest.raises(MCPError) as refused:
            await mcp.read_resource("og://network")

    assert "og-mcp localnet" in refused.value.message


async def test_a_client_that_asked_for_progress_hears_that_a_call_goes_on() -> None:
    heard: list[float] = []
    enough = anyio.Event()

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        assert (total, message) == (None, f"{progress:g} s")
        heard.append(progress)
        if len(heard) == 3:
            enough.set()

    server = MCPServer("progress")

    @server.tool()
    async def wait(call: Call) -> str:
        async with _progress.progress(call, every_s=0.2):
            await enough.wait()
        return "done"

    with anyio.fail_after(20):
        async with Client(server) as mcp:
            result = await mcp.call_tool("wait", {}, progress_callback=hear)

    assert text_of(result) == "done"
    assert len(heard) == 3
    assert heard == sorted(set(heard))


async def test_a_call_that_is_given_up_ends_its_progress() -> None:
    ended = anyio.Event()
    server = MCPServer("progress")

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    @server.tool()
    async def wait(call: Call) -> str:
        async with _progress.progress(call, every_s=0.01):
            await work()
        raise NotImplementedError

    with anyio.fail_after(20):
        async with Client(server, mode="legacy") as mcp:
            with anyio.move_on_after(0.2):
                await mcp.call_tool("wait", {})
            await ended.wait()


async def test_the_end_of_one_connection_leaves_the_session_to_the_others(
    localnet: LocalNetwork,
) -> None:
    server = build_server(Session.from_env(localnet.environ))
    async with Client(server) as first:
        async with Client(server) as second:
            assert not (await second.call_tool("status", {})).is_error

        assert not (await first.call_tool("status", {})).is_error
