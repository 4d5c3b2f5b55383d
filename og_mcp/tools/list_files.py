"""Tool: the files of one version."""

from __future__ import annotations

from og_mcp.tools._arguments import ModelName, Version
from og_mcp.tools._injected import OG
from og_mcp.tools._tool import tool
from og_mcp.types import FileList


@tool(
    title="List model files",
    toolset="hub",
    read_only=True,
    destructive=False,
    idempotent=True,
    open_world=True,
)
async def list_files(model_name: ModelName, version: Version, og: OG) -> FileList:
    """Return the files of one version of a model repository: name, CID, size in bytes.

    The CID of an ONNX file is what infer takes. Use get_model when the version is not known.
    """
    return await og.list_files(model_name, version)
