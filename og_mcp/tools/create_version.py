"""Tool: add a version to a model repository."""

from __future__ import annotations

from og_mcp.tools._arguments import IsMajor, ModelName, Notes
from og_mcp.tools._consent import PayingOG, PersonThere
from og_mcp.tools._injected import Call, Principal
from og_mcp.tools._progress import progress
from og_mcp.tools._tool import tool
from og_mcp.types import CreatedVersion


@tool(
    title="Add a version",
    toolset="hub",
    read_only=False,
    destructive=True,
    idempotent=False,
    open_world=True,
)
async def create_version(  # noqa: PLR0913, PLR0917 - the signature is the contract; mcp calls it by name
    model_name: ModelName,
    og: PayingOG,
    call: Call,
    principal: Principal,
    person_there: PersonThere,
    notes: Notes = "",
    is_major: IsMajor = False,
) -> CreatedVersion:
    """Add an empty version to your own model repository and return its name for upload.

    It is free, public at once, and cannot be undone; every call adds one more. create_model makes the
    first one by itself.
    """
    async with progress(call):
        return await og.create_version(
            model_name,
            notes,
            is_major=is_major,
            ask=person_there,
            principal=principal,
            wait_s=og.settings.wait_s,
        )
