"""What a host is shown of each tool: a change here is a change of the public face.

`pytest tests/test_tool_schemas.py --inline-snapshot=fix` writes the file anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from inline_snapshot import external_file
from mcp import Client

from og_mcp.client import Session
from og_mcp.server import build_server

TOKENS_OF_CALLING: Final = 4_000
"""What every conversation pays for names, descriptions and input schemas, at four bytes a token."""

TOKENS_IN_ALL: Final = 11_900


async def test_the_published_definitions_are_the_committed_ones() -> None:
    async with Client(build_server(Session.from_env({"OG_NETWORK": "local"}))) as mcp:
        listed = await mcp.list_tools()

    published: list[dict[str, Any]] = [
        tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in listed.tools
    ]
    assert published == external_file("tool_schemas.json")


def test_the_list_costs_a_conversation_no_more_than_its_budget() -> None:
    committed = json.loads(Path(__file__).with_name("tool_schemas.json").read_text("utf-8"))
    calling = [
        {name: tool[name] for name in ("name", "description", "inputSchema")} for tool in committed
    ]

    figures = f"calling {tokens(calling):.0f}, the whole list {tokens(committed):.0f} tokens"
    assert tokens(calling) <= TOKENS_OF_CALLING, figures
    assert tokens(committed) <= TOKENS_IN_ALL, figures


def test_no_schema_of_an_argument_holds_an_empty_word_or_null() -> None:
    committed = json.loads(Path(__file__).with_name("tool_schemas.json").read_text("utf-8"))

    for part in parts(committed):
        assert "" not in part.get("enum", ())
        assert part.get("type") != "null"


def tokens(document: object) -> float:
    return len(json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()) / 4


def parts(document: object) -> Iterator[dict[str, Any]]:
    """Walk every object of a JSON document."""
    if isinstance(document, dict):
        yield document
        document = list(document.values())
    if isinstance(document, list):
        for one in document:
            yield from parts(one)
