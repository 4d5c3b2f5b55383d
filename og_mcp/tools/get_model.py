"""Tool: look up one model repository."""

from __future__ import annotations

from og_mcp.tools._arguments import Author, ModelName
from og_mcp.tools._injected import OG
from og_mcp.tools._tool import tool
from og_mcp.types import Model


@tool(
    title="Get model",
    toolset="hub",
    read_only=True,
    destructive=False,
    idempotent=True,
    open_world=True,
)
async def get_model(model_name: ModelName, og: OG, author: Author = "") -> Model:
    """Return a model repository: its versions, their files and CIDs, and the tensors where known.

    Tensor names, types and shapes say what the model_input of infer must hold.
    """
    return await og.get_model(model_name, author)
