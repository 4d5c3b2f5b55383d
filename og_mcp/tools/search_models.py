"""Tool: find models."""

from __future__ import annotations

from og_mcp.tools._arguments import Kind, OptionalAuthor, Page, PageLimit, Query
from og_mcp.tools._injected import OG
from og_mcp.tools._tool import tool
from og_mcp.types import FoundModels


@tool(
    title="Search models",
    toolset="hub",
    read_only=True,
    destructive=False,
    idempotent=True,
    open_world=True,
)
async def search_models(  # noqa: PLR0913, PLR0917 - the signature is the contract; mcp calls it by name
    og: OG,
    query: Query = "",
    kind: Kind = "",
    author: OptionalAuthor = "",
    page: Page = 0,
    limit: PageLimit = 20,
) -> FoundModels:
    """Find models by words of their name, author, description or abilities.

    Kind onnx: repositories of the Model Hub, for get_model and infer. llm: for chat and
    completion; image: for generate_image; with prices, the cheapest first.
    """
    return await og.search_models(query, kind or None, author, page=page, limit=limit)
