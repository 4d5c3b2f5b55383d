"""Tool: publish a model file."""

from __future__ import annotations

from og_mcp.tools._arguments import ModelName, ModelPath, Version
from og_mcp.tools._consent import PayingOG, PersonThere
from og_mcp.tools._injected import Call, Principal
from og_mcp.tools._progress import WorkCount, progress
from og_mcp.tools._tool import tool
from og_mcp.types import UploadResult


@tool(
    title="Upload a model file",
    toolset="hub",
    read_only=False,
    destructive=True,
    idempotent=True,
    open_world=True,
)
async def upload(  # noqa: PLR0913, PLR0917 - the signature is the contract; mcp calls it by name
    model_path: ModelPath,
    model_name: ModelName,
    version: Version,
    og: PayingOG,
    call: Call,
    principal: Principal,
    person_there: PersonThere,
) -> UploadResult:
    """Publish a model file under a version of your own repository and return its CID for infer.

    It is free, public at once, and cannot be undone; a file of the same name in that version may be
    replaced. Files are checked for secrets and, if ONNX, for being whole. What the version has
    already is not sent again. If the status is running, use get_call.
    """
    sent = WorkCount("bytes")
    async with progress(call, sent):
        return await og.upload(
            model_path,
            model_name,
            version,
            ask=person_there,
            progress=sent,
            principal=principal,
            wait_s=og.settings.wait_s,
        )
