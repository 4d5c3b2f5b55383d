"""What a test says to a tool, and reads from it."""

from __future__ import annotations

from typing import Any

from mcp import Client
from mcp.types import CallToolResult, TextContent


def text_of(result: CallToolResult) -> str:
    """Return the one text block of a result."""
    (block,) = result.content
    assert isinstance(block, TextContent)
    return block.text


async def answer(mcp: Client, name: str, **arguments: object) -> dict[str, Any]:
    """Call a tool that must succeed; returns its structured content."""
    result = await mcp.call_tool(name, arguments)
    assert not result.is_error, text_of(result)
    content: dict[str, Any] | None = result.structured_content
    assert content is not None
    return content


async def refusal(mcp: Client, name: str, **arguments: object) -> str:
    """Call a tool that must fail; returns what the model reads, without mcp's own prefix."""
    result = await mcp.call_tool(name, arguments)
    assert result.is_error, result.structured_content
    return text_of(result).removeprefix(f"Error executing tool {name}: ")
