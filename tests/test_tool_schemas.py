"""What a host is shown of each tool: a change here is a change of the public face.

`pytest tests/test_tool_schemas.py --inline-snapshot=fix` writes the file anew.
"""

from __future__ import annotations

from typing import Any

from inline_snapshot import external_file
from mcp import Client

from og_mcp.client import Session
from og_mcp.server import build_server


async def test_the_published_definitions_are_the_committed_ones() -> None:
    async with Client(build_server(Session.from_env({"OG_NETWORK": "local"}))) as mcp:
        listed = await mcp.list_tools()

    published: list[dict[str, Any]] = [
        tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in listed.tools
    ]
    assert published == external_file("tool_schemas.json")
