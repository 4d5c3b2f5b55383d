"""The tools, in the order in which they are listed; one file each."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from og_mcp.tools._injected import principal_of
from og_mcp.tools._pause import keep_pauses
from og_mcp.tools._tool import Tool
from og_mcp.tools.get_call import get_call
from og_mcp.tools.get_model import get_model
from og_mcp.tools.infer import infer
from og_mcp.tools.list_calls import list_calls
from og_mcp.tools.list_files import list_files
from og_mcp.tools.status import status
from og_mcp.tools.verify_receipt import verify_receipt

__all__ = ["ALL", "Tool", "keep_pauses", "principal_of", "select"]

ALL: Final[tuple[Tool, ...]] = (
    infer,
    list_files,
    get_model,
    status,
    get_call,
    list_calls,
    verify_receipt,
)


def select(toolsets: Collection[str], *, read_only: bool) -> tuple[Tool, ...]:
    """Give the tools of some toolsets, all of them where none is named, in listing order.

    Args:
        toolsets: Names of toolsets; empty for all.
        read_only: Leave out every tool that can change or cost something.
    """
    return tuple(
        tool
        for tool in ALL
        if (not toolsets or tool.toolset in toolsets)
        and (not read_only or (tool.annotations is not None and tool.annotations.read_only_hint))
    )
