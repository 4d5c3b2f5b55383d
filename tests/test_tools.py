"""House rules that every tool keeps."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from og_mcp import tools
from og_mcp.client import Session
from og_mcp.server import build_server
from og_mcp.types import Shape

FILES = sorted(path.stem for path in Path(tools.__file__).parent.glob("[!_]*.py"))
TOOLSETS = {"models", "llm", "hub", "wallet", "calls"}
TOOLS = {tool.name: tool for tool in tools.ALL}
UNIONS = {"anyOf", "oneOf", "allOf", "not", "$ref", "$defs"}

every_tool = pytest.mark.parametrize("tool", tools.ALL, ids=lambda tool: tool.name)


def subclasses(kind: type[Shape]) -> Iterator[type[Shape]]:
    """Walk all shapes below one."""
    for each in kind.__subclasses__():
        yield each
        yield from subclasses(each)


def schemas_in(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Walk a schema and every schema inside it."""
    yield schema
    for part in schema.get("properties", {}).values():
        yield from schemas_in(part)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from schemas_in(schema[key])


def test_every_tool_file_holds_the_one_tool_of_its_name() -> None:
    assert sorted(tool.name for tool in tools.ALL) == FILES


@every_tool
def test_a_name_fits_every_host(tool: tools.Tool) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", tool.name)
    assert len(tool.name) <= 48


@every_tool
def test_every_hint_is_said(tool: tools.Tool) -> None:
    hints = tool.annotations

    assert tool.title
    assert hints is not None
    assert isinstance(hints.read_only_hint, bool)
    assert isinstance(hints.destructive_hint, bool)
    assert isinstance(hints.idempotent_hint, bool)
    assert isinstance(hints.open_world_hint, bool)


@every_tool
def test_no_tool_is_both_read_only_and_destructive(tool: tools.Tool) -> None:
    assert tool.annotations is not None
    assert not (tool.annotations.read_only_hint and tool.annotations.destructive_hint)


@every_tool
def test_a_description_is_short_and_gives_no_orders(tool: tools.Tool) -> None:
    summary, *rest = tool.description.split("\n\n")

    assert len(tool.description) < 600
    assert summary.endswith(".")
    assert rest, "when to use it, and what it costs"
    assert not re.search(r"\b(MUST|ALWAYS|NEVER|IMPORTANT|CRITICAL)\b", tool.description)
    assert not re.search(r"^[ \t]", tool.description, re.MULTILINE)


@every_tool
def test_a_writing_tool_says_what_it_costs(tool: tools.Tool) -> None:
    assert tool.annotations is not None
    assert tool.annotations.read_only_hint or re.search(
        r"pays|[Cc]osts?\b|is free", tool.description
    )


@every_tool
def test_an_input_schema_holds_no_unions_and_refuses_unknown_arguments(tool: tools.Tool) -> None:
    assert tool.parameters["type"] == "object"
    assert tool.parameters["additionalProperties"] is False
    for schema in schemas_in(tool.parameters):
        assert not UNIONS & schema.keys()
        assert isinstance(schema["type"], str)
        assert schema["type"] != "null"


@every_tool
def test_every_argument_is_described_and_an_optional_one_has_a_typed_default(
    tool: tools.Tool,
) -> None:
    kinds = {
        "string": str,
        "integer": int,
        "number": float,
        "boolean": bool,
        "array": list,
        "object": dict,
    }
    for name, schema in tool.parameters["properties"].items():
        assert schema["description"].endswith((".", ").")), name
        if name not in tool.parameters.get("required", []):
            assert isinstance(schema["default"], kinds[schema["type"]]), name


@every_tool
def test_schemas_hold_only_keywords_of_json_schema(tool: tools.Tool) -> None:
    known = {
        *("type", "properties", "required", "additionalProperties", "items", "enum", "default"),
        *("description", "pattern", "minimum", "maximum", "minLength", "maxLength", "minItems"),
        *("maxItems", "minProperties", "maxProperties", "$defs", "$ref", "const"),
    }
    output = tool.output_schema
    assert output is not None

    for root in (tool.parameters, output, *output.get("$defs", {}).values()):
        for schema in schemas_in(root):
            assert schema.keys() <= known
            # Gemini refuses the whole list for one of these.
            assert not {"", None} & set(schema.get("enum", ()))
            assert schema.get("default", "") is not None


def test_what_a_result_leaves_out_is_empty() -> None:
    for shape in subclasses(Shape):
        for name, field in shape.model_fields.items():
            if not field.is_required():
                default = field.get_default(call_default_factory=True)
                told = default.shown() if isinstance(default, Shape) else default
                assert not told or told == "0", f"{shape.__name__}.{name}"
        assert set(shape.answer) <= set(shape.model_fields)


@every_tool
def test_every_tool_belongs_to_a_toolset(tool: tools.Tool) -> None:
    assert tool.toolset in TOOLSETS


def test_toolsets_and_read_only_choose_tools_in_listing_order() -> None:
    assert tools.select((), read_only=False) == tools.ALL
    assert tools.select(TOOLSETS, read_only=False) == tools.ALL
    assert [tool.name for tool in tools.select(["hub"], read_only=False)] == [
        "create_model",
        "create_version",
        "upload",
        "list_files",
        "search_models",
        "get_model",
        "get_call",
        "list_calls",
    ]
    assert "infer" not in {tool.name for tool in tools.select((), read_only=True)}
    assert [tool.name for tool in tools.select(["llm"], read_only=False)] == [
        "chat",
        "completion",
        "web_search",
        "generate_image",
        "get_call",
        "list_calls",
    ]


@pytest.mark.parametrize("toolset", sorted(TOOLSETS))
@pytest.mark.parametrize("read_only", [False, True])
def test_tools_that_make_calls_come_with_those_that_follow_them(
    toolset: str, read_only: bool
) -> None:
    chosen = {tool.name for tool in tools.select([toolset], read_only=read_only)}
    calling = {
        name for name in chosen if (TOOLS[name].output_schema or {})["properties"].get("call_id")
    }

    assert calling - {"get_call"} == set() or {"get_call", "list_calls"} <= chosen
    assert toolset == "calls" or ("get_call" in chosen) == (not read_only)


async def test_the_listing_is_the_catalog_each_time() -> None:
    async with Client(build_server(Session.from_env({"OG_NETWORK": "local"}))) as mcp:
        first, second = await mcp.list_tools(), await mcp.list_tools(cache_mode="bypass")

    assert [tool.name for tool in first.tools] == [tool.name for tool in tools.ALL]
    assert first.tools == second.tools


async def test_the_flags_choose_what_is_listed() -> None:
    environ = {"OG_NETWORK": "local", "OG_TOOLSETS": "models,wallet", "OG_READ_ONLY": "1"}
    async with Client(build_server(Session.from_env(environ))) as mcp:
        listed = await mcp.list_tools()

    assert [tool.name for tool in listed.tools] == ["status"]
