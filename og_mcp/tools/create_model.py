"""Tool: create a model repository."""

from __future__ import annotations

from og_mcp.tools._arguments import ModelDesc, NewModelName, OptionalModelPath
from og_mcp.tools._consent import PayingOG, PersonThere
from og_mcp.tools._injected import Call, Principal
from og_mcp.tools._progress import WorkCount, progress
from og_mcp.tools._tool import tool
from og_mcp.types import CreatedModel


@tool(
    title="Create a model repository",
    toolset="hub",
    read_only=False,
    destructive=True,
    idempotent=True,
    open_world=True,
)
async def create_model(  # noqa: PLR0913, PLR0917 - the signature is the contract; mcp calls it by name
    model_name: NewModelName,
    model_desc: ModelDesc,
    og: PayingOG,
    call: Call,
    principal: Principal,
    person_there: PersonThere,
    model_path: OptionalModelPath = "",
) -> CreatedModel:
    """Create a public model repository with its first version; with model_path, upload that file.

    A name of your own gets its next version; its description stays. It is free, public at once, and
    cannot be undone. The file is checked first. When a later step fails, the same call again
    continues from there. Needs a hub account (OG_EMAIL, OG_PASSWORD, FIREBASE_API_KEY).
    """
    sent = WorkCount("bytes")
    async with progress(call, sent):
        return await og.create_model(
            model_name,
            model_desc,
            model_path,
            ask=person_there,
            progress=sent,
            principal=principal,
            wait_s=og.settings.wait_s,
        )
