"""Tool: have an image drawn."""

from __future__ import annotations

from og_mcp.tools._arguments import (
    AspectRatio,
    Count,
    DryRun,
    IdempotencyKey,
    ImageModel,
    Prompt,
    Resolution,
    SaveAs,
    Side,
    StartImages,
)
from og_mcp.tools._consent import PayingOG
from og_mcp.tools._illustrated import illustrated_result
from og_mcp.tools._injected import Call, Principal
from og_mcp.tools._progress import progress
from og_mcp.tools._tool import tool
from og_mcp.types import ImageResult


@tool(
    title="Generate an image",
    toolset="llm",
    read_only=False,
    destructive=False,
    idempotent=False,
    open_world=True,
)
async def generate_image(  # noqa: PLR0913, PLR0917 - the signature is the contract; mcp calls it by name
    prompt: Prompt,
    og: PayingOG,
    call: Call,
    principal: Principal,
    model: ImageModel = "",
    height: Side = 0,
    width: Side = 0,
    aspect_ratio: AspectRatio = "",
    resolution: Resolution = "",
    count: Count = 1,
    images: StartImages = [],  # noqa: B006 - never changed; hosts want a typed default
    save_as: SaveAs = "",
    idempotency_key: IdempotencyKey = "",
    dry_run: DryRun = False,
) -> ImageResult:
    """Have images drawn from a prompt and keep them as files.

    Cost and retries are those of chat. Each image has a file, a resource and a preview. Another
    width or height is scaled and cut from the original, which is kept. The TEE's signature does
    not cover an image's bytes.
    """
    async with progress(call):
        result = await og.generate_image(
            model,
            prompt,
            height,
            width,
            aspect_ratio=aspect_ratio,
            resolution=resolution,
            count=count,
            images=images,
            save_as=save_as,
            idempotency_key=idempotency_key,
            dry_run=dry_run,
            principal=principal,
            wait_s=og.settings.wait_s,
        )
    return await illustrated_result(result, og, principal) if result.images else result
