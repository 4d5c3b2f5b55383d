"""The tools, in the order in which they are listed; one file each."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from og_mcp.client import Session
from og_mcp.tools._injected import principal_of
from og_mcp.tools._model_tool import ModelTool, model_tools
from og_mcp.tools._pause import keep_pauses
from og_mcp.tools._tool import Tool
from og_mcp.tools.approve_opg import approve_opg
from og_mcp.tools.chat import chat
from og_mcp.tools.completion import completion
from og_mcp.tools.create_model import create_model
from og_mcp.tools.create_version import create_version
from og_mcp.tools.generate_image import generate_image
from og_mcp.tools.get_call import get_call
from og_mcp.tools.get_model import get_model
from og_mcp.tools.infer import infer
from og_mcp.tools.list_calls import list_calls
from og_mcp.tools.list_files import list_files
from og_mcp.tools.search_models import search_models
from og_mcp.tools.status import status
from og_mcp.tools.upload import upload
from og_mcp.tools.verify_receipt import verify_receipt
from og_mcp.tools.web_search import web_search

__all__ = ["ALL", "ModelTool", "Tool", "keep_pauses", "principal_of", "published", "select"]

ALL: Final[tuple[Tool, ...]] = (
    infer,
    chat,
    completion,
    web_search,
    generate_image,
    create_model,
    create_version,
    upload,
    list_files,
    search_models,
    get_model,
    status,
    approve_opg,
    get_call,
    list_calls,
    verify_receipt,
)

FOLLOWING: Final = (get_call, list_calls)
"""The tools that wait for a running call, and find a call whose answer was lost."""


def select(toolsets: Collection[str], *, read_only: bool) -> tuple[Tool, ...]:
    """Return the tools of some toolsets, or all tools where none is named, in listing order.

    Where one of them makes calls, the tools that follow calls are added.

    Args:
        toolsets: Names of toolsets; empty for all.
        read_only: Leave out every tool that can change or cost something.
    """
    chosen = _chosen(ALL, toolsets, read_only=read_only)
    if all(_is_read_only(tool) for tool in chosen):
        return chosen
    return tuple(tool for tool in ALL if tool in chosen or tool in FOLLOWING)


def published(session: Session) -> tuple[ModelTool, ...]:
    """Return the tools of the models that the session's settings publish."""
    settings = session.settings
    made = model_tools(session)
    chosen = _chosen([each.tool for each in made], settings.toolsets, read_only=settings.read_only)
    return tuple(each for each in made if each.tool in chosen)


def _chosen(
    tools: Iterable[Tool], toolsets: Collection[str], *, read_only: bool
) -> tuple[Tool, ...]:
    return tuple(
        tool
        for tool in tools
        if (not toolsets or tool.toolset in toolsets) and (not read_only or _is_read_only(tool))
    )


def _is_read_only(tool: Tool) -> bool:
    return tool.annotations is not None and bool(tool.annotations.read_only_hint)
